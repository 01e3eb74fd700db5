"""Figure 5: accuracy on sparse parity, against in-context examples and against training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.data.estimates import TaskResults
from bench.report.figures import axes as shared
from bench.report.figures.axes import Panel, absence_notes, marker_size, reference_look
from bench.report.figures.drawing import Drawing, Spot, spots_of, tag
from bench.report.figures.examples import draw_curves, draw_references, examples_axis, last_position
from bench.report.style import PAPER, Look, in_style, looks
from bench.report.text import error_text, plus_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figure_5(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Accuracy on sparse parity: against in-context examples (left) and training steps (right).

    A row per protocol, if several were planned. Models of several sizes are lines of their own.
    """
    results = _by_size(results)
    styles = looks(results["architecture"])
    tasks = [TaskResults(rows) for _, rows in results.groupby("task_id", sort=False)]
    panels = [_curves_panel(task, references) for task in tasks]
    steps = [_steps_panel(task, references) for task in tasks]
    with in_style():
        wide, left, high = 2.6, 0.6, 2.9
        right = shared.room_for(results["series"].unique())
        notes = [*absence_notes(panels), *_grey(panels)]
        figure, foot = shared.new_figure(2 * (wide + left) + right, high * len(panels), notes)
        width, height = figure.get_size_inches()
        spots: list[Spot] = []
        for index, (panel, steps_panel) in enumerate(zip(panels, steps, strict=True)):
            bottom, tall = foot + (len(panels) - 1 - index) * high + 0.5, (high - 0.85) / height
            first = figure.add_axes((left / width, bottom / height, wide / width, tall))
            second = figure.add_axes(((2 * left + wide) / width, bottom / height, wide / width, tall))
            limits, _, _ = examples_axis(panel)
            first.set_xlim(0, max(1, last_position(panel)))
            for axes, words in ((first, "in-context examples"), (second, "training steps")):
                axes.set_ylim(*limits)
                axes.set_xlabel(words)
                tag(axes, "task", panel.title)
            shared.title(first, panel.title, 2 * wide)
            first.set_ylabel("accuracy")
            draw_references(first, panel, limits[0])
            draw_curves(first, panel, styles, limits[0])
            ends = _draw_steps(second, steps_panel, styles)
            shared.end_labels(second, ends)
            spots += _step_spots(second, steps_panel)
            if panel.data.empty:
                shared.nothing_here(first, "No finished run yet")
    stopped = bool(results["stopped_at"].notna().any())
    numbers = pd.concat(
        [steps_panel.data.assign(panel=steps_panel.title) for steps_panel in steps], ignore_index=True
    )
    return Drawing(
        "figure-5",
        figure,
        "Accuracy on sparse parity at each model's chosen learning rate: left, against in-context examples "
        "at the last checkpoint; right, mean over positions against training steps. The paper's text does "
        "not say which its figure shows. Grey: what is known without training."
        + (" Seeds that stopped after convergence end at their mean step." if stopped else ""),
        " ".join(f"{steps_panel.title}: {_last_accuracies(steps_panel)}." for steps_panel in steps),
        numbers,
        spots,
    )


def _grey(panels: list[Panel]) -> list[str]:
    """A footnote that names the grey lines, the highest first."""
    references = pd.concat([panel.references for panel in panels], ignore_index=True)
    ends = references.sort_values("examples").groupby("name", sort=False).tail(1).sort_values("value")
    names = list(dict.fromkeys(ends["name"][::-1]))
    return [f"Grey, from above at the right end: {', '.join(names)}."] if names else []


def _by_size(results: pd.DataFrame) -> pd.DataFrame:
    """Series that carry their size where an architecture has several sizes."""
    has_sizes = results.groupby("series")["size"].transform("nunique") > 1
    names = results["series"].where(~has_sizes, results["series"] + " " + results["size"])
    return results.assign(series=names)


def _curves_panel(task: TaskResults, references: pd.DataFrame) -> Panel:
    curves = task.curves()
    absent = task.absent(set(curves["series"]))
    return Panel(task.title, task.scale, curves, task.references(references), task.series, absent)


def _steps_panel(task: TaskResults, references: pd.DataFrame) -> Panel:
    points = task.points()
    points = points[points["error"].notna()]
    # Seeds that stopped after convergence end at different steps: their last point stands at the mean.
    points = points.assign(step=points["trained_steps"])
    return Panel(task.title, task.scale, points, task.references(references), task.series)


def _draw_steps(
    axes: Axes, panel: Panel, styles: Mapping[str, Look]
) -> list[tuple[str, float, dict[str, Any]]]:
    data = panel.data.sort_values("step")
    axes.set_xlim(0, float(data["steps"].max()) if len(data) else 500_000)
    axes.xaxis.set_major_formatter(shared.steps_label)
    axes.locator_params(axis="x", nbins=5)
    axes.axhline(panel.scale.trivial, linewidth=0.9, **reference_look("trivial"))
    labels: list[tuple[str, float, dict[str, Any]]] = []
    for series, look in panel.styles(styles).items():
        rows = data[data["series"] == series]
        if rows.empty:
            continue
        x = rows["step"].to_numpy()
        band = axes.fill_between(
            x, rows["low"].to_numpy(), rows["high"].to_numpy(), color=look["color"], alpha=0.16, linewidth=0
        )
        line = axes.plot(
            x, rows["value"], **look, markersize=marker_size(look["marker"]), markeredgecolor=PAPER,
            markeredgewidth=0.5, clip_on=False, zorder=3,
        )  # fmt: skip
        tag([band, *line], "architecture", panel.series[series])
        leader = {key: look[key] for key in ("color", "linestyle")}
        labels.append((series, float(rows["value"].iloc[-1]), leader))
    return labels


def _step_spots(axes: Axes, panel: Panel) -> list[Spot]:
    def text(row: Mapping[Any, Any]) -> str:
        return (
            f"{row['series']} {row['size']}, step {row['step']:,}: accuracy "
            f"{plus_minus(row['value'], row['standard_error'])}"
        )

    return spots_of(axes, panel.data.to_dict("records"), "step", text)


def _last_accuracies(panel: Panel) -> str:
    if panel.data.empty:
        return "no finished run yet"
    last = panel.data.sort_values("step").groupby("series", sort=False).tail(1)
    accuracies = [f"{row['series']} {error_text(row['value'])}" for row in last.to_dict("records")]
    return f"mean accuracy at the last checkpoint: {', '.join(accuracies)}"
