"""`bench withdraw`: exclude wrong results; their files stay."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench import results as pools
from bench.cli import printing
from bench.cli.arguments import RESULTS, Changes, Plugins, Results, SuiteChoice, optional_suite
from bench.digits import count_of
from bench.errors import UserError
from bench.filters import RUN_FIELDS, matching
from bench.models.sizes import size_key
from bench.results import BaselinesRecord, Record, RunRecord, Withdrawal, withdrawn
from bench.results.record import RecordedRun
from bench.run import Run

FIELDS_HELP = (
    "Only results that match all terms, e.g. 'commit=1a2b3c* kernels=triton'. Fields: id, "
    f"kind (run, baselines), {', '.join(RUN_FIELDS)}, size, kernels, commit, device, host, bench."
)


def command(
    plugin: Plugins,
    changes: Changes,
    suite: Annotated[str | None, optional_suite("Only results of this suite")] = None,
    results: Results = RESULTS,
    filter: Annotated[
        str | None,
        typer.Option("--filter", metavar="TERMS", help=FIELDS_HELP),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why the results no longer count. Reports show it.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Count withdrawn results again.")] = False,
) -> None:
    """Withdraw wrong results: files stay, runs become missing. Without --filter, list them."""
    withdraw_results(SuiteChoice.optional(suite, changes), results, filter, reason, undo)


@dataclass(frozen=True)
class _Candidate:
    """A result file, or a withdrawal whose file is gone."""

    id: str
    record: Record | None
    path: Path | None = None
    entry: Withdrawal | None = None


def withdraw_results(
    suite: SuiteChoice | None, results: Path, terms: str | None, reason: str | None, undo: bool
) -> None:
    """Withdraw the results that match, or undo it; without a filter, list withdrawn results.

    Raises:
        UserError: options do not fit together, or the filter matches nothing.
    """
    pools.require(results)
    out = printing.Output()
    ids = None if suite is None else _ids(suite)
    if terms is None:
        if reason is not None or undo:
            raise UserError(
                "--filter is missing; for example --filter 'commit=abc1234*', or 'id=*' for all results"
            )
        _list(results, ids, out)
    elif undo:
        if reason is not None:
            raise UserError("--undo takes no --reason: the withdrawals are removed with theirs")
        _undo(results, ids, terms, out)
    else:
        if not (reason or "").strip():
            raise UserError('--reason is missing; for example --reason "the kernel was wrong"')
        _withdraw(results, ids, terms, " ".join(str(reason).split()), out)


def _ids(suite: SuiteChoice) -> set[str]:
    runs = suite.load().runs
    return {run.id for run in runs} | {run.task_id for run in runs}


def _list(results: Path, ids: set[str] | None, out: printing.Output) -> None:
    pool = pools.load(results)
    lines = withdrawn.lines(pool.withdrawn, pool.runs.keys() | pool.baselines.keys(), ids)
    for line in lines:
        out.say(line)
    if not lines:
        out.say("No result is withdrawn.")


def _withdraw(results: Path, ids: set[str] | None, terms: str, reason: str, out: printing.Output) -> None:
    date, entries = time.strftime("%Y-%m-%d"), withdrawn.withdrawals(results)
    count = 0
    while chosen := _matching(_counted(results, ids, terms), terms, results, count):
        for candidate in chosen:
            assert candidate.record is not None
            assert candidate.path is not None
            digest = withdrawn.sha256(candidate.path.read_bytes())
            entries.append(Withdrawal(candidate.id, digest, candidate.record.name, reason, date))
        withdrawn.write(results, entries)
        count += len(chosen)  # repeat: a copy with other provenance may count now
    out.say(f"{count_of(count, 'result')} withdrawn: {reason}. The files stay; --undo counts them again.")
    out.say("The runs count as missing: bench run trains them again.")


def _undo(results: Path, ids: set[str] | None, terms: str, out: printing.Output) -> None:
    entries = withdrawn.withdrawals(results)
    if not entries:
        raise UserError(f"{results}: no result is withdrawn, so there is nothing to undo")
    pool = pools.load(results)
    candidates = [
        _Candidate(entry.id, pool.withdrawn_records.get((entry.id, entry.sha256)), entry=entry)
        for entry in entries
        if ids is None or entry.id in ids
    ]
    chosen = {
        candidate.entry
        for candidate in matching(
            candidates, terms, _FIELDS, f"the {count_of(len(candidates), 'withdrawn result')}"
        )
    }
    withdrawn.write(results, [entry for entry in entries if entry not in chosen])
    out.say(f"{count_of(len(chosen), 'result')} no longer withdrawn.")


def _counted(results: Path, ids: set[str] | None, terms: str) -> list[_Candidate]:
    """Results that count: runs, and baselines if the filter has a term about the kind."""
    pool = pools.load(results)
    records: list[Record] = [*pool.runs.values()]
    if any(term.startswith("kind=") for term in terms.split()):
        records += pool.baselines.values()
    return [
        _Candidate(record.id, record, pool.paths[record.kind, record.id])
        for record in records
        if ids is None or record.id in ids
    ]


def _matching(candidates: list[_Candidate], terms: str, results: Path, before: int) -> list[_Candidate]:
    """The results that match. No match is an error only if no result was withdrawn before."""
    try:
        return matching(
            candidates, terms, _FIELDS, f"the {count_of(len(candidates), 'result')} under {results}"
        )
    except UserError:
        if before:
            return []
        raise


def _of_run(value: Callable[[Run | RecordedRun], str]) -> Callable[[_Candidate], list[str]]:
    def values(candidate: _Candidate) -> list[str]:
        return [value(candidate.record.run)] if isinstance(candidate.record, RunRecord) else []

    return values


def _of_processes(of_last: str, of_piece: str = "") -> Callable[[_Candidate], list[str]]:
    """A field of every process that trained the run.

    Args:
        of_last: its name in `Provenance`, which describes the process that stored the result.
        of_piece: its name in `Piece`; "" if pieces do not state it.
    """

    def values(candidate: _Candidate) -> list[str]:
        if candidate.record is None:
            return []
        origin = candidate.record.provenance
        of_pieces = [getattr(piece, of_piece) for piece in origin.pieces or []] if of_piece else []
        return [getattr(origin, of_last) or "", *filter(None, of_pieces)]

    return values


def _task(candidate: _Candidate) -> list[str]:
    if candidate.record is None:
        return []
    task = (
        candidate.record.task if isinstance(candidate.record, BaselinesRecord) else candidate.record.run.task
    )
    return [task.name]


def _size(candidate: _Candidate) -> list[str]:
    if not isinstance(candidate.record, RunRecord):
        return []
    return [candidate.record.facts.size_group or "", size_key(candidate.record.run.size)]


_FIELDS: dict[str, Callable[[_Candidate], list[str]]] = {
    "id": lambda candidate: [candidate.id],
    "kind": lambda candidate: [candidate.record.kind] if candidate.record else [],
    **{name: _of_run(value) for name, value in RUN_FIELDS.items()},
    "task": _task,  # baselines have one too
    "size": _size,
    "kernels": _of_processes("scan", "kernels"),
    "scan": _of_processes("scan", "kernels"),  # the name in result files
    "commit": _of_processes("commit", "commit"),
    "device": _of_processes("device", "device"),
    "host": _of_processes("host", "host"),
    "bench": _of_processes("bench"),
}
