"""The figures of error against training FLOPs: 2, 3, 8 and 9."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench import optimizers
from bench.report.data import estimates, select
from bench.report.data.planned import PLAN_COLUMNS, tally
from bench.report.data.results import scale_of
from bench.report.data.select import SCORE_COLUMNS, chosen_settings
from bench.report.figures.drawing import Drawing
from bench.report.figures.flops_panels import error_against_flops
from bench.report.figures.panel import Panel
from bench.report.style import architecture_name, looks
from bench.report.text import error_text

CLEAN = "clean_prompts"
"""The evaluation on prompts without outliers (Figure 3, right)."""


def figure_2(results: pd.DataFrame, known: pd.DataFrame) -> Drawing:
    """Transformer, Mamba, S4-Mamba and S4 on the suite of tasks, one panel each."""
    return _by_task("figure-2", results, known)


def figure_8(results: pd.DataFrame, known: pd.DataFrame) -> Drawing:
    """Transformer, Mamba and the two hybrids on the suite of tasks, one panel each."""
    return _by_task("figure-8", results, known)


def figure_3(results: pd.DataFrame, known: pd.DataFrame) -> Drawing:
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
            panels.append(panel_of(selected, known, title=title))
            panels.append(
                panel_of(
                    selected, known, title=f"{title}, clean prompts", evaluation=CLEAN,
                    label="normalised error\nout of distribution",
                )
            )  # fmt: skip
    return drawing("figure-3", panels, most_columns=2)


def figure_9(results: pd.DataFrame, known: pd.DataFrame) -> Drawing:
    """Linear regression with Adam (left) and with AdamW, warm-up and cosine decay (right)."""
    results = results.assign(series=results["architecture"].map(architecture_name))
    panels = [
        panel_of(
            results[results["optimizer"] == optimizer], known, title=OPTIMIZERS.get(optimizer, optimizer)
        )
        for optimizer in sorted(results["optimizer"].unique())
    ]
    return drawing("figure-9", panels)


OPTIMIZERS = {name: optimizer.title for name, optimizer in optimizers.OPTIMIZERS.items()}
"""Titles of the two sides of Figures 9 and 10."""


def _by_task(name: str, results: pd.DataFrame, known: pd.DataFrame) -> Drawing:
    panels = [
        panel_of(results[results["task_id"] == task_id], known) for task_id in results["task_id"].unique()
    ]
    return drawing(name, panels)


def panel_of(
    rows: pd.DataFrame,
    known: pd.DataFrame,
    *,
    title: str = "",
    evaluation: str = "report",
    label: str = "",
) -> Panel:
    """The panel of one task: every point at its chosen learning rate, and what was planned and is not there.

    The learning rate is chosen on the validation prompts, whichever evaluation is shown.
    """
    measure = scale_of(rows)
    plan, table = chosen_settings(rows)
    shown = rows[(rows["evaluation"] == evaluation) & rows["step"].notna()]
    scores = shown[[*PLAN_COLUMNS, *SCORE_COLUMNS]].astype({"step": int})
    points = estimates.points(select.chosen(scores, table), measure, select.seeds_planned(plan))
    points = select.on_frontier(points[points["error"].notna()])
    drawn = set(zip(points["series"], points["size"], strict=True))
    absent = _absent(plan, drawn, rows, evaluation)
    at = shown["headline_position"].dropna()
    task_id = rows["task_id"].iloc[0]
    own = known[(known["task_id"] == task_id) & (known["evaluation"] == evaluation)]
    series = dict(zip(plan["series"], plan["architecture"], strict=True))
    where = measure.label if measure.headline is None else f"{measure.label}\n{measure.where}"
    return Panel(
        title or str(rows["task"].iloc[0]), measure, points, own, series, absent,
        int(at.iloc[0]) if len(at) else None, label or where,
        str(rows["task"].iloc[0]),
    )  # fmt: skip


def _absent(
    plan: pd.DataFrame, drawn: set[tuple[Any, Any]], rows: pd.DataFrame, evaluation: str
) -> list[str]:
    """What was planned and is not drawn: whole architectures first, then sizes of others."""
    reported = set(rows.loc[rows["step"].notna(), "id"])
    absent = []
    for series, runs in plan.groupby("series", sort=False):
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
    return Drawing(name, figure, select.FRONTIER_RULE, in_words(panels), numbers, spots)


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
