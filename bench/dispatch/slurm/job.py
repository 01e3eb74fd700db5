"""What a Slurm job does: run the local pool on the devices that it was given, and save before it ends.

A job may be started twice, killed at any moment, or requeued. Runs have locks and checkpoints of their own,
so a job does what is left. Signals from Slurm:

    USR2   the time limit is near, or the job is preempted: save and requeue (through submitit)
    TERM   cancelled, requeued, or preempted without a warning: save, and wait until Slurm kills the job
"""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from bench import plugins
from bench.dispatch.job import Job, Machine, Seat, is_done
from bench.dispatch.local import CrewLost, LocalPool, NoRoom
from bench.dispatch.machines import machines
from bench.dispatch.order import Order
from bench.dispatch.slurm.commands import NoAnswer, NoCommand, output_of
from bench.dispatch.slurm.environment import cluster_job
from bench.dispatch.state import Folder
from bench.environment import gpu_memory_mib
from bench.errors import UserError
from bench.run import Run

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

PATIENCE_SECONDS = 180.0
"""How long a job waits for runs that other processes hold, such as a predecessor on another node."""
LAST_SECONDS = 3600.0
"""How long a job that got SIGTERM waits for its end. Preemption may grant it so much time."""
COMMAND_SECONDS = 60.0
"""Longest wait for a command of Slurm."""
MOST_FRUITLESS = 3
"""A job that reaches its time limit so many times in a row without progress is not requeued."""

JobProgress: TypeAlias = tuple[float, int, int]
"""Jobs that are done; steps of all runs; parts of the prompts that evaluations in progress have scored."""


class CodeChanged(Exception):
    """The code on the node computes another id for a run than the code that submitted it."""


class NoProgress(Exception):
    """The time limit is too short for a single step, and for a part of the prompts of an evaluation."""


@dataclass(frozen=True)
class SlurmJob:
    """One Slurm job, as submitit pickles it.

    Attributes:
        ids: ids of `jobs` when they were submitted.
        jobs: runs and baselines to do.
        order: the order that they belong to.
        machine: how to compute; the devices are chosen on the node.
        device: "cpu" or "cuda".
        workers: number of stacks that train at a time.
        memory_mib: expected GPU memory of the largest stack; 0 if none needs a GPU.
        spread: devices that each run is spread over, one task each.
        save_seconds: time that saving may take.
        limit_seconds: the job's time limit.
        fruitless: number of time limits in a row that were reached without progress.
    """

    ids: tuple[str, ...]
    jobs: tuple[Job, ...]
    order: Order
    machine: Machine
    device: str
    workers: int
    memory_mib: int
    spread: int
    save_seconds: float
    limit_seconds: float
    fruitless: int = 0

    def __getstate__(self) -> dict[str, Any]:
        """The fields to pickle. Jobs bring their plugins, which are loaded before the jobs are unpickled."""
        return {**self.__dict__, "jobs": plugins.carried(self.jobs)}

    def __call__(self) -> str:
        """Do what is left. Returns a word for submitit's record, which nothing reads."""
        # USR2 has been blocked since Python started (`LAUNCHER`). Submitit has installed its handler by now,
        # which gets a pending warning here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        _clear_half_written()
        if self.order.abandoned():
            _cancel_pending()
            return "abandoned"
        try:
            pool = self._pool()
            _PROCESS.begin(pool, self._progress())
            signal.signal(signal.SIGTERM, _PROCESS.terminate)
            pool.start()
            while pool.busy() and not _PROCESS.terminated:
                time.sleep(0.2)
            if _PROCESS.terminated:
                self._end(pool)
        except NoRoom:
            raise
        except CrewLost:
            self._start_over()
        except UserError as error:  # no GPU on the node, workers that die at start: nothing ran
            self._record(error)
            raise
        if self.order.abandoned():
            _cancel_pending()
        return "done"

    def checkpoint(self) -> DelayedSubmission | None:
        """The job to requeue after USR2; None for none. Submitit calls this."""
        from submitit.helpers import DelayedSubmission

        if _PROCESS.pool is not None:
            _PROCESS.pool.stop(patience=self.save_seconds)
        fruitless = self.fruitless
        # The warning of the time limit comes after this time. That of a preemption may come earlier; in
        # the first half it does not count as fruitless.
        warned_after = self.limit_seconds - self.save_seconds
        if self._progress() > _PROCESS.progress_before:
            fruitless = 0
        elif _PROCESS.seconds > warned_after / 2:
            fruitless += 1
        if fruitless >= MOST_FRUITLESS:
            why = f"{fruitless} time limits in a row without a step or a part of an evaluation"
            self._record(NoProgress(f"{why}: raise timeout_min"))
            return None
        return DelayedSubmission(replace(self, fruitless=fruitless))

    def _unchanged_jobs(self) -> list[Job]:
        """The jobs, without runs for which this code computes another id. Those fail."""
        jobs = []
        for submitted_id, job in zip(self.ids, self.jobs, strict=True):
            if isinstance(job, Run):
                job = job.model_copy()  # drops the id that was pickled: this code computes its own
                if job.id != submitted_id:
                    why = (
                        f"the code has id {job.id} for run {submitted_id}: it changed after it was submitted"
                    )
                    Folder.of(self.order.results, submitted_id).fail(CodeChanged(why))
                    continue
            jobs.append(job)
        return jobs

    def _pool(self) -> LocalPool:
        """The workers of this job."""
        jobs = self._unchanged_jobs()
        try:
            crews = machines(self.device, self.workers, self.machine, self.spread, self._side_by_side())
        except ValueError as error:
            raise UserError(f"{os.uname().nodename}: {error}") from None
        if len(crews) < self.workers:
            print(f"{len(crews)} runs at a time, not {self.workers}: no more fit on these GPUs", flush=True)
        seat = None
        if self.spread > 1:
            from submitit.helpers import TorchDistributedEnvironment

            task = TorchDistributedEnvironment()
            seat = Seat(task.rank, task.world_size, f"127.0.0.1:{task.master_port}")  # all on one node
            crews = crews[:1]  # the other tasks start the other processes
        crews = crews[: max(1, len(jobs))]
        return LocalPool(
            jobs, self.order, crews, PATIENCE_SECONDS, seat, self.order.folder, cluster_job=cluster_job()
        )

    def _side_by_side(self) -> int | None:
        """How many stacks fit on a GPU of this node; None if that is unknown."""
        memory = gpu_memory_mib() if self.memory_mib and self.device != "cpu" else []
        return max(1, min(memory) // self.memory_mib) if memory else None

    def _progress(self) -> JobProgress:
        """What all runs have done, by their heartbeats and results. Of two, the later is the larger one."""
        done, steps, parts = 0, 0, 0
        for job in self.jobs:
            if is_done(job, self.order.results):
                done += 1
                steps += job.steps if isinstance(job, Run) else 0
            else:
                step, scored = Folder.of(self.order.results, job.id).last_progress()
                steps, parts = steps + step, parts + scored
        return done, steps, parts

    def _end(self, pool: LocalPool) -> None:
        """Save, then wait to be killed. A job that ends by itself would count as done."""
        pool.stop(patience=self.save_seconds)
        print("told to end: saved", flush=True)
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.5)
        raise SystemExit(1)

    def _start_over(self) -> None:
        """Requeue the job if runs are left, because one of the tasks that train a run together has died."""
        remaining = [job for job in self.jobs if not is_done(job, self.order.results)]
        if any(not Folder.of(self.order.results, job.id).failure() for job in remaining):
            try:
                output_of("scontrol", "requeue", os.environ["SLURM_JOB_ID"], seconds=COMMAND_SECONDS)
            except NoCommand as problem:
                print(f"not requeued: {problem}; the same bench run command resumes the runs", flush=True)
                raise SystemExit(1) from None
            except NoAnswer as problem:  # another task may have been faster
                print(f"scontrol requeue: {problem}", flush=True)
            time.sleep(LAST_SECONDS)  # until Slurm ends this job
        raise SystemExit(1)

    def _record(self, error: Exception) -> None:
        """Record an error that ended the whole job as the failure of its first run that is not done.

        Every task of a run on several GPUs has the same error. Only the first of them records it.
        """
        for job in sorted(self.jobs, key=lambda job: not isinstance(job, Run)):
            folder = Folder.of(self.order.results, job.id)
            failure = folder.failure()
            if failure is not None and self.spread > 1 and _is_of_this_order(failure, error, self.order):
                return
            if failure is None and not is_done(job, self.order.results):
                folder.fail(error)
                self.order.consider_abandoning()
                return


@dataclass
class _Process:
    """What signal handlers need to know of this process, which is one job.

    Attributes:
        pool: its workers; None before they start.
        progress_before: what all runs had done when it began.
        began: `time.monotonic()` at that time; None before.
        terminated: whether SIGTERM has arrived.
    """

    pool: LocalPool | None = None
    progress_before: JobProgress = (math.inf, 0, 0)
    began: float | None = None
    terminated: bool = False

    def begin(self, pool: LocalPool, progress: JobProgress) -> None:
        """Record that the workers start, with what the runs have done by now."""
        self.pool, self.progress_before, self.began = pool, progress, time.monotonic()

    def terminate(self, number: int, frame: object) -> None:
        """Handle SIGTERM."""
        self.terminated = True

    @property
    def seconds(self) -> float:
        """Time since the workers started; 0 before."""
        return 0.0 if self.began is None else time.monotonic() - self.began


_PROCESS = _Process()


def _is_of_this_order(failure: dict[str, Any], error: Exception, order: Order) -> bool:
    """Whether a recorded failure has the class of an error and is younger than an order."""
    return failure.get("class") == type(error).__name__ and failure.get("time", 0.0) >= order.began


def _clear_half_written() -> None:
    """Remove half-written files of a process that was killed. Submitit would refuse to save over them."""
    from submitit import JobEnvironment

    for path in (paths := JobEnvironment().paths).folder.glob(f"{paths.job_id}_*.save_tmp"):
        path.unlink(missing_ok=True)


def _cancel_pending() -> None:
    """Cancel the pending jobs of this array. Those that start nevertheless end at once."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        try:
            output_of("scancel", "--state=PENDING", array, seconds=COMMAND_SECONDS)
        except NoAnswer as problem:
            print(f"pending jobs of the array were not cancelled: {problem}", flush=True)
