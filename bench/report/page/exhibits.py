"""The paper's figures and tables in a report, each drawn from the experiments that name it.

`bench.paper.exhibits` lists them. Nothing here writes files or knows HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.digits import short
from bench.paper.exhibits import EXHIBITS, Exhibit, named
from bench.report.data.choices import candidates
from bench.report.data.frame import CELL, WITH_RESULTS, of_runs
from bench.report.figures.drawing import Drawing
from bench.report.tables.results import points_table
from bench.report.tables.table import Table, scalars
from bench.report.text import first_few, slug
from bench.run import Run
from bench.words import task_name, title_of

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
        tasks: families of the tasks it shows, for filtering.
        appendix: whether it depends on no result, so that it stands at the end.
    """

    number: str
    title: str
    anchor: str
    origin: str
    drawing: Drawing | None
    tables: Sequence[Table]
    notes: Sequence[str]
    tasks: Sequence[str] = ()
    appendix: bool = False

    @property
    def heading(self) -> str:
        """The name as a heading: "Figure 2", and "Score by state" for `score_by_state`."""
        return title_of(self.number)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show but notes."""
        return self.drawing is None and not self.tables

    @property
    def shows_results(self) -> bool:
        """Whether it is a figure with a point."""
        return self.drawing is not None and len(self.drawing.numbers) > 0


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
    names = rebuilt | set(cited) | {"Table 6"}
    return [drawn_exhibit(name, suite, results, references) for name in EXHIBITS if name in names]


def drawn_exhibit(name: str, suite: Suite, results: pd.DataFrame, references: pd.DataFrame) -> DrawnExhibit:
    """Draw one figure or table, or note that it is missing."""
    exhibit = EXHIBITS[name]
    anchor = slug(name)
    function = _function(exhibit)
    blank = DrawnExhibit(name, exhibit.title, anchor, "", None, [], [])
    if exhibit.data == "none":
        return replace(blank, tables=[function()], appendix=True)
    if exhibit.data == "summed up":
        runs = runs_in(experiments_of(suite, {key for key, entry in EXHIBITS.items() if entry.summed_up}))
        return replace(blank, tables=[function(of_runs(results, runs or suite.runs), references)])
    experiments = experiments_of(suite, {name})
    runs = _shown(runs_in(experiments), exhibit, suite)
    if exhibit.is_figure and not runs:
        return replace(blank, notes=[NOTHING_PLANNED])
    rows = of_runs(results, runs)
    tasks = list(dict.fromkeys(map(task_name, rows["task_name"])))
    planned = replace(blank, origin=_origin(experiments), tasks=tasks)
    if exhibit.is_figure and not rows["state"].isin(WITH_RESULTS).any():
        return replace(planned, notes=[_no_results(len(runs))])
    notes = _choice_warnings(rows) if runs else [NOTHING_PLANNED]
    if not exhibit.is_figure:
        own = (rows, references) if exhibit.baselines else (rows,)
        return replace(planned, notes=notes, tables=[function(*own)])
    drawing = function(rows, references)
    if not isinstance(drawing, Drawing):
        raise TypeError(f"{exhibit.function} returned a {type(drawing).__name__}, expected a Drawing")
    # The exhibit names the files, not the function that draws it.
    drawing = replace(drawing, name=anchor)
    table = points_table(anchor, scalars(drawing.numbers))
    return replace(planned, notes=notes, drawing=drawing, tables=[table])


def _shown(runs: list[Run], exhibit: Exhibit, suite: Suite) -> list[Run]:
    """The runs of an exhibit's experiments, less those that another exhibit shows in its place."""
    for name, architectures in exhibit.elsewhere.items():
        shared = {run.id for run in runs_in(experiments_of(suite, {name}))}
        runs = [
            run for run in runs if run.id not in shared or run.architecture.base_name not in architectures
        ]
    return runs


def _no_results(planned: int) -> str:
    """The sentence that stands in place of what no run has a result for."""
    if planned == 1:
        return "Its run has no result yet."
    return f"None of the {planned} planned runs has a result yet."


def experiments_of(suite: Suite, names: Collection[str]) -> list[Experiment]:
    """The experiments of a suite that rebuild one of the named exhibits."""
    return [
        experiment
        for experiment in suite.experiments
        if not set(names).isdisjoint(named(experiment.rebuilds))
    ]


def runs_in(experiments: Iterable[Experiment]) -> list[Run]:
    return [run for experiment in experiments for run in experiment.runs]


def _function(exhibit: Exhibit) -> Callable[..., Any]:
    module, _, name = exhibit.function.rpartition(".")
    function: Callable[..., Any] = getattr(import_module(f"bench.report.{module}"), name)
    return function


def _origin(experiments: Sequence[Experiment]) -> str:
    """Names of experiments, each with its `rebuilds` if that is more than the name of one exhibit."""
    return ", ".join(
        experiment.name
        if named(experiment.rebuilds) == (experiment.rebuilds,)
        else f"{experiment.name} ({experiment.rebuilds})"
        for experiment in experiments
    )


def _choice_warnings(rows: pd.DataFrame) -> list[str]:
    """Warnings about the chosen learning rates: edges of grids, and runs that are still missing."""
    table = candidates(rows)
    count = int(table["chosen"].sum())
    notes = []
    incomplete = table[table["missing"] + table["failed"] > 0][CELL].drop_duplicates()
    early = table[table["chosen"]].merge(incomplete, on=CELL)
    if len(early):
        notes.append(
            f"{len(early)} of {count} choices of a learning rate are among part of the planned runs: some "
            f"are missing or failed. {_in_words(early)} may change."
        )
    edge = table[table["at_edge"]]
    if len(edge):
        notes.append(
            f"{len(edge)} of {count} chosen learning rates lie at the edge of their grid: {_in_words(edge)}. "
            "A better one may lie beyond."
        )
    return notes


def _in_words(table: pd.DataFrame) -> str:
    chosen = zip(table["series"], table["size"], table["learning_rate"], strict=True)
    phrases = [f"{series} {size} ({short(rate)})" for series, size, rate in chosen]
    return ", ".join(first_few(list(dict.fromkeys(phrases))))
