"""From a suite, its results and the verdicts on them to files in a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.check import to_json
from bench.files import write_atomically
from bench.paper.exhibits import EXHIBITS, named
from bench.report.data import budgets, provenance
from bench.report.data.frame import counts, of_runs, references_frame, results_frame, runs_of, total
from bench.report.figures import save
from bench.report.figures.drawing import Drawing
from bench.report.page import render
from bench.report.page.exhibits import anchor_of, exhibits, experiments_of
from bench.report.page.runs import run_facts
from bench.report.page.sections import section
from bench.report.tables import equal_flops, files
from bench.report.tables.deviations import deviations
from bench.report.tables.precisions import precisions
from bench.report.tables.table import Table
from bench.results import Pool, withdrawn
from bench.suite import owner

if TYPE_CHECKING:
    from bench.check import Verdict
    from bench.suite import Suite

MANIFEST = "files.txt"
"""Names what a report wrote, so that the next one removes what it no longer writes, and nothing else."""
OWNER = "suite.txt"
"""Names the suite file, relative to the report: another file of the same name does not overwrite it."""


def write(
    suite: Suite, pool: Pool, folder: Path, states: Mapping[str, str], verdicts: Sequence[Verdict]
) -> list[Path]:
    """See `bench.report.write_report`."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        owner.refuse_other(suite, folder, (folder / OWNER).read_text(encoding="utf-8"))
    written = contents(suite, pool, states, verdicts)
    written[OWNER] = f"{owner.note(suite, folder)}\n".encode()
    stale = _listed(folder) - written.keys()
    written[MANIFEST] = "".join(f"{name}\n" for name in sorted(written)).encode()
    for name, data in written.items():
        write_atomically(folder / name, data)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in written]


def contents(
    suite: Suite, pool: Pool, states: Mapping[str, str], verdicts: Sequence[Verdict] = ()
) -> dict[str, bytes]:
    """Every file of the report by its path inside the folder, index.html first."""
    names = {anchor_of(name) for name in EXHIBITS}
    architectures = sorted({run.architecture.base_name for run in suite.runs})
    results, references = results_frame(suite.runs, pool, states), references_frame(suite.runs, pool)
    experiments = [
        section(experiment, of_runs(results, experiment.runs), references, architectures, names)
        for experiment in suite.experiments
    ]
    cited = {number for verdict in verdicts for number in named(verdict.source or "")}
    shown = exhibits(suite, results, references, cited)
    plan = runs_of(results)
    tasks = dict(zip(plan["task_id"], plan["task"], strict=True))
    beyond = _beyond(suite, results, pool)
    compared = precisions(suite, verdicts, tasks)
    drawings = [
        *(exhibit.drawing for exhibit in shown if exhibit.drawing),
        *(drawing for experiment in experiments for drawing in experiment.drawings()),
    ]
    tables = [
        *(table for exhibit in shown for table in exhibit.tables),
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
    report = render.Report(
        suite.name,
        suite.description,
        counts(plan),
        total(plan["planned_flops"]),
        total(plan["done_flops"]),
        verdicts,
        compared,
        shown,
        beyond,
        experiments,
        provenance.summarise(pool, plan["id"], tasks),
        differences,
        pool.problems,
        withdrawn.lines(pool.withdrawn, {*pool.runs, *pool.baselines}, {*plan["id"], *tasks}),
        run_facts(
            suite, pool, plan, (key for drawing in drawings for spot in drawing.spots for key in spot.run_ids)
        ),
    )
    drawn = save.all_encoded({drawing.name: drawing.figure for drawing in drawings})
    return {
        "index.html": render.html(report, drawn),
        "README.md": render.readme(report),
        **({"verdicts.json": _json(verdicts)} if verdicts else {}),
        **{f"figures/{name}.{kind}": data for name, kinds in drawn.items() for kind, data in kinds.items()},
        **{f"tables/{drawing.name}.csv": _numbers(drawing) for drawing in drawings},
        **_table_files([*tables, differences]),
    }


def _beyond(suite: Suite, results: pd.DataFrame, pool: Pool) -> list[Table]:
    """Comparisons at equal FLOPs: one table for all tasks, then one a task."""
    # A suite that rebuilds no figure against FLOPs has all its models compared.
    experiments = experiments_of(suite, [name for name, exhibit in EXHIBITS.items() if exhibit.against_flops])
    runs = (run for experiment in experiments or suite.experiments for run in experiment.runs)
    compared = budgets.comparisons(of_runs(results, runs), pool)
    compared = [comparison for comparison in compared if comparison.has_frontiers]
    if not compared:
        return []
    names: set[str] = set()
    rankings = [
        equal_flops.ranking_table(comparison, names) for comparison in compared if comparison.budgets()
    ]
    return [equal_flops.matching_table(compared), *rankings]


def _table_files(tables: Iterable[Table]) -> dict[str, bytes]:
    return {
        f"tables/{table.name}.{kind}": data for table in tables for kind, data in files.encoded(table).items()
    }


def _json(verdicts: Sequence[Verdict]) -> bytes:
    return (json.dumps(to_json(verdicts), indent=2, ensure_ascii=False) + "\n").encode()


def _numbers(drawing: Drawing) -> bytes:
    return files.csv(_plain(drawing.numbers))


def _plain(numbers: pd.DataFrame) -> pd.DataFrame:
    """Without columns that hold lists."""
    return numbers[
        [name for name in numbers if not numbers[name].map(lambda value: isinstance(value, list)).any()]
    ]


def _listed(folder: Path) -> set[str]:
    """Files an earlier report says it wrote here; only names inside the folder count."""
    listed: set[str] = set()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for name in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            path = Path(name)
            if name and not path.is_absolute() and ".." not in path.parts:
                listed.add(name)
    return listed - {MANIFEST}
