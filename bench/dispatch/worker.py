"""A worker: one process on one device that takes whatever work is free until none is left.

Workers need no coordinator. Each walks the same list, skips what has a result, takes what nobody
holds and comes back to what somebody else holds, so that two `bench run` on one folder share the
work and a dead owner's run is taken over. A worker that takes a run takes others of its shape with it, and
trains them as one stack (`bench.dispatch.stacking`). The local pool and the jobs of a cluster start the same
workers. A run that is spread over several devices has one worker a device: the first leads and does
all of the above, the others compute their rows of its batches (`bench.train.parallel`).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import results as pool
from bench.dispatch.job import Baselines, Job, Machine, Seat, is_done
from bench.dispatch.order import Order
from bench.dispatch.plugin_checks import announce, check_architecture, record_plugins
from bench.dispatch.stacking import begin, companions
from bench.dispatch.state import Folder, log_of
from bench.dispatch.worker_process import StopFlag, Tested, output_to, prepare, redirect_output, trust
from bench.environment import code_identity
from bench.run import Run
from bench.stack import Stack

if TYPE_CHECKING:
    from bench.train.loop import Progress
    from bench.train.parallel import Group

NO_ROOM = 28
"""A worker's exit code when the disk is full; the number of the system's error."""
REGROUP = 29
"""Exit code of a leader whose run failed: what its followers are in the middle of, nobody can know."""
LINE_EVERY_SECONDS = 30.0
"""A training run says where it is in its log about this often."""


def work(
    jobs: list[Job],
    order: Order,
    machine: Machine,
    log: Path,
    seat: Seat = Seat(),  # noqa: B008
    patience: float = math.inf,
    cluster_job: str = "",
) -> None:
    """Entry point of a worker process: do the jobs that are free, in order, until all are done.

    Returns when every job has a result or a failure, when the order is called off, or when others have
    held all that is left for `patience` seconds. Stops at SIGINT, SIGTERM or the death of its parent,
    with the current run's state saved.

    Raises:
        SystemExit: code `NO_ROOM` when the disk is full (runs are left at their last checkpoint),
            `REGROUP` when a group must be started anew.
    """
    redirect_output(log)
    machine = machine.resolved()
    kernels = prepare(machine)
    stop = StopFlag()  # before, a signal ends the process: there is nothing to save
    worker = _Worker(order, machine, stop, kernels, _join(seat, machine, stop), cluster_job)
    try:
        if worker.group is not None and worker.group.rank:
            worker.follow(jobs)
        else:
            worker.walk(jobs, patience)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with contextlib.suppress(OSError):
            print(f"no room left under {order.results}: stopping, to go on when there is some", flush=True)
        raise SystemExit(NO_ROOM) from None
    finally:
        if worker.group is not None:
            worker.group.leave()


@dataclass(frozen=True)
class _Worker:
    order: Order
    machine: Machine
    stop: StopFlag
    kernels: Tested
    group: Group | None
    cluster_job: str = ""

    @property
    def _job_field(self) -> dict[str, str]:
        """`job`, as heartbeats and results record it; no field outside of a cluster's job."""
        return {"job": self.cluster_job} if self.cluster_job else {}

    def walk(self, jobs: list[Job], patience: float) -> None:
        """Do what is free until nothing is left to be done or waited for."""
        open_jobs, moved = list(jobs), time.monotonic()
        while open_jobs and not self._halted():
            left = [job for job in open_jobs if not self._halted() and not self._attempt(job, jobs)]
            if len(left) < len(open_jobs):
                moved = time.monotonic()
            elif time.monotonic() - moved > patience:
                print(f"others hold the {len(left)} jobs that are left: leaving them to it", flush=True)
                return
            else:
                time.sleep(0.5)  # all of them are held by others: wait for a result or a death
            open_jobs = left

    def follow(self, jobs: list[Job]) -> None:
        """Train what the leader trains, until it says that nothing is left."""
        import torch

        from bench.train.loop import TrainingOptions
        from bench.train.parallel import follow

        assert self.group is not None
        while (index := self.group.hear()) >= 0:
            job = jobs[index]
            assert isinstance(job, Run)
            options = TrainingOptions(
                torch.device(self.machine.device), self.machine.kernels, group=self.group
            )
            follow(job, options)

    def _halted(self) -> bool:
        return self.stop() or self.order.stopped() is not None

    def _attempt(self, job: Job, jobs: list[Job]) -> bool:
        """Do one job if it is free. Returns whether it needs no further attention."""
        results = self.order.results
        folder = Folder.of(results, job.id)
        if is_done(job, results):
            return True
        if folder.failure():
            return True
        try:
            with folder.locked() as free:
                if not free:
                    return False
                if is_done(job, results):  # finished while this process was looking
                    folder.clear()
                    return True
                with output_to(log_of(results, job.id)):
                    if isinstance(job, Baselines):
                        self._do(job, folder, lambda: self._baselines(job, folder))
                    else:
                        with companions(job, jobs, results, self.machine) as stack:
                            self._train_all(stack, jobs.index(job))
        except OSError as error:  # not even a failure can be recorded: a file in the folder's place, say
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            print(f"{folder.path}: {error}; left as it is", flush=True)
            if self.group is not None:
                raise SystemExit(REGROUP) from None
        return True

    def _do(self, job: Job, folder: Folder, work: Callable[[], None]) -> None:
        """Do one job's work; a failure is recorded as the job's own and never stops the others."""
        try:
            work()
        except Exception as error:
            if _no_room(error):
                raise
            if self.group is not None and self.group.lost:  # not this run's fault
                raise SystemExit(REGROUP) from None
            self._failed(folder, error)
            if self.group is not None:
                raise SystemExit(REGROUP) from None

    def _failed(self, folder: Folder, error: Exception) -> None:
        """Record a run's failure; called while the error is handled."""
        traceback.print_exc()
        folder.fail(error)
        folder.quiet()
        self.order.consider_stopping()

    def _baselines(self, job: Baselines, folder: Folder) -> None:
        from bench.train.reference import baselines

        results = self.order.results
        folder.beat(label=f"baselines of {job.task.name}", device=self.machine.device, **self._job_field)
        with self.stop.at_once():
            value = baselines(job.task, job.task_id, job.evaluation_prompts)
        record_plugins(value, job.task)
        pool.store(pool.path_of_baselines(results, job.task.name, job.task_id), value, folder.path)
        folder.clear()

    def _train_all(self, stack: Stack, index: int) -> None:
        """Train a stack; where that fails, its halves by themselves, so that a fault stays with its run."""
        if len(stack) == 1:
            run = stack.first
            self._do(run, Folder.of(self.order.results, run.id), lambda: self._train(stack, index))
            return
        try:
            self._train(stack, index)
            return
        except Exception as error:
            if _no_room(error):
                raise
            traceback.print_exc()
        Folder.of(self.order.results, stack.id).clear()
        print(f"a stack of {len(stack)} failed: its halves train by themselves", flush=True)
        release_memory(self.machine.device)
        for half in stack.halves():
            if not self._halted():
                self._train_all(half, index)

    def _train(self, stack: Stack, index: int) -> None:
        """Train a stack and store its results; nothing is stored of members that stopped half-way."""
        import torch

        from bench.train.loop import Interrupted, Progress, TrainingOptions, train_stack

        results = self.order.results
        trust(self.kernels)
        for run in stack.members:  # a death during the check then counts as this run's
            if not is_done(run, results):
                announce(run, Folder.of(results, run.id), self.machine.device, **self._job_field)
        with self.stop.at_once():
            check_architecture(stack.first, self.machine.device, self.machine.kernels)
        if self.group is not None:
            self.group.tell(index)
        began, spoke = time.time(), 0.0
        folders = [Folder.of(results, run.id) for run in stack.members]
        ended = {k for k, run in enumerate(stack.members) if is_done(run, results)}

        def report(progress: Progress, **more: Any) -> None:
            nonlocal spoke
            for k, (run, folder) in enumerate(zip(stack.members, folders, strict=True)):
                if k not in ended:
                    folder.beat(
                        label=run.label,
                        device=self.machine.device,
                        started=began,
                        steps=run.steps,
                        stack=len(stack),
                        step=progress.step,
                        loss=progress.losses[k],
                        steps_per_second=progress.steps_per_second,
                        **self._job_field,
                        **more,
                    )
            if time.monotonic() - spoke >= LINE_EVERY_SECONDS or progress.step == stack.first.steps or more:
                spoke = time.monotonic()
                _say(stack, progress)

        def store(k: int, result: dict[str, Any]) -> None:
            if k in ended:  # a member of a resumed stack that had ended before
                return
            run = stack.members[k]
            result["provenance"].update(self._provenance(began))
            outcome = f"{result['outcome']}{': ' + result['reason'] if result['reason'] else ''}"
            print(outcome if len(stack) == 1 else f"{run.label}: {outcome}", flush=True)
            record_plugins(result, run.task, run.architecture)
            ended.add(k)
            try:
                pool.store(pool.path_of(results, run), result, folders[k].path)
            except Exception as error:  # this member's own failure: the others train on
                if _no_room(error):
                    raise
                self._failed(folders[k], error)
                return
            folders[k].clear()
            self.order.works()

        # An earlier owner's heartbeat is at its checkpoint or a little further.
        beat = folders[0].heartbeat() or {}
        last = Progress(int(beat.get("step", 0)), (None,) * len(stack), 0.0)

        def remember(progress: Progress) -> None:
            nonlocal last
            last = progress
            report(progress)

        print(_header(stack, self.machine, self.cluster_job), flush=True)
        remember(last)
        options = TrainingOptions(
            device=torch.device(self.machine.device),
            scan=self.machine.kernels,
            save_every=self.machine.save_every,
            report=remember,
            ended=store,
            stop=self.stop,
            group=self.group,
        )
        try:
            train_stack(stack, begin(stack, results), options)
        except Interrupted:  # the last heartbeats stay: they say how far the members are
            report(last, ended="asked to stop")
            print("asked to stop: saved, to go on from here", flush=True)
            return
        finally:
            release_memory(self.machine.device)
        if len(stack) > 1:
            Folder.of(results, stack.id).clear()

    def _provenance(self, began: float) -> dict[str, Any]:
        """Where, when and with what a result was computed."""
        import torch

        from bench import environment

        facts: dict[str, Any] = {}
        if self.machine.device.startswith("cuda"):
            facts["peak_memory_mib"] = torch.cuda.max_memory_allocated() >> 20
        return {
            **facts,
            "started": round(began, 3),
            "finished": round(time.time(), 3),
            **environment.describe(self.machine.device),
            **self._job_field,
            "submitted_code": self.order.code,
            "code_changed": self.order.code != code_identity(),
            "self_test": self.kernels,
        }


def release_memory(device: str) -> None:
    """Give unused GPU memory back: other processes on this GPU may need it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _no_room(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _header(stack: Stack, machine: Machine, cluster_job: str) -> str:
    where = f"{os.uname().nodename} {', '.join(machine.devices)}"
    job = f", job {cluster_job}" if cluster_job else ""
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M:%S')} {stack.first.task.name}/{stack.label} on {where}{job}",
        *(f"    {run.task.name}/{run.label}" for run in stack.members if len(stack) > 1),
    ]
    return "\n".join(lines)


def _say(stack: Stack, progress: Progress) -> None:
    losses = " ".join(f"{loss:.4g}" for loss in progress.losses if loss is not None)
    loss = f"  loss {losses}" if losses else ""
    speed = f"  {progress.steps_per_second:,.1f} steps/s" if progress.steps_per_second else ""
    stamp = time.strftime("%H:%M:%S")
    print(f"{stamp}  step {progress.step:,} of {stack.first.steps:,}{loss}{speed}", flush=True)


def _join(seat: Seat, machine: Machine, stop: StopFlag) -> Group | None:
    """The group of processes that train one run together; None for a process that trains alone."""
    if seat.of == 1:
        return None
    import torch

    from bench.train.parallel import Group

    return Group.join(seat.rank, seat.of, seat.address, torch.device(machine.device), stop)
