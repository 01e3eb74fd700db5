"""Tables 1 and 3 of the paper, its numbers beside ours. Tables 4 to 6 have modules of their own."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench.digits import error_text, plus_minus
from bench.paper import printed
from bench.paper.symbols import RULE, symbol
from bench.report.data.choices import SIZE_RULE, best_cell
from bench.report.data.estimates import TaskResults
from bench.report.data.frame import runs_of, tally, varied_setting
from bench.report.data.references import level
from bench.report.tables.table import Table, TableCell, missing_text
from bench.words import architecture_name, task_name


def table_1(results: pd.DataFrame, references: pd.DataFrame) -> Table:
    """Symbols by a stated rule, the paper's first; each architecture by its best size of each task.

    Of several tasks of one name (chain of thought with three hidden widths), the one with the paper's
    settings stands for it.
    """
    rows, numbers = [], []
    architectures = printed.TABLE_1_ARCHITECTURES
    for name, symbols in printed.TABLE_1.items():
        planned = results[(results["task_name"] == name) & results["architecture"].isin(architectures)]
        task = _standing_task(planned)
        best_errors = {} if task is None else _best_errors(task)
        bounds = None if task is None else _bounds(task, references)
        errors = [error for error, _ in best_errors.values() if error is not None]
        complete = len(errors) == len(architectures)
        row = [TableCell(task_name(name))]
        for architecture, paper_mark in zip(architectures, symbols, strict=True):
            error, state = best_errors.get(architecture, (None, "no experiment"))
            mark = None
            if error is not None and complete and bounds:
                floor, trivial = bounds
                excesses = [(value - floor) / (trivial - floor) for value in (error, *errors)]
                mark = symbol(excesses[0], excesses[1:])
            cell = {"task": name, "architecture": architecture, "paper": paper_mark, "ours": mark}
            numbers.append({**cell, "error": error, "why": state})
            if task is None or error is None or mark is None:
                without_mark = "compared with missing models" if bounds else "no floor is recorded"
                reason = state if error is None else without_mark
                row.append(TableCell(f"{paper_mark} / {missing_text(reason)}", absent=True))
            else:
                score = error_text(task.scale.score_of(error))
                differs = "" if mark == paper_mark else " (differs)"
                row.append(TableCell(f"{paper_mark} / {mark} {score}{differs}", best=mark == paper_mark))
        rows.append(row)
    caption = (
        "The paper's / ours: symbols; ours with the error (accuracy for parity) that it stands for; bold "
        "where they agree. "
        f"The paper gives words; the rule here: {RULE} {SIZE_RULE}"
    )
    columns = ["task", *map(architecture_name, architectures)]
    return Table("table-1", caption, columns, rows, pd.DataFrame(numbers), frozenset(columns))


def _standing_task(rows: pd.DataFrame) -> TaskResults | None:
    """The task with the paper's settings, else the task with most runs; None without rows."""
    if rows.empty:
        return None
    runs = runs_of(rows)
    own = runs[runs["as_defined"].astype(bool)]["task_id"]
    task_id = runs["task_id"].value_counts().index[0] if own.empty else own.iloc[0]
    return TaskResults(rows[rows["task_id"] == task_id])


def _bounds(task: TaskResults, references: pd.DataFrame) -> tuple[float, float] | None:
    """The lowest error that any predictor can have at the task's headline, and that of the trivial one.

    None without a floor, or where the floor is as high as the trivial predictor's error.
    """
    own, position = task.references(references), task.headline_position()
    best, worst = level(own, "floor", position), level(own, "trivial", position)
    if best is None or worst is None:
        return None
    floor, trivial = (task.scale.score_of(score) for _, score in (best, worst))
    return (floor, trivial) if floor < trivial else None


def _best_errors(task: TaskResults) -> dict[str, tuple[float | None, str]]:
    """By architecture: the error of its best size at its chosen rate, or None, and how its runs ended."""
    best = task.best_sizes
    best_errors: dict[str, tuple[float | None, str]] = {}
    for architecture, runs in task.runs.groupby("architecture", sort=False):
        # An architecture can have several series, for example with other checkpoints: the best one counts.
        of_series = best_cell(best[best["series"].isin(runs["series"])])
        error = float(task.ends(of_series)["error"].mean())
        best_errors[str(architecture)] = (error if math.isfinite(error) else None, tally(runs))
    return best_errors


def table_3(results: pd.DataFrame) -> Table:
    """Vector MQAR: test loss by queries and width, the paper's first; best of the learning rates."""
    field = varied_setting(results) if len(results) else None
    queries = {
        task_id: _queries(rows["settings"].iloc[0], field)
        for task_id, rows in results.groupby("task_id", sort=False)
    }
    results = results.assign(queries=results["task_id"].map(queries))
    rows, numbers = [], []
    for architecture, losses in printed.TABLE_3.items():
        row = [TableCell(_table_3_name(architecture))]
        for (m, width), paper_loss in zip(printed.TABLE_3_COLUMNS, losses, strict=True):
            cell = {"architecture": architecture, "queries": m, "width": width}
            selected = results[(results[list(cell)] == list(cell.values())).all(axis=1)]
            point, state = _chosen_error(selected)
            numbers.append(
                {
                    **cell, "paper": float(paper_loss), **{key: point.get(key) for key in TABLE_3_NUMBERS},
                    "state": state,
                }
            )  # fmt: skip
            if point:
                loss = plus_minus(point["ours"], point["standard_error"])
                row.append(TableCell(f"{paper_loss} / {loss}"))
            else:
                row.append(TableCell(f"{paper_loss} / {missing_text(state)}", absent=True))
        rows.append(row)
    heads = [f"{m} queries, width {width}" for m, width in printed.TABLE_3_COLUMNS]
    caption = (
        "The paper's / ours ± standard error: test loss on vector MQAR (squared norm, summed over "
        "dimensions; always answering zero scores 1), each at its best learning rate, chosen on validation "
        "prompts."
    )
    text = frozenset({"architecture"})
    return Table("table-3", caption, ["architecture", *heads], rows, pd.DataFrame(numbers), text)


TABLE_3_NUMBERS = ("ours", "standard_error", "learning_rate", "at_edge", "run_ids")


def _table_3_name(architecture: str) -> str:
    return "Transformer with PE" if architecture == "transformer" else architecture_name(architecture)


def _queries(settings: dict[str, Any], field: str | None) -> float:
    """The number of queries of a task: the setting with that name, or else `field`, in which tasks differ."""
    named = [key for key in settings if "quer" in key]
    key = named[0] if named else field
    return float(settings.get(key, math.nan)) if key else math.nan


def _chosen_error(rows: pd.DataFrame) -> tuple[dict[str, Any], str]:
    """Error at the chosen rate of one cell (empty if there is none), and how its runs ended."""
    if rows.empty:
        return {}, "no experiment"
    results = TaskResults(rows)
    points = results.end_points()
    if points.empty:
        return {}, tally(rows)
    point = points.iloc[0]
    return {
        "ours": float(point["value"]),
        "standard_error": float(point["standard_error"]),
        "learning_rate": float(point["learning_rate"]),
        "at_edge": bool(results.candidates["at_edge"].any()),
        "run_ids": point["run_ids"],
    }, tally(rows)
