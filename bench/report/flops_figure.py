"""Error against training FLOPs, in the form of the paper's Figure 2: points and frontiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report import axes as shared
from bench.report.estimates import level
from bench.report.panel import SMALLEST, Panel, absence_notes, known_look, marker_size
from bench.report.select import frontier
from bench.report.style import INK, RC, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT = 0.6
"""Inches left of every panel."""


def error_against_flops(panels: Sequence[Panel], looks: Mapping[str, Look]) -> Figure:
    """Every checkpoint of every size, and per series the frontier; one panel a task."""
    with matplotlib.rc_context(RC):
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        notes = list(absence_notes(panels))
        for panel in panels:
            floor = level(panel.known, "floor")
            if floor and floor[1] <= SMALLEST and not panel.measure.higher_is_better:
                notes.append(f"{panel.title}: the floor ({floor[0]}) is 0 and lies below the axis.")
        wide, high = (3.35, 3.3) if len(panels) == 1 else (2.35, 2.6)
        handles = _legend(panels, looks)
        right = shared.room_for(str(handle.get_label()) for handle in handles)
        figure, foot = shared.new_figure(columns * (wide + LEFT) + right, rows * high, notes)
        width, height = figure.get_size_inches()
        for index, panel in enumerate(panels):
            row, column = divmod(index, columns)
            left = LEFT + column * (wide + LEFT)
            bottom = foot + (rows - 1 - row) * high + 0.5
            axes = figure.add_axes((left / width, bottom / height, wide / width, (high - 0.85) / height))
            _draw_flops(axes, panel, looks)
            if row == rows - 1 or index + columns >= len(panels):
                axes.set_xlabel("training FLOPs")
            if column == 0 or panel.measure.label != panels[index - 1].measure.label:
                axes.set_ylabel(panel.measure.label)
        figure.legend(
            handles=handles, loc="upper left", handlelength=2.4, labelspacing=0.55,
            bbox_to_anchor=((columns * (wide + LEFT) + 0.15) / width, 1 - 0.3 / height),
        )  # fmt: skip
        return figure


def _draw_flops(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
    axes.set_title(panel.title, pad=8)
    data, measure = panel.data, panel.measure
    floor = level(panel.known, "floor")
    # Measured on the prompts of the models where it is known, so that comparisons are paired; else expected.
    trivial = (level(panel.known, "trivial") or ("", measure.trivial))[1]
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
    for series, style in panel.styles(looks).items():
        rows = data[data["series"] == series]
        best = rows[frontier(rows["training_flops"].astype(float), rows["error"].astype(float))]
        best = best.sort_values("training_flops")
        axes.plot(
            best["training_flops"], best["value"], color=style["color"], linestyle=style["linestyle"],
            linewidth=1.4, zorder=3,
        )  # fmt: skip
        for stage, points in rows.groupby(rows["step"] / rows["steps"]):
            axes.scatter(
                points["training_flops"], points["value"], color=style["color"], marker=style["marker"],
                s=(1.15 * marker_size(style["marker"])) ** 2, alpha=_opacity(float(stage)),
                edgecolors="none", zorder=4, clip_on=False,
            )  # fmt: skip


def _opacity(stage: float) -> float:
    """Of a point that fraction of training shows: earlier is more transparent."""
    return float(0.2 + 0.8 * stage**1.5)


def _flops_limits(data: pd.DataFrame) -> tuple[float, float]:
    return shared.log_limits(data["training_flops"].astype(float)) if len(data) else (1e15, 1e18)


def _legend(panels: Sequence[Panel], looks: Mapping[str, Look]) -> list[Line2D]:
    """What is drawn, then what is known without training, then what transparency means."""
    styles: dict[str, dict[str, Any]] = {}
    for panel in panels:
        styles |= {series: style for series, style in panel.styles(looks).items() if series not in styles}
    drawn = {series for panel in panels for series in panel.data["series"]}
    handles = [
        Line2D(
            [], [], **style, linewidth=1.4, markersize=1.15 * marker_size(style["marker"]),
            markeredgecolor="none", label=series,
        )
        for series, style in styles.items() if series in drawn
    ]  # fmt: skip
    handles.append(Line2D([], [], **known_look("trivial"), linewidth=0.9, label="trivial predictor"))
    bounds = {
        (panel.measure.best_word, found[0]) for panel in panels if (found := level(panel.known, "floor"))
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
