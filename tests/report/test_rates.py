"""Scores at every learning rate: each seed of the best size, the chosen rate, and runs that diverged."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import grid, pool_with, result_of, task_named

from bench.report.data.estimates import TaskResults
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.figures.drawing import Drawing
from bench.report.figures.rates import score_by_rate, scores_by_rate
from bench.report.style import looks
from bench.run import Run

RATES = (1e-4, 1e-3, 1e-2)
LINEAR, PARITY = task_named(n_points=5), task_named("sparse_parity", n_points=20)


def results_of(runs: list[Run], scores: dict[float, float | None]) -> tuple[TaskResults, Drawing | None]:
    """The results of runs that have a score by their learning rate, None for divergence, and the figure."""
    results: dict[str, dict[str, Any]] = {}
    for run in runs:
        score = scores[run.learning_rate]
        lost = {"outcome": "diverged"} if score is None else {}
        results[run.id] = result_of(run, (score or 0.9) + 0.01 * run.seed, **lost)
    pool = pool_with(results)
    task = TaskResults(results_frame(runs, pool, {}))
    return task, score_by_rate("x", task, references_frame(runs, pool), looks(["mamba"]))


def test_every_seed_of_every_rate_is_drawn_and_the_chosen_rate_is_marked() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=RATES, seeds=(0, 1))
    task, drawn = results_of(runs, {1e-4: 0.5, 1e-3: 0.2, 1e-2: 0.4})
    data = scores_by_rate(task)
    assert data["value"].tolist() == pytest.approx([0.5, 0.51, 0.2, 0.21, 0.4, 0.41])
    assert set(data.loc[data["chosen"], "learning_rate"]) == {1e-3}
    assert drawn is not None
    assert len(drawn.spots) == 6
    (axes,) = drawn.figure.axes
    means = next(line for line in axes.get_lines() if len(line.get_xdata()) == 3)
    assert list(means.get_ydata()) == pytest.approx([0.505, 0.205, 0.405])
    assert "0.205 at 1e-3" in drawn.description


def test_only_the_best_size_is_drawn() -> None:
    small, large = (grid(LINEAR, ("mamba",), (size,), learning_rates=RATES) for size in ((2, 128), (4, 256)))
    runs = [*small, *large]
    pool = pool_with({run.id: result_of(run, 0.5 if run in small else 0.3) for run in runs})
    data = scores_by_rate(TaskResults(results_frame(runs, pool, {})))
    assert set(data["size"]) == {"4×256"}
    assert len(data) == len(RATES)


def test_a_run_that_diverged_is_a_cross_and_no_value() -> None:
    runs = grid(PARITY, ("mamba",), learning_rates=RATES, seeds=(0, 1))
    task, drawn = results_of(runs, {1e-4: 0.7, 1e-3: 0.8, 1e-2: None})
    data = scores_by_rate(task)
    assert data.loc[data["learning_rate"] == 1e-2, "value"].isna().all()
    assert data.loc[data["learning_rate"] == 1e-3, "value"].tolist() == pytest.approx([0.8, 0.81])
    assert drawn is not None
    assert len(drawn.spots) == 4
    assert "2 runs diverged" in drawn.description
    assert any("diverged" in text.get_text() for text in drawn.figure.texts)


def test_two_learning_rates_are_left_to_the_table() -> None:
    _, drawn = results_of(grid(LINEAR, ("mamba",), learning_rates=RATES[:2]), {1e-4: 0.5, 1e-3: 0.2})
    assert drawn is None


def test_every_rate_of_a_grid_in_factors_of_two_has_a_label_up_to_the_highest() -> None:
    rates = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
    runs = grid(LINEAR, ("mamba",), learning_rates=rates)
    _, drawn = results_of(runs, dict.fromkeys(rates, 0.5))
    assert drawn is not None
    (axes,) = drawn.figure.axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["5e-4", "1e-3", "2e-3", "4e-3", "8e-3", "0.016"]
