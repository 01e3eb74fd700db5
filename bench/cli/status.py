"""`bench status`: one line per experiment, from files and the cluster's queue."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench import results as pools
from bench import suite as suites
from bench.cli import printing
from bench.cli.arguments import (
    RESULTS,
    Changes,
    Filter,
    Json,
    Plugins,
    Results,
    ShardText,
    SuiteChoice,
    SuiteWord,
)
from bench.cli.plan import known_speeds, withdrawn_lines
from bench.cli.printing import Column
from bench.digits import count_of
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.slurm.submission import why_abandoned
from bench.dispatch.status import WORDS, Queue, Word
from bench.errors import UserError
from bench.files import room_left
from bench.plan.planned import Planned, Total, plan
from bench.results.flops_axis import AXIS

WATCH_SECONDS = 2.0
MOST_NOTES = 5
"""Largest number of different remarks about runs in one state."""
LITTLE_ROOM = 256 << 20
"""Bytes. A few checkpoints fill a disk that has less room."""


def command(
    suite: SuiteWord,
    plugin: Plugins,
    changes: Changes,
    results: Results = RESULTS,
    filter: Filter = None,
    shard: ShardText = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep the table on screen, refreshed every 2 seconds.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a suite's progress: runs by state, FLOPs done, time left; one line per experiment."""
    show_status(SuiteChoice.of(suite, changes, shard, results, filter), watch, json)


def show_status(choice: SuiteChoice, watch: bool = False, as_json: bool = False) -> None:
    """Print the progress of a suite, once or until interrupted.

    Raises:
        UserError: options do not go together.
    """
    if watch and as_json:
        raise UserError("status: --watch is for people and --json for scripts: give only one of them")
    suite = choice.load()
    out = printing.Output()
    if watch:
        _watch(suite, choice, out)
        return
    view = _View.of(suite, choice)
    if as_json:
        out.json(_as_json(view))
        return
    out.print(_table(out, view))
    for text, style in _remarks(view):
        out.say(text, style)


@dataclass(frozen=True)
class _View:
    """The state of a suite at one moment."""

    suite: suites.Suite
    choice: SuiteChoice
    pool: pools.Pool
    queue: Queue
    planned: list[Planned]

    @classmethod
    def of(cls, suite: suites.Suite, choice: SuiteChoice) -> _View:
        results = choice.results
        queue, pool = ask_queue(results), pools.load(results)
        planned = plan(suite, results, pool, known_speeds(pool, results), queue)
        return cls(suite, choice, pool, queue, choice.chosen(suite, planned))

    def with_word(self, word: Word) -> list[Planned]:
        return [entry for entry in self.planned if entry.status.word == word]


def _watch(suite: suites.Suite, choice: SuiteChoice, out: printing.Output) -> None:
    """Print the progress again and again. A filter chooses runs once, as their states change."""

    def shown(view: _View) -> Group:
        return Group(_table(out, view), *(Text(text, style) for text, style in _remarks(view)))

    view = _View.of(suite, choice)
    ids, choice = {entry.run.id for entry in view.planned}, replace(choice, terms=None)
    try:
        with Live(shown(view), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                view = _View.of(suite, choice)
                view = replace(view, planned=[entry for entry in view.planned if entry.run.id in ids])
                live.update(shown(view), refresh=True)
    except KeyboardInterrupt:
        pass


def _remarks(view: _View) -> Iterator[tuple[str, str]]:
    """Problems that the table does not show, and what to do about them, with the style of each line."""
    for entry in view.with_word("running"):
        if entry.status.silent_seconds:
            job = f" in job {entry.status.job}: scancel {entry.status.job}" if entry.status.job else ""
            name = f"{entry.run.task.name}/{entry.run.label}"
            silence = printing.duration(entry.status.silent_seconds)
            yield f"silent for {silence}, it may hang: {name}{job}", "red"
    causes = Counter(entry.status.note for entry in view.with_word("failed"))
    for note, count in causes.most_common(MOST_NOTES):
        yield f"failed, {count_of(count, 'run')}: {note}", "red"
    if causes:
        yield (
            f"Details, and commands to try failed runs again: bench failures {view.choice}",
            "red",
        )
    ended = Counter(
        _without_job(entry.status.note) for entry in view.with_word("missing") if entry.status.note
    )
    for note, count in ended.most_common(MOST_NOTES):
        yield f"missing, {count_of(count, 'run')}: {note}", "yellow"
    waiting = Counter(_without_job(entry.status.note) for entry in view.with_word("queued"))
    for note, count in waiting.most_common(MOST_NOTES):
        yield f"queued, {count_of(count, 'run')}: {note}", "dim"
    if reason := why_abandoned(view.choice.results, view.suite.name):
        yield f"abandoned: {reason}", "red"
    if view.queue.problem:
        yield f"The queue did not answer ({view.queue.problem}): queued runs count as missing.", "yellow"
    if (room := room_left(view.choice.results)) is not None and room < LITTLE_ROOM:
        yield f"{view.choice.results}: its disk has only {room >> 20} MiB left.", "red"
    if view.choice.missing_folder:
        yield view.choice.missing_folder, "yellow"
    for line in withdrawn_lines(view.suite, view.pool):
        yield line, "yellow"
    for problem in view.pool.problems:
        yield problem, "yellow"


def _without_job(note: str) -> str:
    """A note without the number of the job, so that many runs have the same note."""
    return re.sub(r"job \d+(_\d+)?", "its job", note)


def _table(out: printing.Output, view: _View) -> Table:
    words = [word for word in WORDS if view.with_word(word)]
    columns = [Column("experiment", folds=True)]
    columns += [Column(name, number=True) for name in (*words, "done", "worker time left", "ends in")]
    columns += [Column(printing.FLOPS, number=True, spare=True)]
    rows = []
    for name, members in _groups(view.suite, view.planned):
        facts = _facts(members)
        finished, total = facts[f"{AXIS}_done"], facts[AXIS]
        states = (
            Text(f"{facts['states'][word]:,}", printing.STATE_STYLES[word]) if facts["states"][word] else "·"
            for word in words
        )
        eta, seconds = facts["eta_seconds"], facts["seconds_left"]
        complete = seconds == 0 and not facts["runs_unknown"]
        times = ["–" if complete else printing.expected(seconds, facts["runs_unknown"])]
        times.append(printing.duration(eta) if eta else "–")
        percent = printing.percent(finished, total)
        rows.append((name, *states, percent, *times, printing.flops(total)))
    return printing.table(out, columns, rows)


def _groups(suite: suites.Suite, planned: list[Planned]) -> list[tuple[str, list[Planned]]]:
    groups = [
        (experiment.name, members)
        for experiment in suite.experiments
        if (members := [entry for entry in planned if experiment.name in entry.experiments])
    ]
    return [*groups, ("all, each run once", planned)]


def _facts(planned: list[Planned]) -> dict[str, Any]:
    """Runs by state, FLOPs done and in all, worker-seconds left, and seconds to the end."""
    words = Counter(entry.status.word for entry in planned)
    pace = _pace(planned)
    seconds_left = [_seconds_left(entry, pace) for entry in planned]
    total = Total.of(seconds_left)
    return {
        "states": {word: words[word] for word in WORDS},
        **{
            f"{count}{suffix}": sum(getattr(entry, count) * share(entry) for entry in planned)
            for count in ("training_flops", "training_flops_full_length")
            for suffix, share in (("_done", lambda entry: entry.share_done), ("", lambda entry: 1))
        },
        "seconds_left": total.seconds,
        "runs_unknown": total.unknown,
        "eta_seconds": _eta(planned, seconds_left, total),
    }


def _eta(planned: list[Planned], seconds_left: list[float | None], total: Total) -> float | None:
    """Seconds until all runs have ended, if as many workers go on; None if that is unknown.

    A run of a stack of m members counts as 1/m of a worker, and has 1/m of the seconds of its stack.
    """
    running = [
        (entry.status.stack, seconds)
        for entry, seconds in zip(planned, seconds_left, strict=True)
        if entry.status.word == "running" and seconds is not None
    ]
    if not running or total.unknown or total.seconds is None:
        return None
    workers = sum(1 / members for members, _ in running)
    longest_stack = max(members * seconds for members, seconds in running)
    return max(total.seconds / workers, longest_stack)


def _pace(planned: list[Planned]) -> float:
    """Measured over expected seconds per step, the median of the running runs; 1 if nothing runs."""
    ratios = [
        entry.run.steps / (entry.status.steps_per_second * entry.status.stack * seconds)
        for entry in planned
        if entry.status.word == "running" and entry.status.steps_per_second > 0 and entry.estimate.seconds
        if (seconds := entry.estimate.seconds - entry.estimate.evaluation_seconds) > 0
    ]
    return statistics.median(ratios) if ratios else 1.0


def _seconds_left(entry: Planned, pace: float) -> float | None:
    """Worker-seconds left of a run: at its own pace while it runs, else as expected; None if unknown.

    A run counts with its share of its stack. Scaled estimates are multiplied by the pace of the running runs.
    """
    status = entry.status
    if status.word == "running" and status.steps_per_second > 0:
        steps = max(0, entry.run.steps - status.step) / (status.steps_per_second * status.stack)
        return steps + entry.evaluation_seconds_left
    if entry.remaining_seconds is None:
        return None
    return entry.remaining_seconds * (1.0 if entry.estimate.basis == "measured" else pace)


def _as_json(view: _View) -> dict[str, Any]:
    groups = _groups(view.suite, view.planned)

    def runs(word: Word) -> list[dict[str, Any]]:
        return [
            {"id": entry.run.id, "label": entry.run.label, **vars(entry.status)}
            for entry in view.with_word(word)
        ]

    return {
        "suite": view.suite.name,
        "experiments": {name: _facts(members) for name, members in groups[:-1]},
        "total": _facts(view.planned),
        "running": runs("running"),
        "queued": runs("queued"),
        "failed": runs("failed"),
        "missing": [entry for entry in runs("missing") if entry["note"]],
        "queue_problem": view.queue.problem or None,
        "problems": view.pool.problems,
    }
