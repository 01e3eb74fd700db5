"""Figure 5: accuracy on sparse parity, against in-context examples and against training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from bench.digits import error_text
from bench.report.data.estimates import TaskResults, tasks_of
from bench.report.data.frame import looks_in
from bench.report.data.references import level
from bench.report.figures import axes as shared
from bench.report.figures import references as references_of
from bench.report.figures.drawing import Drawing, Spot, spots_of, tag
from bench.report.figures.examples import (
    TALL,
    draw_curves,
    examples_axis,
    last_position,
)
from bench.report.figures.layout import PAGE, new_grid, rows_of, rows_with
from bench.report.figures.legend import series_handles
from bench.report.figures.panel import Panel, absence_notes, of_one_plan
from bench.report.figures.references import Reference
from bench.report.style import Look, in_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figure_5(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Accuracy on sparse parity: against in-context examples (left) and training steps (right).

    A row per protocol, if several were planned. Models of several sizes are lines of their own.
    """
    results = _by_size(results)
    looks = looks_in(results)
    tasks = tasks_of(results)
    planned = [_curves_panel(task, references) for task in tasks]
    panels = rows_with(of_one_plan(planned), 1, lambda panel: panel.has_data)
    shown = {panel.title for panel in panels}
    steps = of_one_plan([_steps_panel(task, references) for task in tasks if task.title in shown])
    drawn = [panel.data for panel in (*panels, *steps)]
    with in_style():
        headings = ("at the end", "mean over positions")
        titles = [f"{panel.heading}: {words}" for panel in panels for words in headings]
        grid = new_grid(
            titles, width=PAGE, tall=TALL, columns=2, between=0.25, handles=series_handles(panels, looks),
            notes=[*shared.bands_notes(drawn), *shared.seeds_notes(drawn), *absence_notes(planned)],
        )  # fmt: skip
        spots: list[Spot] = []
        for row, panel, steps_panel in zip(rows_of(grid.axes, 2), panels, steps, strict=True):
            spots += _draw_row(row, panel, steps_panel, looks)
        figure = grid.figure
    stopped = bool(results["stopped_at"].notna().any())
    left_out = (references_of.not_drawn(panel, references_of.curves(panel)) for panel in panels)
    others = " ".join(dict.fromkeys(filter(None, left_out)))
    numbers = pd.concat(
        [steps_panel.data.assign(panel=steps_panel.title) for steps_panel in steps], ignore_index=True
    )
    return Drawing(
        "figure-5",
        figure,
        "Accuracy on sparse parity at each model's chosen learning rate: left, against in-context examples "
        "at the last checkpoint; right, mean over positions against training steps. The paper's text does "
        f"not say which its figure shows. {references_of.CURVES_RULE} {others}"
        + (" Seeds that stopped after convergence end at their mean step." if stopped else ""),
        " ".join(f"{steps_panel.title}: {_last_accuracies(steps_panel)}." for steps_panel in steps),
        numbers,
        spots,
    )


def _draw_row(row: Sequence[Axes], panel: Panel, steps_panel: Panel, looks: Mapping[str, Look]) -> list[Spot]:
    """Draw one task: accuracies by position (left) and their means by step (right), with one y axis."""
    first, second = row
    grey = references_of.curves(panel)
    limits, _, _ = examples_axis(panel, grey)
    first.set_xlim(0, max(1, last_position(panel)))
    for axes, words in ((first, "in-context examples"), (second, "training steps")):
        axes.set_ylim(*limits)
        axes.set_xlabel(words)
        tag(axes, "task", panel.task or panel.title)
    first.set_ylabel("accuracy")
    references_of.draw(first, grey, last_position(panel), limits[0])
    draw_curves(first, panel, looks, limits[0])
    grey_means = _means(steps_panel, grey)
    references_of.draw(second, grey_means)
    _draw_steps(second, steps_panel, looks)
    second.yaxis.set_major_locator(first.yaxis.get_major_locator())
    second.tick_params(labelleft=False)
    references_of.name_lines(first, grey)
    references_of.name_lines(second, grey_means)
    if panel.data.empty:
        shared.nothing_here(first, "No finished run yet")
    return spots_of(second, steps_panel.data.to_dict("records"), "step", steps_panel.words)


def _means(panel: Panel, grey: Sequence[Reference]) -> list[Reference]:
    """The levels that are the means over positions of `grey`, those that have one."""
    means = []
    for reference in grey:
        rows = panel.references[panel.references["name"] == reference.recorded]
        if mean := level(rows, reference.kind):
            means.append(reference._replace(x=None, y=(mean[1], mean[1])))
    return means or references_of.levels(panel)


def _by_size(results: pd.DataFrame) -> pd.DataFrame:
    """Series that carry their size where an architecture has several sizes."""
    has_sizes = results.groupby("series")["size"].transform("nunique") > 1
    names = results["series"].where(~has_sizes, results["series"] + " " + results["size"])
    return results.assign(series=names)


def _curves_panel(task: TaskResults, references: pd.DataFrame) -> Panel:
    curves = task.curves()
    absent = task.absent(set(curves["series"]))
    own = task.references(references)
    return Panel(task.title, task.scale, curves, own, task.series, absent, task=task.family)


def _steps_panel(task: TaskResults, references: pd.DataFrame) -> Panel:
    own = task.references(references)
    return Panel(task.title, task.scale, task.points(), own, task.series, task=task.family)


def _draw_steps(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
    data = panel.data.sort_values("step")
    # Runs that stop after convergence may end long before the last planned step.
    axes.set_xlim(0, float(data["step"].max()) if len(data) else 500_000)
    axes.xaxis.set_major_formatter(shared.steps_label)
    axes.locator_params(axis="x", nbins=5)
    styles = panel.styles(looks)
    for series, places in shared.markers(styles, shared.lengths(data)).items():
        rows, look, limits = data[data["series"] == series], styles[series], panel.scale.limits
        shared.draw_curve(axes, rows, "step", look, panel.series[series], limits, markevery=places)
    shared.fade_bands(axes)


def _last_accuracies(panel: Panel) -> str:
    if panel.data.empty:
        return "no finished run yet"
    last = panel.data.sort_values("step").groupby("series", sort=False).tail(1)
    accuracies = [f"{row['series']} {error_text(row['value'])}" for row in last.to_dict("records")]
    return f"mean accuracy at the last checkpoint: {'; '.join(accuracies)}"
