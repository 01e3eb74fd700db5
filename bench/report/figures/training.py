"""Training curves: the loss that was minimised, and the evaluated score, against training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.digits import error_text
from bench.report.data.choices import chosen
from bench.report.data.estimates import TaskResults
from bench.report.figures import axes as shared
from bench.report.figures.drawing import Drawing, Spot, spots_of, tag
from bench.report.figures.layout import COLUMN, PAGE, most_ticks, new_grid
from bench.report.figures.legend import series_handles
from bench.report.figures.panel import Panel, absence_notes
from bench.report.figures.references import draw, levels, limit_scores, name_lines
from bench.report.style import Look, in_style
from bench.results.record import MAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TALL = 1.5
"""Inches of a panel's axes."""


def training_curves(
    name: str, task: TaskResults, references: pd.DataFrame, looks: Mapping[str, Look]
) -> Drawing:
    """The loss (left) and the score at every evaluation (right), both the mean over seeds.

    With a single evaluation there is no curve of scores, so the figure shows the loss alone.

    Args:
        name: of the figure's files.
        task: the results. Each architecture is shown by its best size at its chosen candidate.
        references: `references_frame` of the task.
        looks: by architecture.
    """
    best = task.best_sizes
    losses = training_losses(task, best)
    points = task.points().merge(best[["series", "size"]], on=["series", "size"])
    own = task.references(references)
    absent = task.absent({*losses["series"], *points["series"]})
    panel = Panel(
        task.title, task.scale, points, own, task.series, absent, reference_position=task.headline_position(),
        where=task.scale.where, task=task.family,
    )  # fmt: skip
    styles = panel.styles(looks)
    handles = series_handles([panel], looks, with_sizes=True)
    with in_style():
        scored = points["step"].nunique() > 1
        titles = [f"{panel.heading.partition(':')[0]}: training loss", *([panel.heading] if scored else [])]
        width, columns = (PAGE, 2) if scored else (COLUMN, 1)
        grid = new_grid(
            titles,
            width=width,
            tall=TALL,
            columns=columns,
            between=0.55,
            handles=handles,
            notes=[*shared.seeds_notes([points] if scored else []), *absence_notes([panel])],
        )
        last = max([float(points["step"].max()) if len(points) else 1.0, *losses["step"]])
        for axes in grid.axes:
            axes.set_xlim(0, last)
            axes.xaxis.set_major_formatter(shared.steps_label)
            axes.locator_params(axis="x", nbins=min(5, most_ticks(grid.width, "500k")))
            axes.set_xlabel("training steps")
            tag(axes, "task", panel.task)
        loss, *others = grid.axes
        loss.set_ylabel("loss, mean of a window")
        _draw_losses(loss, losses, styles, panel.series)
        spots: list[Spot] = []
        for score in others:
            score.set_ylabel(task.scale.label)
            _draw_scores(score, panel, styles)
            spots += spots_of(score, points.to_dict("records"), "step", panel.words)
    drawn = f"training loss and {task.scale.label}" if scored else "training loss"
    description = f"{task.title}: {drawn} against training steps. {_last_losses(losses)}"
    evaluated = points.assign(kind="evaluated")
    numbers = pd.concat([losses, evaluated[LOSSES]], ignore_index=True)
    return Drawing(name, grid.figure, _caption(task.scale.label, scored), description, numbers, spots)


def _caption(label: str, scored: bool) -> str:
    left, right = "Training", ""
    if scored:
        left = "Left: training"
        right = f" Right: {label} on the test prompts, mean over seeds with its 90 % interval."
    return (
        f"{left} loss of each window of steps, mean over seeds with the range of the seeds, until the "
        f"first seed stopped.{right} Each architecture at its best size and its chosen learning rate."
    )


LOSSES = ["kind", "series", "architecture", "size", "step", "value", "low", "high", "seeds", "run_ids"]


def training_losses(task: TaskResults, candidates: pd.DataFrame) -> pd.DataFrame:
    """A row per series of the chosen `candidates` and window of steps: LOSSES.

    value is the mean loss over seeds, low and high are those of the lowest and highest seed. Windows after
    the first stop of a seed are left out: their mean would be one over the seeds that trained longer.
    """
    rows = task.rows[(task.rows["evaluation"] == MAIN) & task.rows["at_end"]]
    parts: list[dict[str, Any]] = []
    for key, seeds in chosen(rows, candidates).groupby(["series", "architecture", "size"], sort=False):
        series, architecture, size = key
        head = {"kind": "loss", "series": series, "architecture": architecture, "size": size}
        count = len(seeds)
        head |= {"seeds": count, "run_ids": " ".join(seeds["id"])}
        windows: dict[int, list[float]] = {}
        for steps, losses in zip(seeds["loss_steps"], seeds["losses"], strict=True):
            for step, loss in zip(steps or (), losses or (), strict=True):
                windows.setdefault(step, []).append(loss)
        parts += [
            {**head, "step": step, "value": sum(losses) / count, "low": min(losses), "high": max(losses)}
            for step, losses in sorted(windows.items()) if len(losses) == count
        ]  # fmt: skip
    return pd.DataFrame(parts, columns=LOSSES)


def _draw_losses(
    axes: Axes, losses: pd.DataFrame, styles: Mapping[str, dict[str, Any]], series: Mapping[str, str]
) -> None:
    if losses.empty:
        shared.nothing_here(axes, "No training loss is recorded")
        return
    positive = [float(value) for value in losses["value"] if value > 0]
    if shared.spans_decades(positive):
        shared.logarithmic(axes, "y", *shared.log_limits(positive))
    for name, places in shared.markers(styles, shared.lengths(losses)).items():
        rows, look = losses[losses["series"] == name], styles[name]
        # Ranges of seeds, also of two seeds, which `draw_curve` would draw as lines.
        band = axes.fill_between(
            rows["step"].to_numpy(), rows["low"].to_numpy(), rows["high"].to_numpy(), color=look["color"],
            alpha=shared.BAND, linewidth=0,
        )  # fmt: skip
        lines = shared.draw_line(axes, rows, "step", look, markevery=places)
        tag([band, *lines], "architecture", series[name])
    shared.fade_bands(axes)


def _draw_scores(axes: Axes, panel: Panel, styles: Mapping[str, dict[str, Any]]) -> None:
    grey = levels(panel)
    data, scale = panel.data.sort_values("step"), panel.scale
    values = [*data["value"].astype(float), *(reference.y[0] for reference in grey)]
    values += shared.seed_values(data)
    limit_scores(axes, panel, values, TALL, least=0.0)
    draw(axes, grey)
    if data.empty:
        shared.nothing_here(axes, "No finished run yet")
    foot = axes.get_ylim()[0]
    limits = max(foot, scale.limits[0]), scale.limits[1]
    for series, places in shared.markers(styles, shared.lengths(data)).items():
        rows, architecture = data[data["series"] == series], panel.series[series]
        shared.draw_curve(axes, rows, "step", styles[series], architecture, limits, markevery=places)
    shared.fade_bands(axes)
    name_lines(axes, grey)


def _last_losses(losses: pd.DataFrame) -> str:
    if losses.empty:
        return "No training loss is recorded."
    last = losses.groupby("series", sort=False)["value"].last()
    words = "; ".join(f"{series} {error_text(float(value))}" for series, value in last.items())
    return f"Last loss, mean over seeds: {words}."
