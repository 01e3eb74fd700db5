"""From a suite, its results and the verdicts on them to files in a folder.

Importing this module loads pandas and matplotlib, but never torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.check import to_json
from bench.files import json_bytes, utf8, write_atomically
from bench.paper.exhibits import EXHIBITS, named
from bench.report.data import budgets, provenance
from bench.report.data.frame import counts, looks_in, of_runs, results_frame, runs_of, total
from bench.report.data.references import references_frame
from bench.report.figures.drawing import all_encoded
from bench.report.page import findings as shown_findings
from bench.report.page import render
from bench.report.page.contents import Report
from bench.report.page.exhibits import exhibits, experiments_of, runs_in
from bench.report.page.runs import page_runs
from bench.report.page.sections import section
from bench.report.tables import equal_flops
from bench.report.tables.deviations import deviations
from bench.report.tables.precisions import precisions
from bench.report.tables.table import Table, csv, encoded, scalars
from bench.report.text import slug
from bench.results import Pool, withdrawn
from bench.suite import owner
from bench.words import task_name

if TYPE_CHECKING:
    from bench.check import Verdict
    from bench.check.findings import Findings
    from bench.suite import Suite

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
    written[OWNER] = utf8(f"{owner.note(suite, folder)}\n")
    stale = _listed(folder) - written.keys()
    written[MANIFEST] = utf8("".join(f"{name}\n" for name in sorted(written)))
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
    report = _report(suite, pool, states, verdicts, findings)
    drawings = report.drawings()
    images = all_encoded({drawing.name: drawing.figure for drawing in drawings})
    return {
        "index.html": render.html(report, images),
        **render.markdown_files(report),
        **({"verdicts.json": _json(verdicts)} if verdicts else {}),
        **{f"figures/{name}.{kind}": data for name, kinds in images.items() for kind, data in kinds.items()},
        **{f"tables/{drawing.name}.csv": csv(scalars(drawing.numbers)) for drawing in drawings},
        **_table_files(report.tables()),
        "tables/runs.csv": csv(report.runs.numbers),
    }


def _report(
    suite: Suite,
    pool: Pool,
    states: Mapping[str, str],
    verdicts: Sequence[Verdict],
    findings: Findings | None,
) -> Report:
    """What the report shows: its figures, tables and texts."""
    names = {slug(name) for name in EXHIBITS}
    results, references = results_frame(suite.runs, pool, states), references_frame(suite.runs, pool)
    looks = looks_in(results)
    experiments = [
        section(experiment, of_runs(results, experiment.runs), references, looks, names)
        for experiment in suite.experiments
    ]
    cited = {number for verdict in verdicts for number in named(verdict.source or "")}
    drawn = exhibits(suite, results, references, cited)
    figures = shown_findings.figures_by_name(drawn, experiments)
    if findings and suite.name == suite.base_name:  # the command line may have taken a figure away
        findings.require_figures(figures)
    plan = runs_of(results)
    tasks = dict(zip(plan["task_id"], plan["task"], strict=True))
    families = map(task_name, plan["task_name"])
    return Report(
        name=suite.name,
        description=suite.description,
        counts=counts(plan),
        planned_flops=total(plan["planned_flops"]),
        done_flops=total(plan["done_flops"]),
        verdicts=verdicts,
        findings=shown_findings.shown(findings, verdicts, figures) if findings else [],
        precisions=precisions(suite, verdicts, tasks),
        drawn=drawn,
        at_equal_flops=_at_equal_flops(suite, results),
        experiments=experiments,
        provenance=provenance.summarise(pool, plan["id"], tasks),
        deviations=deviations(suite),
        problems=pool.problems,
        withdrawn=withdrawn.lines(pool.withdrawn, {*pool.runs, *pool.baselines}, {*plan["id"], *tasks}),
        runs=page_runs(suite, pool, plan),
        labels=dict(zip(plan["id"], zip(families, plan["architecture"], strict=True), strict=True)),
    )


def _at_equal_flops(suite: Suite, results: pd.DataFrame) -> list[Table]:
    """Comparisons at equal FLOPs: a table of all tasks, then a table per task."""
    # A suite that rebuilds no figure against FLOPs has all its models compared.
    experiments = experiments_of(suite, [name for name, exhibit in EXHIBITS.items() if exhibit.against_flops])
    rows = of_runs(results, runs_in(experiments or suite.experiments))
    comparisons = [task for task in budgets.comparisons(rows) if task.has_frontiers]
    if not comparisons:
        return []
    names: set[str] = set()
    rankings = [equal_flops.ranking_table(task, names) for task in comparisons if task.budgets()]
    return [equal_flops.matching_table(comparisons), *rankings]


def _table_files(tables: Iterable[Table]) -> dict[str, bytes]:
    return {f"tables/{table.name}.{kind}": data for table in tables for kind, data in encoded(table).items()}


def _json(verdicts: Sequence[Verdict]) -> bytes:
    return json_bytes(to_json(verdicts), indent=2)


def _listed(folder: Path) -> set[str]:
    """Files that an earlier report lists as its own. Only names inside the folder count."""
    listed: set[str] = set()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for name in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            path = Path(name)
            if name and not path.is_absolute() and ".." not in path.parts:
                listed.add(name)
    return listed - {MANIFEST}
