"""From work to jobs and arrays: nothing lost, nothing twice, near the target."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from bench.dispatch.job import Baselines
from bench.dispatch.slurm.grouping import Capacity, JobPlan, WorkItem, plan_jobs
from bench.tasks import TASKS

TASK = TASKS["linear_regression"]()
SECONDS = st.lists(st.floats(0.01, 1e5), max_size=60)
TARGETS = st.floats(1.0, 1e5)
WORK = st.lists(st.tuples(st.just(0.0) | st.floats(0.01, 1e5), st.integers(0, 100_000)), max_size=60)
ROOMS = st.builds(Capacity, st.integers(1, 12), st.integers(1, 4), st.none() | st.integers(1, 200_000))


def items(work: Iterable[tuple[float, int]]) -> list[WorkItem]:
    """From seconds and MiB."""
    return [WorkItem((Baselines(TASK, str(index), 2),), *each) for index, each in enumerate(work)]


def taking(seconds: Iterable[float], memory_mib: int = 0) -> list[WorkItem]:
    return items((each, memory_mib) for each in seconds)


def numbers(plan: JobPlan) -> list[int]:
    return [int(job.id.removeprefix("baselines-")) for job in plan.work]


@given(WORK, TARGETS, ROOMS)
def test_every_item_is_in_exactly_one_job_in_its_order(
    work: list[tuple[float, int]], target: float, room: Capacity
) -> None:
    jobs = plan_jobs(items(work), target, room)
    assert sorted(number for job in jobs for number in numbers(job)) == list(range(len(work)))
    assert all(numbers(job) == sorted(numbers(job)) for job in jobs)
    firsts = [numbers(job)[0] for job in jobs]
    assert firsts == sorted(firsts)


@given(WORK, TARGETS, ROOMS)
def test_what_a_job_works_on_at_a_time_fits_on_its_gpus_unless_each_has_only_one(
    work: list[tuple[float, int]], target: float, room: Capacity
) -> None:
    for job in plan_jobs(items(work), target, room):
        assert 1 <= job.workers <= room.workers
        sharing = math.ceil(job.workers / room.gpus)
        largest = sorted(item.memory_mib for item in job.items)[-sharing:]
        assert room.memory_mib is None or sharing == 1 or sum(largest) <= room.memory_mib


@given(WORK, TARGETS, ROOMS)
def test_a_job_has_no_fewer_workers_than_its_items_make_necessary(
    work: list[tuple[float, int]], target: float, room: Capacity
) -> None:
    for job in plan_jobs(items(work), target, room):
        if job.workers < room.workers and job.memory_mib:
            assert room.memory_mib is not None
            assert (job.workers // room.gpus + 1) * job.memory_mib > room.memory_mib


@given(WORK, TARGETS, ROOMS)
def test_a_job_is_below_twice_the_target_unless_it_has_a_worker_for_each_item(
    work: list[tuple[float, int]], target: float, room: Capacity
) -> None:
    for job in plan_jobs(items(work), target, room):
        total = sum(item.seconds for item in job.items)
        assert total < 2 * target * job.workers or len(job.items) <= job.workers


@given(SECONDS, TARGETS)
def test_there_are_no_more_jobs_than_the_target_asks_for(seconds: list[float], target: float) -> None:
    long = sum(each >= target for each in seconds)
    short = sum(each for each in seconds if each < target)
    assert len(plan_jobs(taking(seconds), target)) <= long + math.ceil(short / target)


@given(SECONDS, TARGETS, st.floats(1.0, 3.0), st.integers(1, 5))
def test_a_job_with_more_items_than_workers_ends_before_its_time_limit(
    seconds: list[float], target: float, factor: float, workers: int
) -> None:
    limit = target * factor
    jobs = plan_jobs(taking(seconds), target, Capacity(workers), limit_seconds=limit)
    assert all(job.seconds <= limit or len(job.items) <= workers for job in jobs)
    assert sorted(number for job in jobs for number in numbers(job)) == list(range(len(seconds)))


def test_a_time_limit_below_the_target_makes_no_more_jobs() -> None:
    """The user has jobs requeued."""
    work = taking([600.0] * 100)
    assert plan_jobs(work, 4 * 3600, limit_seconds=3600) == plan_jobs(work, 4 * 3600)
    two_thirds = taking([2.6 * 3600] * 3)
    assert [len(job.items) for job in plan_jobs(two_thirds, 4 * 3600)] == [2, 1]
    assert [len(job.items) for job in plan_jobs(two_thirds, 4 * 3600, limit_seconds=5 * 3600)] == [1, 1, 1]


def test_many_short_runs_share_jobs_evenly() -> None:
    jobs = plan_jobs(taking([600.0] * 100), 4 * 3600)
    assert [len(job.items) for job in jobs] == [20] * 5


def test_side_by_side_a_job_takes_so_much_more() -> None:
    two = Capacity(workers=2)
    assert len(plan_jobs(taking([3600.0] * 16), 4 * 3600, two)) == 2
    long = plan_jobs(taking([9 * 3600.0] * 4), 4 * 3600, two)
    assert [len(job.items) for job in long] == [2, 2]
    assert {job.seconds for job in long} == {9 * 3600.0}
    three = taking([2.6 * 3600] * 3)
    (job,) = plan_jobs(three, 4 * 3600, two)
    assert job.seconds == 5.2 * 3600, "the third waits for one of the others"
    limited = plan_jobs(three, 4 * 3600, two, limit_seconds=5 * 3600)
    assert [len(job.items) for job in limited] == [2, 1]


def test_large_items_go_into_jobs_with_fewer_workers_and_baselines_with_the_small_ones() -> None:
    work = items([(60.0, 0), *[(3600.0, 30_000), (3600.0, 9_000)] * 4])
    jobs = plan_jobs(work, 4 * 3600, Capacity(workers=4, memory_mib=40_000))
    assert [(numbers(job), job.workers) for job in jobs] == [([0, 2, 4, 6, 8], 4), ([1, 3, 5, 7], 1)]
    assert [job.memory_mib for job in jobs] == [9_000, 30_000]
    only_large = plan_jobs(work[:2], 4 * 3600, Capacity(workers=4, memory_mib=40_000))
    assert [(numbers(job), job.workers) for job in only_large] == [([0, 1], 1)]


def test_two_gpus_hold_twice_as_many_and_each_holds_one_however_large() -> None:
    room = Capacity(workers=8, gpus=2, memory_mib=40_000)
    each = {taken: room.workers_for(WorkItem((), 1.0, taken)) for taken in (50_000, 30_000, 20_000, 10_000)}
    assert each == {50_000: 2, 30_000: 2, 20_000: 4, 10_000: 8}
