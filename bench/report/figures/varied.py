"""Error against what was varied: Figures 4 (model size, hidden width) and 10 (depth against width)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.digits import error_text, plus_minus
from bench.report.data.estimates import TaskResults, tasks_of
from bench.report.data.frame import looks_in, runs_of, tally, varied_setting
from bench.report.figures import axes as shared
from bench.report.figures.axes import marker_size
from bench.report.figures.drawing import Drawing, Spot, spots_of, tag
from bench.report.figures.flops import optimizer_title
from bench.report.figures.layout import LINE, PAGE, lines_of, new_grid, rows_of, rows_with, wrapped, y_label
from bench.report.figures.panel import grouped
from bench.report.figures.references import draw, name_lines, room_for_names, trivial_level
from bench.report.style import GROUPS, PAPER, Look, in_style
from bench.report.text import millions
from bench.words import architecture_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figure_4(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Chain of thought: error against model size at one hidden width (left), and the reverse (right).

    What the tasks differ in is the hidden width; its axis is read from their settings.
    """
    results = results.assign(series=results["architecture"].map(architecture_name))
    sizes = results.groupby("task_id", sort=False)["size"].nunique()
    size_rows = results[results["task_id"] == sizes.idxmax()]
    tasks = results.groupby("size", sort=False)["task_id"].nunique()
    width_rows = results[results["size"] == tasks.idxmax()]
    looks = {architecture_name(name): look for name, look in looks_in(results).items()}
    field = varied_setting(results) or "hidden"
    ends = TaskResults(size_rows).end_points()
    by_size = ends.assign(x=ends["parameters"].astype(float))
    counts = {x: millions(int(x)) for x in by_size["x"]}
    panels = [_panel("Model size", "parameters", by_size, size_rows, looks, counts)]
    parts = []
    for task in tasks_of(width_rows):
        value = task.rows["settings"].iloc[0].get(field, math.nan)
        parts.append(task.end_points().assign(x=float(value)))
    by_width = pd.concat(parts, ignore_index=True)
    ticks = {x: f"{x:g}" for x in by_width["x"].dropna()}
    size = width_rows["size"].iloc[0]
    label = "hidden width of the target network"
    panels.append(_panel(f"Hidden width, models of {size}", label, by_width, width_rows, looks, ticks))
    caption = (
        "Error at the last checkpoint of each model at its chosen learning rate. Left: against the number of "
        f"parameters, {size_rows['task'].iloc[0]}. Right: against the hidden width of the target network, at "
        f"{size}. The paper's text does not say what its axes count."
    )
    return _drawing("figure-4", panels, caption, 2)


def figure_10(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Linear regression after 40 examples against width: a line per group of equal parameters.

    A row per architecture, Adam on the left and AdamW on the right.
    """
    results = results.assign(
        series=results["architecture"].map(architecture_name),
        error=results["error_last"],
        error_se=results["error_last_se"],
        prompt_errors=None,  # are of the headline, not of the last position
    )
    groups = parameter_groups(results)
    widths = dict(zip(results["size"], results["width"].astype(float), strict=True))
    named = dict(zip(dict.fromkeys(groups.values()), GROUPS * len(groups), strict=False))
    panels = []
    for architecture in results["architecture"].unique():
        for optimizer in sorted(results["optimizer"].unique()):
            rows = results[(results["architecture"] == architecture) & (results["optimizer"] == optimizer)]
            if rows.empty:
                continue
            task = TaskResults(rows)
            ends = task.end_points()
            ends = ends.assign(x=ends["size"].map(widths), series=ends["size"].map(groups))
            title = f"{architecture_name(architecture)}, {optimizer_title(optimizer)}"
            ticks = {x: f"{x:g}" for x in results["width"].astype(float).unique()}
            label = f"normalised error after {task.scale.n_points - 1} examples"
            panels.append(_panel(title, "width", ends, rows, named, ticks, label))
    caption = (
        "Error at the last position at the last checkpoint, each model at its chosen learning rate. A line "
        "is a group of equal parameters (of the Transformer's blocks): its widest model has 2 layers, then "
        "8, 32 and 128. AdamW comes with a linear warm-up and a cosine decay. Widths are inferred "
        "from the paper's counts."
    )
    return _drawing("figure-10", panels, caption, results["optimizer"].nunique(), "parameters")


def parameter_groups(results: pd.DataFrame) -> dict[str, str]:
    """By size, its group of equal parameters: 12 × layers × width² as in Figure 10's legend."""
    sizes = results.drop_duplicates("size")
    return {
        str(size): millions(round(12 * int(layers) * int(width) ** 2))
        for size, layers, width in zip(sizes["size"], sizes["layers"], sizes["width"], strict=True)
    }


@dataclass(frozen=True)
class VariedPanel:
    """What is drawn for one panel: connected points of several series over a logarithmic axis.

    Attributes:
        x_label: what is varied.
        data: `estimates.points` at the last checkpoint with a column x.
        looks: by series.
        ticks: where the x axis is labelled, and with what.
        trivial: the score of the trivial predictor.
        absent: a phrase for each planned model that cannot be drawn.
    """

    title: str
    x_label: str
    y_label: str
    data: pd.DataFrame
    looks: Mapping[str, Look]
    ticks: Mapping[float, str]
    trivial: float
    absent: Sequence[str] = ()


def _panel(
    title: str,
    x_label: str,
    data: pd.DataFrame,
    rows: pd.DataFrame,
    looks: Mapping[str, Look],
    ticks: Mapping[float, str],
    y_label: str = "",
) -> VariedPanel:
    """The panel of `data`, points of the planned `rows`; `looks` are by series.

    The label of the y axis is that of the scores unless it is given.
    """
    scale = rows["score_scale"].iloc[0]
    drawn = set(zip(data["architecture"], data["size"], strict=True))
    absent = [
        f"{architecture_name(str(architecture))} {size}: {tally(runs)}"
        for (architecture, size), runs in runs_of(rows).groupby(["architecture", "size"], sort=False)
        if (architecture, size) not in drawn
    ]
    return VariedPanel(title, x_label, y_label or scale.label, data, looks, ticks, scale.trivial, absent)


def _drawing(
    name: str, panels: Sequence[VariedPanel], caption: str, columns: int, legend: str = ""
) -> Drawing:
    """Panels as one figure, `columns` in a row; `legend` is the title of the legend."""
    figure, spots = _draw(panels, columns, legend)
    numbers = pd.concat([panel.data.assign(panel=panel.title) for panel in panels], ignore_index=True)
    words = " ".join(f"{panel.title}: {_in_words(panel)}." for panel in panels)
    return Drawing(name, figure, caption, words, numbers, spots)


def _in_words(panel: VariedPanel) -> str:
    if panel.data.empty:
        return "no finished run yet"
    parts = [
        f"{series} " + ", ".join(f"{error_text(value)} at {panel.ticks.get(x, x)}" for x, value in points)
        for series, rows in panel.data.groupby("series", sort=False)
        for points in (sorted(zip(rows["x"], rows["value"], strict=True)),)
    ]
    return f"{' '.join(panel.y_label.split())} against {panel.x_label}: {'; '.join(parts)}"


TALL = 1.5
"""Inches of a panel's axes."""


def _draw(panels: Sequence[VariedPanel], columns: int, legend: str) -> tuple[Figure, list[Spot]]:
    with in_style():
        notes = [f"{panel.title}, not drawn: {grouped(panel.absent)}." for panel in panels if panel.absent]
        notes += shared.seeds_notes(panel.data for panel in panels)
        panels = rows_with(panels, columns, lambda panel: not panel.data.empty)
        drawn = {series for panel in panels for series in panel.data["series"]}
        looks = {series: look for panel in panels for series, look in panel.looks.items()}
        handles = [
            Line2D(
                [], [], color=look.colour, marker=look.marker, markersize=marker_size(look.marker),
                linewidth=1.4, markeredgecolor="none", label=series,
            )
            for series, look in looks.items() if series in drawn
        ]  # fmt: skip
        titles = [panel.title for panel in panels]
        left = 0.56 + LINE * (max(lines_of(wrapped(panel.y_label, TALL + 0.3)) for panel in panels) - 1)
        grid = new_grid(
            titles, width=PAGE, left=left, tall=TALL, columns=columns, between=0.2, handles=handles,
            notes=notes, legend_title=legend,
        )  # fmt: skip
        low, high = shared.log_limits(
            value
            for panel in panels
            for value in [*panel.data["value"].astype(float), *shared.seed_values(panel.data), panel.trivial]
        )
        limits = room_for_names(low, high, TALL, logarithmic=True, below=False)
        spots: list[Spot] = []
        for row in rows_of(list(zip(grid.axes, panels, strict=True)), columns):
            for axes, panel in row:
                _draw_lines(axes, panel, limits)
                spots += _spots(axes, panel)
                if axes is not row[0][0]:
                    axes.tick_params(labelleft=False)
            y_label(row[0][0], row[0][1].y_label, TALL)
        return grid.figure, spots


def _draw_lines(axes: Axes, panel: VariedPanel, limits: tuple[float, float]) -> None:
    axes.set_xlabel(panel.x_label)
    shared.logarithmic(axes, "y", *limits)
    shared.named_ticks(axes, panel.ticks)
    grey = [trivial_level(panel.trivial)]
    draw(axes, grey)
    if panel.data.empty:
        shared.nothing_here(axes, "No finished run yet")
    for series, look in panel.looks.items():
        rows = panel.data[panel.data["series"] == series].sort_values("x")
        if rows.empty:
            continue
        x, y = rows["x"].to_numpy(), rows["value"].to_numpy()
        incomplete = (rows["seeds"] < rows["seeds_planned"]).to_numpy()
        spread = shared.draw_spread(axes, rows, "x", look.colour, (limits[0], math.inf))
        line = axes.plot(x, y, color=look.colour, linewidth=1.4, zorder=3)
        artists: list[Any] = [*spread, *line]
        for hollow in (False, True):
            if (incomplete == hollow).any():
                artists += axes.plot(
                    x[incomplete == hollow], y[incomplete == hollow], linestyle="", marker=look.marker,
                    markersize=1.15 * marker_size(look.marker), markeredgecolor=look.colour,
                    markerfacecolor=PAPER if hollow else look.colour, zorder=4, clip_on=False,
                )  # fmt: skip
        tag(artists, "architecture", str(rows["architecture"].iloc[0]))
    name_lines(axes, grey)


def _spots(axes: Axes, panel: VariedPanel) -> list[Spot]:
    def text(row: Mapping[Any, Any]) -> str:
        return (
            f"{architecture_name(row['architecture'])} {row['size']}: {' '.join(panel.y_label.split())} "
            f"{plus_minus(row['value'], row['standard_error'])}"
        )

    return spots_of(axes, panel.data.to_dict("records"), "x", text)
