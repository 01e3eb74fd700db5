"""A pool of workers on this machine: one per GPU, or a few on the CPU.

The pool starts workers. It restarts a worker that dies, for example because the system killed it for lack of
memory. The worker's run resumes from its checkpoint. After `MOST_DEATHS` deaths without progress the run has
failed. Workers coordinate everything else through the results folder. A job on a cluster is such a pool too,
over the job's devices.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench import plugins
from bench.dispatch.job import Job, Machine, Seat
from bench.dispatch.order import Order
from bench.dispatch.stacking import interrupted_stacks
from bench.dispatch.state import Folder, is_last, log_of
from bench.dispatch.worker import NO_ROOM, REGROUP, work
from bench.errors import UserError
from bench.results import STATE
from bench.run import Run
from bench.stack import stack_shape

MOST_DEATHS = 3
"""A run whose process dies so often without progress has failed."""

# glibc returns large freed blocks to the system at once. A training step on the CPU frees and allocates the
# same blocks again and again, so keeping them saves a third of its time. glibc reads this at process start.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
NOT_FOR_WORKERS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""Signals that only the pool handles: Ctrl-C, a closed terminal, a cluster's warning. It sends SIGTERM to its
workers."""


class NoRoom(UserError):
    """The disk under the results is full."""


class CrewLost(Exception):
    """A process of a crew that is spread over the tasks of a cluster job has died. All tasks must restart."""


@dataclass
class LocalPool:
    """Worker processes on this machine that share a list of jobs.

    A crew is the processes that train one run together, one for each of its devices; mostly a single worker.

    Attributes:
        jobs: the jobs to do.
        order: the order that the jobs belong to.
        machines: an entry per crew. Crews may share a device.
        patience: seconds that a worker waits while other processes hold all remaining jobs.
        seat: the seat that this process starts, if a crew is spread over the tasks of a cluster job.
        logs: folder for the output of workers outside of runs; by default the state folder of the results.
        cluster_job: number of the cluster job that this process is part of; "" if there is none.
    """

    jobs: list[Job]
    order: Order
    machines: list[Machine]
    patience: float = math.inf
    seat: Seat | None = None
    logs: Path | None = None
    cluster_job: str = ""
    _crews: dict[int, list[BaseProcess]] = field(default_factory=dict)
    _deaths: int = 0
    _regroups: int = 0

    def start(self) -> None:
        """Start the workers."""
        for index in range(len(self.machines)):
            self._start_crew(index)

    def busy(self) -> bool:
        """Whether any worker still works; restart workers that died.

        Raises:
            NoRoom: the disk is full.
            UserError: workers die before they take a job.
            CrewLost: this pool starts only one process of a crew, and that process died.
        """
        for index, crew in list(self._crews.items()):
            codes = [worker.exitcode for worker in crew]
            if any(codes):
                self._kill(crew)
                del self._crews[index]
                # REGROUP is a consequence of another process's death: prefer that process's exit code.
                self._record_death(
                    crew, next((code for code in codes if code not in (None, 0, REGROUP)), REGROUP)
                )
                if self.seat is not None:
                    raise CrewLost
                self._start_crew(index)
            elif None not in codes:
                del self._crews[index]
        return bool(self._crews)

    def stop(self, patience: float = 60.0) -> None:
        """Ask the workers to save and exit; kill them after `patience` seconds.

        A killed run resumes from its last checkpoint, so patience only avoids repeated work.
        """
        workers = [worker for crew in self._crews.values() for worker in crew]
        for worker in workers:
            if worker.is_alive() and worker.pid:
                os.kill(worker.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        self._kill(workers)
        self._crews.clear()

    @cached_property
    def _places(self) -> list[int]:
        """Places in the list of jobs, in the order in which workers begin there.

        No two workers begin at one place, so they do not queue for the same lock. They begin at baselines and
        at runs that have begun, then at different shapes in turn: workers that begin at one shape share the
        runs of its stacks. The members of an interrupted stack need one worker.
        """
        if len(self.machines) == 1:
            return [0]  # whatever has begun: the tasks of a cluster job that share a crew must agree
        interrupted = interrupted_stacks(self.order.results)
        stacks = {identifier: ids[0] for ids in interrupted for identifier in ids}
        earlier: Counter[str] = Counter()
        ranks = []
        for job in self.jobs:
            shape = stack_shape(job) if isinstance(job, Run) else job.id
            group = stacks.get(job.id, shape)
            ranks.append((earlier[group], isinstance(job, Run) and job.id not in stacks))
            earlier[group] += 1
        return sorted(range(len(ranks)), key=ranks.__getitem__)

    def _start_crew(self, index: int) -> None:
        """Start the processes of a crew."""
        machine = self.machines[index]
        place = self._places[index % len(self._places)] if self.jobs else 0
        jobs = self.jobs[place:] + self.jobs[:place]
        seats = [Seat()]
        if len(machine.devices) > 1:
            address = f"127.0.0.1:{_free_port()}"
            seats = [Seat(rank, len(machine.devices), address) for rank in range(len(machine.devices))]
        if self.seat is not None:
            seats = [self.seat]
        os.environ.update({name: value for name, value in ALLOCATOR.items() if name not in os.environ})
        context = multiprocessing.get_context("spawn")
        crew: list[BaseProcess] = []
        self._crews[index] = crew  # before a worker starts, so that `stop` always knows all of them
        for seat in seats:
            name = f"{self._name}-{index}" + (f"-{seat.rank}" if seat.size > 1 else "")
            settings = replace(machine, workers=len(self.machines))
            if seat.rank:
                settings = replace(settings, devices=machine.devices[seat.rank :])
            arguments = (
                plugins.carried(jobs),
                self.order,
                settings,
                self._log_folder / f"{name}.log",
                seat,
                self.patience,
                self.cluster_job,
            )
            process = context.Process(target=work, args=arguments, name=f"bench-{name}")
            with _deferred(signal.SIGTERM), _ignored(NOT_FOR_WORKERS):
                process.start()
                crew.append(process)

    @staticmethod
    def _kill(workers: list[BaseProcess]) -> None:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
                worker.join()

    def _record_death(self, crew: list[BaseProcess], code: int) -> None:
        """Record the death for the runs of a dead crew. A run whose workers keep dying has failed."""
        if code == NO_ROOM:
            raise NoRoom(
                f"{self.order.results}: no room left on its disk. Nothing is broken: free some space, then "
                "run the same command again to resume from the last checkpoints"
            )
        if code == REGROUP:
            self._regroups += 1
            if self._regroups > len(self.jobs) + MOST_DEATHS:
                raise UserError(f"runs fail without leaving a record; see {self._worker_logs}")
            return
        ending = _ending(code)
        jobs = self._jobs_of(crew)
        for job in jobs:
            folder = Folder.of(self.order.results, job.id)
            _note(log_of(self.order.results, job.id), ending)
            if folder.record_death() >= MOST_DEATHS:
                folder.fail_with("WorkerDied", f"{ending}, {MOST_DEATHS} times without progress")
                self.order.consider_abandoning()
        if jobs:
            return
        self._deaths += 1
        if self._deaths >= MOST_DEATHS:
            raise UserError(f"workers die at start ({ending}); see {self._worker_logs}")

    def _jobs_of(self, crew: list[BaseProcess]) -> list[Job]:
        """The jobs that a crew had, by their heartbeats."""
        jobs = []
        for job in self.jobs:
            beat = Folder.of(self.order.results, job.id).heartbeat()
            if beat is not None and not is_last(beat) and self._is_of(crew, beat):
                jobs.append(job)
        return jobs

    @property
    def _log_folder(self) -> Path:
        return self.logs or self.order.results / STATE

    @property
    def _name(self) -> str:
        """The beginning of the names of this pool's workers."""
        return (f"{self.cluster_job}-" if self.cluster_job else "") + f"worker-{os.getpid()}"

    @property
    def _worker_logs(self) -> str:
        """The logs of this pool's workers, as a shell pattern."""
        return f"{self._log_folder}/{self._name}-*.log"

    def _is_of(self, crew: list[BaseProcess], beat: dict[str, Any]) -> bool:
        """Whether a process of the crew wrote a heartbeat."""
        if self.seat is not None and self.cluster_job and self.cluster_job == beat.get("job"):
            return True  # another task of this job leads the crew
        # Workers on other machines may have the same numbers.
        return beat["host"] == socket.gethostname() and beat["pid"] in {worker.pid for worker in crew}


def _ending(code: int) -> str:
    """How a process ended, in words: "killed by SIGKILL" or "exit code 3"."""
    if code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _note(log: Path, ending: str) -> None:
    """Note in a run's log how its process ended."""
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"{now} the process that had this run ended: {ending}\n")


@contextmanager
def _deferred(number: signal.Signals) -> Iterator[None]:
    """Defer a signal until the context ends, because a process that starts must be recorded first."""
    received: list[int] = []
    previous = signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(number, previous)
        for signal_number in received:
            signal.raise_signal(signal_number)


@contextmanager
def _ignored(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Let child processes ignore these signals until they install their own handlers.

    Meanwhile this process blocks the signals. A signal that arrives is then pending and not lost.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    previous = [signal.signal(signal_number, signal.SIG_IGN) for signal_number in signals]
    try:
        yield
    finally:
        for signal_number, handler in zip(signals, previous, strict=True):
            signal.signal(signal_number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
