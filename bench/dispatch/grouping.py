"""From work to jobs: what one machine is asked to do in one go, and how many jobs make an array.

The unit is a piece: work that is trained together and cannot be divided. Today a piece is one run (or a
task's baselines). A stack, runs trained as one set of kernels, will be a piece of several, and nothing
here will change.
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
    """Work that stays together, and the seconds one worker is expected to need for it."""

    work: tuple[Job, ...]
    seconds: float


def jobs_of(pieces: Sequence[Piece], target_seconds: float, workers: int = 1) -> list[list[Piece]]:
    """Gather pieces into jobs of about `target_seconds` each, as even as they come.

    The longest piece first, each into the job with the least to do; one longer than the target is a
    job of its own. Inside a job, pieces keep their order.

    Args:
        pieces: what is to be done.
        target_seconds: how long a job should take.
        workers: how many pieces a job works on side by side.
    """
    room = target_seconds * workers
    long = [index for index, piece in enumerate(pieces) if piece.seconds >= target_seconds]
    rest = [index for index, piece in enumerate(pieces) if piece.seconds < target_seconds]
    # Side by side a job holds `workers` long pieces; they are the same to the scheduler as one.
    long.sort(key=lambda index: -pieces[index].seconds)
    jobs = [long[begin : begin + workers] for begin in range(0, len(long), workers)]
    count = math.ceil(sum(pieces[index].seconds for index in rest) / room)
    bins: list[tuple[float, int, list[int]]] = [(0.0, number, []) for number in range(count)]
    for index in sorted(rest, key=lambda index: -pieces[index].seconds):
        load, number, members = heapq.heappop(bins)
        members.append(index)
        heapq.heappush(bins, (load + pieces[index].seconds, number, members))
    jobs += [members for _, _, members in sorted(bins) if members]
    jobs.sort(key=min)  # about in the order of the suite
    return [[pieces[index] for index in sorted(members)] for members in jobs]


def chunks(items: Sequence[T], largest: int) -> list[list[T]]:
    """Cut a list into parts of at most `largest`, as even as they come."""
    count = math.ceil(len(items) / max(1, largest))
    size = math.ceil(len(items) / count) if count else 1
    return [list(items[begin : begin + size]) for begin in range(0, len(items), size)]
