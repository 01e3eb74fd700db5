"""Scores beyond the trained length: the error at every position of prompts of several times the length."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench.report.data.estimates import TaskResults, curves
from bench.report.figures.drawing import Drawing
from bench.report.figures.examples import error_against_examples
from bench.report.figures.panel import Panel
from bench.report.style import Look
from bench.report.text import first_few
from bench.results.record import MAIN
from bench.tasks.task import LONGER


def longer_prompts(
    name: str, task: TaskResults, references: pd.DataFrame, looks: Mapping[str, Look]
) -> Drawing | None:
    """Draw the score at every position, within the trained length and beyond it.

    Args:
        name: of the figure's files.
        task: the results. Each architecture is shown by its best size at its chosen candidate.
        references: `references_frame` of the task.
        looks: by architecture.

    Returns:
        None where no result has an evaluation on longer prompts.
    """
    data = longer_curves(task)
    if data.empty:
        return None
    lacking = [f"{series} {size}" for series, size in _lacking(task, data)]
    notes = [f"No evaluation on longer prompts: {'; '.join(first_few(lacking))}."] if lacking else []
    panel = Panel(
        task.title, task.scale, data, task.references(references, LONGER), task.series,
        where="beyond the trained length", task=task.family,
    )  # fmt: skip
    trained = task.scale.n_points
    figure, spots = error_against_examples(panel, looks, trained, notes)
    last = data.groupby("series", sort=False).tail(1)
    ends = "; ".join(
        f"{row['series']} {task.scale.text(row['value'], row['standard_error'], row['independent_prompts'])}"
        for row in last.to_dict("records")
    )
    factor = round((data["examples"].max() + 1) / trained)
    caption = (
        f"{task.scale.label.capitalize()} against {task.scale.positions} at the last checkpoint, on prompts "
        f"of up to {factor} times the trained length, which the dashed line marks. Models with learned "
        "positions are not defined there."
    )
    words = f"{task.title}: {task.scale.label} beyond {trained} positions. At the last position: {ends}."
    return Drawing(name, figure, caption, words, data, spots)


def longer_curves(task: TaskResults) -> pd.DataFrame:
    """`estimates.curves` of the best sizes over all positions, from the runs with longer prompts only."""
    best = task.best_sizes
    beyond = task.ends(best, LONGER)
    within = task.ends(best, MAIN)
    within = within[within["id"].isin(beyond["id"])]
    parts = [curves(rows[rows["curve"].notna()], task.scale) for rows in (within, beyond)]
    whole = pd.concat(parts, ignore_index=True)
    return whole.sort_values(["series", "examples"], kind="stable", ignore_index=True)


def _lacking(task: TaskResults, data: pd.DataFrame) -> list[tuple[str, str]]:
    """Series and sizes with a result, of which none has longer prompts."""
    shown = set(zip(data["series"], data["size"], strict=True))
    ends = task.ends(task.best_sizes)
    pairs = dict.fromkeys(zip(ends["series"], ends["size"], strict=True))
    return [pair for pair in pairs if pair not in shown]
