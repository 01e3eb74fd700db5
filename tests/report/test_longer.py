"""The figure of scores beyond the trained length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import grid, pool_with, result_of, task_named

from bench.report.data.estimates import TaskResults
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.data.scale import ScoreScale
from bench.report.figures.axes import draw_curve
from bench.report.figures.longer import longer_curves, longer_prompts
from bench.report.style import looks
from bench.run import Run
from bench.tasks import Task

LINEAR = task_named(n_points=5)
NO_REFERENCES = references_frame([], pool_with())
RUNS = grid(LINEAR, ("transformer", "mamba"), ((2, 128),), (1e-4,), (0, 1))


def task_of(results: dict[str, Any], runs: list[Run] = RUNS) -> TaskResults:
    return TaskResults(results_frame(runs, pool_with(runs=results), {}))


def without_longer_prompts(result: dict[str, Any]) -> dict[str, Any]:
    for checkpoint in result["checkpoints"]:
        checkpoint["evaluations"].pop("longer_prompts", None)
    return result


def test_curves_go_on_beyond_the_trained_length_where_models_are_defined() -> None:
    results = {run.id: result_of(run, 0.5) for run in RUNS}
    task = task_of(results)
    curves = longer_curves(task)
    assert set(curves["series"]) == {"Mamba"}  # the Transformer has learned positions
    assert curves["examples"].tolist() == list(range(4 * LINEAR.n_points))
    drawing = longer_prompts("longer", task, NO_REFERENCES, looks(["transformer", "mamba"]))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert axes.get_xlim() == (0, 4 * LINEAR.n_points - 1)
    assert any(list(line.get_xdata()) == [LINEAR.n_points] * 2 for line in axes.lines)
    texts = " ".join(text.get_text() for text in drawing.figure.texts).replace("\n", " ")
    assert "No evaluation on longer prompts: Transformer" in texts


def test_only_seeds_with_longer_prompts_count() -> None:
    first, second = (run for run in RUNS if run.architecture.name == "mamba")
    results = {first.id: result_of(first, 0.2), second.id: without_longer_prompts(result_of(second, 0.9))}
    curves = longer_curves(task_of(results))
    assert set(curves["run_ids"]) == {first.id}


def test_results_without_longer_prompts_have_no_figure() -> None:
    results = {run.id: without_longer_prompts(result_of(run, 0.5)) for run in RUNS}
    assert longer_prompts("longer", task_of(results), NO_REFERENCES, looks(["transformer", "mamba"])) is None


@pytest.mark.parametrize(
    ("task", "band"),
    [
        (task_named("word_problem"), {0.0, 1.0}),
        (LINEAR, {0.0, 1.4}),
    ],
)
def test_a_band_ends_where_scores_end_and_the_numbers_stay(task: Task, band: set[float]) -> None:
    rows = pd.DataFrame({"examples": [0, 1], "value": 0.6, "low": -0.2, "high": 1.4, "seeds": 5})
    look = {"color": "#000000", "linestyle": "-", "marker": "o"}
    axes = Figure().add_subplot()
    draw_curve(axes, rows, "examples", look, "mamba", ScoreScale.of(task).limits)
    (drawn,) = axes.collections
    assert set(np.asarray(drawn.get_paths()[0].vertices)[:, 1].tolist()) == band
    assert rows["low"].tolist() == [-0.2, -0.2]


def test_the_axis_of_positions_says_that_it_has_positions() -> None:
    assert ScoreScale.of(task_named("word_problem")).positions == "position (elements before it)"
    assert ScoreScale.of(LINEAR).positions == "in-context examples"
