"""The figures and tables that a suite rebuilds, each drawn from the experiments that name it.

`bench.paper.exhibits` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.paper.exhibits import EXHIBITS, Exhibit, named
from bench.report.data.estimates import settings
from bench.report.data.frame import CELL, of_runs
from bench.report.figures.drawing import Drawing
from bench.report.tables.points import points_table
from bench.report.tables.table import Table
from bench.report.text import first_few, slug
from bench.run import Run, short

if TYPE_CHECKING:
    from bench.suite import Experiment, Suite

NOTHING_PLANNED = "Missing: no experiment of this suite rebuilds it."


@dataclass(frozen=True)
class DrawnExhibit:
    """A figure or table, drawn.

    Attributes:
        number: its name in `bench.paper.exhibits`: "Figure 2".
        origin: the experiments it is drawn from, in words. Empty for none.
        notes: missing runs, and warnings.
        tasks: titles of the tasks it shows, for filtering.
    """

    number: str
    title: str
    anchor: str
    origin: str
    drawing: Drawing | None
    tables: Sequence[Table]
    notes: Sequence[str]
    tasks: Sequence[str] = ()


def exhibits(
    suite: Suite, results: pd.DataFrame, references: pd.DataFrame, cited: Iterable[str]
) -> list[DrawnExhibit]:
    """Draw every figure and table that an experiment of the suite rebuilds, or that `cited` names.

    Args:
        suite: what was planned.
        results: the frame of its runs.
        references: `references_frame` of its tasks.
        cited: figures and tables that claims are about. Those without an experiment are listed as missing.
    """
    rebuilt = {name for experiment in suite.experiments for name in named(experiment.rebuilds)}
    wanted = rebuilt | set(cited) | {"Table 6"}
    return [drawn_exhibit(name, suite, results, references) for name in EXHIBITS if name in wanted]


def drawn_exhibit(name: str, suite: Suite, results: pd.DataFrame, references: pd.DataFrame) -> DrawnExhibit:
    """Draw one figure or table, or say that it is missing."""
    exhibit = EXHIBITS[name]
    anchor = anchor_of(name)
    function = _function(exhibit)
    blank = DrawnExhibit(name, exhibit.title, anchor, "", None, [], [])
    if exhibit.data == "none":
        return replace(blank, tables=[function()])
    if exhibit.data == "summed up":
        runs = _runs(experiments_of(suite, {key for key, entry in EXHIBITS.items() if entry.summed_up}))
        return replace(blank, tables=[function(of_runs(results, runs or suite.runs))])
    experiments = experiments_of(suite, {name})
    runs = _runs(experiments)
    missing = [] if runs else [NOTHING_PLANNED]
    if missing and exhibit.is_figure:
        return replace(blank, notes=missing)
    rows = of_runs(results, runs)
    blank = replace(
        blank,
        origin=_origin(experiments),
        notes=[*missing, *choices(rows)],
        tasks=list(dict.fromkeys(rows["task"])),
    )
    if not exhibit.is_figure:
        return replace(blank, tables=[function(rows)])
    # The name of its files is the exhibit's, whatever its function calls it.
    drawing = replace(function(rows, references), name=anchor)
    return replace(blank, drawing=drawing, tables=[points_table(f"{anchor}-points", drawing.numbers)])


def anchor_of(name: str) -> str:
    """The name of an exhibit's files and of its place on the page: "Figure 2" → figure-2."""
    return slug(name)


def experiments_of(suite: Suite, names: Collection[str]) -> list[Experiment]:
    """The experiments of a suite that rebuild one of the named exhibits."""
    return [
        experiment
        for experiment in suite.experiments
        if not set(names).isdisjoint(named(experiment.rebuilds))
    ]


def _runs(experiments: Iterable[Experiment]) -> list[Run]:
    return [run for experiment in experiments for run in experiment.runs]


def _function(exhibit: Exhibit) -> Callable[..., Any]:
    module, _, function = exhibit.function.rpartition(".")
    drawn: Callable[..., Any] = getattr(import_module(f"bench.report.{module}"), function)
    return drawn


def _origin(experiments: Sequence[Experiment]) -> str:
    """Names of experiments, with what they say they rebuild where that is more than the number."""
    parts = [
        each.name if named(each.rebuilds) == (each.rebuilds,) else f"{each.name} ({each.rebuilds})"
        for each in experiments
    ]
    return ", ".join(parts)


def choices(rows: pd.DataFrame) -> list[str]:
    """What to beware of in the chosen learning rates: edges of grids, and runs that are still missing."""
    if rows.empty:
        return []
    table = settings(rows)
    count = int(table["chosen"].sum())
    notes = []
    lacking = table[table["missing"] + table["failed"] > 0][CELL].drop_duplicates()
    early = table[table["chosen"]].merge(lacking, on=CELL)
    if len(early):
        notes.append(
            f"{len(early)} of {count} choices of a learning rate are among part of the planned runs: some "
            f"are missing or failed. {_listed(early)} may change."
        )
    edge = table[table["at_edge"]]
    if len(edge):
        notes.append(
            f"{len(edge)} of {count} chosen learning rates lie at the edge of their grid: {_listed(edge)}. "
            "A better one may lie beyond."
        )
    return notes


def _listed(table: pd.DataFrame) -> str:
    found = [
        f"{series} {size} ({short(rate)})"
        for series, size, rate in zip(table["series"], table["size"], table["learning_rate"], strict=True)
    ]
    return ", ".join(first_few(list(dict.fromkeys(found))))
