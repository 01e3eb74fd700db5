"""A worker: one process on one device that does the jobs that are free until none is left.

Workers need no coordinator. All walk the same list of jobs. A worker skips jobs that have a result, locks and
does jobs that are free, and returns later to jobs that another worker has locked. Two `bench run` commands on
one folder therefore share the work, and another worker takes over the run of a dead one. With a run, a worker
locks other runs of the same shape and trains them as one stack (`bench.dispatch.stacking`). The local pool
and cluster jobs start the same workers.

A run that is spread over several devices has one worker per device. The first one leads and does all of the
above. The others compute their rows of its batches (`bench.train.parallel`).
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import plugins
from bench import results as pools
from bench.dispatch.job import Baselines, Job, Machine, Seat, is_done
from bench.dispatch.members import StackMembers, no_room
from bench.dispatch.order import Order
from bench.dispatch.plugin_checks import check_plugins, record_plugins
from bench.dispatch.stacking import locked_stack, record_members
from bench.dispatch.state import Folder, log_of
from bench.dispatch.worker_process import (
    StopFlag,
    TestOutcomes,
    check_kernels,
    output_to,
    prepare_process,
    redirect_output,
)
from bench.environment import code_identity, package_version
from bench.run import Run
from bench.stack import Stack

if TYPE_CHECKING:
    from bench.train.parallel import Group

NO_ROOM = 28
"""Exit code of a worker when the disk is full: the number of ENOSPC."""
REGROUP = 29
"""Exit code of a leader whose run failed. Its followers may be anywhere in a step, so all start again."""


def work(
    jobs: list[Job],
    order: Order,
    machine: Machine,
    log: Path,
    seat: Seat,
    patience: float,
    cluster_job: str,
) -> None:
    """Entry point of a worker process: do the jobs that are free, in order, until all are done.

    Returns when every job has a result or a failure, when the order is abandoned, or when other workers have
    held all remaining jobs for `patience` seconds. At SIGINT, SIGTERM or the death of its parent it saves the
    state of its run and returns.

    Raises:
        SystemExit: code `NO_ROOM` when the disk is full (runs stay at their last checkpoint), `REGROUP` when
            the processes of a group must start again.
    """
    redirect_output(log)
    machine = machine.resolved()
    test_outcomes = prepare_process(machine)
    stop = StopFlag()  # until now a signal ends the process, because there is nothing to save
    worker = _Worker(order, machine, stop, test_outcomes, _join(seat, machine, stop), cluster_job)
    try:
        if worker.group is not None and worker.group.rank:
            worker.follow(jobs)
        else:
            worker.walk(jobs, patience)
    except OSError as error:
        if not no_room(error):
            raise
        with contextlib.suppress(OSError):
            print(f"{order.results}: the disk is full; stopping, the runs can resume", flush=True)
        raise SystemExit(NO_ROOM) from None
    finally:
        if worker.group is not None:
            worker.group.leave()


@dataclass(frozen=True)
class _Worker:
    """The process of a worker.

    Attributes:
        order: the order that its jobs belong to.
        machine: its settings.
        stop: whether it must stop.
        test_outcomes: outcomes of the kernels' self-test.
        group: the processes that train each run together; None if it trains alone.
        cluster_job: number of the cluster job that it is part of; "" if there is none.
    """

    order: Order
    machine: Machine
    stop: StopFlag
    test_outcomes: TestOutcomes
    group: Group | None
    cluster_job: str = ""

    @property
    def _job_field(self) -> dict[str, str]:
        """The field `job` of heartbeats and results. It exists only in a cluster job."""
        return {"job": self.cluster_job} if self.cluster_job else {}

    def walk(self, jobs: list[Job], patience: float) -> None:
        """Do free jobs until no job is left."""
        open_jobs, last_change = list(jobs), time.monotonic()
        while open_jobs and not self._halted():
            remaining = [job for job in open_jobs if not self._halted() and not self._attempt(job, jobs)]
            if len(remaining) < len(open_jobs):
                last_change = time.monotonic()
            elif time.monotonic() - last_change > patience:
                print(f"other workers hold the remaining {len(remaining)} jobs: stopping", flush=True)
                return
            else:
                time.sleep(0.5)  # other workers hold all of them: wait for a result or a death
            open_jobs = remaining

    def follow(self, jobs: list[Job]) -> None:
        """Compute this process's rows of the leader's runs, until the leader has no more runs."""
        import torch

        from bench.train.loop import TrainingOptions, follow
        from bench.train.parallel import END_OF_RUNS, LeaderSilent

        assert self.group is not None
        options = TrainingOptions(torch.device(self.machine.device), self.machine.kernels, group=self.group)
        try:
            while (place := self.group.hear()) != END_OF_RUNS:
                job = jobs[place]
                assert isinstance(job, Run)
                follow(job, options)
        except LeaderSilent:
            print("asked to stop, and the leading process is silent: leaving", flush=True)

    def _halted(self) -> bool:
        return self.stop() or self.order.abandoned() is not None

    def _attempt(self, job: Job, jobs: list[Job]) -> bool:
        """Do a job if it is free. Returns whether it is done or has failed; False if a worker has it."""
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
                if is_done(job, results):  # another worker finished it after the check above
                    folder.clear()
                    return True
                with output_to(log_of(results, job.id)):
                    if isinstance(job, Baselines):
                        self._do(folder, lambda: self._baselines(job, folder))
                    else:
                        with locked_stack(job, jobs, results, self.machine) as stack:
                            if stack is None:
                                return False
                            self._train_all(stack, jobs.index(job))
        except OSError as error:  # the failure cannot be recorded, for example if the folder is a file
            if no_room(error):
                raise
            print(f"{folder.path}: {error}; skipped", flush=True)
            if self.group is not None:
                raise SystemExit(REGROUP) from None
        return True

    def _do(self, folder: Folder, job: Callable[[], None]) -> None:
        """Do the job whose state is in `folder`. A failure is recorded there, and other jobs continue."""
        try:
            job()
        except Exception as error:
            if no_room(error):
                raise
            if self.group is not None and self.group.lost:  # a follower died: the run did not fail
                raise SystemExit(REGROUP) from None
            self._failed(folder, error)
            if self.group is not None:
                raise SystemExit(REGROUP) from None

    def _failed(self, folder: Folder, error: Exception) -> None:
        """Record the failure of a run. Call it in the handler of the error, for the traceback."""
        traceback.print_exc()
        folder.fail(error)
        self.order.consider_abandoning()
        folder.remove_heartbeat()  # last: from now on the run has failed, and the rest is there to be read

    def _baselines(self, job: Baselines, folder: Folder) -> None:
        from bench.train.baselines import baselines

        results = self.order.results
        folder.beat(label=f"baselines of {job.task.name}", device=self.machine.device, **self._job_field)
        with self.stop.at_once():
            value = baselines(job.task, job.task_id, job.evaluation_prompts)
        record_plugins(value, job.task)
        pools.store(pools.path_of_baselines(results, job.task.name, job.task_id), value, folder.path)
        folder.clear()

    def _train_all(self, stack: Stack, place: int) -> None:
        """Train a stack. If it fails, train its halves separately, so that only the faulty run fails.

        `place` is that of the run in the list of jobs, by which a group's followers know it.
        """
        if len(stack) == 1:
            run = stack.first
            self._do(Folder.of(self.order.results, run.id), lambda: self._train(stack, place))
            return
        try:
            self._train(stack, place)
            return
        except Exception as error:
            if no_room(error):
                raise
            traceback.print_exc()
        Folder.of(self.order.results, stack.id).clear()
        print(f"a stack of {len(stack)} failed: training its halves separately", flush=True)
        release_memory(self.machine.device)
        for half in stack.halves():
            if not self._halted():
                self._train_all(half, place)

    def _train(self, stack: Stack, place: int) -> None:
        """Train a stack and store the result of every member that ended."""
        import torch

        from bench.train import Interrupted
        from bench.train.loop import TrainingOptions, train_stack

        results = self.order.results
        check_kernels(self.test_outcomes)
        # Before the heartbeats, so that a run that trains has a log.
        print(_header(stack, self.machine, self.cluster_job), flush=True)
        members = StackMembers(
            stack, self.order, self.machine, self._job_field, self._provenance, self._failed
        )
        members.begin()  # before the check, so that a death during the check counts for these runs
        with self.stop.at_once():
            check_plugins(stack.first, self.machine.device, self.machine.kernels)
        if self.group is not None:
            self.group.tell(place)
        options = TrainingOptions(
            device=torch.device(self.machine.device),
            kernels=self.machine.kernels,
            save_every=self.machine.save_every,
            report=members.report,
            ended=members.store,
            keep_weights=members.keep_weights if self.machine.keep_weights else None,
            asked_to_stop=self.stop,
            group=self.group,
            plugins=plugins.version_of((run.task, run.architecture) for run in stack.members),
        )
        try:
            record_members(stack, results)
            train_stack(stack, Folder.of(results, stack.id).path, options)
        except Interrupted:
            members.interrupted()
            return
        finally:
            release_memory(self.machine.device)
        if len(stack) > 1:
            Folder.of(results, stack.id).clear()

    def _provenance(self, began: float) -> dict[str, Any]:
        """The provenance of a result: where, when and with which code and kernels it was computed."""
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
            "self_test": self.test_outcomes,
        }


def release_memory(device: str) -> None:
    """Release unused GPU memory, because other processes on this GPU may need it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _header(stack: Stack, machine: Machine, cluster_job: str) -> str:
    where = f"{os.uname().nodename} {', '.join(machine.devices)}"
    job = f", job {cluster_job}" if cluster_job else ""
    commit = f", commit {code[:12]}" if (code := code_identity()["commit"]) else ""
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M:%S')} {stack.first.task.name}/{stack.label} on {where}{job}",
        f"    kernels {machine.kernels}, PyTorch {package_version('torch')}{commit}",
        *(f"    {run.task.name}/{run.label}" for run in stack.members if len(stack) > 1),
    ]
    return "\n".join(lines)


def _join(seat: Seat, machine: Machine, stop: StopFlag) -> Group | None:
    """The group of processes that train one run together; None if this process trains alone."""
    if seat.size == 1:
        return None
    import torch

    from bench.train.parallel import Group

    return Group.join(seat.rank, seat.size, seat.address, torch.device(machine.device), stop)
