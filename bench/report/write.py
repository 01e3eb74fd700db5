"""From a suite, its results and the verdicts on them to files in a folder.

`bench.paper.exhibits` lists figures and tables. Each one is drawn from the experiments that name it.
Importing this module loads pandas and matplotlib, but never torch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.check import to_json
from bench.files import write_atomically
from bench.paper.exhibits import EXHIBITS, Exhibit, named
from bench.report.data import budgets, provenance
from bench.report.data.estimates import settings
from bench.report.data.frame import (
    CELL,
    counts,
    of_runs,
    references_frame,
    results_frame,
    runs_of,
    total,
)
from bench.report.figures.drawing import all_encoded
from bench.report.page import findings as shown_findings
from bench.report.page import render
from bench.report.page.render import DrawnExhibit
from bench.report.page.runs import page_runs, runs_csv
from bench.report.page.sections import section
from bench.report.style import task_name
from bench.report.tables import equal_flops
from bench.report.tables.deviations import deviations
from bench.report.tables.precisions import precisions
from bench.report.tables.results import points_table
from bench.report.tables.table import Table, csv, encoded
from bench.report.text import first_few, slug
from bench.results import Pool, withdrawn
from bench.run import Run, short
from bench.suite import owner

if TYPE_CHECKING:
    from bench.check import Verdict
    from bench.check.findings import Findings
    from bench.suite import Experiment, Suite

MANIFEST = "files.txt"
"""Lists the files of a report, so that the next report can remove those that it no longer writes."""
OWNER = "suite.txt"
"""States the suite file, relative to the report, so that another suite of that name is refused."""


def write_report(
    suite: Suite,
    pool: Pool,
    folder: Path,
    states: Mapping[str, str] | None = None,
    verdicts: Sequence[Verdict] = (),
    findings: Findings | None = None,
) -> list[Path]:
    """Write a suite's report into `folder`. The same results give the same bytes.

    Args:
        suite: what was planned.
        pool: results; those of other suites are left out.
        folder: receives index.html, README.md and the files that these link to, files.txt and suite.txt.
            Files that an earlier report wrote (its files.txt names them) and this one does not are removed.
        states: states of runs without a result, by run id. "failed" is counted and named; with any other
            word the run is missing.
        verdicts: on the suite's claims (`bench.check.check`). The report shows them first.
        findings: texts that rest on these claims, where the suite has a findings file.

    Returns:
        The files written, index.html first.

    Raises:
        OSError: when the folder cannot be written.
        UserError: when the folder is the report of another suite file of that name.
        InvalidFile: when a finding names a figure that the report does not have.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        owner.refuse_other(suite, folder, (folder / OWNER).read_text(encoding="utf-8"))
    written = contents(suite, pool, states or {}, verdicts, findings)
    written[OWNER] = f"{owner.note(suite, folder)}\n".encode()
    stale = _listed(folder) - written.keys()
    written[MANIFEST] = "".join(f"{name}\n" for name in sorted(written)).encode()
    for name, data in written.items():
        write_atomically(folder / name, data)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in written]


def contents(
    suite: Suite,
    pool: Pool,
    states: Mapping[str, str],
    verdicts: Sequence[Verdict] = (),
    findings: Findings | None = None,
) -> dict[str, bytes]:
    """Every file of the report by its path inside the folder, index.html first."""
    names = {slug(name) for name in EXHIBITS}
    architectures = sorted({run.architecture.base_name for run in suite.runs})
    results, references = results_frame(suite.runs, pool, states), references_frame(suite.runs, pool)
    experiments = [
        section(experiment, of_runs(results, experiment.runs), references, architectures, names)
        for experiment in suite.experiments
    ]
    cited = {number for verdict in verdicts for number in named(verdict.source or "")}
    drawn_exhibits = exhibits(suite, results, references, cited)
    figures = shown_findings.figures_by_name(drawn_exhibits, experiments)
    if findings and suite.name == suite.base_name:  # the command line may have taken a figure away
        findings.require_figures(figures)
    plan = runs_of(results)
    tasks = dict(zip(plan["task_id"], plan["task"], strict=True))
    beyond = _beyond(suite, results)
    compared = precisions(suite, verdicts, tasks)
    drawings = [
        *(exhibit.drawing for exhibit in drawn_exhibits if exhibit.drawing),
        *(drawing for experiment in experiments for drawing in experiment.drawings()),
    ]
    tables = [
        *(table for exhibit in drawn_exhibits for table in exhibit.tables),
        *beyond,
        *([compared.table] if compared else []),
        *(
            table
            for experiment in experiments
            for task in experiment.tasks
            for table in (task.results, task.rates)
        ),
    ]
    differences = deviations(suite)
    runs = page_runs(suite, pool, plan)
    families = map(task_name, plan["task_name"])
    labels = dict(zip(plan["id"], zip(families, plan["architecture"], strict=True), strict=True))
    report = render.Report(
        suite.name,
        suite.description,
        counts(plan),
        total(plan["planned_flops"]),
        total(plan["done_flops"]),
        verdicts,
        shown_findings.shown(findings, verdicts, figures) if findings else [],
        compared,
        drawn_exhibits,
        beyond,
        experiments,
        provenance.summarise(pool, plan["id"], tasks),
        differences,
        pool.problems,
        withdrawn.lines(pool.withdrawn, {*pool.runs, *pool.baselines}, {*plan["id"], *tasks}),
        runs,
        labels,
    )
    files = all_encoded({drawing.name: drawing.figure for drawing in drawings})
    return {
        "index.html": render.html(report, files),
        **render.markdown_files(report),
        **({"verdicts.json": _json(verdicts)} if verdicts else {}),
        **{f"figures/{name}.{kind}": data for name, kinds in files.items() for kind, data in kinds.items()},
        **{f"tables/{drawing.name}.csv": csv(_scalars(drawing.numbers)) for drawing in drawings},
        **_table_files([*tables, differences]),
        "tables/runs.csv": csv(runs_csv(plan, runs)),
    }


def _beyond(suite: Suite, results: pd.DataFrame) -> list[Table]:
    """Comparisons at equal FLOPs: a table of all tasks, then a table per task."""
    # A suite that rebuilds no figure against FLOPs has all its models compared.
    experiments = experiments_of(suite, [name for name, exhibit in EXHIBITS.items() if exhibit.against_flops])
    rows = of_runs(results, _runs(experiments or suite.experiments))
    comparisons = [task for task in budgets.comparisons(rows) if task.has_frontiers]
    if not comparisons:
        return []
    names: set[str] = set()
    rankings = [equal_flops.ranking_table(task, names) for task in comparisons if task.budgets()]
    return [equal_flops.matching_table(comparisons), *rankings]


def _table_files(tables: Iterable[Table]) -> dict[str, bytes]:
    return {f"tables/{table.name}.{kind}": data for table in tables for kind, data in encoded(table).items()}


def _json(verdicts: Sequence[Verdict]) -> bytes:
    return (json.dumps(to_json(verdicts), indent=2, ensure_ascii=False) + "\n").encode()


def _scalars(numbers: pd.DataFrame) -> pd.DataFrame:
    """The numbers behind a figure without columns that hold lists."""
    lists = numbers.map(lambda value: isinstance(value, list)).any()
    return numbers.loc[:, ~lists]


def _listed(folder: Path) -> set[str]:
    """Files that an earlier report lists as its own. Only names inside the folder count."""
    listed: set[str] = set()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for name in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            path = Path(name)
            if name and not path.is_absolute() and ".." not in path.parts:
                listed.add(name)
    return listed - {MANIFEST}


NOTHING_PLANNED = "Missing: no experiment of this suite rebuilds it."


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
        runs = _runs(experiments_of(suite, {key for key, entry in EXHIBITS.items() if entry.summed_up}))
        return replace(blank, tables=[function(of_runs(results, runs or suite.runs), references)])
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
        tasks=list(dict.fromkeys(map(task_name, rows["task_name"]))),
    )
    if not exhibit.is_figure:
        own = (rows, references) if exhibit.baselines else (rows,)
        return replace(blank, tables=[function(*own)])
    # The exhibit names the files, not the function that draws it.
    drawing = replace(function(rows, references), name=anchor)
    return replace(blank, drawing=drawing, tables=[points_table(anchor, _scalars(drawing.numbers))])


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


def choices(rows: pd.DataFrame) -> list[str]:
    """Warnings about the chosen learning rates: edges of grids, and runs that are still missing."""
    if rows.empty:
        return []
    table = settings(rows)
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
    settings = zip(table["series"], table["size"], table["learning_rate"], strict=True)
    phrases = [f"{series} {size} ({short(rate)})" for series, size, rate in settings]
    return ", ".join(first_few(list(dict.fromkeys(phrases))))
