"""Figure 7: how soon sparse parity is learned, the mean over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from bench.report.data.estimates import TaskResults, seeds_planned
from bench.report.data.frame import looks_in
from bench.report.figures import axes as shared
from bench.report.figures.axes import marker_size
from bench.report.figures.drawing import Drawing, Spot, spot, tag
from bench.report.figures.layout import LINE, PAGE, lines_of, new_grid, wrapped
from bench.report.style import MUTED, PAPER, Look, in_style
from bench.report.text import first_few

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES, OUTCOMES = 1.45, 1.05
"""Inches left of the bars, for names, and right of them, for means."""


def figure_7(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """Steps until sparse parity is learned: each seed a point, their mean a bar."""
    data, absent = convergence(results)
    order = list(dict.fromkeys(results["series"]))
    budget = int(results["steps"].max())
    end = _end(data, budget)
    incomplete = list(data[data["seeds"] < data["seeds_planned"]]["series"].unique())
    steps = shared.steps_label(budget)
    bound = (
        f"Training may take {steps} steps" if end < budget else f"A bar at {steps}: some seed never got there"
    )
    learned = results["score_scale"].iloc[0].learned
    notes = [f"Learned: mean accuracy of at least {learned:g} at an evaluation. {bound}."]
    if absent:
        notes.append(f"Not drawn: {'; '.join(first_few(absent))}.")
    if incomplete:
        notes.append(f"Fewer seeds finished than were planned: {', '.join(incomplete)} (hatched).")
    sizes = results["size"].unique()
    size = f", {sizes[0]}" if len(sizes) == 1 else ""
    names = [wrapped(name, NAMES - 0.15) for name in order]
    title = f"Sparse parity{size}: training steps until learned"
    with in_style():
        tall = sum(max(0.3, lines_of(name) * LINE + 0.08) for name in names)
        grid = new_grid([title], width=PAGE, tall=tall, left=NAMES, right=OUTCOMES, notes=notes)
        (axes,) = grid.axes
        axes.set_xlim(0, end)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(shared.steps_label)
        axes.set_xlabel("training steps until learned")
        axes.set_yticks(range(len(order)), names)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        spots = _draw(axes, data, order, looks_in(results), incomplete)
        if data.empty:
            shared.nothing_here(axes, "No finished run yet")
        figure = grid.figure
    words = "; ".join(
        f"{row['series']} {row['mean']:,.0f}" + (f" ({failures})" if (failures := _failures(rows)) else "")
        for _, rows in data.groupby("series", sort=False)
        for row in rows.head(1).to_dict("records")
    )
    return Drawing(
        "figure-7",
        figure,
        f"Steps until the mean accuracy first reaches {learned:g} at an evaluation: each seed a "
        "point, the mean over seeds a bar; the paper has medians. A seed that never gets there is at "
        f"{budget:,}. Then there is no mean, and the bar is there too.",
        f"Mean training steps until sparse parity is learned: {words or 'no finished run yet'}.",
        data,
        spots,
    )


def _end(data: pd.DataFrame, budget: int) -> float:
    """Where the axis of steps ends: at the budget, or behind the last seed if all have learned."""
    all_learned = len(data) > 0 and bool(data["learned"].all())
    return min(float(budget), 1.05 * float(data["shown"].max())) if all_learned else float(budget)


def _draw(
    axes: Axes,
    data: pd.DataFrame,
    order: Sequence[str],
    looks: Mapping[str, Look],
    incomplete: Sequence[str],
) -> list[Spot]:
    spots: list[Spot] = []
    for series, rows in data.groupby("series", sort=False):
        place, architecture = order.index(str(series)), str(rows["architecture"].iloc[0])
        look, mean = looks[architecture], float(rows["mean"].iloc[0])
        bars = axes.barh(
            [place], [mean], height=0.62, color=look.colour, alpha=0.35, zorder=2, linewidth=1.0,
            hatch="//" if series in incomplete else None, edgecolor=look.colour,
        )  # fmt: skip
        y = [place + 0.4 * (index / max(1, len(rows) - 1) - 0.5) for index in range(len(rows))]
        size = (1.3 * marker_size(look.marker)) ** 2
        points = axes.scatter(
            rows["shown"], y, color=look.colour, marker=look.marker, s=size, edgecolor=PAPER, linewidth=0.5,
            zorder=4, clip_on=False,
        )  # fmt: skip
        tag([*bars, points], "architecture", architecture)
        text = _failures(rows) or shared.steps_label(float(f"{mean:.3g}"))
        axes.text(1.03, place, text, transform=axes.get_yaxis_transform(), va="center", color=MUTED)
        for position, row in zip(y, rows.to_dict("records"), strict=True):
            outcome = f"learned by step {row['convergence_step']:,.0f}" if row["learned"] else "never learned"
            words = f"{series}, seed {row['seed']}: {outcome}"
            spots.append(spot(axes, float(row["shown"]), position, architecture, words, [row["id"]]))
    return spots


def _failures(rows: pd.DataFrame) -> str:
    """How many of a series' seeds never learned, in words; empty if all learned."""
    count = int((~rows["learned"].astype(bool)).sum())
    if count == len(rows):
        return "never"
    return f"{count} of {len(rows)} never" if count else ""


def convergence(results: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A row per finished run of the chosen candidates with the step at which it learned, and absent series.

    `shown` is the step, or the whole budget for a run that never learned. `mean` is that of its series, or
    the whole budget if some seed never learned: then there is no mean. A run that diverged has learned
    nothing, and is named rather than counted.
    """
    task = TaskResults(results)
    rows = task.ends()
    learned = rows["convergence_step"].notna()
    steps_needed = rows["convergence_step"].astype(float).where(learned, rows["steps"].astype(float))
    rows = rows.assign(learned=learned, shown=steps_needed)
    by_series = rows.groupby("series")
    all_learned = by_series["learned"].transform("all")
    rows["mean"] = by_series["shown"].transform("mean").where(all_learned, rows["steps"].astype(float))
    rows["seeds"] = by_series["id"].transform("nunique").astype(int)
    planned = {series: count for (series, _), count in seeds_planned(task.runs).items()}
    rows["seeds_planned"] = [planned[series] for series in rows["series"]]
    columns = ["series", "architecture", "size", "learning_rate", "seed", "id", "learned", "convergence_step"]
    data = rows[[*columns, "shown", "mean", "seeds", "seeds_planned"]].reset_index(drop=True)
    return data, task.absent(set(rows["series"]))
