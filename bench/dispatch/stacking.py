"""The runs that a worker trains together: free runs of one shape, or the members of an interrupted stack.

    results/.state/<stack id>/  stack.json     ids of the members, in order; a run alone has none
                                checkpoint.pt  the state from which all members resume

An interrupted stack is resumed whole, including members that have ended. Its kernels then compute the same
bits as before. Every member has its own lock, heartbeat and failure, like a run that trains alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bench.dispatch.job import Job, Machine, is_done
from bench.dispatch.state import Folder
from bench.environment import device_name
from bench.files import read_json, write_json
from bench.results import STATE
from bench.run import Run
from bench.speed.records import Record, of_device, shape_of
from bench.stack import STACK_PREFIX, Stack, even_parts, shape, stackable


@contextlib.contextmanager
def companions(run: Run, jobs: Sequence[Job], results: Path, machine: Machine) -> Iterator[Stack]:
    """The stack in which `run` trains. Its members are locked within the context.

    Args:
        run: a run without a result, whose lock this process holds.
        jobs: all jobs of this worker.
        results: the pool of results.
        machine: limits the size of a stack, and states how many workers share the jobs.
    """
    runs = [job for job in jobs if isinstance(job, Run)]
    compositions = begun(results)
    with contextlib.ExitStack() as locks:
        yield _interrupted_stack(run, runs, results, compositions, locks) or _new_stack(
            run, runs, results, machine, compositions, locks
        )


def _interrupted_stack(
    run: Run,
    runs: Sequence[Run],
    results: Path,
    compositions: Sequence[Sequence[str]],
    locks: contextlib.ExitStack,
) -> Stack | None:
    """The interrupted stack of `run`; None if there is none or a member is not available."""
    by_id = {candidate.id: candidate for candidate in runs}
    for ids in compositions:
        if run.id not in ids or not all(identifier in by_id for identifier in ids):
            continue
        stack = Stack(tuple(by_id[identifier] for identifier in ids))
        unfinished = [
            member for member in stack.members if member.id != run.id and not is_done(member, results)
        ]
        with contextlib.ExitStack() as acquired:
            if all(acquired.enter_context(Folder.of(results, member.id).locked()) for member in unfinished):
                locks.push(acquired.pop_all())
                return stack
    return None


def _new_stack(
    run: Run,
    runs: Sequence[Run],
    results: Path,
    machine: Machine,
    compositions: Sequence[Sequence[str]],
    locks: contextlib.ExitStack,
) -> Stack:
    """The stack of `run` and free runs of its shape: as large as allowed, but at most this worker's share."""
    size = advised_size(run, machine.device, results) if machine.stack is None else machine.stack
    if size == 1 or not stackable(run) or Folder.of(results, run.id).deaths() > 1:
        return Stack.of(run)
    own_shape = shape(run)
    reserved_ids = {identifier for ids in compositions for identifier in ids}

    def is_free(candidate: Run) -> bool:
        if candidate.id in reserved_ids or is_done(candidate, results):
            return False
        folder = Folder.of(results, candidate.id)
        return folder.failure() is None and folder.deaths() <= 1

    candidates = [other for other in runs if shape(other) == own_shape and other != run and is_free(other)]
    # At most a share of the runs, so that no other worker is left without work.
    largest = min(size, math.ceil(len(runs) / machine.workers))
    wanted = max(map(len, even_parts([run, *candidates], largest)))
    members = [run]
    for candidate in candidates:
        if len(members) == wanted:
            break
        with contextlib.ExitStack() as acquired:
            folder = Folder.of(results, candidate.id)
            if not acquired.enter_context(folder.locked()):
                continue
            if is_done(candidate, results):  # another worker finished it after the check above
                folder.clear()  # the lock has made its folder again
                continue
            locks.push(acquired.pop_all())
            members.append(candidate)
    return Stack.of(*members)


ADVISED = ((128, 16), (256, 8), (512, 2))
"""Up to this width, so many members of a stack are advised if `bench speed` has not compared sizes."""
MEMORY_SHARE = 0.8
"""Largest part of the memory that a stack is planned to use."""


def advised_members(run: Run, kind: str, record: Record | None, memory_bytes: float | None) -> int:
    """The advised number of members of a stack: the fastest size that fits into memory.

    Args:
        run: a member.
        kind: of the device, "gpu" or "cpu". On a CPU runs train alone.
        record: measurements of `bench speed` on the device.
        memory_bytes: memory of the device; None if unknown.
    """
    if kind != "gpu" or not stackable(run):
        return 1
    width = run.architecture.actual_width(run.size.width)
    size = next((members for largest, members in ADVISED if width <= largest), 1)
    per_member = run.unmeasured_bytes()
    if record is not None and (best := record.best_stack(shape_of(run))) is not None:
        size, row = best, record.times(shape_of(run))[best]
        per_member = (row.peak_memory_mib << 20) / best if row.peak_memory_mib else per_member
    if memory_bytes is None:
        return size
    return max(1, min(size, int(MEMORY_SHARE * memory_bytes / per_member)))


def advised_size(run: Run, device: str, results: Path) -> int:
    """`advised_members` for the device of this process, with its record in `results`."""
    if not device.startswith("cuda"):
        return 1
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return advised_members(run, "gpu", of_device(results, device_name(device)), free)


def form(
    runs: Sequence[Run], size: Callable[[Run], int], begun: Sequence[Sequence[str]] = ()
) -> list[list[Run]]:
    """The stacks that one worker forms: interrupted stacks, and the other runs by shape, in order.

    Args:
        runs: the runs to train.
        size: largest number of members of a stack with a given run.
        begun: ids of the members of interrupted stacks.
    """
    places = {identifier: number for number, ids in enumerate(begun) for identifier in ids}
    groups: dict[int | str, list[Run]] = {}
    for run in runs:
        groups.setdefault(places.get(run.id, shape(run)), []).append(run)
    stacks = []
    for key, group in groups.items():
        largest = len(group) if isinstance(key, int) else max(1, size(group[0]))
        stacks += even_parts(group, largest)
    return stacks


def begin(stack: Stack, results: Path) -> Path:
    """Create and return the folder of a stack's checkpoint. Several members are recorded in it."""
    folder = Folder.of(results, stack.id).path
    if len(stack) > 1:
        write_json(folder / "stack.json", {"members": [run.id for run in stack.members]})
    return folder


def begun(results: Path) -> list[list[str]]:
    """The ids of the members of every stack that has a checkpoint.

    A run that began alone is a stack of one: in a larger stack it would start over. It comes after the larger
    stacks, and only if none of them has it.
    """
    stacks, alone = [], []
    for path in sorted((results / STATE).glob("*/checkpoint.pt")):
        record = path.with_name("stack.json")
        if record.exists():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                stacks.append([str(identifier) for identifier in read_json(record)["members"]])
        elif not path.parent.name.startswith(STACK_PREFIX):
            alone.append(path.parent.name)
    in_stacks = {identifier for members in stacks for identifier in members}
    return [*stacks, *([identifier] for identifier in alone if identifier not in in_stacks)]


def companions_in_stacks(runs: Iterable[Run], others: Iterable[Run], results: Path) -> list[Run]:
    """The runs of `others` that are in an interrupted stack with any of `runs`.

    The stack cannot resume without them. They include runs that have ended, and runs that a filter or a limit
    left out.
    """
    ids = {run.id for run in runs}
    together = {identifier for members in begun(results) if ids & set(members) for identifier in members}
    return [run for run in others if run.id in together - ids]
