"""Error against training FLOPs, in the form of the paper's Figure 2: points and frontiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.data.estimates import frontier, level
from bench.report.figures import axes as shared
from bench.report.figures.drawing import Spot, spot, tag
from bench.report.figures.panel import SMALLEST, Panel, absence_notes, known_look, marker_size
from bench.report.style import INK, PAPER, Look, in_style, scientific
from bench.report.text import plus_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT = 0.72
"""Inches left of every panel."""


def error_against_flops(
    panels: Sequence[Panel], looks: Mapping[str, Look], most_columns: int = 3
) -> tuple[Figure, list[Spot]]:
    """Every checkpoint of every size, and per series the frontier; one panel per task.

    Returns:
        The figure, and where its points are.
    """
    spots: list[Spot] = []
    with in_style():
        columns = min(most_columns, len(panels))
        rows = math.ceil(len(panels) / columns)
        notes = list(absence_notes(panels))
        for panel in panels:
            floor = level(panel.known, "floor", panel.known_at)
            if floor and floor[1] <= SMALLEST and not panel.measure.higher_is_better:
                notes.append(f"{panel.title}: the floor ({floor[0]}) is 0 and lies below the axis.")
        if any((panel.data["seeds"] < panel.data["seeds_planned"]).any() for panel in panels):
            notes.append("Hollow points: fewer seeds finished than were planned.")
        wide, high = (3.35, 3.3) if len(panels) == 1 else (2.35, 2.6)
        handles = _legend(panels, looks)
        right = shared.room_for(str(handle.get_label()) for handle in handles)
        extra = max(shared.title_lines(panel.title, wide) - 1 for panel in panels) * shared.TITLE_LINE
        tall, high = high - 0.85, high + extra
        figure, foot = shared.new_figure(columns * (wide + LEFT) + right, rows * high, notes)
        width, height = figure.get_size_inches()
        for index, panel in enumerate(panels):
            row, column = divmod(index, columns)
            left = LEFT + column * (wide + LEFT)
            bottom = foot + (rows - 1 - row) * high + 0.5
            axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height))
            shared.title(axes, panel.title, wide)
            tag(axes, "task", panel.task or panel.title)
            _draw_flops(axes, panel, looks)
            spots += _spots(axes, panel)
            if row == rows - 1 or index + columns >= len(panels):
                axes.set_xlabel("training FLOPs")
            if column == 0 or panel.score_label != panels[index - 1].score_label:
                axes.set_ylabel(panel.score_label)
        figure.legend(
            handles=handles, loc="upper left", handlelength=2.4, labelspacing=0.55,
            bbox_to_anchor=((columns * (wide + LEFT) + 0.15) / width, 1 - 0.3 / height),
        )  # fmt: skip
        return figure, spots


def _spots(axes: Axes, panel: Panel) -> list[Spot]:
    return [
        spot(
            axes,
            row["training_flops"],
            row["value"],
            row["architecture"],
            f"{row['series']} {row['size']}, step {row['step']:,}: {panel.measure.label} "
            f"{plus_minus(row['value'], row['standard_error'])} at {scientific(row['training_flops'])} FLOPs",
            row["run_ids"].split(),
        )
        for row in panel.data.to_dict("records")
        if math.isfinite(row["value"])
    ]


def _draw_flops(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
    data, measure = panel.data, panel.measure
    floor = level(panel.known, "floor", panel.known_at)
    # Measured on the prompts of the models where it is known, so that comparisons are paired; else expected.
    trivial = (level(panel.known, "trivial", panel.known_at) or ("", measure.trivial))[1]
    levels = [trivial, *([floor[1]] if floor else [])]
    shown = [*data["value"].astype(float), *levels]
    shared.logarithmic(axes, "x", *_flops_limits(data))
    if measure.higher_is_better:
        axes.set_ylim(min(0.45, *shown), 1.01)
    else:
        air = [] if len(data) else [measure.trivial / 100]
        limits = shared.log_limits([value for value in [*shown, *air] if value > SMALLEST])
        shared.logarithmic(axes, "y", *limits)
    axes.axhline(trivial, linewidth=0.9, **known_look("trivial"))
    if floor and (measure.higher_is_better or floor[1] > SMALLEST):
        axes.axhline(floor[1], linewidth=1.1, **known_look("floor"))
    if data.empty:
        shared.nothing_here(axes, "No finished run yet")
    foot = axes.get_ylim()[0]
    for series, look in panel.styles(looks).items():
        rows = data[data["series"] == series]
        stages = rows["step"] / rows["steps"]
        best = rows[frontier(rows["training_flops"].astype(float), rows["error"].astype(float))]
        best = best.sort_values("training_flops")
        band = axes.fill_between(
            best["training_flops"].astype(float), best["low"].astype(float).clip(lower=foot),
            best["high"].astype(float), color=look["color"], alpha=0.14, linewidth=0, zorder=2,
        )  # fmt: skip
        line = axes.plot(
            best["training_flops"].astype(float), best["value"], color=look["color"],
            linestyle=look["linestyle"], linewidth=1.4, zorder=3,
        )  # fmt: skip
        scatters = [_scatter(axes, some, look, float(stage)) for stage, some in rows.groupby(stages)]
        drawn = [each for scatter in scatters for each in scatter]
        tag([band, *line, *drawn], "architecture", panel.series[series])


def _scatter(axes: Axes, points: pd.DataFrame, look: Mapping[str, Any], stage: float) -> list[Any]:
    """Points of one stage of training: full ones, and hollow ones where seeds are lacking."""
    lacking = points["seeds"] < points["seeds_planned"]
    size = (1.15 * marker_size(look["marker"])) ** 2
    common = {"marker": look["marker"], "s": size, "alpha": _opacity(stage), "zorder": 4, "clip_on": False}
    full, hollow = points[~lacking], points[lacking]
    drawn = []
    if len(full):
        colours = {"color": look["color"], "edgecolors": "none"}
        x = full["training_flops"].astype(float)
        drawn.append(axes.scatter(x, full["value"], **common, **colours))
    if len(hollow):
        colours = {"facecolors": PAPER, "edgecolors": look["color"], "linewidths": 0.9}
        x = hollow["training_flops"].astype(float)
        drawn.append(axes.scatter(x, hollow["value"], **common, **colours))
    return drawn


def _opacity(stage: float) -> float:
    """Of a point that fraction of training shows: earlier is more transparent."""
    return float(0.2 + 0.8 * stage**1.5)


def _flops_limits(data: pd.DataFrame) -> tuple[float, float]:
    return shared.log_limits(data["training_flops"].astype(float)) if len(data) else (1e15, 1e18)


def _legend(panels: Sequence[Panel], looks: Mapping[str, Look]) -> list[Line2D]:
    """What is drawn, then what is known without training, then what transparency means."""
    styles: dict[str, dict[str, Any]] = {}
    for panel in panels:
        styles |= {series: look for series, look in panel.styles(looks).items() if series not in styles}
    drawn = {series for panel in panels for series in panel.data["series"]}
    handles = [
        Line2D(
            [], [], **look, linewidth=1.4, markersize=1.15 * marker_size(look["marker"]),
            markeredgecolor="none", label=series,
        )
        for series, look in styles.items() if series in drawn
    ]  # fmt: skip
    handles.append(Line2D([], [], **known_look("trivial"), linewidth=0.9, label="trivial predictor"))
    bounds = {
        (panel.measure.best_word, found[0])
        for panel in panels
        if (found := level(panel.known, "floor", panel.known_at))
    }
    if bounds:
        words = " or ".join(sorted({word for word, _ in bounds}))
        label = f"{words}: {next(iter(bounds))[1]}" if len(bounds) == 1 else words
        handles.append(Line2D([], [], **known_look("floor"), linewidth=1.1, label=label))
    stages = sorted({float(stage) for panel in panels for stage in panel.data["step"] / panel.data["steps"]})
    if len(stages) > 4:
        stages = [stages[0], stages[len(stages) // 2], stages[-1]]
    handles += [
        Line2D(
            [], [], color=INK, marker="o", linestyle="", markersize=5, alpha=_opacity(stage),
            markeredgecolor="none", label=f"{stage:.0%} of training",
        )
        for stage in stages
    ]  # fmt: skip
    return handles
