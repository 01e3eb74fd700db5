"""Scores beyond the trained length: the error at every position of prompts of up to four times the length."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench.report.data.estimates import TaskResults, best_sizes, curves
from bench.report.figures import axes as shared
from bench.report.figures.axes import Panel
from bench.report.figures.drawing import Drawing, tag
from bench.report.figures.examples import (
    TALL,
    curve_handles,
    draw_curves,
    end_spots,
    examples_axis,
    last_position,
)
from bench.report.figures.layout import COLUMN, new_grid
from bench.report.style import MUTED, Look, in_style
from bench.report.text import first_few, plus_minus
from bench.results.record import MAIN
from bench.tasks.task import LONGER


def longer_prompts(name: str, task: TaskResults, looks: Mapping[str, Look]) -> Drawing | None:
    """Draw the score at every position, within the trained length and beyond it.

    Args:
        name: of the figure's files.
        task: the results. Each architecture is shown by its best size at its chosen setting.
        looks: by architecture.

    Returns:
        None where no result has an evaluation on longer prompts.
    """
    data = longer_curves(task)
    if data.empty:
        return None
    panel = Panel(
        task.title, task.scale, data, pd.DataFrame(columns=REFERENCE_COLUMNS), task.series,
        where="beyond the trained length", task=task.family,
    )  # fmt: skip
    trained = task.scale.n_points
    lacking = [f"{series} {size}" for series, size in _lacking(task, data)]
    with in_style():
        notes = [f"No evaluation on longer prompts: {', '.join(first_few(lacking))}."] if lacking else []
        limits, logarithmic, below = examples_axis(panel, [], TALL)
        if below:
            notes.append(f"Below the axis, drawn at its foot: {', '.join(below)}.")
        handles = curve_handles(panel, looks)
        grid = new_grid([panel.heading], width=COLUMN, tall=TALL, handles=handles, notes=notes)
        (axes,) = grid.axes
        tag(axes, "task", panel.task or panel.title)
        axes.set_xlabel(panel.scale.axis)
        axes.set_ylabel(panel.scale.label)
        axes.set_xlim(0, last_position(panel))
        axes.set_ylim(*limits)
        if logarithmic:
            shared.logarithmic(axes, "y", *limits)
        axes.axvline(trained, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
        draw_curves(axes, panel, looks, limits[0])
        spots = end_spots(axes, panel, limits[0])
    last = data.groupby("series", sort=False).tail(1)
    ends = ", ".join(
        f"{row['series']} {plus_minus(row['value'], row['standard_error'])}"
        for row in last.to_dict("records")
    )
    caption = (
        f"{task.scale.label.capitalize()} against {task.scale.axis} at the last checkpoint, on prompts of up "
        "to four times the trained length, which the dashed line marks. Bands: 90 % intervals over "
        f"{' or '.join(sorted(set(data['interval'])))}. Models with learned positions are not defined there."
    )
    words = f"{task.title}: {task.scale.label} beyond {trained} positions. At the last position: {ends}."
    return Drawing(name, grid.figure, caption, words, data, spots)


REFERENCE_COLUMNS = ["kind", "name", "examples", "value", "overall", "in_mean"]
"""Columns of baselines. They are not computed on longer prompts."""


def longer_curves(task: TaskResults) -> pd.DataFrame:
    """`estimates.curves` of the best sizes over all positions, from the runs with longer prompts only."""
    best = best_sizes(task.settings)
    beyond = task.ends(best, LONGER)
    within = task.ends(best, MAIN)
    within = within[within["id"].isin(beyond["id"])]
    parts = [curves(rows[rows["curve"].notna()], task.scale) for rows in (within, beyond)]
    whole = pd.concat(parts, ignore_index=True)
    return whole.sort_values(["series", "examples"], kind="stable", ignore_index=True)


def _lacking(task: TaskResults, data: pd.DataFrame) -> list[tuple[str, str]]:
    """Series and sizes with a result, of which none has longer prompts."""
    shown = set(zip(data["series"], data["size"], strict=True))
    ends = task.ends(best_sizes(task.settings))
    pairs = dict.fromkeys(zip(ends["series"], ends["size"], strict=True))
    return [pair for pair in pairs if pair not in shown]
