"""From a suite and its results to files in a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import write_atomically
from bench.report import page, planned, provenance, save, table_files
from bench.report.drawing import Drawing
from bench.report.sections import section
from bench.report.table6 import table_6
from bench.results import Pool

if TYPE_CHECKING:
    from bench.suite import Suite

MANIFEST = "files.txt"
"""Names what a report wrote, so that the next one removes what it no longer writes, and nothing else."""


def write(suite: Suite, pool: Pool, folder: Path, states: Mapping[str, str]) -> list[Path]:
    """See `bench.report.write_report`."""
    files = contents(suite, pool, states)
    stale = _listed(folder) - files.keys()
    files[MANIFEST] = "".join(f"{name}\n" for name in sorted(files)).encode()
    for name, data in files.items():
        write_atomically(folder / name, data)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]


def contents(suite: Suite, pool: Pool, states: Mapping[str, str]) -> dict[str, bytes]:
    """Every file of the report by its path inside the folder, index.html first."""
    taken: set[str] = set()
    architectures = sorted({run.architecture.base_name for run in suite.runs})
    experiments = [
        section(experiment, pool, states, architectures, taken) for experiment in suite.experiments
    ]
    plan = planned.planned(suite.runs, pool, states)
    tasks = dict(zip(plan["task_id"], plan["task"], strict=True))
    report = page.Report(
        suite.name,
        suite.description,
        planned.counts(plan),
        planned.total(plan["planned_flops"]),
        planned.total(plan["done_flops"]),
        experiments,
        table_6(),
        provenance.summarise(pool, plan["id"], tasks),
        pool.problems,
    )
    drawings = [drawing for experiment in experiments for drawing in experiment.drawings()]
    drawn = {drawing.name: save.encoded(drawing.figure) for drawing in drawings}
    sections = [task for experiment in experiments for task in experiment.tasks]
    tables = [table for task in sections for table in (task.results, task.rates)]
    return {
        "index.html": page.html(report, drawn),
        "README.md": page.readme(report),
        **{f"figures/{name}.{kind}": data for name, kinds in drawn.items() for kind, data in kinds.items()},
        **{f"tables/{drawing.name}.csv": _numbers(drawing) for drawing in drawings},
        **{
            f"tables/{table.name}.{kind}": data
            for table in (*tables, report.table_6)
            for kind, data in table_files.encoded(table).items()
        },
    }


def _numbers(drawing: Drawing) -> bytes:
    return table_files.csv(drawing.numbers)


def _listed(folder: Path) -> set[str]:
    """Files an earlier report says it wrote here; only names inside the folder count."""
    listed: set[str] = set()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for name in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            path = Path(name)
            if name and not path.is_absolute() and ".." not in path.parts:
                listed.add(name)
    return listed - {MANIFEST}
