"""The local pool: one worker per GPU, or a few on the CPU, and an eye on them.

The pool starts workers and restarts one that dies (killed by the system for memory, say); the run
it held resumes from its checkpoint, and after `MOST_DEATHS` deaths on the same run that run has
failed. Everything else the workers settle among themselves through the results folder.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench import plugins
from bench.dispatch.state import Folder
from bench.dispatch.worker import Job, Machine, work
from bench.environment import local_device
from bench.errors import UserError
from bench.results import STATE

MOST_DEATHS = 3

# glibc hands large freed blocks back to the system at once, and a training step on the CPU frees and
# takes the same ones over and over: keeping them saves a third of its time. Read at process start.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}


@dataclass
class LocalPool:
    """Worker processes on this machine, all walking the same list of jobs."""

    jobs: list[Job]
    results: Path
    machines: list[Machine]
    """One worker each; a device may appear more than once."""
    _workers: dict[int, BaseProcess] = field(default_factory=dict)
    _deaths: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        """Start the workers."""
        for index in range(len(self.machines)):
            self._start_worker(index)

    def busy(self) -> bool:
        """Whether any worker is still at work; restarts those that died."""
        for index, worker in list(self._workers.items()):
            if worker.is_alive():
                continue
            del self._workers[index]
            if worker.exitcode:
                self._bury(worker)
                self._start_worker(index)
        return bool(self._workers)

    def stop(self, patience: float = 60.0) -> None:
        """Ask the workers to save and leave; after `patience` seconds they are killed.

        A killed run resumes from its last checkpoint: patience only saves repeated work.
        """
        for worker in self._workers.values():
            if worker.is_alive() and worker.pid:
                os.kill(worker.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        for worker in self._workers.values():
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()
        self._workers.clear()

    def _start_worker(self, index: int) -> None:
        log = self.results / STATE / f"worker-{os.getpid()}-{index}.log"
        context = multiprocessing.get_context("spawn")
        # Each worker begins at its own place in the list, so that they do not queue for the same lock.
        jobs = self.jobs[index:] + self.jobs[:index]
        worker = context.Process(
            target=work,
            args=(plugins.carried(jobs), self.results, self.machines[index], log),
            name=f"bench-worker-{index}",
        )
        os.environ.update({name: value for name, value in ALLOCATOR.items() if name not in os.environ})
        with _interrupts_ignored():
            worker.start()
        self._workers[index] = worker

    def _bury(self, worker: BaseProcess) -> None:
        """Find what a dead worker held; give up on a run that keeps killing its workers."""
        for job in self.jobs:
            folder = Folder.of(self.results, job.id)
            beat = folder.heartbeat()
            if beat is None or beat["pid"] != worker.pid:
                continue
            folder.quiet()
            self._deaths[job.id] += 1
            if self._deaths[job.id] >= MOST_DEATHS:
                folder.fail_with("WorkerDied", f"exit code {worker.exitcode}, {MOST_DEATHS} times")
            return
        self._deaths["before any job"] += 1
        if self._deaths["before any job"] >= MOST_DEATHS:
            raise UserError(f"workers die at start (exit code {worker.exitcode}); see their log in {STATE}/")


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Children start deaf to ctrl-C, until they have their own handler: the pool tells them with SIGTERM."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def machines(device: str, workers: int | None, base: Machine) -> list[Machine]:
    """The workers to start.

    Args:
        device: "auto" (GPUs if there are any), "cpu" or "cuda".
        workers: how many; by default one a GPU, or one for every `base.threads` processor cores.
        base: settings common to all.

    Raises:
        ValueError: when GPUs are asked for and there are none.
    """
    gpus = 0 if device == "cpu" else visible_gpus()
    if device == "cuda" and not gpus:
        raise ValueError("no CUDA device that this PyTorch can use; see `bench doctor`")
    if gpus:
        count = workers or gpus
        return [replace(base, device=f"cuda:{index % gpus}") for index in range(count)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [replace(base, device="cpu") for _ in range(workers or max(1, cores // base.threads))]


def visible_gpus() -> int:
    """How many CUDA devices PyTorch can use; torch is imported only where a driver is installed."""
    if local_device()[1] == "cpu":
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
