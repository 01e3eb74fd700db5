"""Two seeds as thin lines in place of an interval with one degree of freedom, and bounds in tooltips."""

from __future__ import annotations

import pytest
from matplotlib.collections import PolyCollection
from synthetic import experiment_of, grid, pool_of, pool_with, result_of, suite_of, task_named

from bench.report.data.estimates import TaskResults
from bench.report.data.frame import looks_in, results_frame
from bench.report.data.references import references_frame
from bench.report.figures.drawing import Drawing
from bench.report.page.sections import section
from bench.report.tables.table import scalars

LINEAR = task_named(n_points=20)


def drawings_of(count: int) -> dict[str, Drawing]:
    """Figures of Mamba with `count` seeds, by kind."""
    runs = grid(LINEAR, ("mamba",), ((2, 128),), seeds=range(count))
    experiment = suite_of(experiment_of(runs, "own", rebuilds="")).experiments[0]
    pool = pool_of(runs, noise=1.5)
    results, references = results_frame(runs, pool, {}), references_frame(runs, pool)
    drawn = section(experiment, results, references, looks_in(results), set()).drawings()
    return {drawing.name.rpartition("-")[2]: drawing for drawing in drawn}


@pytest.mark.parametrize("kind", ["examples", "longer", "flops", "training"])
def test_two_seeds_are_thin_lines_within_the_axes_and_three_are_a_band(kind: str) -> None:
    two, three = drawings_of(2)[kind], drawings_of(3)[kind]
    axes = two.figure.axes[-1]  # of scores
    assert not any(isinstance(part, PolyCollection) for part in axes.collections)
    thin = [line for line in axes.get_lines() if line.get_linewidth() < 0.8]
    assert len(thin) == 2
    low, high = axes.get_ylim()
    assert all(low <= value <= high for line in thin for value in line.get_ydata())
    assert any("Thin lines" in text.get_text() for text in two.figure.texts)
    axes = three.figure.axes[-1]
    assert any(isinstance(part, PolyCollection) for part in axes.collections)
    assert not [line for line in axes.get_lines() if line.get_linewidth() < 0.8]
    assert not any("Thin lines" in text.get_text() for text in three.figure.texts)


def test_the_numbers_of_two_seeds_keep_their_interval_and_nothing_that_is_only_drawn() -> None:
    numbers = drawings_of(2)["examples"].numbers
    (values,) = numbers.loc[numbers["examples"] == 5, "seed_values"]
    row = numbers[numbers["examples"] == 5].iloc[0]
    assert row["low"] < min(values) <= row["value"] <= max(values) < row["high"]
    assert not {"seed_values", "independent_prompts"} & set(scalars(numbers))


def test_a_tooltip_of_an_accuracy_without_a_wrong_answer_states_its_bound() -> None:
    runs = grid(task_named("sparse_parity", n_points=20), ("mamba",), ((2, 128),))
    pool = pool_with({run.id: result_of(run, 1.0, noise=0.0) for run in runs})
    results = results_frame(runs, pool, {})
    scale = TaskResults(results).scale
    prompts = int(results["independent_prompts"].iloc[0])
    assert scale.text(1.0, 0.0, prompts).startswith("1 (> 0.99")
    assert scale.text(0.0, 0.0, prompts).startswith("0 (< 0.00")
    assert scale.text(0.9, 0.01, prompts) == "0.900 ± 0.010"
    experiment = suite_of(experiment_of(runs, "own", rebuilds="")).experiments[0]
    references = references_frame(runs, pool)
    drawn = section(experiment, results, references, looks_in(results), set()).drawings()
    words = [spot.text for drawing in drawn for spot in drawing.spots]
    perfect = [text for text in words if "accuracy 1" in text]
    assert perfect
    assert not [text for text in words if "± 0" in text and "± 0." not in text]
