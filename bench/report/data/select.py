"""Which learning rate stands for a model, which size for an architecture, and what a frontier is.

Pure functions of data frames; `bench.selection` has the rule. Learning rates and sizes are chosen on
validation prompts. Every reported number is measured on test prompts. Result files call these prompts
`selection` and `report`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.data.planned import CELL, PLAN_COLUMNS, STATES, TUNED
from bench.selection import choose

LEARNING_RATE_RULE = (
    "Learning rate (and clip, where several were planned): for each task, architecture and size, among the "
    "values whose runs finished for the most seeds, the one with the lowest error on the validation prompts "
    "at the last checkpoint, averaged over seeds. Every number shown is measured on the test prompts."
)
SIZE_RULE = (
    "Size: for each architecture, the one whose chosen learning rate has the lowest error on the validation "
    "prompts at the last checkpoint."
)
FRONTIER_RULE = (
    "Line: for each architecture, the best of the points shown at no more training FLOPs. "
    "Points: every size at its chosen learning rate; earlier checkpoints are more transparent."
)


SCORE_COLUMNS = ["step", "training_flops", "error", "error_se", "selection_error"]
"""What a choice is made by, and what is shown of it: columns of `bench.report.data.results`."""


def chosen_settings(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The plan within rows of a frame, and `settings` of it."""
    plan = rows.drop_duplicates("id")[PLAN_COLUMNS].reset_index(drop=True)
    reported = rows[(rows["evaluation"] == "report") & rows["step"].notna()]
    return plan, settings(plan, reported[[*PLAN_COLUMNS, *SCORE_COLUMNS]])


def settings(plan: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and tuned setting: how its seeds ended, and what selection has to go by.

    Args:
        plan: rows of `planned.planned`.
        scores: rows of `planned.measured`.

    Returns:
        CELL and TUNED columns, planned, finished, diverged, failed, missing (runs),
        selection_error (mean over finished seeds at the last checkpoint; missing when none finished),
        chosen (at most one a cell) and at_edge (the chosen learning rate is the lowest or highest of
        several planned). In the order of the plan.
    """
    last = scores[(scores["state"] == "finished") & (scores["step"] == scores["steps"])]
    errors = dict(zip(last["id"], last["selection_error"].astype(float), strict=True))
    cells: dict[Any, dict[Any, list[tuple[str, str]]]] = {}
    columns = [plan[name] for name in (*CELL, *TUNED, "id", "state")]
    for task_id, series, size, rate, clip, key, state in zip(*columns, strict=True):
        cells.setdefault((task_id, series, size), {}).setdefault((rate, clip), []).append((key, state))
    rows = []
    for cell, found in cells.items():
        best = _choice(found, errors)
        for setting, runs in found.items():
            known = [errors[key] for key, _ in runs if math.isfinite(errors.get(key, math.nan))]
            ended = Counter(state for _, state in runs)
            rows.append(
                (
                    *cell, *setting, len(runs), *(ended[state] for state in STATES),
                    math.fsum(known) / len(known) if known else math.nan, setting == best,
                )
            )  # fmt: skip
    return _mark(pd.DataFrame(rows, columns=SETTING_COLUMNS))


SETTING_COLUMNS = [*CELL, *TUNED, "planned", *STATES, "selection_error", "chosen"]


def _choice(settings: Mapping[Any, list[tuple[str, str]]], errors: Mapping[str, float]) -> Any:
    """The setting that `bench.selection.choose` takes of one cell; None when nothing finished."""
    known = {setting: [errors.get(key) for key, _ in runs] for setting, runs in settings.items()}
    found = choose({None: known})
    return None if found is None else found[1]


def _mark(table: pd.DataFrame) -> pd.DataFrame:
    rates = table.groupby(CELL)["learning_rate"]
    extreme = (table["learning_rate"] == rates.transform("min")) | (
        table["learning_rate"] == rates.transform("max")
    )
    table["at_edge"] = table["chosen"] & extreme & (rates.transform("nunique") > 1)
    return table


def chosen(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Of `rows` (a plan or scores), those of finished runs at each cell's chosen setting."""
    keys = table.loc[table["chosen"], CELL + TUNED]
    return rows[rows["state"] == "finished"].merge(keys, on=CELL + TUNED, how="inner")


def best_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Of the chosen settings, for each task and series the one that stands for it (SIZE_RULE)."""
    picked = table[table["chosen"]]
    best = []
    for _, group in picked.groupby(["task_id", "series"], sort=False):
        errors = group["selection_error"].to_dict()
        if found := choose({index: {(): [error]} for index, error in errors.items()}):
            best.append(found[0])
    return picked.loc[best]


def frontier(flops: pd.Series[float], errors: pd.Series[float]) -> pd.Series[bool]:
    """Which points are better than every point at no more FLOPs: the lower envelope.

    Along the marked points, error falls strictly as FLOPs rise. Missing errors are never marked.
    """
    order = pd.DataFrame({"flops": flops, "error": errors}).dropna().sort_values(["flops", "error"])
    before = order["error"].cummin().shift(fill_value=float("inf"))
    return (order["error"] < before).reindex(flops.index, fill_value=False)


def on_frontier(points: pd.DataFrame) -> pd.DataFrame:
    """`estimates.points` with a column that marks each series' frontier."""
    points = points.assign(on_frontier=False)
    for _, rows in points.groupby("series"):
        marked = frontier(rows["training_flops"].astype(float), rows["error"].astype(float))
        points.loc[rows.index, "on_frontier"] = marked
    return points


def seeds_planned(plan: pd.DataFrame) -> dict[tuple[str, str], int]:
    """How many seeds each (series, size) of one task was planned with."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for series, size, seed in zip(plan["series"], plan["size"], plan["seed"], strict=True):
        seeds.setdefault((str(series), str(size)), set()).add(int(seed))
    return {cell: len(found) for cell, found in seeds.items()}
