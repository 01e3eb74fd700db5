"""Which runs a worker trains together: those of one shape that are free, or those that were begun together.

    results/.state/<stack id>/  stack.json     ids of the members, in order
                                checkpoint.pt  where all of them can go on from

A stack that was begun is resumed whole, with members that have ended since: its kernels then compute the same
bits. Every member has its own lock, heartbeat and failure, as a run that trains alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.dispatch.job import Job, Machine, is_done
from bench.dispatch.state import Folder
from bench.files import read_json, write_json
from bench.results import STATE
from bench.run import Run
from bench.stack import Stack, shape, stackable


@contextlib.contextmanager
def companions(run: Run, jobs: Sequence[Job], results: Path, machine: Machine) -> Iterator[Stack]:
    """The stack that `run`, whose lock this process holds, trains in; members stay locked meanwhile.

    Args:
        run: a run without a result.
        jobs: all work that this worker knows of.
        results: the pool of results.
        machine: how many runs a stack may have, and how many workers share the jobs.
    """
    with contextlib.ExitStack() as locks:
        yield _begun(run, jobs, results, locks) or _free(run, jobs, results, machine, locks)


def _begun(run: Run, jobs: Sequence[Job], results: Path, locks: contextlib.ExitStack) -> Stack | None:
    """The stack that was begun with `run` and left a checkpoint; None where it cannot be had whole."""
    known = {job.id: job for job in jobs if isinstance(job, Run)}
    for ids in begun(results):
        if run.id not in ids or not all(identifier in known for identifier in ids):
            continue
        stack = Stack(tuple(known[identifier] for identifier in ids))
        others = [member for member in stack.members if member.id != run.id and not is_done(member, results)]
        with contextlib.ExitStack() as taken:
            if all(taken.enter_context(Folder.of(results, member.id).locked()) for member in others):
                locks.push(taken.pop_all())
                return stack
    return None


def _free(
    run: Run, jobs: Sequence[Job], results: Path, machine: Machine, locks: contextlib.ExitStack
) -> Stack:
    """`run` with as many free runs of its shape as a stack may have, and no more than this worker's share."""
    size = advised_size(run, machine.device) if machine.stack is None else machine.stack
    if size == 1 or not stackable(run) or Folder.of(results, run.id).deaths() > 1:
        return Stack.of(run)
    runs = [job for job in jobs if isinstance(job, Run)]
    alike = [other for other in runs if shape(other) == shape(run)]
    largest = min(size, math.ceil(len(runs) / machine.workers))  # no worker takes what others could train
    reserved = {identifier for ids in begun(results) for identifier in ids}
    members = [run]
    for other in alike:
        if len(members) >= largest:
            break
        folder = Folder.of(results, other.id)
        if (
            other.id in {run.id, *reserved}
            or is_done(other, results)
            or folder.failure()
            or folder.deaths() > 1
        ):
            continue
        with contextlib.ExitStack() as taken:
            if taken.enter_context(folder.locked()) and not is_done(other, results):
                locks.push(taken.pop_all())
                members.append(other)
    return Stack.of(*members)


ADVISED = ((128, 16), (256, 8), (512, 2))
"""Members of a stack by the largest width that it is advised for. Wider models fill a GPU alone."""
BYTES = 300
"""GPU memory of one token, channel and layer while a model trains: more than any architecture here takes."""


def advised_size(run: Run, device: str) -> int:
    """How many runs like this one a stack may have on a device: as many as gain, and fit into free memory."""
    if not device.startswith("cuda"):
        return 1
    import torch

    width = run.architecture.actual_width(run.size.width)
    size = next((members for largest, members in ADVISED if width <= largest), 1)
    tokens = run.batch_size * run.task.length(run.task.n_points)
    taken = BYTES * tokens * width * run.size.layers + 16 * run.parameters
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(size, int(0.8 * free / taken)))


def begin(stack: Stack, results: Path) -> Path:
    """The folder of a stack's checkpoint; a stack of several writes down its members there."""
    folder = Folder.of(results, stack.id).path
    if len(stack) > 1:
        write_json(folder / "stack.json", {"members": [run.id for run in stack.members]})
    return folder


def begun(results: Path) -> list[list[str]]:
    """The members of every stack that left a checkpoint."""
    compositions = []
    for path in sorted((results / STATE).glob("stack-*/stack.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if (path.parent / "checkpoint.pt").exists():
                compositions.append([str(identifier) for identifier in read_json(path)["members"]])
    return compositions


def ended_members(runs: Iterable[Run], others: Iterable[Run], results: Path) -> list[Run]:
    """Those of `others` that stand in one begun stack with any of `runs`: needed to resume it as it was."""
    asked = {run.id for run in runs}
    together = {identifier for ids in begun(results) if asked & set(ids) for identifier in ids}
    return [run for run in others if run.id in together - asked]
