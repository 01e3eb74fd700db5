"""The score at every learning rate: how much a model depends on it, and where the grid ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.digits import count_of, error_text, short
from bench.report.data.estimates import TaskResults
from bench.report.data.frame import CELL, TUNED, WITH_RESULTS
from bench.report.figures import axes as shared
from bench.report.figures.axes import marker_size
from bench.report.figures.drawing import Drawing, Spot, spots_of, tag
from bench.report.figures.layout import COLUMN, new_grid
from bench.report.figures.legend import series_handles
from bench.report.figures.panel import Panel
from bench.report.figures.references import draw, levels, limit_scores, name_lines
from bench.report.style import INK, Look, in_style
from bench.results.record import MAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TALL = 1.7
"""Inches of the axes."""
FEWEST = 3
"""Learning rates of one model from which a figure shows more than the table of learning rates."""


def score_by_rate(
    name: str, task: TaskResults, references: pd.DataFrame, looks: Mapping[str, Look]
) -> Drawing | None:
    """Draw the score at the end of training against the learning rate: each seed, and their mean.

    Args:
        name: of the figure's files.
        task: the results. Each architecture is shown by its best size, with its chosen clip.
        references: `references_frame` of the task.
        looks: by architecture.

    Returns:
        None where no model was trained at FEWEST learning rates.
    """
    data = scores_by_rate(task)
    if data.empty or data.groupby("series")["learning_rate"].nunique().max() < FEWEST:
        return None
    panel = Panel(
        task.title, task.scale, data, task.references(references), task.series,
        reference_position=task.headline_position(), where="at each learning rate", task=task.family,
    )  # fmt: skip
    diverged = data[data["state"] == "diverged"]
    notes = ["Crosses at the edge, which are no values: seeds that diverged."] if len(diverged) else []
    with in_style():
        grid = new_grid(
            [panel.heading], width=COLUMN, tall=TALL, notes=notes,
            handles=series_handles([panel], looks, with_sizes=True, filled=True),
        )  # fmt: skip
        (axes,) = grid.axes
        shared.named_ticks(axes, {rate: short(rate) for rate in data["learning_rate"].unique()})
        axes.set_xlabel("learning rate")
        axes.set_ylabel(task.scale.label)
        tag(axes, "task", panel.task)
        spots = _draw(axes, replace(panel, data=_side_by_side(axes, data)), looks)
    return Drawing(name, grid.figure, _caption(task), _in_words(panel), data, spots)


RATES = [
    "series",
    "architecture",
    "size",
    "learning_rate",
    "clip",
    "seed",
    "state",
    "chosen",
    "value",
    "run_ids",
]


def scores_by_rate(task: TaskResults) -> pd.DataFrame:
    """A row per run of the best size of each series with its chosen clip, of those with a result: RATES.

    value is the headline's score on the test prompts at the end; NaN for a run that diverged. chosen says
    whether the run has the learning rate that the validation prompts choose.
    """
    best = task.best_sizes
    clips = best.loc[best["chosen"], [*CELL, "clip"]]
    tuned = best.merge(clips, on=[*CELL, "clip"])[[*CELL, *TUNED, "chosen"]]
    ends = task.rows[(task.rows["evaluation"] == MAIN) & task.rows["at_end"]]
    values = dict(zip(ends["id"], task.scale.score_of(ends["error"].astype(float)), strict=True))
    runs = task.runs[task.runs["state"].isin(WITH_RESULTS)].merge(tuned, on=[*CELL, *TUNED])
    runs = runs.assign(value=[values.get(run_id, math.nan) for run_id in runs["id"]], run_ids=runs["id"])
    return runs[RATES].sort_values(["series", "learning_rate", "seed"], ignore_index=True)


def _side_by_side(axes: Axes, data: pd.DataFrame) -> pd.DataFrame:
    """The data with a column x: the learning rate, moved so that equal scores do not hide one another.

    Widens the axis by as much.
    """
    low, high = axes.get_xlim()
    names = list(dict.fromkeys(data["series"]))
    step = min(APART, WIDEST / len(names)) * math.log10(high / low)
    moves = {name: 10 ** (step * (index - (len(names) - 1) / 2)) for index, name in enumerate(names)}
    axes.set_xlim(low * min(moves.values()), high * max(moves.values()))
    return data.assign(x=data["learning_rate"].astype(float) * data["series"].map(moves))


APART, WIDEST = 0.025, 0.14
"""Distance of neighbouring series at one learning rate, and of the outer ones, as shares of the axis."""


def _draw(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> list[Spot]:
    """Draw grey levels and every series; returns the spots of all seeds that finished."""
    grey, scale = levels(panel), panel.scale
    data = panel.data[panel.data["value"].notna()].assign(value=panel.data["value"].astype(float))
    limit_scores(axes, panel, [*data["value"], *(level.y[0] for level in grey)], TALL)
    draw(axes, grey)
    for series, look in panel.styles(looks).items():
        artists = _draw_series(axes, data[data["series"] == series], look)
        lost = panel.data[(panel.data["series"] == series) & (panel.data["state"] == "diverged")]
        edge = [0.04 if scale.higher_is_better else 0.96] * len(lost)
        artists += axes.plot(
            lost["x"], edge, marker="x", linestyle="", markersize=5, color=look["color"],
            transform=axes.get_xaxis_transform(), zorder=4,
        )  # fmt: skip
        tag(artists, "architecture", panel.series[series])
    name_lines(axes, grey)
    return spots_of(axes, data.to_dict("records"), "x", lambda row: _words(panel, row))


def _draw_series(axes: Axes, rows: pd.DataFrame, look: Mapping[str, Any]) -> list[Any]:
    """The seeds of one series as small points, their means as a line, a larger point at the chosen rate."""
    means = rows.groupby("x")["value"].mean()
    chosen = means[means.index.isin(rows.loc[rows["chosen"], "x"])]
    common: Any = {"color": look["color"], "clip_on": False}
    size = marker_size(look["marker"])
    return [
        axes.scatter(rows["x"], rows["value"], s=7, alpha=0.45, linewidths=0, zorder=3, **common),
        *axes.plot(means.index, means, linestyle=look["linestyle"], linewidth=1.4, zorder=3, **common),
        axes.scatter(
            chosen.index, chosen, s=(1.5 * size) ** 2, marker=look["marker"], edgecolors=INK, linewidths=0.8,
            zorder=5, **common,
        ),
    ]  # fmt: skip


def _caption(task: TaskResults) -> str:
    return (
        f"{task.scale.label.capitalize()}, {task.scale.where}, at the end of training against the learning "
        "rate, each architecture at its best size: each seed a small point, the line their mean. The large "
        "point is the rate that the validation prompts choose. Models at one rate stand side by side. "
        "In other figures and in claims a seed may be read at another rate, which the other seeds choose."
    )


def _in_words(panel: Panel) -> str:
    parts = []
    for series, rows in panel.data.groupby("series", sort=False):
        means = rows.groupby("learning_rate")["value"].mean().dropna()
        scores = [f"{error_text(float(value))} at {short(float(str(rate)))}" for rate, value in means.items()]
        lost = int((rows["state"] == "diverged").sum())
        parts.append(
            f"{series} {', '.join(scores)}" + (f" ({count_of(lost, 'run')} diverged)" if lost else "")
        )
    return f"{panel.title}: {panel.scale.label} against learning rate: {'; '.join(parts)}."


def _words(panel: Panel, row: Mapping[Any, Any]) -> str:
    return (
        f"{row['series']} {row['size']}, learning rate {short(row['learning_rate'])}, seed {row['seed']}: "
        f"{panel.scale.label} {error_text(row['value'])}"
    )
