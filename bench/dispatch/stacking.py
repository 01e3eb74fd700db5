"""The runs that a worker trains together: free runs of one shape, or the members of an interrupted stack.

    results/.state/<stack id>/  stack.json     ids of the members, in order; a run alone has none
                                checkpoint.pt  the state from which all members resume

An interrupted stack is resumed whole, including members that have ended. Its kernels then compute the same
bits as before. Every member has its own lock, heartbeat and failure, like a run that trains alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.dispatch.job import Job, Machine, is_done
from bench.dispatch.stack_sizes import advised_members_on
from bench.dispatch.state import Folder
from bench.files import read_json, write_json
from bench.results import STATE
from bench.run import Run
from bench.stack import STACK_PREFIX, Stack, even_parts, stack_shape, stackable
from bench.train import CHECKPOINT


@contextlib.contextmanager
def locked_stack(run: Run, jobs: Sequence[Job], results: Path, machine: Machine) -> Iterator[Stack | None]:
    """The stack in which `run` trains. Its members are locked within the context.

    None if another worker holds a member of the run's interrupted stack. Alone, the run would start over.

    Args:
        run: a run without a result, whose lock this process holds.
        jobs: all jobs of this worker.
        results: the pool of results.
        machine: limits the size of a stack, and states how many workers share the jobs.
    """
    runs = [job for job in jobs if isinstance(job, Run)]
    compositions = interrupted_stacks(results)
    with contextlib.ExitStack() as locks:
        if interrupted := _interrupted_stacks_of(run, runs, compositions):
            yield next((stack for stack in interrupted if _lock_others(stack, run, results, locks)), None)
        else:
            yield _new_stack(run, runs, results, machine, compositions, locks)


def _interrupted_stacks_of(
    run: Run, runs: Sequence[Run], compositions: Sequence[Sequence[str]]
) -> list[Stack]:
    """The interrupted stacks of `run` whose members are all among `runs`; mostly one or none."""
    by_id = {candidate.id: candidate for candidate in runs}
    return [
        Stack(tuple(by_id[identifier] for identifier in ids))
        for ids in compositions
        if run.id in ids and all(identifier in by_id for identifier in ids)
    ]


def _lock_others(stack: Stack, run: Run, results: Path, locks: contextlib.ExitStack) -> bool:
    """Lock the members without a result, except `run`. Returns whether all were free; else locks none."""
    unfinished = [member for member in stack.members if member.id != run.id and not is_done(member, results)]
    with contextlib.ExitStack() as acquired:
        if all(acquired.enter_context(Folder.of(results, member.id).locked()) for member in unfinished):
            locks.push(acquired.pop_all())
            return True
    return False


def _new_stack(
    run: Run,
    runs: Sequence[Run],
    results: Path,
    machine: Machine,
    compositions: Sequence[Sequence[str]],
    locks: contextlib.ExitStack,
) -> Stack:
    """The stack of `run` and free runs of its shape: as large as allowed, but at most this worker's share."""
    most = advised_members_on(machine.device, run, results) if machine.stack is None else machine.stack
    # A run whose process keeps dying trains alone, so that it takes no other run with it.
    if most == 1 or not stackable(run) or Folder.of(results, run.id).deaths() > 1:
        return Stack.of(run)
    candidates = _free_companions(run, runs, results, compositions)
    # At most a share of the runs, so that no other worker is left without work.
    largest = min(most, math.ceil(len(runs) / machine.workers))
    size = max(map(len, even_parts([run, *candidates], largest)))
    members = [run]
    for candidate in candidates:
        if len(members) == size:
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


def _free_companions(
    run: Run, runs: Sequence[Run], results: Path, compositions: Sequence[Sequence[str]]
) -> list[Run]:
    """The other runs of a run's shape that nothing keeps from training with it."""
    shape = stack_shape(run)
    reserved_ids = {identifier for ids in compositions for identifier in ids}

    def is_free(candidate: Run) -> bool:
        if candidate.id in reserved_ids or is_done(candidate, results):
            return False
        folder = Folder.of(results, candidate.id)
        return folder.failure() is None and folder.deaths() <= 1

    alike = [other for other in runs if stack_shape(other) == shape and other != run]
    return [other for other in alike if is_free(other)]


def record_members(stack: Stack, results: Path) -> None:
    """Record which runs the checkpoint of a stack is of. That of a run alone needs no record."""
    if len(stack) > 1:
        path = Folder.of(results, stack.id).path / "stack.json"
        write_json(path, {"members": [run.id for run in stack.members]})


def interrupted_stacks(results: Path) -> list[list[str]]:
    """The ids of the members of every stack that has a checkpoint.

    A run that began alone is a stack of one: in a larger stack it would start over. It comes after the larger
    stacks, and only if none of them has it.
    """
    stacks, alone = [], []
    for path in sorted((results / STATE).glob(f"*/{CHECKPOINT}")):
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
    stacks = [members for members in interrupted_stacks(results) if not ids.isdisjoint(members)]
    companions = {identifier for members in stacks for identifier in members} - ids
    return [run for run in others if run.id in companions]
