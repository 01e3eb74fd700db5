"""Lines with equal values: a reader sees that there are several, without colours too."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from synthetic import grid, pool_with, result_of, task_named

from bench.report.data.estimates import TaskResults
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.data.scale import ScoreScale
from bench.report.figures.axes import BAND, draw_line, fade_bands, markers
from bench.report.figures.drawing import Drawing
from bench.report.figures.legend import series_handles
from bench.report.figures.panel import Panel
from bench.report.figures.rates import score_by_rate
from bench.report.figures.training import training_curves
from bench.report.style import LOOKS, looks
from bench.words import architecture_name

ARCHITECTURES = ("transformer", "mamba", "s4")
RATES = (1e-4, 1e-3, 1e-2)


PRECISIONS = ("fp32", "tf32", "bf16")


def styles(count: int) -> dict[str, dict[str, Any]]:
    return {
        str(index): {"color": look.colour, "marker": look.marker, "linestyle": "-"}
        for index, look in enumerate(LOOKS[:count])
    }


def variants(*architectures: str) -> Panel:
    """A panel in which all architectures have the same variants: their lines differ in dashes alone."""
    series = {f"{architecture_name(name)}, {key}": name for name in architectures for key in PRECISIONS}
    data = pd.DataFrame({"series": list(series), "size": "2×64"})
    return Panel("x", ScoreScale.of(task_named()), data, pd.DataFrame(), series)


@pytest.mark.parametrize("lines", [2, 5, 10])
@pytest.mark.parametrize("points", [10, 30, 141])
def test_no_two_lines_have_a_marker_at_the_same_point(lines: int, points: int) -> None:
    places = markers(styles(lines), dict.fromkeys(styles(lines), points))
    assert all(own and max(own) < points for own in places.values())
    assert not any(set(one) & set(other) for one, other in itertools.combinations(places.values(), 2))


def test_a_line_alone_and_a_short_line_have_markers() -> None:
    assert len(markers(styles(1), {"0": 60})["0"]) >= 6
    assert markers(styles(1), {"0": 1}) == {"0": [0]}
    assert len(markers(styles(2), {"0": 90, "1": 12})["1"]) >= 3
    assert markers(styles(2), {}) == {}


@pytest.mark.parametrize("architectures", [("mamba", "s4"), ARCHITECTURES])
def test_variants_of_one_architecture_have_markers_far_from_each_other(
    architectures: tuple[str, ...],
) -> None:
    own = variants(*architectures).styles(looks(architectures))
    places = markers(own, dict.fromkeys(own, 120))
    assert not any(set(one) & set(other) for one, other in itertools.combinations(places.values(), 2))
    for first in range(0, len(own), len(PRECISIONS)):
        of_one = list(own)[first : first + len(PRECISIONS)]
        assert len({(own[name]["color"], own[name]["marker"]) for name in of_one}) == 1
        for one, other in itertools.combinations(of_one, 2):
            apart = min(abs(a - b) for a in places[one] for b in places[other])
            assert apart >= len(architectures)


def fill(line: Line2D) -> tuple[Any, ...]:
    """How a marker looks, but for its colour: which part has the colour of its line, and which is paper."""
    colours = (line.get_markerfacecolor(), line.get_markerfacecoloralt())
    return line.get_fillstyle(), *(colour == line.get_color() for colour in colours)


def test_markers_of_variants_differ_in_their_fill_as_in_the_legend() -> None:
    panel = variants("mamba", "s4")
    shown, axes = looks(["mamba", "s4"]), Figure().add_subplot()
    rows = pd.DataFrame({"step": [1, 2], "value": [1.0, 1.0]})
    lines = [draw_line(axes, rows, "step", look)[0] for look in panel.styles(shown).values()]
    drawn = [fill(line) for line in lines]
    assert len(set(drawn)) == len(PRECISIONS)
    assert drawn[: len(PRECISIONS)] == drawn[len(PRECISIONS) :]
    legend = {str(handle.get_label()): handle for handle in series_handles([panel], shown)}
    entries = [legend[key] for key in PRECISIONS]
    assert all(entry.get_marker() not in ("None", "") for entry in entries)
    assert [fill(entry) for entry in entries] == drawn[: len(PRECISIONS)]


def test_points_without_a_line_are_filled_in_the_legend() -> None:
    handles = series_handles([variants("mamba", "s4")], looks(["mamba", "s4"]), filled=True)
    solid = [handle for handle in handles if handle.get_marker() not in ("None", "")]
    assert [handle.get_label() for handle in solid] == ["Mamba", "S4"]
    assert len({fill(handle) for handle in solid}) == 1


def drawn_alike(kind: str) -> Drawing:
    """A figure in which three architectures have equal losses and scores."""
    runs = grid(task_named(n_points=21), ARCHITECTURES, learning_rates=RATES)
    curve = {"step": [100 * step for step in range(1, 31)], "loss": [1.0] * 30, "gradient_norm": [1.0] * 30}
    pool = pool_with({run.id: {**result_of(run, 0.5), "curve": curve} for run in runs})
    task, references = TaskResults(results_frame(runs, pool, {})), references_frame(runs, pool)
    drawn = {"training": training_curves, "rates": score_by_rate}[kind](
        "x", task, references, looks(ARCHITECTURES)
    )
    assert drawn is not None
    return drawn


def marked(axes: Axes) -> list[set[float]]:
    """The x of the markers of each line that has markers."""
    parts = []
    for line in axes.get_lines():
        every: Any = line.get_markevery()
        if line.get_marker() not in ("None", "") and every is not None:
            parts.append({float(np.asarray(line.get_xydata())[index, 0]) for index in every})
    return parts


def test_equal_losses_are_told_apart_by_markers() -> None:
    loss = marked(drawn_alike("training").figure.axes[0])
    assert len(loss) == len(ARCHITECTURES)
    assert sum(map(len, loss)) == len(set.union(*loss))


def test_equal_scores_at_one_learning_rate_stand_side_by_side() -> None:
    drawn = drawn_alike("rates")
    (axes,) = drawn.figure.axes
    low, high = axes.get_xlim()
    drawn_lines = (np.asarray(line.get_xydata())[:, 0].tolist() for line in axes.get_lines())
    lines = [places for places in drawn_lines if len(places) == len(RATES)]
    assert len(lines) == len(ARCHITECTURES)
    for rate, places in zip(RATES, zip(*lines, strict=True), strict=True):
        assert len(set(places)) == len(ARCHITECTURES)
        assert all(low < place < high and rate / 1.5 < place < 1.5 * rate for place in places)
    assert len({(spot.x, spot.y) for spot in drawn.spots}) == len(drawn.spots)
    assert "x" not in drawn.numbers


@pytest.mark.parametrize(("bands", "expected"), [(1, BAND), (5, BAND), (20, 0.04)])
def test_many_bands_are_fainter(bands: int, expected: float) -> None:
    axes = Figure().add_subplot()
    for _ in range(bands):
        axes.fill_between([0, 1], [0, 0], [1, 1], color="#000000", alpha=BAND)
    fade_bands(axes)
    opacities: list[Any] = [band.get_alpha() for band in axes.collections]
    assert opacities == pytest.approx([expected] * bands)
