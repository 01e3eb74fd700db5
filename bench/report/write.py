"""From a suite, its results and the verdicts on them to files in a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.check import to_json
from bench.exhibits import named
from bench.files import write_atomically
from bench.report import budget_tables, budgets, page, planned, provenance, save, table_files
from bench.report.drawing import Drawing
from bench.report.paper.exhibits import exhibits
from bench.report.paper.frame import paper_frame
from bench.report.precisions import precisions
from bench.report.runs import run_facts
from bench.report.sections import section
from bench.report.tables import Table
from bench.results import Pool, withdrawn
from bench.suite import owner

if TYPE_CHECKING:
    from bench.check import Verdict
    from bench.suite import Suite

MANIFEST = "files.txt"
"""Names what a report wrote, so that the next one removes what it no longer writes, and nothing else."""
OWNER = "suite.txt"
"""Names the suite file, relative to the report: another file of the same name does not overwrite it."""
AGAINST_FLOPS = {"Figure 2", "Figure 3", "Figure 8"}
"""Figures whose models are compared at equal FLOPs; every model of a suite that rebuilds none of them is."""


def write(
    suite: Suite, pool: Pool, folder: Path, states: Mapping[str, str], verdicts: Sequence[Verdict]
) -> list[Path]:
    """See `bench.report.write_report`."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        owner.refuse_other(suite, folder, (folder / OWNER).read_text(encoding="utf-8"))
    files = contents(suite, pool, states, verdicts)
    files[OWNER] = f"{owner.note(suite, folder)}\n".encode()
    stale = _listed(folder) - files.keys()
    files[MANIFEST] = "".join(f"{name}\n" for name in sorted(files)).encode()
    for name, data in files.items():
        write_atomically(folder / name, data)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]


def contents(
    suite: Suite, pool: Pool, states: Mapping[str, str], verdicts: Sequence[Verdict] = ()
) -> dict[str, bytes]:
    """Every file of the report by its path inside the folder, index.html first."""
    taken: set[str] = set()
    architectures = sorted({run.architecture.base_name for run in suite.runs})
    experiments = [
        section(experiment, pool, states, architectures, taken) for experiment in suite.experiments
    ]
    cited = {number for verdict in verdicts for number in named(verdict.source or "")}
    shown = exhibits(suite, pool, states, cited)
    plan = planned.planned(suite.runs, pool, states)
    tasks = dict(zip(plan["task_id"], plan["task"], strict=True))
    beyond = _beyond(suite, pool, states)
    compared = precisions(suite, verdicts, tasks)
    drawings = [
        *(each.drawing for each in shown if each.drawing),
        *(drawing for experiment in experiments for drawing in experiment.drawings()),
    ]
    tables = [
        *(table for each in shown for table in each.tables),
        *beyond,
        *([compared.table] if compared else []),
        *(table for each in experiments for task in each.tasks for table in (task.results, task.rates)),
    ]
    deviations = provenance.deviations(suite)
    report = page.Report(
        suite.name,
        suite.description,
        planned.counts(plan),
        planned.total(plan["planned_flops"]),
        planned.total(plan["done_flops"]),
        verdicts,
        compared,
        shown,
        beyond,
        experiments,
        provenance.summarise(pool, plan["id"], tasks),
        deviations,
        pool.problems,
        withdrawn.lines(pool.withdrawn, {*pool.runs, *pool.baselines}, {*plan["id"], *tasks}),
        run_facts(suite, pool, (key for each in drawings for spot in each.spots for key in spot.run_ids)),
    )
    drawn = save.all_encoded({drawing.name: drawing.figure for drawing in drawings})
    return {
        "index.html": page.html(report, drawn),
        "README.md": page.readme(report),
        **({"verdicts.json": _json(verdicts)} if verdicts else {}),
        **{f"figures/{name}.{kind}": data for name, kinds in drawn.items() for kind, data in kinds.items()},
        **{f"tables/{drawing.name}.csv": _numbers(drawing) for drawing in drawings},
        **_table_files([*tables, deviations]),
    }


def _beyond(suite: Suite, pool: Pool, states: Mapping[str, str]) -> list[Table]:
    """Comparisons at equal FLOPs: one table for all tasks, then one a task."""
    chosen = [each for each in suite.experiments if AGAINST_FLOPS & set(named(each.rebuilds))]
    runs = (run for each in chosen or suite.experiments for run in each.runs)
    found = budgets.standings(paper_frame(runs, pool, states), pool)
    standings = [each for each in found if each.has_frontiers]
    if not standings:
        return []
    taken: set[str] = set()
    rankings = [budget_tables.ranking_table(each, taken) for each in standings if each.budgets()]
    return [budget_tables.matching_table(standings), *rankings]


def _table_files(tables: Iterable[Table]) -> dict[str, bytes]:
    return {
        f"tables/{table.name}.{kind}": data
        for table in tables
        for kind, data in table_files.encoded(table).items()
    }


def _json(verdicts: Sequence[Verdict]) -> bytes:
    return (json.dumps(to_json(verdicts), indent=2, ensure_ascii=False) + "\n").encode()


def _numbers(drawing: Drawing) -> bytes:
    return table_files.csv(_plain(drawing.numbers))


def _plain(numbers: pd.DataFrame) -> pd.DataFrame:
    """Without columns that hold lists."""
    return numbers[
        [name for name in numbers if not numbers[name].map(lambda one: isinstance(one, list)).any()]
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
