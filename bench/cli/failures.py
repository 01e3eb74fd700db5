"""`bench failures`: failed runs by cause, with a traceback per cause and the command that retries them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import typer

from bench import results as pools
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
from bench.digits import count_of
from bench.dispatch.failure_causes import Cause, cause
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.slurm.submission import why_abandoned
from bench.dispatch.state import Folder
from bench.plan.planned import Planned, plan
from bench.plan.time import Speeds

MOST_NAMED = 5
"""Largest number of runs that are listed for each cause."""
TRACEBACK_LINES = 12
"""Largest number of lines of a traceback."""


def command(
    suite: SuiteWord,
    plugin: Plugins,
    changes: Changes,
    results: Results = RESULTS,
    filter: Filter = None,
    shard: ShardText = None,
    json: Json = False,
) -> None:
    """List failed runs by cause: one traceback each, the runs, the command to try them again.

    Exit code 1: a run has failed.
    """
    failed = show_failures(SuiteChoice.of(suite, changes, shard, results, filter), json)
    raise typer.Exit(1 if failed else 0)


@dataclass(frozen=True)
class _Failed:
    """A run that failed, and its record."""

    planned: Planned
    record: dict[str, Any]


def show_failures(choice: SuiteChoice, as_json: bool = False) -> int:
    """Print the failed runs of a suite, the most frequent cause first; return their number."""
    suite, results = choice.load(), choice.results
    pool = pools.load(results)
    planned = plan(suite, results, pool, Speeds(pools.Pool()), ask_queue(results))
    causes: dict[Cause, list[_Failed]] = defaultdict(list)
    for entry in choice.chosen(suite, planned):
        if entry.status.word == "failed":
            record = Folder.of(results, entry.run.id).failure() or {}
            causes[cause(record)].append(_Failed(entry, record))
    groups = sorted(causes.items(), key=lambda reason: -len(reason[1]))
    abandoned = why_abandoned(results, suite.name)
    out = printing.Output()
    if as_json:
        out.json(
            {
                "suite": suite.name,
                "causes": [_as_json(reason, failed, choice) for reason, failed in groups],
                "abandoned": abandoned,
            }
        )
        return sum(map(len, causes.values()))
    for number, (reason, failed) in enumerate(groups):
        if number:
            out.print()
        _show(reason, failed, choice, out)
    if not groups:
        chosen = "chosen " if choice.is_part else ""
        out.say(f"No {chosen}run of suite {suite.name} has failed.")
    if abandoned:
        out.say(f"abandoned: {abandoned}", style="red")
    return sum(map(len, causes.values()))


def _show(reason: Cause, failed: list[_Failed], choice: SuiteChoice, out: printing.Output) -> None:
    kind, message = reason
    out.say(f"{count_of(len(failed), 'run')}: {kind}: {message}", style="bold red")
    for line in _traceback(failed[-1].record):
        out.say(f"  {line}", style="dim")
    for entry in failed[:MOST_NAMED]:
        run = entry.planned.run
        out.say(f"  {run.task.name}/{run.label}")
    if len(failed) > MOST_NAMED:
        out.say(f"  … and {count_of(len(failed) - MOST_NAMED, 'run')} more")
    out.say(f"  try again: {_retry(failed, choice)}")


def _traceback(record: dict[str, Any]) -> list[str]:
    """The last lines of the traceback of a failure."""
    return str(record.get("traceback", "")).rstrip().splitlines()[-TRACEBACK_LINES:]


def _retry(failed: list[_Failed], choice: SuiteChoice) -> str:
    ids = ",".join(entry.planned.run.id for entry in failed)
    return f"bench run {choice} --retry failed --filter id={ids}"


def _as_json(reason: Cause, failed: list[_Failed], choice: SuiteChoice) -> dict[str, Any]:
    return {
        "class": reason[0],
        "message": reason[1],
        "runs": [
            {
                "id": entry.planned.run.id,
                "label": entry.planned.run.label,
                "step": entry.planned.status.step,
                "message": entry.record.get("message"),
                "time": entry.record.get("time"),
            }
            for entry in failed
        ],
        "traceback": failed[-1].record.get("traceback"),
        "retry": _retry(failed, choice),
    }
