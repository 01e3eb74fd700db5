"""Which runs a worker trains together, and what stays together after an interruption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import small_run
from synthetic import run_of, speed_record

from bench.dispatch.job import Machine
from bench.dispatch.stack_sizes import advised_members
from bench.dispatch.stacking import (
    companions_in_stacks,
    interrupted_stacks,
    locked_stack,
    record_members,
)
from bench.dispatch.state import Folder
from bench.run import Run
from bench.stack import Stack, form_stacks


def member(name: str = "mamba", **fields: Any) -> Run:
    return small_run(name, **fields)


def begun(stack: Stack, results: Path) -> Path:
    """The folder of a stack that has begun."""
    record_members(stack, results)
    return Folder.of(results, stack.id).path


def test_a_worker_takes_free_runs_of_one_shape_up_to_its_share(tmp_path: Path) -> None:
    runs = [member(learning_rate=rate) for rate in (1e-3, 2e-3, 4e-3, 8e-3)]
    others = [member("s4"), member(batch_size=4)]
    jobs = [*others, *runs]
    with locked_stack(runs[0], jobs, tmp_path, Machine(stack=16)) as stack:
        assert set(stack.members) == set(runs)
        with Folder.of(tmp_path, runs[1].id).locked() as free:
            assert not free
    with locked_stack(runs[0], jobs, tmp_path, Machine(stack=16, workers=3)) as stack:  # 6 runs in all
        assert len(stack) == 2
    with locked_stack(runs[0], jobs, tmp_path, Machine(stack=3)) as stack:
        assert len(stack) == 2  # two stacks of two, not three and one
    with locked_stack(runs[0], jobs, tmp_path, Machine(stack=1)) as stack:
        assert stack.members == (runs[0],)
    with (
        Folder.of(tmp_path, runs[1].id).locked(),
        locked_stack(runs[0], jobs, tmp_path, Machine(stack=16)) as stack,
    ):
        assert set(stack.members) == {runs[0], runs[2], runs[3]}


def test_a_run_that_ends_before_it_is_locked_for_a_stack_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [member(seed=seed) for seed in range(3)]
    answers = {runs[1].id: iter([False, True])}  # another worker stores its result between the two questions
    monkeypatch.setattr(
        "bench.dispatch.stacking.is_done", lambda run, _: next(answers.get(run.id, iter([False])))
    )
    with locked_stack(runs[0], runs, tmp_path, Machine(stack=3)) as stack:
        assert stack.members == (runs[0], runs[2])
        assert not Folder.of(tmp_path, runs[1].id).path.exists()


def test_two_workers_share_the_runs_of_one_shape_evenly(tmp_path: Path) -> None:
    runs = [member(seed=seed) for seed in range(6)]
    machine = Machine(stack=4)  # both have all of the runs
    with locked_stack(runs[0], runs, tmp_path, machine) as first:
        left = [run for run in runs if run not in first.members]
        with locked_stack(left[0], runs, tmp_path, machine) as second:
            assert len(first) == len(second) == 3


def test_a_stack_that_was_begun_is_resumed_whole(tmp_path: Path) -> None:
    runs = [member(learning_rate=rate) for rate in (1e-3, 2e-3, 4e-3, 8e-3)]
    stack = Stack.of(*runs[:3])
    folder = begun(stack, tmp_path)
    assert interrupted_stacks(tmp_path) == []  # nothing to go on from yet
    (folder / "checkpoint.pt").write_bytes(b"something")
    assert interrupted_stacks(tmp_path) == [[run.id for run in stack.members]]
    with locked_stack(runs[1], runs, tmp_path, Machine(stack=16)) as resumed:
        assert resumed == stack
    with locked_stack(runs[3], runs, tmp_path, Machine(stack=16)) as alone:  # it does not join what has begun
        assert alone.members == (runs[3],)
    assert set(companions_in_stacks(runs[:2], runs, tmp_path)) == {runs[2]}


def test_a_stack_that_was_begun_does_not_start_over_without_a_member_that_another_worker_holds(
    tmp_path: Path,
) -> None:
    runs = [member(seed=seed) for seed in range(3)]
    stack = Stack.of(*runs)
    (begun(stack, tmp_path) / "checkpoint.pt").write_bytes(b"something")
    with (
        Folder.of(tmp_path, runs[1].id).locked(),
        locked_stack(runs[0], runs, tmp_path, Machine(stack=3)) as resumed,
        Folder.of(tmp_path, runs[2].id).locked() as free,
    ):
        assert resumed is None
        assert free, "a stack that cannot resume keeps no lock"
    with locked_stack(runs[0], runs, tmp_path, Machine(stack=3)) as resumed:
        assert resumed == stack


def test_a_run_that_was_begun_alone_is_resumed_alone(tmp_path: Path) -> None:
    """In a stack it would start over: its checkpoint is its own."""
    runs = [member(learning_rate=rate) for rate in (1e-3, 2e-3, 4e-3, 8e-3)]
    (begun(Stack.of(runs[0]), tmp_path) / "checkpoint.pt").parent.mkdir(parents=True)
    (begun(Stack.of(runs[0]), tmp_path) / "checkpoint.pt").write_bytes(b"something")
    assert interrupted_stacks(tmp_path) == [[runs[0].id]]
    with locked_stack(runs[0], runs, tmp_path, Machine(stack=16)) as resumed:
        assert resumed.members == (runs[0],)
    with locked_stack(runs[1], runs, tmp_path, Machine(stack=16)) as others:
        assert set(others.members) == set(runs[1:])
    (begun(Stack.of(*runs[:2]), tmp_path) / "checkpoint.pt").write_bytes(b"something")
    assert interrupted_stacks(tmp_path) == [[run.id for run in Stack.of(*runs[:2]).members]]


def test_the_smallest_stack_close_to_the_best_time_per_member_is_advised() -> None:
    run = run_of()
    record = speed_record(run, (1, 10.0), (2, 12.0), (4, 16.0), (8, 31.0), (16, 62.0))
    assert advised_members(run, "gpu", record, None) == 4  # 4 ms a member, the best is 3.875
    assert advised_members(run, "gpu", record, 100 << 20) == 3  # 24.75 MiB a member
    assert advised_members(run, "gpu", speed_record(run, (1, 10.0), (16, 200.0)), None) == 1
    assert advised_members(run, "cpu", record, None) == 1


def test_without_a_comparison_of_stacks_width_and_memory_decide() -> None:
    run = run_of(width=128)
    assert advised_members(run, "gpu", None, None) == advised_members(run_of(width=64), "gpu", None, None)
    assert advised_members(run, "gpu", speed_record(run, (1, 10.0)), None) == 16
    assert advised_members(run_of(width=768), "gpu", None, None) == 1
    assert advised_members(run, "gpu", None, 1.0) == 1
    assert advised_members(run_of(architecture="lstm", width=128), "gpu", None, None) == 1


@given(
    seeds=st.lists(st.integers(0, 50), unique=True, max_size=12),
    wide=st.lists(st.integers(0, 50), unique=True, max_size=5),
    size=st.integers(1, 6),
)
def test_stacks_hold_every_run_once_with_its_like(seeds: list[int], wide: list[int], size: int) -> None:
    runs = [run_of(seed=seed) for seed in seeds] + [run_of(seed=seed, width=512) for seed in wide]
    stacks = form_stacks(runs, lambda run: size if run.size.width == 256 else 1)
    assert sorted(run.id for stack in stacks for run in stack) == sorted(run.id for run in runs)
    assert all(len({run.size.width for run in stack}) == 1 for stack in stacks)
    assert len(stacks) == math.ceil(len(seeds) / size) + len(wide)
    assert all(len(stack) <= size for stack in stacks)


def test_a_stack_that_was_begun_stays_together() -> None:
    runs = [run_of(seed=seed) for seed in range(6)]
    begun = [[runs[1].id, runs[4].id]]
    stacks = {frozenset(run.seed for run in stack) for stack in form_stacks(runs, lambda run: 2, begun)}
    assert stacks == {frozenset({1, 4}), frozenset({0, 2}), frozenset({3, 5})}
