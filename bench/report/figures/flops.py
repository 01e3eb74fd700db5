"""Error against training FLOPs: Figures 2, 3, 8 and 9 of the paper, and each experiment's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.optimizers import OPTIMIZERS
from bench.report.data.estimates import FRONTIER_RULE, TaskResults, frontier, level, on_frontier
from bench.report.data.frame import tally
from bench.report.figures import axes as shared
from bench.report.figures.axes import SMALLEST, Panel, absence_notes, marker_size, reference_look
from bench.report.figures.drawing import Drawing, Spot, spots_of, tag
from bench.report.style import INK, PAPER, Look, architecture_name, in_style, looks, scientific
from bench.report.text import error_text, plus_minus
from bench.results.evaluations import AXIS_LABEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLEAN = "clean_prompts"
"""The evaluation on prompts without outliers (Figure 3, right)."""


def figure_2(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Transformer, Mamba, S4-Mamba and S4 on the suite of tasks, one panel each."""
    return _by_task("figure-2", results, references)


def figure_8(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Transformer, Mamba and the two hybrids on the suite of tasks, one panel each."""
    return _by_task("figure-8", results, references)


def figure_3(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Regression with outliers: a row per task, as trained on the left, on clean prompts on the right.

    Many outliers stand on top, orthogonal ones below, as in the paper.
    """
    order = sorted(results["task_name"].unique(), key=lambda name: (not name.startswith("many"), name))
    panels = []
    for task in order:
        rows = results[results["task_name"] == task]
        for task_id in rows["task_id"].unique():
            selected = rows[rows["task_id"] == task_id]
            title = str(selected["task"].iloc[0])
            panels.append(panel_of(selected, references, title=title))
            panels.append(
                panel_of(
                    selected, references, title=f"{title}, clean prompts", evaluation=CLEAN,
                    label="normalised error\nout of distribution",
                )
            )  # fmt: skip
    return drawing("figure-3", panels, most_columns=2)


def figure_9(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Linear regression with Adam (left) and with AdamW, warm-up and cosine decay (right)."""
    results = results.assign(series=results["architecture"].map(architecture_name))
    panels = [
        panel_of(results[results["optimizer"] == optimizer], references, title=optimizer_title(optimizer))
        for optimizer in sorted(results["optimizer"].unique())
    ]
    return drawing("figure-9", panels)


def optimizer_title(name: str) -> str:
    """The title of the side of Figures 9 and 10 that shows an optimizer."""
    return OPTIMIZERS[name].title if name in OPTIMIZERS else name


def _by_task(name: str, results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    panels = [
        panel_of(results[results["task_id"] == task_id], references)
        for task_id in results["task_id"].unique()
    ]
    return drawing(name, panels)


def panel_of(
    rows: pd.DataFrame,
    references: pd.DataFrame,
    *,
    title: str = "",
    evaluation: str = "report",
    label: str = "",
) -> Panel:
    """The panel of one task: every point at its chosen learning rate, and the planned models without one.

    The learning rate is chosen on the validation prompts, whichever evaluation is shown.
    """
    task = TaskResults(rows)
    scale = task.scale
    points = task.points(evaluation)
    points = on_frontier(points[points["error"].notna()])
    drawn = set(zip(points["series"], points["size"], strict=True))
    positions = rows.loc[rows["evaluation"] == evaluation, "headline_position"].dropna()
    where = scale.label if scale.headline is None else f"{scale.label}\n{scale.where}"
    return Panel(
        title or task.title, scale, points, task.references(references, evaluation), task.series,
        _absent(task, drawn, evaluation), int(positions.iloc[0]) if len(positions) else None,
        label or where, task.title,
    )  # fmt: skip


def _absent(task: TaskResults, drawn: set[tuple[Any, Any]], evaluation: str) -> list[str]:
    """A phrase for each planned model that is not drawn, or for an architecture none of whose sizes is."""
    reported = set(task.rows.loc[task.rows["step"].notna(), "id"])
    absent = []
    for series, runs in task.runs.groupby("series", sort=False):
        sizes = [(size, group) for size, group in runs.groupby("size", sort=False)]
        undrawn = [(size, group) for size, group in sizes if (series, size) not in drawn]
        if len(undrawn) == len(sizes) and len(sizes) > 1:
            absent.append(f"{series}: {_why(runs, reported, evaluation)}")
        else:
            absent += [f"{series} {size}: {_why(group, reported, evaluation)}" for size, group in undrawn]
    return absent


def _why(runs: pd.DataFrame, reported: set[str], evaluation: str) -> str:
    if evaluation != "report" and reported & set(runs["id"]):
        return f"not evaluated on {evaluation.replace('_', ' ')}"
    return tally(runs)


def drawing(name: str, panels: Sequence[Panel], most_columns: int = 3) -> Drawing:
    """Panels of error against FLOPs as one figure, with its words and numbers."""
    styles = looks(architecture for panel in panels for architecture in panel.series.values())
    figure, spots = error_against_flops(panels, styles, most_columns)
    numbers = pd.concat([panel.data.assign(panel=panel.title) for panel in panels], ignore_index=True)
    return Drawing(name, figure, FRONTIER_RULE, in_words(panels), numbers, spots)


def in_words(panels: Iterable[Panel]) -> str:
    """What a figure shows, for those who cannot see it: each panel's best point of each architecture."""
    return " ".join(f"{panel.title}: {_best(panel.data, panel.scale.higher_is_better)}." for panel in panels)


def _best(points: pd.DataFrame, higher_is_better: bool) -> str:
    if points.empty:
        return "no finished run yet"
    best = points.sort_values("error").drop_duplicates("series")
    scores = [
        f"{series} {error_text(float(value))}"
        for series, value in zip(best["series"], best["value"], strict=True)
        if math.isfinite(value)
    ]
    return f"best {'accuracy' if higher_is_better else 'error'}: {', '.join(scores)}"


LEFT = 0.72
"""Inches left of every panel."""


def error_against_flops(
    panels: Sequence[Panel], styles: Mapping[str, Look], most_columns: int = 3
) -> tuple[Figure, list[Spot]]:
    """Draw every checkpoint of every size and the frontier of each series, a panel per task.

    Returns:
        The figure and its points.
    """
    spots: list[Spot] = []
    with in_style():
        columns = min(most_columns, len(panels))
        rows = math.ceil(len(panels) / columns)
        notes = list(absence_notes(panels))
        for panel in panels:
            bound = _bound(panel)
            if bound and bound[2] <= SMALLEST and not panel.scale.higher_is_better:
                notes.append(f"{panel.title}: the {bound[0]} ({bound[1]}) is 0 and lies below the axis.")
        if any((panel.data["seeds"] < panel.data["seeds_planned"]).any() for panel in panels):
            notes.append("Hollow points: fewer seeds finished than were planned.")
        wide, high = (3.35, 3.3) if len(panels) == 1 else (2.35, 2.6)
        handles = _legend(panels, styles)
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
            _draw_flops(axes, panel, styles)
            spots += _spots(axes, panel)
            if row == rows - 1 or index + columns >= len(panels):
                axes.set_xlabel(AXIS_LABEL)
            if column == 0 or panel.score_label != panels[index - 1].score_label:
                axes.set_ylabel(panel.score_label)
        figure.legend(
            handles=handles, loc="upper left", handlelength=2.4, labelspacing=0.55,
            bbox_to_anchor=((columns * (wide + LEFT) + 0.15) / width, 1 - 0.3 / height),
        )  # fmt: skip
        return figure, spots


def _spots(axes: Axes, panel: Panel) -> list[Spot]:
    def text(row: Mapping[Any, Any]) -> str:
        return (
            f"{row['series']} {row['size']}, step {row['trained_steps']:,}: {panel.scale.label} "
            f"{plus_minus(row['value'], row['standard_error'])} at {scientific(row['training_flops'])} FLOPs"
        )

    rows = [row for row in panel.data.to_dict("records") if math.isfinite(row["value"])]
    return spots_of(axes, rows, "training_flops", text)


def _bound(panel: Panel) -> tuple[str, str, float] | None:
    """What the best predictor of a panel's task is called, its name, and its score.

    It is the floor (ceiling), or the reference of tasks whose floor is not computed.
    """
    for kind, word in (("floor", panel.scale.best_word), ("reference", "reference")):
        if best := level(panel.references, kind, panel.reference_position):
            return word, *best
    return None


def _draw_flops(axes: Axes, panel: Panel, styles: Mapping[str, Look]) -> None:
    data, scale = panel.data, panel.scale
    bound = _bound(panel)
    # If possible, measured on the prompts of the models, so that comparisons are paired. Else expected.
    trivial = (level(panel.references, "trivial", panel.reference_position) or ("", scale.trivial))[1]
    levels = [trivial, *([bound[2]] if bound else [])]
    values = [*data["value"].astype(float), *levels]
    shared.logarithmic(axes, "x", *_flops_limits(data))
    if scale.higher_is_better:
        axes.set_ylim(min(0.45, *values), 1.01)
    else:
        air = [] if len(data) else [scale.trivial / 100]
        limits = shared.log_limits([value for value in [*values, *air] if value > SMALLEST])
        shared.logarithmic(axes, "y", *limits)
    axes.axhline(trivial, linewidth=0.9, **reference_look("trivial"))
    if bound and (scale.higher_is_better or bound[2] > SMALLEST):
        axes.axhline(bound[2], linewidth=1.1, **reference_look("floor"))
    if data.empty:
        shared.nothing_here(axes, "No finished run yet")
    foot = axes.get_ylim()[0]
    for series, look in panel.styles(styles).items():
        rows = data[data["series"] == series]
        stages = rows["step"] / rows["steps"]
        best = rows[frontier(rows["training_flops"].astype(float), rows["error"].astype(float))]
        # A budget that did not help still has an error: the line goes on flat to the largest one.
        best = best.sort_values("training_flops")
        largest = best.tail(1).assign(training_flops=rows["training_flops"].max())
        if (largest["training_flops"] > best["training_flops"].max()).any():
            best = pd.concat([best, largest])
        band = axes.fill_between(
            best["training_flops"].astype(float), best["low"].astype(float).clip(lower=foot),
            best["high"].astype(float), color=look["color"], alpha=0.14, linewidth=0, zorder=2,
        )  # fmt: skip
        line = axes.plot(
            best["training_flops"].astype(float), best["value"], color=look["color"],
            linestyle=look["linestyle"], linewidth=1.4, zorder=3,
        )  # fmt: skip
        scatters = [_scatter(axes, group, look, float(stage)) for stage, group in rows.groupby(stages)]
        points = [artist for scatter in scatters for artist in scatter]
        tag([band, *line, *points], "architecture", panel.series[series])


def _scatter(axes: Axes, points: pd.DataFrame, look: Mapping[str, Any], stage: float) -> list[Any]:
    """Points of one stage of training: full ones, and hollow ones where seeds are lacking."""
    incomplete = points["seeds"] < points["seeds_planned"]
    size = (1.15 * marker_size(look["marker"])) ** 2
    common = {"marker": look["marker"], "s": size, "alpha": _opacity(stage), "zorder": 4, "clip_on": False}
    full, hollow = points[~incomplete], points[incomplete]
    artists = []
    if len(full):
        colours = {"color": look["color"], "edgecolors": "none"}
        x = full["training_flops"].astype(float)
        artists.append(axes.scatter(x, full["value"], **common, **colours))
    if len(hollow):
        colours = {"facecolors": PAPER, "edgecolors": look["color"], "linewidths": 0.9}
        x = hollow["training_flops"].astype(float)
        artists.append(axes.scatter(x, hollow["value"], **common, **colours))
    return artists


def _opacity(stage: float) -> float:
    """Opacity of a point at a fraction of training: earlier points are more transparent."""
    return float(0.2 + 0.8 * stage**1.5)


def _flops_limits(data: pd.DataFrame) -> tuple[float, float]:
    return shared.log_limits(data["training_flops"].astype(float)) if len(data) else (1e15, 1e18)


def _legend(panels: Sequence[Panel], styles: Mapping[str, Look]) -> list[Line2D]:
    """Handles of the series, of the trivial predictor and the floor, and of stages of training."""
    lines: dict[str, dict[str, Any]] = {}
    for panel in panels:
        lines |= {series: look for series, look in panel.styles(styles).items() if series not in lines}
    drawn = {series for panel in panels for series in panel.data["series"]}
    handles = [
        Line2D(
            [], [], **look, linewidth=1.4, markersize=1.15 * marker_size(look["marker"]),
            markeredgecolor="none", label=series,
        )
        for series, look in lines.items() if series in drawn
    ]  # fmt: skip
    handles.append(Line2D([], [], **reference_look("trivial"), linewidth=0.9, label="trivial predictor"))
    bounds = {bound[:2] for panel in panels if (bound := _bound(panel))}
    if bounds:
        words = " or ".join(sorted({word for word, _ in bounds}))
        label = f"{words}: {next(iter(bounds))[1]}" if len(bounds) == 1 else words
        handles.append(Line2D([], [], **reference_look("floor"), linewidth=1.1, label=label))
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
