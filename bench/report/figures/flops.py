"""Error against training FLOPs: Figures 2, 3, 8 and 9 of the paper, and each experiment's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from bench.digits import error_text, scientific
from bench.optimizers import OPTIMIZERS
from bench.report.data.estimates import FRONTIER_RULE, TaskResults, on_frontier, tasks_of
from bench.report.data.frame import looks_in, tally
from bench.report.figures import axes as shared_axes
from bench.report.figures.axes import SMALLEST, marker_size
from bench.report.figures.drawing import Drawing, Spot, spots_of, tag
from bench.report.figures.layout import COLUMN, PAGE, most_ticks, new_grid, rows_of, rows_with, wrapped
from bench.report.figures.legend import series_handles
from bench.report.figures.panel import BUDGETS, Panel, absence_notes, of_one_plan
from bench.report.figures.references import (
    LEVELS_RULE,
    bound,
    draw,
    levels,
    limit_scores,
    name_lines,
)
from bench.report.style import PAPER, Look, in_style
from bench.results.record import MAIN
from bench.words import architecture_name

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
    panels = [
        panel_of(task, references, evaluation=evaluation)
        for name in order
        for task in tasks_of(results[results["task_name"] == name])
        for evaluation in (MAIN, CLEAN)
    ]
    return drawing("figure-3", panels, looks_in(results), most_columns=2, shared=True)


def figure_9(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Linear regression with Adam (left) and with AdamW, warm-up and cosine decay (right)."""
    results = results.assign(series=results["architecture"].map(architecture_name))
    panels = [
        panel_of(TaskResults(rows), references, title=optimizer_title(str(optimizer)))
        for optimizer, rows in results.groupby("optimizer")
    ]
    return drawing("figure-9", panels, looks_in(results), shared=True)


def optimizer_title(name: str) -> str:
    """The title of the side of Figures 9 and 10 that shows an optimizer."""
    return OPTIMIZERS[name].title if name in OPTIMIZERS else name


def _by_task(name: str, results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    panels = [panel_of(task, references) for task in tasks_of(results)]
    return drawing(name, panels, looks_in(results))


def panel_of(
    task: TaskResults, references: pd.DataFrame, *, title: str = "", evaluation: str = MAIN
) -> Panel:
    """The panel of one task: every point at its chosen learning rate, and the planned models without one.

    The learning rate is chosen on the validation prompts, whichever evaluation is shown.

    Args:
        task: the results.
        references: `references_frame` of the task.
        title: in place of the task's.
        evaluation: the evaluation that is shown.
    """
    points = on_frontier(task.points(evaluation))
    drawn = set(zip(points["series"], points["size"], strict=True))
    return Panel(
        title or task.title,
        task.scale,
        points,
        task.references(references, evaluation),
        task.series,
        _absent(task, drawn, evaluation),
        reference_position=task.headline_position(evaluation),
        where=task.scale.where if evaluation == MAIN else evaluation.replace("_", " "),
        task=task.family,
    )


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
    if evaluation != MAIN and reported & set(runs["id"]):
        return f"not evaluated on {evaluation.replace('_', ' ')}"
    return tally(runs)


def drawing(
    name: str,
    panels: Sequence[Panel],
    looks: Mapping[str, Look],
    caption: str = f"{FRONTIER_RULE} {LEVELS_RULE}",
    most_columns: int = 3,
    shared: bool = False,
) -> Drawing:
    """Panels of errors against a budget as one figure, with its words and numbers.

    Args:
        name: of the figure's files.
        panels: what is drawn.
        looks: by architecture.
        caption: what is drawn and by which rule.
        most_columns: panels in a row.
        shared: whether the panels of a row have one y axis and one range of x.
    """
    figure, spots = error_against_flops(panels, looks, most_columns, shared)
    numbers = pd.concat([panel.data.assign(panel=panel.heading) for panel in panels], ignore_index=True)
    return Drawing(name, figure, caption, _in_words(panels), numbers, spots)


def _in_words(panels: Iterable[Panel]) -> str:
    """What a figure shows, for those who cannot see it: each panel's best point of each architecture."""
    best = ((panel.heading, _best(panel.data, panel.scale.higher_is_better)) for panel in panels)
    return " ".join(f"{heading}: {words}." for heading, words in best)


def _best(points: pd.DataFrame, higher_is_better: bool) -> str:
    if points.empty:
        return "no finished run yet"
    best = points.sort_values("error").drop_duplicates("series")
    scores = [
        f"{series} {error_text(float(value))}"
        for series, value in zip(best["series"], best["value"], strict=True)
    ]
    return f"best {'accuracy' if higher_is_better else 'error'}: {'; '.join(scores)}"


def error_against_flops(
    panels: Sequence[Panel], looks: Mapping[str, Look], most_columns: int = 3, shared: bool = False
) -> tuple[Figure, list[Spot]]:
    """Draw every point and the frontier of each series against the panels' budget, a panel per task.

    Tasks without any point are named in a note. Where panels share axes, a row is drawn whole or not at all.

    Args:
        panels: what is drawn.
        looks: by architecture.
        most_columns: panels in a row.
        shared: whether the panels of a row have one y axis and one range of x.

    Returns:
        The figure and its points.
    """
    spots: list[Spot] = []
    notes = _notes(panels)
    panels = of_one_plan(panels)
    panels = rows_with(panels, most_columns if shared else 1, lambda panel: panel.has_data)
    with in_style():
        columns = min(most_columns, len(panels))
        tall = 1.9 if columns == 1 else 1.5 if len(panels) <= 3 * columns else 1.25  # a page is 9 inches
        grid = new_grid(
            [panel.heading for panel in panels], width=COLUMN if columns == 1 else PAGE, tall=tall,
            columns=columns, between=0.3 if shared else 0.45, notes=notes, x_labels=False,
            handles=series_handles(panels, looks, filled=True),
        )  # fmt: skip
        ticks = most_ticks(grid.width)
        rows = rows_of(list(zip(grid.axes, panels, strict=True)), columns)
        for row in rows:
            for axes, panel in row:
                group = [other for _, other in row] if shared else [panel]
                _limits(axes, panel, group, tall, ticks)
                tag(axes, "task", panel.task or panel.title)
                _draw_flops(axes, panel, looks)
                spots += _spots(axes, panel)
                if axes is not row[0][0] and shared:
                    axes.tick_params(labelleft=False)
            row[0][0].set_ylabel(row[0][1].scale.label)
        for index, axes in enumerate(grid.axes):
            if index + columns >= len(panels):
                axes.set_xlabel(wrapped(BUDGETS[panels[index].budget], grid.width + 0.3))
        return grid.figure, spots


def _notes(panels: Sequence[Panel]) -> list[str]:
    notes = list(absence_notes(panels))
    for panel in filter(lambda panel: panel.has_data, panels):
        best = bound(panel)
        if best and best[2] <= SMALLEST and not panel.scale.higher_is_better:
            notes.append(f"{panel.title}: the {best[0]} ({best[1]}) is 0 and lies below the axis.")
    if any((panel.data["seeds"] < panel.data["seeds_planned"]).any() for panel in panels):
        notes.append("Hollow points: fewer seeds finished than were planned.")
    return [*notes, *shared_axes.seeds_notes(panel.data for panel in panels)]


def _limits(axes: Axes, panel: Panel, group: Sequence[Panel], tall: float, ticks: int) -> None:
    """Set the limits of a panel's axes so that they contain the data of its group, and names of levels."""
    scale = panel.scale
    budgets = [float(value) for other in group for value in other.data[panel.budget]]
    levels_shown = [reference.y[0] for other in group for reference in levels(other)]
    values = [*(float(value) for other in group for value in other.data["value"]), *levels_shown]
    values += [value for other in group for value in shared_axes.seed_values(other.data)]
    shared_axes.logarithmic(axes, "x", *(shared_axes.log_limits(budgets) if budgets else (1e15, 1e18)), ticks)
    air = [] if budgets or scale.higher_is_better else [scale.trivial / 100]
    limit_scores(axes, panel, [*values, *air], tall)


def _spots(axes: Axes, panel: Panel) -> list[Spot]:
    def text(row: Mapping[Any, Any]) -> str:
        flops = f"{scientific(row['training_flops'])} FLOPs"
        state = f"{row['state_numbers']:,.0f} numbers of state"
        return f"{panel.words(row)} at {flops if panel.budget == 'training_flops' else state}"

    return spots_of(axes, panel.data.to_dict("records"), panel.budget, text)


def _draw_flops(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
    """Draw the grey levels, and for each series its frontier, its points and their intervals."""
    x = panel.budget
    grey = levels(panel)
    draw(axes, grey)
    if panel.data.empty:
        shared_axes.nothing_here(axes, "No finished run yet")
    lowest, highest = panel.scale.limits
    foot = max(axes.get_ylim()[0], lowest)
    spread = shared_axes.shown_spread(panel.data)
    data = panel.data.assign(
        low=spread["low"].astype(float).clip(lower=foot),
        high=spread["high"].astype(float).clip(upper=highest),
    ).astype({x: float})
    for series, look in panel.styles(looks).items():
        rows = data[data["series"] == series]
        line = _frontier_line(rows, x)
        colour: Any = {"color": look["color"], "zorder": 2}
        spreads = shared_axes.draw_spread(axes, line, x, look["color"], (foot, highest))
        # A band has no width at a single point, and none at points that the line leaves out.
        bare = rows[rows["at_end"].astype(bool) & (~rows.index.isin(line.index) | (len(line) == 1))]
        bars = axes.vlines(bare[x], bare["low"], bare["high"], alpha=0.5, linewidth=1.0, **colour)
        lines = axes.plot(
            line[x], line["value"], color=look["color"], linestyle=look["linestyle"], linewidth=1.4, zorder=3
        )
        scatters = [
            _scatter(axes, group, x, look, float(stage)) for stage, group in rows.groupby(_stages(rows))
        ]
        points = [artist for scatter in scatters for artist in scatter]
        if panel.trainings is not None:
            single = panel.trainings[panel.trainings["series"] == series]
            points.append(
                axes.scatter(
                    single[x].astype(float), single["value"], s=9, facecolors="none",
                    edgecolors=look["color"], linewidths=0.7, alpha=0.8, zorder=3, clip_on=False,
                )
            )  # fmt: skip
        tag([*spreads, bars, *lines, *points], "architecture", panel.series[series])
    shared_axes.fade_bands(axes)
    name_lines(axes, grey)


def _frontier_line(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """The points of a series' frontier by rising budget, and its last one again at the largest budget.

    A budget that did not help still has an error.
    """
    best = rows[rows["on_frontier"]].sort_values(x)
    largest = best.tail(1).assign(**{x: rows[x].max()})
    return pd.concat([best, largest]) if (largest[x] > best[x].max()).any() else best


def _stages(rows: pd.DataFrame) -> pd.Series[float]:
    """The fraction of training at each point: 1 at the end, also of runs that stopped early."""
    return (rows["step"] / rows["steps"]).where(~rows["at_end"].astype(bool), 1.0)


def _scatter(axes: Axes, points: pd.DataFrame, x: str, look: Mapping[str, Any], stage: float) -> list[Any]:
    """Points of one stage of training: full ones, and hollow ones where seeds are lacking."""
    incomplete = points["seeds"] < points["seeds_planned"]
    size = (1.15 * marker_size(look["marker"])) ** 2
    common = {"marker": look["marker"], "s": size, "alpha": _opacity(stage), "zorder": 4, "clip_on": False}
    full, hollow = points[~incomplete], points[incomplete]
    artists = []
    if len(full):
        colours = {"color": look["color"], "edgecolors": "none"}
        artists.append(axes.scatter(full[x], full["value"], **common, **colours))
    if len(hollow):
        colours = {"facecolors": PAPER, "edgecolors": look["color"], "linewidths": 0.9}
        artists.append(axes.scatter(hollow[x], hollow["value"], **common, **colours))
    return artists


def _opacity(stage: float) -> float:
    """Opacity of a point at a fraction of training: earlier points are more transparent."""
    return float(0.2 + 0.8 * stage**1.5)
