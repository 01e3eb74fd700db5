"""Error against in-context examples: a curve per architecture, and baselines in grey."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report.figures import axes as shared
from bench.report.figures import references
from bench.report.figures.axes import SMALLEST
from bench.report.figures.drawing import Spot, spot, tag
from bench.report.figures.layout import COLUMN, new_grid
from bench.report.figures.legend import series_handles
from bench.report.figures.panel import Panel, absence_notes
from bench.report.figures.references import Reference, accuracy_limits, room_for_names
from bench.report.style import MUTED, Look, in_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def error_against_examples(
    panel: Panel, looks: Mapping[str, Look], trained: int | None = None, further: Sequence[str] = ()
) -> tuple[Figure, list[Spot]]:
    """Draw a curve per series with its 90 % band, and two baselines in grey.

    Args:
        panel: what is drawn.
        looks: by architecture.
        trained: examples of the trained prompts, marked by a dashed line where curves go on beyond them.
        further: footnotes beside those that follow from the panel.

    Returns:
        The figure, and where the ends of its curves are.
    """
    with in_style():
        notes = [*absence_notes([panel]), *further]
        grey = references.curves(panel)
        limits, logarithmic, below = examples_axis(panel, grey)
        if below:
            notes.insert(0, f"Below the axis, drawn at its foot: {', '.join(below)}.")
        if len(panel.data):
            notes = [*shared.bands_notes([panel.data]), *shared.seeds_notes([panel.data]), *notes]
        handles = series_handles([panel], looks, with_sizes=True)
        grid = new_grid([panel.heading], width=COLUMN, tall=TALL, handles=handles, notes=notes)
        (axes,) = grid.axes
        tag(axes, "task", panel.task or panel.title)
        axes.set_xlabel(panel.scale.positions)
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
        axes.set_ylabel(panel.scale.label)
        axes.set_xlim(0, max(1, last_position(panel)))
        axes.set_ylim(*limits)
        if logarithmic:
            shared.logarithmic(axes, "y", *limits)
        references.draw(axes, grey, last_position(panel), limits[0])
        if trained is not None:
            axes.axvline(trained, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
        draw_curves(axes, panel, looks, limits[0])
        if panel.data.empty:
            shared.nothing_here(axes, "No finished run yet")
        # A line that is wholly below the axis has its name in a note, not on top of the curves at the foot.
        references.name_lines(axes, [line for line in grey if max(line.y) >= limits[0]])
        return grid.figure, end_spots(axes, panel, looks, limits[0])


TALL = 2.0
"""Inches of the axes' height."""


def examples_axis(panel: Panel, grey: Sequence[Reference]) -> tuple[tuple[float, float], bool, list[str]]:
    """Limits of the y axis, whether it is logarithmic, and which lines fall below it.

    Args:
        panel: what is drawn, in axes of `TALL` inches.
        grey: the baselines that are drawn.
    """
    values = panel.data["value"].astype(float)
    trivial = panel.scale.trivial
    seeds = shared.seed_values(panel.data)
    if panel.scale.higher_is_better:
        ends = [*values, *seeds, *(value for reference in grey for value in reference.y)]
        return accuracy_limits(ends if len(values) else [], TALL), False, []
    if not shared.spans_decades([*values, trivial]):
        highest = max([trivial, *values])
        bands = [min(2 * highest, high) for high in shared.shown_spread(panel.data)["high"].astype(float)]
        top = max([1.05 * highest, *bands])
        # A line along the foot of the axes would hide there, and its name stand among the curves.
        at_foot = any(min(reference.y) < 0.02 * top for reference in grey)
        return room_for_names(0.0, top, TALL, logarithmic=False, below=at_foot), False, []
    positive = values[values > SMALLEST]
    low, high = shared.log_limits(
        [
            *(positive if len(positive) else [SMALLEST]),
            *(seed for seed in seeds if seed > SMALLEST), trivial, values.max(),
        ]
    )  # fmt: skip
    low, high = room_for_names(low, high, TALL, logarithmic=True, below=False)
    below = [reference.name for reference in grey if min(reference.y) < low]
    models = panel.data[values < low]["series"].drop_duplicates()
    return (low, high), True, [*below, *models]


def last_position(panel: Panel) -> int:
    return int(panel.data["examples"].max()) if len(panel.data) else panel.scale.n_points - 1


def end_spots(axes: Axes, panel: Panel, looks: Mapping[str, Look], foot: float) -> list[Spot]:
    """Spots at each curve's markers and at its last position."""
    marks = _markers(panel, looks)
    return [
        spot(
            axes,
            row["examples"],
            max(row["value"], foot),
            row["architecture"],
            f"{row['series']} {row['size']}, {row['examples']} examples: {panel.score(row)}",
            row["run_ids"].split(),
        )
        for series, rows in panel.data.groupby("series", sort=False)
        for row in rows.iloc[sorted({*marks[str(series)], len(rows) - 1})].to_dict("records")
        if math.isfinite(row["value"])
    ]


def draw_curves(axes: Axes, panel: Panel, looks: Mapping[str, Look], foot: float) -> None:
    """Draw a line with its 90 % band for each series."""
    marks = _markers(panel, looks)
    for series, look in panel.styles(looks).items():
        rows = panel.data[panel.data["series"] == series]
        if rows.empty:
            continue
        values = ["value", "low", "high"]
        rows = rows.assign(**rows[values].astype(float).clip(lower=foot))
        limits, own = panel.scale.limits, marks[series]
        shared.draw_curve(axes, rows, "examples", look, panel.series[series], limits, markevery=own)
    shared.fade_bands(axes)


def _markers(panel: Panel, looks: Mapping[str, Look]) -> dict[str, list[int]]:
    return shared.markers(panel.styles(looks), shared.lengths(panel.data))
