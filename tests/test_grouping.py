"""From work to jobs and arrays: nothing lost, nothing twice, near the target."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.dispatch.grouping import Piece, chunks, jobs_of
from bench.dispatch.job import Baselines
from bench.tasks import TASKS

TASK = TASKS["linear_regression"]()
SECONDS = st.lists(st.floats(0.01, 1e5), max_size=60)


def pieces(seconds: list[float]) -> list[Piece]:
    return [Piece((Baselines(TASK, str(index), 2),), each) for index, each in enumerate(seconds)]


@given(SECONDS, st.floats(1.0, 1e5), st.integers(1, 4))
def test_every_piece_is_in_exactly_one_job(seconds: list[float], target: float, workers: int) -> None:
    work = pieces(seconds)
    jobs = jobs_of(work, target, workers)
    assert sorted(piece.work[0].id for job in jobs for piece in job) == sorted(p.work[0].id for p in work)
    assert all(jobs)


@given(SECONDS, st.floats(1.0, 1e5))
def test_a_job_is_below_twice_the_target_unless_one_piece_fills_it(
    seconds: list[float], target: float
) -> None:
    for job in jobs_of(pieces(seconds), target):
        total = sum(piece.seconds for piece in job)
        assert total < 2 * target or len(job) == 1


@given(SECONDS, st.floats(1.0, 1e5))
def test_there_are_no_more_jobs_than_the_target_asks_for(seconds: list[float], target: float) -> None:
    long = sum(each >= target for each in seconds)
    short = sum(each for each in seconds if each < target)
    assert len(jobs_of(pieces(seconds), target)) <= long + math.ceil(short / target)


def test_many_short_runs_share_jobs_evenly_and_keep_their_order() -> None:
    jobs = jobs_of(pieces([600.0] * 100), 4 * 3600)
    assert [len(job) for job in jobs] == [20] * 5
    for job in jobs:
        order = [int(piece.work[0].id.removeprefix("baselines-")) for piece in job]
        assert order == sorted(order)


def test_side_by_side_a_job_takes_so_much_more() -> None:
    assert len(jobs_of(pieces([3600.0] * 16), 4 * 3600, workers=2)) == 2
    assert [len(job) for job in jobs_of(pieces([9 * 3600.0] * 4), 4 * 3600, workers=2)] == [2, 2]


@given(st.lists(st.integers(), max_size=100), st.integers(1, 30))
def test_chunks_keep_everything_in_order_below_the_limit(items: list[int], largest: int) -> None:
    parts = chunks(items, largest)
    assert [item for part in parts for item in part] == items
    assert all(0 < len(part) <= largest for part in parts)
    assert len(parts) == math.ceil(len(items) / largest)


@pytest.mark.parametrize("largest", [0, -1])
def test_a_cluster_without_arrays_gets_single_jobs(largest: int) -> None:
    assert chunks([1, 2], largest) == [[1], [2]]
