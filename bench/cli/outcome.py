"""Messages of `bench run`: the runs to train, and how they ended."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import typer

from bench import results as pools
from bench.cli import printing
from bench.cli.arguments import SuiteChoice
from bench.cli.signals import exit_code
from bench.cli.time_limit import UNFINISHED
from bench.digits import count_of
from bench.dispatch.job import Baselines, Job, is_done
from bench.dispatch.order import Order
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.stacking import interrupted_stacks
from bench.dispatch.state import Folder
from bench.dispatch.status import WORDS, RunStatus, run_statuses
from bench.errors import UserError
from bench.plan.planned import Planned
from bench.results import STATE
from bench.run import Run

ASK_BEYOND_SECONDS = 3 * 3600.0
"""Longer work starts only after a question."""


def say_states(name: str, chosen: list[Planned], todo: list[Planned], out: printing.Output) -> None:
    """Print one line: the suite's runs by state, and the number of runs to train."""
    words = Counter(entry.status.word for entry in chosen)
    states = ", ".join(f"{words[word]:,} {word}" for word in WORDS if words[word])
    flops = printing.flops(sum(entry.axis_flops for entry in todo))
    ahead = f" {count_of(len(todo), 'run')} to train, {flops} {printing.FLOPS}." if todo else ""
    out.say(f"Suite {name}: {count_of(len(chosen), 'run')} ({states}).{ahead}")


def confirm(seconds: float, cost: str, yes: bool) -> None:
    """Ask before long work. Scripts must use --yes.

    Args:
        seconds: expected time, cautious where it is unknown (`Planned.cautious_seconds`).
        cost: the expected time, as text for the user.
        yes: whether the user has agreed already.

    Raises:
        UserError: standard input is not a terminal.
        typer.Abort: the answer is no.
    """
    if yes or seconds <= ASK_BEYOND_SECONDS:
        return
    if not sys.stdin.isatty():
        raise UserError(
            f"not started: this takes {cost}; use --yes to start it without a question, "
            "or select fewer runs with --filter and --limit"
        )
    typer.confirm("Start? (--filter and --limit select fewer runs.)", abort=True)


def forget_failures(jobs: Iterable[Job], results: Path) -> None:
    """Remove failure records, so that the jobs are tried again."""
    for job in jobs:
        Folder.of(results, job.id).forget_failure()


def name_of(job: Job) -> str:
    """A job's name for people."""
    return f"baselines of {job.task.name}" if isinstance(job, Baselines) else f"{job.task.name}/{job.label}"


def conclude(
    choice: SuiteChoice, order: Order, todo: list[Planned], jobs: list[Job], out: printing.Output
) -> None:
    """Print how every run ended.

    Raises:
        typer.Exit: code 1 unless every run finished or diverged; 143 if the workers were told to stop.
    """
    results = order.results
    pool = pools.load(results)
    statuses = run_statuses([entry.run for entry in todo], results, pool, ask_queue(results))
    words = Counter(status.word for status in statuses.values())
    summary = ", ".join(f"{words[word]:,} {word}" for word in WORDS if words[word])
    if summary:
        out.say(f"Done: {summary}.")
    _say_why(todo, statuses, out)
    lost = [job for job in jobs if isinstance(job, Baselines) and not is_done(job, results)]
    failures = [Folder.of(results, job.id).failure() for job in lost]
    for job, failure in zip(lost, failures, strict=True):
        why = f"failed: {failure.get('class')}: {failure.get('message')}" if failure else "missing"
        out.say(f"  {name_of(job)}: {why}")
    if reason := order.abandoned():
        out.say(f"Abandoned: {reason}. {count_of(words['missing'], 'run')} not started.", style="red")
    if words["failed"]:
        out.say(f"See the tracebacks with: bench failures {choice}")
    if words["failed"] or any(failures):
        out.say(f"Try failed runs again with: bench run {choice.to_run} --retry failed")
        raise typer.Exit(1)
    if words["missing"] or lost:
        raise typer.Exit(_say_why_missing(choice, order, todo, statuses, out))
    out.say(f"Next: bench report {choice}")


def _say_why_missing(
    choice: SuiteChoice,
    order: Order,
    todo: Iterable[Planned],
    statuses: Mapping[str, RunStatus],
    out: printing.Output,
) -> int:
    """Print why runs have neither a result nor a failure, and how to go on. Returns the exit code."""
    if order.abandoned():
        out.say(f"Start the remaining runs with: bench run {choice.to_run}")
    elif any(statuses[entry.run.id].job for entry in todo):
        out.say(f"Interrupted. Run the same command again to resume. See bench status {choice}")
    elif any("ended" in (Folder.of(order.results, entry.run.id).heartbeat() or {}) for entry in todo):
        out.say(f"Workers were told to stop, and saved. Resume with: bench run {choice.to_run}")
        return exit_code(signal.SIGTERM)
    else:
        logs = f"{order.results / STATE}/worker-*.log"
        out.say(f"Some runs left no result and no failure. See the reason in {logs}")
    return 1


def conclude_early(
    order: Order,
    chosen: list[Planned],
    todo: list[Planned],
    jobs: list[Job],
    seconds_left: float | None,
    out: printing.Output,
) -> bool:
    """Print what is left when the time of `--for` is over. Returns False if nothing is left.

    Args:
        order: the order of this command.
        chosen: the runs that the command was asked for.
        todo: those of them that had no result.
        jobs: everything that the command was to do.
        seconds_left: expected time of the remaining work; None if unknown.
        out: the output.

    Raises:
        typer.Exit: code `UNFINISHED` if runs are left.
    """
    results = order.results
    statuses = run_statuses([entry.run for entry in chosen], results, pools.load(results))
    left = [job for job in jobs if not is_done(job, results) and not Folder.of(results, job.id).failure()]
    if not left:
        return False
    words = Counter(status.word for status in statuses.values())
    ended = [f"{words['finished']:,} of {len(chosen):,} finished"]
    ended += [f"{words[word]:,} {word}" for word in ("diverged", "failed") if words[word]]
    # Runs that have only to be stored take no time.
    time_left = "" if not seconds_left else f" (about {printing.duration(seconds_left)} left)"
    out.say(f"{', '.join([*ended, *_saved(left, results)])}{time_left}; run the same command again.")
    _say_why(todo, statuses, out)
    raise typer.Exit(UNFINISHED)


def _say_why(todo: Iterable[Planned], statuses: Mapping[str, RunStatus], out: printing.Output) -> None:
    """Print why runs failed or diverged."""
    for entry in todo:
        status = statuses[entry.run.id]
        if status.note and status.word in ("failed", "diverged"):
            out.say(f"  {name_of(entry.run)}: {status.word}: {status.note}")


def _saved(jobs: Iterable[Job], results: Path) -> Iterator[str]:
    """In words: the runs that were saved, with their steps, and those that did not save in time."""
    runs = {job.id: job for job in jobs if isinstance(job, Run)}
    compositions = [ids for ids in interrupted_stacks(results) if not runs.keys().isdisjoint(ids)]
    in_stacks = {identifier for ids in compositions for identifier in ids}
    alone = [[run.id] for run in runs.values() if run.id not in in_stacks]
    saved: dict[int, list[int]] = {}
    late = 0
    for ids in [*compositions, *(ids for ids in alone if Folder.of(results, ids[0]).has_checkpoint())]:
        members = [identifier for identifier in ids if identifier in runs]
        beats = [Folder.of(results, identifier).heartbeat() or {} for identifier in members]
        if all("ended" in beat for beat in beats):
            saved.setdefault(runs[members[0]].steps, []).extend([int(beats[0].get("step", 0))] * len(members))
        else:
            late += len(members)
    if not saved and not late:
        yield "none in training yet"
    for steps, done in saved.items():
        least, most = min(done), max(done)
        where = f"step {most:,}" if least == most else f"steps {least:,} to {most:,}"
        yield f"{count_of(len(done), 'run')} saved at {where} of {steps:,}"
    if late:
        yield f"{count_of(late, 'run')} will resume from an earlier checkpoint"


def say_failed(chosen: list[Planned], choice: SuiteChoice, out: printing.Output) -> None:
    """Print the runs that failed earlier, and the command that tries them again."""
    failed = [entry for entry in chosen if entry.status.word == "failed"]
    for entry in failed:
        out.say(f"  {name_of(entry.run)}: failed: {entry.status.note}")
    if failed:
        out.say(f"Try failed runs again with: bench run {choice.to_run} --retry failed")
