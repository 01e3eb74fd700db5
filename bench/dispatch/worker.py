"""A worker: one process on one device that takes whatever work is free until none is left.

Workers need no coordinator. Each walks the same list, skips what has a result, takes what nobody
holds and comes back to what somebody else holds, so that two `bench run` on one folder share the
work and a dead owner's run is taken over. The local pool and the jobs of a cluster start the same
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import results as pool
from bench.dispatch.job import Baselines, Job, Machine, Seat, cluster_job, is_done
from bench.dispatch.order import Order
from bench.dispatch.own import record, try_out
from bench.dispatch.process import StopFlag, Tested, output_to, prepare, redirect_output, trust
from bench.dispatch.state import Folder, log_of
from bench.environment import code_identity
from bench.run import Run

if TYPE_CHECKING:
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
    stop = StopFlag()
    machine = machine.resolved()
    worker = _Worker(order, machine, stop, prepare(machine), _join(seat, machine, stop))
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

        from bench.train.loop import Options
        from bench.train.parallel import follow

        assert self.group is not None
        while (index := self.group.hear()) >= 0:
            job = jobs[index]
            assert isinstance(job, Run)
            options = Options(torch.device(self.machine.device), self.machine.scan, group=self.group)
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
            with folder.locked() as mine:
                if not mine:
                    return False
                if is_done(job, results):  # finished while this process was looking
                    folder.clear()
                    return True
                with output_to(log_of(results, job.id)):
                    self._do(job, folder, jobs.index(job))
        except OSError as error:  # not even a failure can be recorded: a file in the folder's place, say
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            print(f"{folder.path}: {error}; left as it is", flush=True)
            if self.group is not None:
                raise SystemExit(REGROUP) from None
        return True

    def _do(self, job: Job, folder: Folder, index: int) -> None:
        results = self.order.results
        try:
            if isinstance(job, Baselines):
                folder.beat(
                    label=f"baselines of {job.task.name}", device=self.machine.device, **cluster_job()
                )
                from bench.train.reference import baselines

                value = baselines(job.task, job.task_id, job.evaluation_prompts)
                record(value, job.task)
                pool.store(pool.path_of_baselines(results, job.task.name, job.task_id), value, folder.path)
                folder.clear()
                return
            trust(self.kernels)
            try_out(job, self.machine.device, self.machine.scan)
            if self.group is not None:
                self.group.tell(index)
            result = self._train(job, folder)
            if result is None:  # the last heartbeat stays: it says how far the run is
                return
            record(result, job.task, job.architecture)
            pool.store(pool.path_of(results, job), result, folder.path)
            folder.clear()
            self.order.works()
        except Exception as error:  # one run's failure never stops the others
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            if self.group is not None and self.group.lost:  # not this run's fault
                raise SystemExit(REGROUP) from None
            traceback.print_exc()
            folder.fail(error)
            folder.quiet()
            self.order.consider_stopping()
            if self.group is not None:
                raise SystemExit(REGROUP) from None

    def _train(self, run: Run, folder: Folder) -> dict[str, Any] | None:
        """Train one run; None when it was interrupted (its state is saved)."""
        import torch

        from bench import environment
        from bench.train.loop import Interrupted, Options, Progress, train

        began, spoke = time.time(), 0.0

        def report(progress: Progress, **more: Any) -> None:
            nonlocal spoke
            where = {"label": run.label, "device": self.machine.device, "started": began, "steps": run.steps}
            folder.beat(**where, **cluster_job(), **vars(progress), **more)
            if time.monotonic() - spoke >= LINE_EVERY_SECONDS or progress.step == run.steps or more:
                spoke = time.monotonic()
                _say(run, progress)

        known = folder.heartbeat() or {}  # of an earlier owner: where its checkpoint is, or a little further
        last = Progress(int(known.get("step", 0)), None, 0.0)

        def remember(progress: Progress) -> None:
            nonlocal last
            last = progress
            report(progress)

        print(_header(run, self.machine), flush=True)
        remember(last)
        options = Options(
            device=torch.device(self.machine.device),
            scan=self.machine.scan,
            save_every=self.machine.save_every,
            report=remember,
            stop=self.stop,
            group=self.group,
        )
        try:
            result = train(run, folder.path, options)
        except Interrupted:
            report(last, ended="asked to stop")
            print("asked to stop: saved, to go on from here", flush=True)
            return None
        where = environment.describe(self.machine.device)
        if self.machine.device.startswith("cuda"):
            result["provenance"]["peak_memory_mib"] = torch.cuda.max_memory_allocated() >> 20
            torch.cuda.empty_cache()  # who else is on this GPU may have use for it
            torch.cuda.reset_peak_memory_stats()
        result["provenance"].update(
            started=round(began, 3),
            finished=round(time.time(), 3),
            **where,
            **cluster_job(),
            submitted_code=self.order.code,
            code_changed=self.order.code != code_identity(),
            self_test=self.kernels,
        )
        print(f"{result['outcome']}{': ' + result['reason'] if result['reason'] else ''}", flush=True)
        return result


def _header(run: Run, machine: Machine) -> str:
    where = f"{os.uname().nodename} {', '.join(machine.devices)}"
    job = "".join(f", job {one}" for one in cluster_job().values())
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {run.task.name}/{run.label} on {where}{job}"


def _say(run: Run, progress: Any) -> None:
    loss = "" if progress.loss is None else f"  loss {progress.loss:.4g}"
    speed = f"  {progress.steps_per_second:,.1f} steps/s" if progress.steps_per_second else ""
    stamp = time.strftime("%H:%M:%S")
    print(f"{stamp}  step {progress.step:,} of {run.steps:,}{loss}{speed}", flush=True)


def _join(seat: Seat, machine: Machine, stop: StopFlag) -> Group | None:
    """The group of processes that train one run together; None for a process that trains alone."""
    if seat.of == 1:
        return None
    import torch

    from bench.train.parallel import Group

    return Group.join(seat.rank, seat.of, seat.address, torch.device(machine.device), stop)
