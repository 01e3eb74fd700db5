"""Precisions compared: a row per claim of equivalence between two precisions, and a decision for each task.

A precision passes on a task if every claim about it and the task is reproduced: an equivalence for each
architecture that the suite trains in it, and any other claim about these runs alone. Claims that are
undecided, not comparable or missing do not pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.check import Verdict
from bench.check.equivalence import Side
from bench.digits import error_text, plus_minus
from bench.report.tables.table import Table, TableCell
from bench.report.text import first_few
from bench.run import Run
from bench.words import architecture_name

if TYPE_CHECKING:
    from bench.suite import Suite

RULE = (
    "Mean errors at the last step ± standard error over seeds, their ratio, and its 90 % interval from a "
    "bootstrap over seeds, widened as few of them require. Reproduced: the interval lies within the claim's "
    "range of ratios. Undecided: it does not, nor is all of it outside on one side; or a seed diverged. Not "
    "comparable: the reference learned too little."
)
COLUMNS = [
    "claim", "task", "architecture", "precision", "reference", "mean", "mean_se", "seeds", "reference_mean",
    "reference_mean_se", "reference_seeds", "ratio", "ratio_low", "ratio_high", "paired", "verdict", "reason",
]  # fmt: skip


@dataclass(frozen=True)
class Precisions:
    """The section: its table, and a task's title with its decision for each task."""

    table: Table
    decisions: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _Row:
    """A claim of equivalence, one run of each side, and the title of their task."""

    verdict: Verdict
    subject: Run
    reference: Run
    task: str


def precisions(suite: Suite, verdicts: Iterable[Verdict], titles: Mapping[str, str]) -> Precisions | None:
    """The section; None if no claim compares two precisions.

    Args:
        suite: what was planned.
        verdicts: on its claims.
        titles: task id → name for people.
    """
    runs = {run.id: run for run in suite.runs}
    verdicts = [verdict for verdict in verdicts if verdict.run_ids]
    rows = []
    for verdict in verdicts:
        subject, reference = runs[verdict.run_ids[0]], runs[verdict.run_ids[-1]]  # subject first
        if verdict.kind == "equivalent" and subject.precision != reference.precision:
            rows.append(_Row(verdict, subject, reference, titles[subject.task_id]))
    if not rows:
        return None
    by_task: dict[str, list[_Row]] = {}
    for row in rows:
        by_task.setdefault(row.subject.task_id, []).append(row)
    decisions = [
        (group[0].task, _decision(group, _tried(suite, task_id), _other_claims(verdicts, runs, task_id)))
        for task_id, group in by_task.items()
    ]
    return Precisions(_table(rows), decisions)


def _tried(suite: Suite, task_id: str) -> dict[str, set[str]]:
    """By precision, the architectures that the suite trains in it on one task."""
    tried: dict[str, set[str]] = {}
    for run in suite.runs:
        if run.task_id == task_id:
            tried.setdefault(run.precision, set()).add(run.architecture.name)
    return tried


def _other_claims(
    verdicts: Iterable[Verdict], runs: Mapping[str, Run], task_id: str
) -> list[tuple[Verdict, set[str]]]:
    """Claims of other kinds about runs of one task alone, with the precisions of these runs."""
    claims = []
    for verdict in verdicts:
        used = [runs[run_id] for run_id in verdict.run_ids]
        if verdict.kind != "equivalent" and {run.task_id for run in used} == {task_id}:
            claims.append((verdict, {run.precision for run in used}))
    return claims


def _decision(
    rows: Sequence[_Row], tried: Mapping[str, set[str]], other_claims: Sequence[tuple[Verdict, set[str]]]
) -> str:
    """Which precisions may become the task's default, and what keeps the others from it."""
    reference = rows[0].reference.precision
    passing, failing = [], []
    for precision in dict.fromkeys(row.subject.precision for row in rows):
        compared = [row for row in rows if row.subject.precision == precision]
        objections = [
            f"{architecture_name(row.subject.architecture.name)} {row.verdict.verdict}"
            for row in compared
            if row.verdict.verdict != "reproduced"
        ]
        untested = tried.get(precision, set()) - {row.subject.architecture.name for row in compared}
        objections += [f"{architecture_name(name)} not compared" for name in sorted(untested)]
        objections += [
            f"{verdict.claim} {verdict.verdict}"
            for verdict, used in other_claims
            if precision in used <= {precision, reference} and verdict.verdict != "reproduced"
        ]
        if objections:
            failing.append(f"Not {precision}: {', '.join(first_few(objections))}.")
        else:
            passing.append(precision)
    head = f"{' or '.join(passing)} may become the default." if passing else f"{reference} stays the default."
    return " ".join([head, *failing])


def _table(rows: Sequence[_Row]) -> Table:
    references = list(dict.fromkeys(row.reference.precision for row in rows))
    single = references[0] if len(references) == 1 else "reference"
    columns = ["task", "architecture", "precision", *([] if len(references) == 1 else ["reference"])]
    columns += [f"mean error in {single}", "mean error", "ratio", "90 % interval", "seeds", "verdict"]
    cells = []
    for row in rows:
        names = [row.task, architecture_name(row.subject.architecture.name), row.subject.precision]
        names += [] if len(references) == 1 else [row.reference.precision]
        cells.append([*map(TableCell, names), *_numbers(row.verdict), TableCell(row.verdict.verdict)])
    numbers = pd.DataFrame([_record(row) for row in rows], columns=COLUMNS)
    text = frozenset({"task", "architecture", "precision", "reference", "verdict"})
    return Table("precisions", RULE, columns, cells, numbers, text)


def _numbers(verdict: Verdict) -> list[TableCell]:
    comparison = verdict.comparison
    if comparison is None:
        return [TableCell("no number", absent=True)] * 5
    sides = [TableCell(_mean(comparison.reference)), TableCell(_mean(comparison.subject))]
    counts = dict.fromkeys((comparison.reference.seeds, comparison.subject.seeds))
    seeds = TableCell(" and ".join(map(str, counts)))
    if comparison.ratio is None:
        return [*sides, *[TableCell("no ratio", absent=True)] * 2, seeds]
    ends = f"{comparison.ratio.low:.3f} to {comparison.ratio.high:.3f}"
    return [*sides, TableCell(f"{comparison.ratio.value:.3f}"), TableCell(ends), seeds]


def _mean(side: Side) -> str:
    if side.standard_error is None:
        return error_text(side.mean)
    return plus_minus(side.mean, side.standard_error)


def _record(row: _Row) -> dict[str, Any]:
    record: dict[str, Any] = {
        "claim": row.verdict.claim,
        "task": row.task,
        "architecture": row.subject.architecture.base_name,
        "precision": row.subject.precision,
        "reference": row.reference.precision,
        "verdict": row.verdict.verdict,
        "reason": row.verdict.reason,
    }
    if comparison := row.verdict.comparison:
        subject, reference = comparison.subject, comparison.reference
        record |= {"mean": subject.mean, "mean_se": subject.standard_error, "seeds": subject.seeds}
        record |= {"reference_mean": reference.mean, "reference_mean_se": reference.standard_error}
        record |= {"reference_seeds": reference.seeds}
        if ratio := comparison.ratio:
            record |= {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
            record |= {"paired": ratio.paired}
    return record
