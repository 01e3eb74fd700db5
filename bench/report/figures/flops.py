"""The figures of error against training FLOPs: 2, 3, 8 and 9."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.report.data.estimates import FRONTIER_RULE, TaskResults, on_frontier
from bench.report.data.frame import tally
from bench.report.figures.drawing import Drawing
from bench.report.figures.flops_panels import error_against_flops
from bench.report.figures.panel import Panel
from bench.report.style import architecture_name, looks
from bench.report.text import error_text

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
        panel_of(
            results[results["optimizer"] == optimizer], references, title=OPTIMIZERS.get(optimizer, optimizer)
        )
        for optimizer in sorted(results["optimizer"].unique())
    ]
    return drawing("figure-9", panels)


OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW with schedule"}
"""Titles of the two sides of Figures 9 and 10."""


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
    """The panel of one task: every point at its chosen learning rate, and what was planned and is not there.

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
    """What was planned and is not drawn: whole architectures first, then sizes of others."""
    reported = set(task.rows.loc[task.rows["step"].notna(), "id"])
    absent = []
    for series, runs in task.runs.groupby("series", sort=False):
        sizes = [(size, some) for size, some in runs.groupby("size", sort=False)]
        lacking = [(size, some) for size, some in sizes if (series, size) not in drawn]
        if len(lacking) == len(sizes) and len(sizes) > 1:
            absent.append(f"{series}: {_why(runs, reported, evaluation)}")
        else:
            absent += [f"{series} {size}: {_why(some, reported, evaluation)}" for size, some in lacking]
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
    """What a figure shows, for whoever cannot see it: each panel's best point of each architecture."""
    return " ".join(f"{each.title}: {_best(each.data, each.measure.higher_is_better)}." for each in panels)


def _best(points: pd.DataFrame, higher_is_better: bool) -> str:
    if points.empty:
        return "no finished run yet"
    best = points.sort_values("error").drop_duplicates("series")
    found = [
        f"{series} {error_text(float(value))}"
        for series, value in zip(best["series"], best["value"], strict=True)
        if math.isfinite(value)
    ]
    return f"best {'accuracy' if higher_is_better else 'error'}: {', '.join(found)}"
