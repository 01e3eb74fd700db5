"""The learning rates, clips and sizes that a report chooses.

They are chosen on validation prompts, by the rule in `bench.selection`. Every reported number is measured on
test prompts. Result files call these prompts `selection` and `report`.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from bench.report.data.frame import CELL, STATES, TUNED, runs_of, tuples
from bench.results.record import MAIN
from bench.selection import choose, equals_of, seeds_to_report

LEARNING_RATE_RULE = (
    "Learning rate (and clip, where several were planned): for each task, architecture and size, among the "
    "values whose runs finished for the most seeds, the one with the lowest error on the validation prompts "
    "at the last checkpoint, averaged over seeds; of values with equal errors, the lowest (a claim is "
    "undecided if it depends on which). Every number shown is measured on the test prompts. The best of "
    "several trainings is partly luck. So, with three or more seeds at several values, a seed is reported at "
    "the value that the other seeds choose. With three or more seeds at the chosen value only, these alone "
    "are reported. With fewer seeds, a reported error is somewhat lower than that of models trained anew."
)
SIZE_RULE = (
    "Size: for each architecture, the one whose chosen learning rate has the lowest error on the validation "
    "prompts at the last checkpoint; of equal sizes, the first (a claim is undecided if it depends on which)."
)


def candidates(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and candidate: how its seeds ended, and the error by which it is chosen.

    A candidate is a learning rate and a clip.

    Args:
        rows: of the frame.

    Returns:
        CANDIDATE_COLUMNS, in the order of the plan. planned, finished, diverged, failed and missing count
        runs. selection_error is the mean over finished seeds at the last checkpoint; NaN when none
        finished. At most one candidate of a cell is chosen. seeds: those that are reported at this
        candidate, a tuple (`bench.selection.seeds_to_report`). tied: the candidate is the chosen one or
        equal to it (`bench.selection.equals_of`). at_edge: the chosen learning rate is the lowest or highest
        of several that were planned.
    """
    last = rows[(rows["evaluation"] == MAIN) & rows["at_end"]]
    errors = dict(zip(last["id"], last["selection_error"].astype(float), strict=True))
    plan = runs_of(rows)
    cells: dict[Any, dict[Any, list[tuple[int, str, str]]]] = {}
    columns = [plan[name] for name in (*CELL, *TUNED, "seed", "id", "state")]
    for task_id, series, size, rate, clip, *run in zip(*columns, strict=True):
        cells.setdefault((task_id, series, size), {}).setdefault((rate, clip), []).append(tuple(run))
    table = []
    for cell, runs_by_candidate in cells.items():
        errors_by_seed = {
            candidate: {seed: errors.get(run_id) for seed, run_id, _ in runs}
            for candidate, runs in runs_by_candidate.items()
        }
        best = choose({None: errors_by_seed})
        reported = {} if best is None else seeds_to_report(errors_by_seed, best[1])
        tied = [] if best is None else [best[1], *equals_of(errors_by_seed, best[1])]
        for candidate, runs in runs_by_candidate.items():
            finished = [
                error for _, run_id, _ in runs if math.isfinite(error := errors.get(run_id, math.nan))
            ]
            ended = Counter(state for *_, state in runs)
            table.append(
                (
                    *cell, *candidate, len(runs), *(ended[state] for state in STATES),
                    math.fsum(finished) / len(finished) if finished else math.nan,
                    best is not None and candidate == best[1],
                    tuple(seed for seed, place in reported.items() if place == candidate),
                    candidate in tied,
                )
            )  # fmt: skip
    return _with_edges(pd.DataFrame(table, columns=CANDIDATE_COLUMNS))


CANDIDATE_COLUMNS = [*CELL, *TUNED, "planned", *STATES, "selection_error", "chosen", "seeds", "tied"]
"""Columns of `candidates`, before at_edge."""


def _with_edges(table: pd.DataFrame) -> pd.DataFrame:
    """The candidates with the column at_edge."""
    rates = table.groupby(CELL)["learning_rate"]
    extreme = (table["learning_rate"] == rates.transform("min")) | (
        table["learning_rate"] == rates.transform("max")
    )
    table["at_edge"] = table["chosen"] & extreme & (rates.transform("nunique") > 1)
    return table


def tied_rates(table: pd.DataFrame) -> dict[tuple[str, str], list[float]]:
    """The learning rates among which the validation prompts do not choose, by series and size.

    Args:
        table: `candidates` of one task.
    """
    rates = table[table["tied"]].groupby(["series", "size"], sort=False)["learning_rate"]
    return {
        (str(series), str(size)): sorted(set(tied)) for (series, size), tied in rates if tied.nunique() > 1
    }


def chosen(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the finished runs that are reported, one run per seed.

    All of a cell have its chosen learning rate and clip, also a seed that is reported at another candidate
    (`bench.selection.seeds_to_report`): they are points of one model.

    Args:
        rows: of the frame.
        table: `candidates`, or some rows of it.
    """
    # Not by merging, which copies every column of the frame several times.
    cells, candidates = tuples(table, CELL), tuples(table, TUNED)
    shown = {
        cell: candidate
        for cell, candidate, is_chosen in zip(cells, candidates, table["chosen"], strict=True) if is_chosen
    }  # fmt: skip
    reported = {
        (*cell, *candidate, seed): shown[cell]
        for cell, candidate, seeds in zip(cells, candidates, table["seeds"], strict=True) if cell in shown
        for seed in seeds
    }  # fmt: skip
    finished = rows[rows["state"] == "finished"]
    places = [reported.get(key) for key in tuples(finished, [*CELL, *TUNED, "seed"])]
    picked = finished[np.array([candidate is not None for candidate in places], bool)]
    values = np.array([candidate for candidate in places if candidate], float).reshape(-1, len(TUNED))
    return picked.reset_index(drop=True).assign(**dict(zip(TUNED, values.T, strict=True)))


def best_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Candidates of the best size for each task and series (SIZE_RULE)."""
    picked = table[table["chosen"]]
    best = []
    for _, group in picked.groupby(["task_id", "series"], sort=False):
        errors = group["selection_error"].to_dict()
        if choice := choose({index: {(): {0: error}} for index, error in errors.items()}):
            best.append(choice[0])
    return table.merge(picked.loc[best, CELL], on=CELL, how="inner")


def best_cell(table: pd.DataFrame) -> pd.DataFrame:
    """Of `candidates`, the rows of the cell whose chosen one has the lowest error; of equals, the first."""
    best = table[table["chosen"]].sort_values("selection_error", kind="stable").head(1)
    return table.merge(best[CELL], on=CELL, how="inner")
