"""Training curves: means over seeds of what results recorded, up to the first stop of a seed."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import grid, pool_with, result_of, task_named

from bench.report.data.choices import best_sizes
from bench.report.data.estimates import TaskResults
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.figures.training import training_curves, training_losses
from bench.report.style import looks
from bench.results import Pool
from bench.run import Run

RUNS = grid(task_named(n_points=5), ("mamba",), seeds=(0, 1))


def with_losses(run: Run, losses: list[float]) -> dict[str, Any]:
    steps = [1000 * (index + 1) for index in range(len(losses))]
    curve = {"step": steps, "loss": losses, "gradient_norm": [1.0] * len(steps)}
    return {**result_of(run, 0.5), "curve": curve}


def results_of(*losses: list[float]) -> tuple[TaskResults, Pool]:
    runs = RUNS[: len(losses)]
    results = {run.id: with_losses(run, values) for run, values in zip(runs, losses, strict=True)}
    pool = pool_with(results)
    return TaskResults(results_frame(runs, pool, {})), pool


def test_losses_are_means_over_seeds_until_the_first_seed_stopped() -> None:
    task, _ = results_of([4.0, 2.0, 1.0], [2.0, 1.0])
    losses = training_losses(task, best_sizes(task.candidates))
    assert losses["step"].tolist() == [1000, 2000]
    assert losses["value"].tolist() == pytest.approx([3.0, 1.5])
    assert losses[["low", "high"]].to_numpy().tolist() == [[2.0, 4.0], [1.0, 2.0]]
    assert set(losses["seeds"]) == {2}


def test_the_figure_shows_losses_and_every_evaluation() -> None:
    task, pool = results_of([4.0, 2.0, 1.0], [2.0, 1.0])
    drawn = training_curves("x", task, references_frame(RUNS, pool), looks(["mamba"]))
    evaluated = drawn.numbers[drawn.numbers["kind"] == "evaluated"]
    assert evaluated["step"].tolist() == list(RUNS[0].checkpoints)
    loss, score = drawn.figure.axes
    (line,) = loss.get_lines()
    assert line.get_xydata().tolist() == [[1000, 3.0], [2000, 1.5]]
    assert any(list(line.get_xdata()) == list(RUNS[0].checkpoints) for line in score.get_lines())
    assert len(drawn.spots) == len(evaluated)


def test_models_without_a_result_are_named_below() -> None:
    runs = [*RUNS, *grid(task_named(n_points=5), ("s4",))]
    pool = pool_with({run.id: with_losses(run, [4.0, 2.0]) for run in RUNS})
    task = TaskResults(results_frame(runs, pool, {}))
    drawn = training_curves("x", task, references_frame(runs, pool), looks(["mamba", "s4"]))
    (note,) = [text.get_text() for text in drawn.figure.texts if "Not drawn" in text.get_text()]
    assert "S4: missing (1 of 1 run)" in note
    assert "Mamba" not in note


def test_results_without_a_curve_say_so() -> None:
    task, pool = results_of([])
    drawn = training_curves("x", task, references_frame(RUNS, pool), looks(["mamba"]))
    assert "No training loss" in drawn.figure.axes[0].texts[0].get_text()
    assert "No training loss" in drawn.description


def test_a_single_evaluation_is_no_curve() -> None:
    runs = grid(task_named(n_points=5), ("mamba",), steps=3000, checkpoints=(3000,))
    pool = pool_with({run.id: with_losses(run, [4.0, 2.0, 1.0]) for run in runs})
    task = TaskResults(results_frame(runs, pool, {}))
    drawn = training_curves("x", task, references_frame(runs, pool), looks(["mamba"]))
    (loss,) = drawn.figure.axes
    assert loss.get_ylabel().startswith("loss")
    assert drawn.caption.startswith("Training loss")
    assert "Right" not in drawn.caption
