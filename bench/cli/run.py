"""`bench run`: say what will be done, do it, say what came of it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import typer

from bench import results as pool_of
from bench import suite as suites
from bench.cli import format
from bench.cli.progress import follow
from bench.cost import Speeds
from bench.dispatch.job import Baselines, Job, Machine, is_done
from bench.dispatch.local import LocalPool, machines
from bench.dispatch.order import Order
from bench.dispatch.state import Folder
from bench.dispatch.status import WORDS, standings
from bench.environment import code_identity, cpu_name, local_device
from bench.errors import UserError, did_you_mean
from bench.plan import Planned, plan, select
from bench.results import STATE

ASK_BEYOND_SECONDS = 3 * 3600.0


@dataclass(frozen=True)
class Choices:
    """What the command line said of which runs to start, and where."""

    filter: str | None
    limit: int | None
    dry_run: bool
    retry: str | None
    yes: bool
    device: str
    workers: int | None


def run_suite(path: Path, results: Path, choices: Choices, machine: Machine) -> None:
    """Train what is missing of the suite at `path`.

    Raises:
        UserError: for options that do not fit this machine or this suite.
        typer.Exit: code 1 when runs failed, now or earlier, 130 when interrupted.
    """
    if choices.retry not in (None, "failed"):
        raise UserError(f"--retry {choices.retry}: only failed runs can be tried again (--retry failed)")
    suite = suites.load(path)
    pool = pool_of.load(results)
    out = format.Output()
    for problem in pool.problems:
        out.say(problem, style="yellow")
    speeds = Speeds(pool, *((cpu_name(), "cpu") if choices.device == "cpu" else local_device()))
    chosen = select(plan(suite, results, pool, speeds), choices.filter)
    todo = _todo(chosen, choices)
    jobs = _jobs(todo, chosen, pool)
    _say(suite.name, chosen, todo, out)
    if not jobs:
        out.print("Nothing to do.")
        _say_failed(chosen, path, out)
        raise typer.Exit(1 if any(one.standing.word == "failed" for one in chosen) else 0)
    places = _places(choices, machine, todo)
    if todo:
        out.say(f"Expected: {_cost(todo, places)}.")
    if choices.dry_run:
        for job in jobs:
            out.say(f"would run {_name(job)}")
        return
    _agree(todo, places, choices)
    if choices.retry:
        for job in jobs:
            Folder.of(results, job.id).forgive()
    order = Order(results.absolute(), tuple(one.run.id for one in todo), code_identity())
    try:
        _train(jobs, todo, order, places, out)
        _conclude(path, order, todo, jobs, out)
    finally:
        order.forget()


def _todo(chosen: list[Planned], choices: Choices) -> list[Planned]:
    wanted = {"missing", "running"} | ({"failed"} if choices.retry else set())
    todo = [one for one in chosen if one.standing.word in wanted]
    return todo[: choices.limit]


def _jobs(todo: list[Planned], chosen: list[Planned], pool: pool_of.Pool) -> list[Job]:
    """The runs to train, behind the baselines of every chosen task that lacks them."""
    tasks = {one.run.task_id: one.run for one in (todo or chosen)}
    baselines = [
        Baselines(run.task, task_id, run.evaluation_prompts)
        for task_id, run in tasks.items()
        if task_id not in pool.baselines
    ]
    return [*baselines, *(one.run for one in todo)]


def _places(choices: Choices, machine: Machine, todo: list[Planned]) -> list[Machine]:
    """The workers to start, each able to do every run of `todo`."""
    from bench.kernels import backends

    if choices.device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {choices.device}{did_you_mean(choices.device, ('auto', 'cpu', 'cuda'))}")
    try:
        places = machines(choices.device, choices.workers, machine)
    except ValueError as error:
        raise UserError(str(error)) from None
    if machine.scan not in backends.SCAN_NAMES:
        raise UserError(f"--scan {machine.scan}{did_you_mean(machine.scan, backends.SCAN_NAMES)}")
    if why := backends.unavailable(machine.scan, places[0].device):
        raise UserError(f"--scan {machine.scan}: {why}")
    if places[0].device == "cpu" and (count := sum(one.run.precision == "tf32" for one in todo)):
        raise UserError(
            f"{format.count(count, 'run')} in precision tf32 cannot train on a processor: "
            "say precision: fp32 in the suite, or run where there is an NVIDIA GPU"
        )
    return places


def _cost(todo: list[Planned], places: list[Machine]) -> str:
    """What the runs will take, and what that is based on."""
    bases = {one.estimate.basis for one in todo}
    how = "at speeds measured here" if bases == {"measured"} else "scaled from speeds measured here"
    if "assumed" in bases:
        how = "a guess: nothing was measured on this device yet"
    workers = format.count(min(len(todo), len(places)), "worker")
    return f"about {format.duration(_seconds(todo, len(places)))} on {workers} ({how})"


def _seconds(todo: list[Planned], workers: int) -> float:
    """Expected wall-clock time: a run is on one worker, so none ends before the longest does."""
    each = [one.remaining_seconds for one in todo]
    return max(sum(each) / workers, max(each, default=0.0))


def _agree(todo: list[Planned], places: list[Machine], choices: Choices) -> None:
    """Ask before long work; scripts must say --yes."""
    if choices.yes or _seconds(todo, len(places)) <= ASK_BEYOND_SECONDS:
        return
    if not sys.stdin.isatty():
        raise UserError(
            f"not started: this takes {_cost(todo, places)}; say --yes to start it without being asked, "
            "or take a part of it with --filter and --limit"
        )
    typer.confirm("Start? --filter and --limit take a part of it.", abort=True)


def _say(name: str, chosen: list[Planned], todo: list[Planned], out: format.Output) -> None:
    words = Counter(one.standing.word for one in chosen)
    states = ", ".join(f"{words[word]:,} {word}" for word in WORDS if words[word])
    flops = format.flops(sum(one.training_flops for one in todo))
    ahead = f" {format.count(len(todo), 'run')} to train, {flops} FLOPs." if todo else ""
    out.say(f"Suite {name}: {format.count(len(chosen), 'run')} ({states}).{ahead}")


def _name(job: Job) -> str:
    return f"baselines of {job.task.name}" if isinstance(job, Baselines) else f"{job.task.name}/{job.label}"


def _train(
    jobs: list[Job], todo: list[Planned], order: Order, places: list[Machine], out: format.Output
) -> None:
    workers = LocalPool(jobs, order, places[: len(jobs)])
    try:
        workers.start()
        follow(workers, todo, order.results, out)
    except KeyboardInterrupt:
        out.print("\nInterrupted: saving what is being trained …")
        workers.stop()
        out.print("Saved. The same command goes on from here.")
        raise typer.Exit(130) from None
    except BaseException:
        workers.stop(patience=5.0)
        raise


def _conclude(path: Path, order: Order, todo: list[Planned], jobs: list[Job], out: format.Output) -> None:
    """Say how everything that was started ended."""
    results = order.results
    found = standings([one.run for one in todo], results, pool_of.load(results))
    words = Counter(standing.word for standing in found.values())
    summary = ", ".join(f"{words[word]:,} {word}" for word in WORDS if words[word])
    if summary:
        out.say(f"Done: {summary}.")
    for one in todo:
        standing = found[one.run.id]
        if standing.note and standing.word in ("failed", "diverged"):
            out.say(f"  {_name(one.run)}: {standing.word}: {standing.note}")
    lost = [job for job in jobs if isinstance(job, Baselines) and not is_done(job, results)]
    for job in lost:
        failure = Folder.of(results, job.id).failure() or {}
        reason = f"{failure.get('class', 'no result')}: {failure.get('message', '')}"
        out.say(f"  {_name(job)}: failed: {reason}")
    if why := order.stopped():
        out.say(f"Called off: {why}. {format.count(words['missing'], 'run')} not started.", style="red")
    if words["failed"] or lost:
        out.say(f"What failed is tried again with: bench run {path} --retry failed")
        raise typer.Exit(1)
    if words["missing"]:
        out.say(f"What is missing could not be recorded; the reason stands in {results / STATE}/worker-*.log")
        raise typer.Exit(1)
    out.say(f"Next: bench report {path}")


def _say_failed(chosen: list[Planned], path: Path, out: format.Output) -> None:
    failed = [one for one in chosen if one.standing.word == "failed"]
    for one in failed:
        out.say(f"  {_name(one.run)}: failed: {one.standing.note}")
    if failed:
        out.say(f"Failed runs are not repeated unless asked: bench run {path} --retry failed")
