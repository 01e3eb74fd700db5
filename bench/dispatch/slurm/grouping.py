"""From work to jobs: which work each Slurm job gets, and how much of it at a time.

The unit is a work item: work that stays together, such as the runs of a stack or the baselines of a task.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.dispatch.job import Job


@dataclass(frozen=True)
class WorkItem:
    """Work that stays together.

    Attributes:
        work: its runs and baselines.
        seconds: expected time on one worker.
        memory_mib: expected GPU memory; 0 for work that needs no GPU.
    """

    work: tuple[Job, ...]
    seconds: float
    memory_mib: int = 0


@dataclass(frozen=True)
class Capacity:
    """What each Slurm job can do at a time.

    Attributes:
        workers: largest number of items at a time; fewer where GPU memory does not suffice.
        gpus: GPUs that the items share (groups of GPUs, where runs are spread).
        memory_mib: memory of one GPU; None where it is unknown or does not matter.
    """

    workers: int = 1
    gpus: int = 1
    memory_mib: int | None = None

    def workers_for(self, item: WorkItem) -> int:
        """How many items like this one a job works on at a time: at least one per GPU."""
        if self.memory_mib is None or not item.memory_mib:
            return self.workers
        fitting = max(1, self.memory_mib // item.memory_mib)
        return min(self.workers, fitting * self.gpus)


@dataclass(frozen=True)
class JobPlan:
    """The work of one Slurm job: its items in order, and how many of them at a time."""

    items: tuple[WorkItem, ...]
    workers: int

    @property
    def work(self) -> tuple[Job, ...]:
        """All its runs and baselines."""
        return tuple(job for item in self.items for job in item.work)

    @property
    def memory_mib(self) -> int:
        """GPU memory of its largest item."""
        return max(item.memory_mib for item in self.items)

    @property
    def seconds(self) -> float:
        """Expected duration."""
        return _duration([item.seconds for item in self.items], self.workers)


def plan_jobs(
    items: Sequence[WorkItem],
    target_seconds: float,
    capacity: Capacity = Capacity(),
    limit_seconds: float = math.inf,
) -> list[JobPlan]:
    """Gather items into jobs of about `target_seconds` each, as evenly as possible.

    Items of which equally many fit on a GPU go into jobs together, so that small ones do not wait for
    large ones. Inside a job, items keep their order.

    Args:
        items: all work.
        target_seconds: how long a job should take.
        capacity: what each job can do at a time.
        limit_seconds: how long a job may take. Items that together take longer go into more jobs. A limit
            below the target does not count: such jobs are meant to be requeued.
    """
    workers = [capacity.workers_for(item) for item in items]
    # Work without a GPU (baselines) needs no job of its own: it joins the smallest items that use a GPU.
    most = max((number for number, item in zip(workers, items, strict=True) if item.memory_mib), default=None)
    if most is not None:
        workers = [number if item.memory_mib else most for number, item in zip(workers, items, strict=True)]
    jobs = [
        (members, number)
        for number in sorted(set(workers))
        for members in _gathered(
            [(index, item.seconds) for index, item in enumerate(items) if workers[index] == number],
            target_seconds,
            number,
            limit_seconds if limit_seconds >= target_seconds else math.inf,
        )
    ]
    jobs.sort()  # about in the order of the suite
    return [JobPlan(tuple(items[index] for index in members), number) for members, number in jobs]


def _gathered(
    work: list[tuple[int, float]], target_seconds: float, workers: int, limit_seconds: float
) -> list[list[int]]:
    """Indices of items by job, from their indices and seconds.

    Items longer than the target are in jobs without shorter ones, at most one for each worker.
    """
    longest_first = sorted(work, key=lambda entry: -entry[1])
    long = [index for index, seconds in longest_first if seconds >= target_seconds]
    short = [(index, seconds) for index, seconds in longest_first if seconds < target_seconds]
    # `workers` long items side by side take the job no longer than one of them.
    jobs = [long[begin : begin + workers] for begin in range(0, len(long), workers)]
    count = max(1, math.ceil(sum(seconds for _, seconds in short) / (target_seconds * workers)))
    seconds_of = dict(work)

    def fits(members: list[int]) -> bool:
        return _duration([seconds_of[index] for index in sorted(members)], workers) <= limit_seconds

    evenly = _even(short, count)
    while count < len(short) and not all(map(fits, evenly)):
        count += max(1, count // 20)  # a few attempts suffice, also for thousands of items
        evenly = _even(short, count)
    return [sorted(members) for members in (*jobs, *evenly) if members]


def _even(longest_first: list[tuple[int, float]], count: int) -> list[list[int]]:
    """Indices of the items of `count` jobs: each item goes into the job with the least work so far."""
    bins: list[tuple[float, int, list[int]]] = [(0.0, number, []) for number in range(count)]
    for index, seconds in longest_first:
        load, number, members = heapq.heappop(bins)
        members.append(index)
        heapq.heappush(bins, (load + seconds, number, members))
    return [members for _, _, members in bins]


def _duration(seconds: Sequence[float], workers: int) -> float:
    """Duration of items in this order: a worker takes the next item as soon as it is free."""
    free_at = [0.0] * min(workers, max(1, len(seconds)))
    for item_seconds in seconds:
        heapq.heapreplace(free_at, free_at[0] + item_seconds)
    return max(free_at)
