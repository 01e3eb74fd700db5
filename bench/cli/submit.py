"""`bench run --cluster slurm`: submit runs as jobs; with `--wait`, follow them until they end."""

from __future__ import annotations

import time
from collections.abc import Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli import printing
from bench.cli.arguments import SuiteChoice
from bench.cli.memory import check_fit
from bench.cli.outcome import conclude, confirm, forget_failures
from bench.cli.progress import follow
from bench.cli.signals import Terminated, exit_code
from bench.digits import count_of
from bench.dispatch.job import Job, is_done
from bench.dispatch.order import Order
from bench.dispatch.slurm.grouping import JobPlan, WorkItem, plan_jobs
from bench.dispatch.slurm.queue import queue_of
from bench.dispatch.slurm.submission import Submission
from bench.dispatch.slurm.submit import SlurmOptions, check_slurm, largest_array, submit, tidy
from bench.dispatch.stacking import interrupted_stacks
from bench.dispatch.state import Folder
from bench.environment import code_identity
from bench.errors import UserError
from bench.plan.memory import CONTEXT_MIB, Memories
from bench.plan.planned import Planned
from bench.results import check_writable, path_of
from bench.run import Run
from bench.stack import even_parts

if TYPE_CHECKING:
    from bench.cli.run_options import RunOptions

BASELINES_SECONDS = 60.0
"""Assumed time of a task's baselines, which is not measured."""
ASK_QUEUE_EVERY_SECONDS = 5.0
"""Time between two calls of `squeue`, which would otherwise load the scheduler."""


def submit_order(
    choice: SuiteChoice,
    suite: str,
    todo: list[Planned],
    jobs: list[Job],
    memories: Memories,
    slurm: SlurmOptions,
    options: RunOptions,
    cost: str,
    out: printing.Output,
) -> None:
    """Submit runs to the cluster; return at once, or with `--wait` when they end.

    Args:
        choice: the suite.
        suite: the suite's name.
        todo: the runs to train.
        jobs: the runs to train, baselines, and ended members of stacks that resume.
        memories: estimates of the memory of runs.
        slurm: settings of the cluster's jobs.
        options: options of the command line.
        cost: the expected time, as text for the user.
        out: the output.

    Raises:
        UserError: this machine has no Slurm, Slurm refuses, or runs do not fit on its GPUs.
        typer.Exit: with `--wait`, as `bench run` on one machine.
    """
    results = choice.results.absolute()
    check_slurm()
    _check_precision(todo, slurm)
    _check_gpus(slurm)
    kind = "gpu" if slurm.site.wants_gpus else "cpu"
    check_fit(slurm.site, todo, memories, out)
    items = _work_items(jobs, todo, results, memories, slurm)
    limit = 60 * slurm.site.minutes - slurm.site.signal_delay_s  # then Slurm warns, and the job saves
    plans = plan_jobs(items, 3600 * slurm.site.job_hours, slurm.capacity(), limit)
    arrays = len(even_parts(plans, largest_array()))
    out.say(f"{_job_count(plans)} in {count_of(arrays, 'array')}; {cost}.")
    if options.dry_run:
        for number, plan in enumerate(plans):
            out.say(f"would submit job {number}: {_described(plan)}, {printing.duration(plan.seconds)}")
        return
    confirm(sum(entry.cautious_seconds(kind) for entry in todo), cost, options.yes)
    check_writable(results, [path_of(results, entry.run) for entry in todo])
    if options.retry:
        forget_failures(jobs, results)
    tidy(results)
    order = Order(results, tuple(entry.run.id for entry in todo), code_identity())
    submission = submit(order, suite, plans, slurm)
    arguments = str(choice)
    for array in submission.arrays:
        out.say(f"submitted {array.name}: job {array.job_id}, {_job_count(array.jobs)}")
    if not options.wait:
        out.say(f"Watch: bench status {arguments} --watch   Stop: bench cancel {arguments}")
        return
    try:
        follow(_Cluster(jobs, results, submission), todo, results, out)
    except (KeyboardInterrupt, Terminated) as stop:
        out.print(f"\nStopped waiting. The jobs continue: bench status {arguments}; bench cancel {arguments}")
        raise typer.Exit(exit_code(stop)) from None
    conclude(choice, order, todo, jobs, out)


def _work_items(
    jobs: list[Job], todo: list[Planned], results: Path, memories: Memories, slurm: SlurmOptions
) -> list[WorkItem]:
    """Jobs as items: an item per stack, with its ended members, and an item per baseline."""
    kind = "gpu" if slurm.site.wants_gpus else "cpu"
    planned = {entry.run.id: entry for entry in todo}
    together = {identifier: ids[0] for ids in interrupted_stacks(results) for identifier in ids}
    items: dict[str, list[Job]] = {}
    for job in jobs:
        stack = f"stack {planned[job.id].stack}" if job.id in planned else job.id
        items.setdefault(together.get(job.id, stack), []).append(job)
    return [
        WorkItem(
            tuple(work),
            sum(_seconds(job, planned.get(job.id), kind) for job in work),
            _gpu_memory(work, memories, slurm),
        )
        for work in items.values()
    ]


def _seconds(job: Job, planned: Planned | None, kind: str) -> float:
    if planned is not None:
        return planned.cautious_seconds(kind)
    return 0.0 if isinstance(job, Run) else BASELINES_SECONDS


def _gpu_memory(work: list[Job], memories: Memories, slurm: SlurmOptions) -> int:
    """MiB of all members of a stack together; 0 for work that needs no GPU."""
    sizes = [memories.estimate(job).mib - CONTEXT_MIB for job in work if isinstance(job, Run)]
    return CONTEXT_MIB + sum(sizes) if sizes and slurm.site.gpus else 0


def _described(plan: JobPlan) -> str:
    """The work of a job in words: "3 runs and baselines of 1 task, 2 at a time"."""
    runs = sum(isinstance(job, Run) for job in plan.work)
    parts = [count_of(runs, "run")] if runs else []
    if runs < len(plan.work):
        parts.append(f"baselines of {count_of(len(plan.work) - runs, 'task')}")
    at_a_time = min(plan.workers, len(plan.items))
    return " and ".join(parts) + (f", {at_a_time} at a time" if at_a_time > 1 else "")


def _job_count(group: Sized) -> str:
    return count_of(len(group), "job")


def _check_precision(todo: list[Planned], slurm: SlurmOptions) -> None:
    precisions = {planned.run.precision for planned in todo} - {"fp32"}
    if not slurm.site.wants_gpus and precisions:
        names = ", ".join(sorted(precisions))
        raise UserError(f"precision {names} needs GPUs, and the site file requests none")


def _check_gpus(slurm: SlurmOptions) -> None:
    site = slurm.site
    if site.gres is not None and 0 < site.gpus < slurm.spread:
        raise UserError(
            f"--gpus-per-run {slurm.spread}: jobs have {count_of(site.gpus, 'GPU')} "
            f"(gres: {site.gres} in the site file)"
        )


@dataclass
class _Cluster:
    """Submitted jobs, as `follow` needs them: busy until all are done, or none is queued.

    The results folder shows which jobs are done, and the queue only whether more jobs will start. The queue
    must be empty twice, because a job that is requeued is absent for a moment.
    """

    jobs: list[Job]
    results: Path
    submission: Submission
    _queried: float = field(default_factory=time.monotonic)
    _empty: int = 0

    def busy(self) -> bool:
        if time.monotonic() - self._queried < ASK_QUEUE_EVERY_SECONDS:
            return True
        self._queried = time.monotonic()
        if all(self._ended(job) for job in self.jobs):
            return False
        queue = queue_of([self.submission])
        self._empty = self._empty + 1 if queue.answered and not queue.jobs else 0
        return self._empty < 2

    def _ended(self, job: Job) -> bool:
        folder = Folder.of(self.results, job.id)
        return is_done(job, self.results) or (not folder.alive() and folder.failure() is not None)
