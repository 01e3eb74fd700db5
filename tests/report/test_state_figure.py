"""The figure of the final score against the state."""

from __future__ import annotations

import pytest
from matplotlib.collections import LineCollection
from synthetic import grid, pool_with, result_of, task_named

from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.blocks import Mamba
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.figures.drawing import Drawing
from bench.report.figures.state import score_by_state
from bench.run import Run

PARITY = task_named("sparse_parity", n_points=6)


def variant(run: Run, architecture: Architecture) -> Run:
    return Run.model_validate({**dict(run), "architecture": architecture})


def drawing_of(runs: list[Run], scores: list[float]) -> Drawing:
    results = {run.id: result_of(run, score) for run, score in zip(runs, scores, strict=True)}
    return score_by_state(results_frame(runs, pool_with(runs=results), {}), references_frame([], pool_with()))


def test_an_architecture_is_one_line_over_the_options_that_set_its_state() -> None:
    (base,) = grid(PARITY, ("mamba2",), ((1, 32),))
    states = [8, 16, 64]
    runs = [variant(base, ARCHITECTURES["mamba2"].with_options({"state": state})) for state in states]
    drawing = drawing_of(runs, [0.6, 0.9, 0.8])
    points = drawing.numbers.sort_values("state_numbers")
    assert points["state_numbers"].tolist() == [2 * 64 * state for state in states]
    assert points["series"].tolist() == ["Mamba-2"] * 3
    assert points["on_frontier"].tolist() == [True, True, False]  # a larger state did not help
    (axes,) = drawing.figure.axes
    assert axes.get_xlabel() == "numbers in the state"
    assert axes.get_xscale() == "log"
    assert "at 2,048 numbers of state" in " ".join(spot.text for spot in drawing.spots)


def test_an_option_is_named_beside_the_size_and_a_comma_in_the_name_of_an_architecture_is_no_option() -> None:
    (base,) = grid(PARITY, ("mamba2",), ((1, 32),))
    (hybrid,) = grid(PARITY, ("transformer_first_mamba",), ((2, 32),))
    options = [variant(base, ARCHITECTURES["mamba2"].with_options({"state": state})) for state in (16, 32)]
    drawing = drawing_of([*options, hybrid], [0.6, 0.7, 0.8])
    sizes = drawing.numbers.set_index("series")["size"]
    assert sizes["Mamba-2"].tolist() == ["1×32, state dimension 16", "1×32, state dimension 32"]
    assert sizes["Transformer, first block Mamba"] == "2×32"


def test_models_without_a_stated_state_are_named_and_not_drawn() -> None:
    class Unstated(Mamba):
        def state_numbers(self, L: int, D: int) -> None:  # type: ignore[override]
            return None

    (stated,) = grid(PARITY, ("mamba",), ((1, 32),))
    unstated = variant(stated, Architecture(name="s4", layer=(Unstated(),)))
    drawing = drawing_of([stated, unstated], [0.6, 0.9])
    assert set(drawing.numbers["series"]) == {"Mamba"}
    texts = " ".join(text.get_text() for text in drawing.figure.texts).replace("\n", " ")
    assert "S4 1×32: its blocks state no state" in texts


def test_every_seed_is_a_circle_and_a_mean_without_a_band_has_a_bar() -> None:
    runs = list(grid(PARITY, ("mamba2",), ((1, 32),), seeds=(0, 1, 2)))
    drawing = drawing_of(runs, scores := [0.80, 0.82, 0.86])
    (axes,) = drawing.figure.axes
    (row,) = drawing.numbers.to_dict("records")
    bars = [
        segment
        for lines in axes.collections
        if isinstance(lines, LineCollection)
        for segment in lines.get_segments()
    ]
    assert any(segment[:, 1].tolist() == pytest.approx([row["low"], row["high"]]) for segment in bars)
    drawn = [
        offsets[:, 1].tolist() for points in axes.collections if len(offsets := points.get_offsets()) == 3
    ]
    assert sorted(drawn[0]) == pytest.approx(scores)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_state_of_attention_grows_with_the_prompt(seeds: tuple[int, ...]) -> None:
    states = []
    for points in (6, 12):
        runs = grid(task_named("sparse_parity", n_points=points), ("transformer",), ((1, 32),), seeds=seeds)
        drawing = drawing_of(list(runs), [0.6] * len(runs))
        (state,) = drawing.numbers["state_numbers"]
        assert state == runs[0].state_numbers
        states.append(state)
    assert states[1] == 2 * states[0]
