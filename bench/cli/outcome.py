"""What `bench run` says before and after: what there is to do, and what came of it."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import typer

from bench import plugins
from bench import results as pool_of
from bench.cli import format
from bench.dispatch.job import Baselines, Job, is_done
from bench.dispatch.order import Order
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.state import Folder
from bench.dispatch.status import WORDS, run_statuses
from bench.errors import UserError
from bench.plan import Planned
from bench.results import STATE

ASK_BEYOND_SECONDS = 3 * 3600.0


def say_what_is_there(name: str, chosen: list[Planned], todo: list[Planned], out: format.Output) -> None:
    """One line: the suite's runs by state, and those that are to be trained."""
    words = Counter(one.status.word for one in chosen)
    states = ", ".join(f"{words[word]:,} {word}" for word in WORDS if words[word])
    flops = format.flops(sum(one.training_flops for one in todo))
    ahead = f" {format.count(len(todo), 'run')} to train, {flops} FLOPs." if todo else ""
    out.say(f"Suite {name}: {format.count(len(chosen), 'run')} ({states}).{ahead}")


def agree(seconds: float, cost: str, yes: bool) -> None:
    """Ask before long work; scripts must say --yes.

    Args:
        seconds: to be reckoned with (`Planned.cautious_seconds`).
        cost: what the user is told.
        yes: whether the user has agreed already.

    Raises:
        UserError: where nobody can be asked.
        typer.Abort: when the answer is no.
    """
    if yes or seconds <= ASK_BEYOND_SECONDS:
        return
    if not sys.stdin.isatty():
        raise UserError(
            f"not started: this takes {cost}; say --yes to start it without being asked, "
            "or take a part of it with --filter and --limit"
        )
    typer.confirm("Start? --filter and --limit take a part of it.", abort=True)


def forgive(jobs: Iterable[Job], results: Path) -> None:
    """Forget what failed, so that it is tried again."""
    for job in jobs:
        Folder.of(results, job.id).forgive()


def name_of(job: Job) -> str:
    """How a job is called in what people read."""
    return f"baselines of {job.task.name}" if isinstance(job, Baselines) else f"{job.task.name}/{job.label}"


def conclude(path: Path, order: Order, todo: list[Planned], jobs: list[Job], out: format.Output) -> None:
    """Say how everything that was started ended.

    Raises:
        typer.Exit: code 1 unless everything finished or diverged.
    """
    results, suite = order.results, f"{path}{plugins.flags()}"
    pool = pool_of.load(results)
    found = run_statuses([one.run for one in todo], results, pool, ask_queue(results))
    words = Counter(status.word for status in found.values())
    summary = ", ".join(f"{words[word]:,} {word}" for word in WORDS if words[word])
    if summary:
        out.say(f"Done: {summary}.")
    for one in todo:
        status = found[one.run.id]
        if status.note and status.word in ("failed", "diverged"):
            out.say(f"  {name_of(one.run)}: {status.word}: {status.note}")
    lost = [job for job in jobs if isinstance(job, Baselines) and not is_done(job, results)]
    for job in lost:
        failure = Folder.of(results, job.id).failure() or {}
        reason = f"{failure.get('class', 'no result')}: {failure.get('message', '')}"
        out.say(f"  {name_of(job)}: failed: {reason}")
    if why := order.stopped():
        out.say(f"Called off: {why}. {format.count(words['missing'], 'run')} not started.", style="red")
    if words["failed"] or lost:
        out.say(f"What failed is tried again with: bench run {suite} --retry failed")
        raise typer.Exit(1)
    if words["missing"]:
        told = [one for one in todo if "ended" in (Folder.of(results, one.run.id).heartbeat() or {})]
        if why:
            out.say(f"What was not started is started by the same command: bench run {suite}")
        elif any(found[one.run.id].job for one in todo):
            out.say(f"What is missing was cut off; the same command goes on. See bench status {suite}")
        elif told:
            out.say(f"Workers were told to stop, and saved. The same command goes on: bench run {suite}")
            raise typer.Exit(128 + signal.SIGTERM)
        else:
            logs = f"{results / STATE}/worker-*.log"
            out.say(f"What is missing could not be recorded; the reason stands in {logs}")
        raise typer.Exit(1)
    out.say(f"Next: bench report {suite}")


def say_failed(chosen: list[Planned], path: Path, out: format.Output) -> None:
    """Name the runs that failed earlier, and how they are tried again."""
    failed = [one for one in chosen if one.status.word == "failed"]
    for one in failed:
        out.say(f"  {name_of(one.run)}: failed: {one.status.note}")
    if failed:
        suite = f"{path}{plugins.flags()}"
        out.say(f"Failed runs are not repeated unless asked: bench run {suite} --retry failed")
