"""A worker: one process on one device that takes whatever work is free until none is left.

Workers need no coordinator. Each walks the same list, skips what has a result, takes what nobody
holds and comes back to what somebody else holds, so that two `bench run` on one folder share the
work and a dead owner's run is taken over.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import results as pool
from bench.dispatch.own import record, try_out
from bench.dispatch.state import Folder
from bench.run import Run
from bench.tasks import Task


@dataclass(frozen=True)
class Baselines:
    """Reference predictors of one task on its report prompts, to be computed once."""

    task: Task
    task_id: str
    evaluation_prompts: int

    @property
    def id(self) -> str:
        return f"baselines-{self.task_id}"


Job = Run | Baselines
Tested = list[dict[str, Any]]
"""Outcomes of the kernels' self-test in this process, stored with every result."""


class KernelDisagrees(Exception):
    """A kernel does not compute what its reference computes."""


@dataclass(frozen=True)
class Machine:
    """How a worker computes; nothing here is part of a run's identity."""

    device: str = "cpu"
    threads: int = 1
    scan: str = "sequential"
    save_every: float = 60.0


def work(jobs: list[Job], results: Path, machine: Machine, log: Path) -> None:
    """Entry point of a worker process: do the jobs that are free, in order, until all are done.

    Returns when every job has a result or a failure. Stops at SIGINT, SIGTERM or the death of its
    parent, with the current run's state saved.
    """
    _redirect_output(log)
    stop = _StopFlag()
    kernels = _prepare(machine)
    open_jobs = list(jobs)
    while open_jobs and not stop():
        left = [job for job in open_jobs if not stop() and not _attempt(job, results, machine, kernels, stop)]
        if len(left) == len(open_jobs):
            time.sleep(0.5)  # all of them are held by others: wait for a result or a death
        open_jobs = left


def _attempt(job: Job, results: Path, machine: Machine, kernels: Tested, stop: _StopFlag) -> bool:
    """Do one job if it is free. Returns whether it needs no further attention."""
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
            try:
                _do(job, results, folder, machine, kernels, stop)
            except Exception as error:  # one run's failure never stops the others
                folder.fail(error)
                folder.quiet()
    except OSError as error:  # not even a failure can be recorded: a full disk, a file in the folder's place
        print(f"{folder.path}: {error}; left as it is", flush=True)
    return True


def is_done(job: Job, results: Path) -> bool:
    """Whether the result of a job is on disk."""
    if isinstance(job, Run):
        return pool.load_run(results, job) is not None
    return pool.load_baselines(results, job.task.name, job.task_id) is not None


def _do(job: Job, results: Path, folder: Folder, machine: Machine, kernels: Tested, stop: _StopFlag) -> None:
    if isinstance(job, Baselines):
        folder.beat(label=f"baselines of {job.task.name}", device=machine.device)
        from bench.train.reference import baselines

        value = baselines(job.task, job.task_id, job.evaluation_prompts)
        record(value, job.task)
        pool.store(pool.path_of_baselines(results, job.task.name, job.task_id), value)
        folder.clear()
        return
    _trust(kernels)
    try_out(job, machine.device, machine.scan)
    result = _train(job, folder, machine, stop)
    if result is None:  # the last heartbeat stays: it says how far the run is
        return
    result["provenance"]["self_test"] = kernels
    record(result, job.task, job.architecture)
    pool.store(pool.path_of(results, job), result)
    folder.clear()


def _train(run: Run, folder: Folder, machine: Machine, stop: _StopFlag) -> dict[str, Any] | None:
    """Train one run; None when it was interrupted (its state is saved)."""
    import torch

    from bench import environment
    from bench.train.loop import Interrupted, Options, Progress, train

    began = time.time()

    def report(progress: Progress) -> None:
        folder.beat(label=run.label, device=machine.device, started=began, steps=run.steps, **vars(progress))

    known = folder.heartbeat() or {}  # of an earlier owner: where its checkpoint is, or a little further
    report(Progress(int(known.get("step", 0)), None, 0.0))
    options = Options(
        device=torch.device(machine.device),
        scan=machine.scan,
        save_every=machine.save_every,
        report=report,
        stop=stop,
    )
    try:
        result = train(run, folder.path, options)
    except Interrupted:
        return None
    where = environment.describe(machine.device)
    if machine.device.startswith("cuda"):
        result["provenance"]["peak_memory_mib"] = torch.cuda.max_memory_allocated() >> 20
        torch.cuda.reset_peak_memory_stats()
    result["provenance"].update(started=round(began, 3), finished=round(time.time(), 3), **where)
    return result


def _prepare(machine: Machine) -> Tested:
    """Settings of the process that must precede the first use of torch; then the kernels' self-test."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # bitwise reproducible matrix products
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch

    torch.set_num_threads(machine.threads)
    if machine.device.startswith("cuda"):
        torch.cuda.set_device(machine.device)
    from bench.kernels.self_test import BRIEF, self_test

    outcomes = self_test(torch.device(machine.device), (machine.scan,), BRIEF)
    return [
        {
            "kernel": one.kernel,
            "backend": one.backend,
            "outputs": one.outputs,
            "gradients": one.gradients,
            "agrees": one.agrees,
        }
        for one in outcomes
    ]


def _trust(kernels: Tested) -> None:
    """Refuse to train with a kernel that disagrees with its reference on this device."""
    for one in kernels:
        if not one["agrees"]:
            raise KernelDisagrees(
                f"{one['kernel']} ({one['backend']}) differs from its reference: outputs by "
                f"{one['outputs']:.1e}, gradients by {one['gradients']:.1e} (relative); see bench doctor"
            )


class _StopFlag:
    """True once the process was asked to stop, or its parent is gone."""

    def __init__(self) -> None:
        self._asked = False
        self._parent = os.getppid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True

    def __call__(self) -> bool:
        return self._asked or os.getppid() != self._parent


def _redirect_output(log: Path) -> None:
    """Send what libraries print to the worker's log, not into the progress display."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
