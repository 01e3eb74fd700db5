"""From work to jobs: what one machine is asked to do in one go, and how many jobs make an array.

The unit is a piece: work that stays together. A stack, runs trained as one set of kernels, is a piece; so
are a task's baselines.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.dispatch.job import Job

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """Work that stays together.

    Attributes:
        work: its runs and baselines.
        seconds: what one worker is expected to need for it.
        memory_mib: what it is expected to take on a GPU; 0 for work that needs none.
    """

    work: tuple[Job, ...]
    seconds: float
    memory_mib: int = 0


@dataclass(frozen=True)
class Room:
    """What a job has to work with.

    Attributes:
        workers: pieces it works on at a time, as far as they fit.
        gpus: GPUs they share out among themselves (groups of GPUs, where runs are spread).
        memory_mib: memory of one GPU; None where it is not known, or does not matter.
    """

    workers: int = 1
    gpus: int = 1
    memory_mib: int | None = None

    def workers_for(self, piece: Piece) -> int:
        """How many pieces like this one it works on at a time: one on a GPU in any case."""
        if self.memory_mib is None or not piece.memory_mib:
            return self.workers
        fitting = max(1, self.memory_mib // piece.memory_mib)
        return min(self.workers, fitting * self.gpus)


@dataclass(frozen=True)
class Share:
    """What one job is asked to do: its pieces in their order, and how many of them at a time."""

    pieces: tuple[Piece, ...]
    workers: int

    @property
    def work(self) -> tuple[Job, ...]:
        """All its runs and baselines."""
        return tuple(job for piece in self.pieces for job in piece.work)

    @property
    def memory_mib(self) -> int:
        """GPU memory of its largest piece."""
        return max(piece.memory_mib for piece in self.pieces)

    @property
    def seconds(self) -> float:
        """How long it is expected to take: no shorter than its longest piece."""
        each = [piece.seconds for piece in self.pieces]
        return max(sum(each) / self.workers, *each)


def shares(pieces: Sequence[Piece], target_seconds: float, room: Room = Room()) -> list[Share]:
    """Gather pieces into jobs of about `target_seconds` each, as even as they come.

    Pieces of which equally many fit on a GPU go into jobs together, so that small ones are not held up
    by large ones. Inside a job, pieces keep their order.

    Args:
        pieces: what is to be done.
        target_seconds: how long a job should take.
        room: what each job has to work with.
    """
    workers = [room.workers_for(piece) for piece in pieces]
    # What needs no GPU (baselines) is no reason for a job of its own: it goes with the smallest that do.
    smallest = max((at for at, piece in zip(workers, pieces, strict=True) if piece.memory_mib), default=None)
    if smallest is not None:
        workers = [at if piece.memory_mib else smallest for at, piece in zip(workers, pieces, strict=True)]
    found = [
        (members, at)
        for at in sorted(set(workers))
        for members in _gathered(
            [(index, pieces[index].seconds) for index, mine in enumerate(workers) if mine == at],
            target_seconds,
            at,
        )
    ]
    found.sort()  # about in the order of the suite
    return [Share(tuple(pieces[index] for index in members), at) for members, at in found]


def _gathered(work: list[tuple[int, float]], target_seconds: float, workers: int) -> list[list[int]]:
    """Numbers of pieces by job, from their numbers and seconds.

    The longest piece first, each into the job with the least to do; one longer than the target is a
    job of its own.
    """
    longest_first = sorted(work, key=lambda one: -one[1])
    long = [index for index, seconds in longest_first if seconds >= target_seconds]
    rest = [(index, seconds) for index, seconds in longest_first if seconds < target_seconds]
    # Side by side a job holds `workers` long pieces; they are the same to the scheduler as one.
    jobs = [long[begin : begin + workers] for begin in range(0, len(long), workers)]
    count = math.ceil(sum(seconds for _, seconds in rest) / (target_seconds * workers))
    bins: list[tuple[float, int, list[int]]] = [(0.0, number, []) for number in range(count)]
    for index, seconds in rest:
        load, number, members = heapq.heappop(bins)
        members.append(index)
        heapq.heappush(bins, (load + seconds, number, members))
    jobs += [members for _, _, members in bins if members]
    return [sorted(members) for members in jobs]


def chunks(items: Sequence[T], largest: int) -> list[list[T]]:
    """Cut a list into parts of at most `largest`, as even as they come."""
    count = math.ceil(len(items) / max(1, largest))
    size = math.ceil(len(items) / count) if count else 1
    return [list(items[begin : begin + size]) for begin in range(0, len(items), size)]
