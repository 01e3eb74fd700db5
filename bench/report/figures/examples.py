"""Error against in-context examples: a curve per architecture, and baselines in grey."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from bench.report.figures import axes as shared
from bench.report.figures.axes import SMALLEST, Panel, absence_notes, marker_size, reference_look
from bench.report.figures.drawing import Spot, spot, tag
from bench.report.style import PAPER, Look, in_style
from bench.report.text import plus_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: tuple[Any, ...] = ((0, (1, 1.5)), (0, (3, 1.2, 1, 1.2)), (0, (2.5, 1.5)), (0, (1, 3)))
"""Of practical baselines, in the order of the record."""
LEFT, WIDE = 0.6, 3.35
"""Inches left of the axes, and of the axes themselves."""


def error_against_examples(panel: Panel, looks: Mapping[str, Look]) -> tuple[Figure, list[Spot]]:
    """Draw a curve per series with its 90 % band, and baselines in grey.

    Returns:
        The figure, and where the ends of its curves are.
    """
    with in_style():
        notes = list(absence_notes([panel]))
        limits, logarithmic, below = examples_axis(panel)
        if below:
            notes.insert(0, f"Below the axis, drawn at its foot: {', '.join(below)}.")
        if len(panel.data):
            kinds = " or ".join(sorted(set(panel.data["interval"])))
            notes.insert(0, f"Bands: 90 % intervals over {kinds}.")
        curves = panel.data.drop_duplicates("series")
        right = shared.room_for([*(curves["series"] + "  " + curves["size"]), *panel.references["name"]])
        figure, foot = shared.new_figure(LEFT + WIDE + right, 3.3, notes)
        axes = _axes(figure, foot, right)
        axes.set_title(panel.title, pad=8)
        tag(axes, "task", panel.title)
        axes.set_xlabel(panel.scale.axis)
        axes.set_ylabel(panel.score_label)
        axes.set_xlim(0, max(1, last_position(panel)))
        axes.set_ylim(*limits)
        if logarithmic:
            shared.logarithmic(axes, "y", *limits)
        labels = draw_references(axes, panel, limits[0]) + draw_curves(axes, panel, looks, limits[0])
        if panel.data.empty:
            shared.nothing_here(axes, "No finished run yet")
        shared.end_labels(axes, labels)
        return figure, end_spots(axes, panel, limits[0])


def _axes(figure: Figure, foot: float, right: float) -> Axes:
    """Axes with `right` inches beside them for labels, above the footnotes."""
    width, height = figure.get_size_inches()
    return figure.add_axes(
        (LEFT / width, (foot + 0.5) / height, (width - LEFT - right) / width, (height - foot - 0.85) / height)
    )


def examples_axis(panel: Panel) -> tuple[tuple[float, float], bool, list[str]]:
    """Limits of the y axis, whether it is logarithmic, and which lines fall below it."""
    values = panel.data["value"].astype(float)
    references = panel.references["value"].astype(float)
    trivial = panel.scale.trivial
    if panel.scale.higher_is_better:
        return (min(0.45, float(values.min()) if len(values) else 0.45), 1.01), False, []
    if not shared.spans_decades([*values, trivial]):
        highest = max([trivial, *values])
        bands = [min(2 * highest, high) for high in panel.data["high"].astype(float)]
        return (0.0, max([1.1 * highest, *bands])), False, []
    positive = values[values > SMALLEST]
    low, high = shared.log_limits([*(positive if len(positive) else [SMALLEST]), trivial, values.max()])
    below = panel.references[references < low]["name"].drop_duplicates()
    models = panel.data[values < low]["series"].drop_duplicates()
    return (low, high), True, [*below, *models]


def last_position(panel: Panel) -> int:
    return int(panel.data["examples"].max()) if len(panel.data) else panel.scale.n_points - 1


def end_spots(axes: Axes, panel: Panel, foot: float) -> list[Spot]:
    """Spots at each curve's last position and at some before it."""
    return [
        spot(
            axes,
            row["examples"],
            max(row["value"], foot),
            row["architecture"],
            f"{row['series']} {row['size']}, {row['examples']} examples: {panel.scale.label} "
            f"{plus_minus(row['value'], row['standard_error'])}",
            row["run_ids"].split(),
        )
        for _, rows in panel.data.groupby("series", sort=False)
        for row in rows.iloc[_marks(len(rows))].to_dict("records")
        if math.isfinite(row["value"])
    ]


def draw_curves(
    axes: Axes, panel: Panel, looks: Mapping[str, Look], foot: float
) -> list[tuple[str, float, dict[str, Any]]]:
    """Draw a line with its 90 % band for each series. Returns the labels of the lines' ends."""
    styles = panel.styles(looks)
    labels = []
    for series, look in styles.items():
        rows = panel.data[panel.data["series"] == series]
        if rows.empty:
            continue
        x, y = rows["examples"].to_numpy(), rows["value"].astype(float).clip(lower=foot).to_numpy()
        low, high = (rows[side].astype(float).clip(lower=foot).to_numpy() for side in ("low", "high"))
        band = axes.fill_between(x, low, high, color=look["color"], alpha=0.16, linewidth=0)
        size = marker_size(look["marker"])
        line = axes.plot(
            x, y, **look, markevery=_marks(len(x)), markersize=size, markeredgecolor=PAPER,
            markeredgewidth=0.5, zorder=3, clip_on=False,
        )  # fmt: skip
        tag([band, *line], "architecture", panel.series[series])
        label = f"{series}  {rows['size'].iloc[0]}"
        labels.append((label, float(y[-1]), {key: look[key] for key in ("color", "linestyle")}))
    return labels


def _marks(count: int) -> list[int]:
    """About eight positions for markers, the last included."""
    every = max(1, (count - 1) // 8)
    return list(range(count - 1, -1, -every))[::-1]


def draw_references(axes: Axes, panel: Panel, foot: float) -> list[tuple[str, float, dict[str, Any]]]:
    """Draw trivial predictor, floor and baselines in grey. Returns the labels of the lines' ends."""
    labels = []
    last = last_position(panel)
    dashes = cycle(DASHES)
    kinds = set(panel.references["kind"])
    if "trivial" not in kinds:
        look = reference_look("trivial")
        axes.axhline(panel.scale.trivial, linewidth=0.9, **look)
        labels.append(("trivial predictor", panel.scale.trivial, look))
    for (name, kind), rows in panel.references.groupby(["name", "kind"], sort=False):
        look = reference_look(str(kind), dashes)
        visible = rows[rows["examples"] <= last]
        if visible.empty:
            continue
        y = visible["value"].astype(float).clip(lower=foot)
        width = 1.3 if kind in ("floor", "reference") else 0.9
        axes.plot(visible["examples"], y, linewidth=width, zorder=2, **look)
        best = panel.scale.best_word
        words = {"trivial": "trivial: ", "floor": f"{best}: ", "reference": "reference: "}
        label = words.get(str(kind), "") + str(name)
        labels.append((label, float(y.iloc[-1]), look))
    return labels
