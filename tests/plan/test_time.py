"""How long a run will take: measured, scaled from a shape near it, or unknown."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from synthetic import of_steps, pool_with, result_of, run_of, speed_record, task_named

from bench import flops
from bench.plan.time import Speeds, TimeEstimate, most_measured
from bench.run import Run


def measured(run: Run, speed: Any, device: str = "this device", **provenance: Any) -> dict[str, Any]:
    """A result as if it had been trained here at `speed` steps a second."""
    where = {"synthetic": False, "device": device, "steps_per_second": speed, **provenance}
    result = result_of(run, provenance=where)
    result["facts"]["length"] = run.task.length(run.task.n_points)
    for checkpoint in result["checkpoints"]:
        checkpoint["training_flops_full_length"] = flops.training_flops_full_length(
            run.architecture, run.size.layers, run.size.width, run.task, run.batch_size, checkpoint["step"]
        )
    return result


def speeds_of(*results: dict[str, Any], device: str | None = "this device") -> Speeds:
    return Speeds(pool_with(runs={result["id"]: result for result in results}), device)


def test_the_same_shape_costs_what_was_measured_whatever_it_is_trained_on() -> None:
    results = [measured(run_of(seed=seed), speed) for seed, speed in enumerate((90.0, 100.0, 400.0))]
    wanted = run_of(learning_rate=4e-4, clip=50.0, seed=9, steps=1_000)
    assert of_steps(speeds_of(*results).estimate(wanted)) == (10.0, "measured", 1)


@pytest.mark.parametrize(
    ("other", "basis"),
    [
        (run_of(batch_size=128), "scaled"),
        (run_of(layers=8), "scaled"),
        (run_of(width=512), "scaled"),
        (run_of(task_named(n_points=50)), "scaled"),
        (run_of(task_named(n_points=82)), "scaled"),
        (run_of(task_named(n_points=83)), "unknown"),  # more than twice as long
        (run_of(layers=32), "scaled"),
        (run_of(layers=33), "unknown"),  # more than eight times the FLOPs
        (run_of(batch_size=8), "scaled"),
        (run_of(batch_size=7), "unknown"),
        (run_of(precision="tf32"), "unknown"),
        (run_of(architecture="s4"), "unknown"),
    ],
)
def test_times_are_scaled_to_shapes_near_a_measured_one_and_unknown_for_others(
    other: Run, basis: str
) -> None:
    estimate = speeds_of(measured(run_of(), 100.0)).estimate(other)
    assert estimate.basis == basis
    assert (estimate.seconds is None) == (basis == "unknown")


def test_twice_the_work_a_step_takes_twice_the_time() -> None:
    speeds = speeds_of(measured(run_of(layers=4), 100.0), measured(run_of(layers=40), 1.0))
    assert of_steps(speeds.estimate(run_of(layers=8, steps=100))) == (2.0, "scaled", 1)


def with_evaluations(run: Run, seconds: float, **provenance: Any) -> dict[str, Any]:
    """A result at 100 steps a second whose evaluations took this long."""
    cost = {"evaluation_seconds": seconds, "evaluation_flops": run.evaluation_flops()}
    return measured(run, 100.0, **cost, **provenance)


def test_evaluations_take_what_they_took_for_the_same_shape() -> None:
    """100 steps take a second. Evaluations grow with their FLOPs, here with the number of checkpoints."""
    run = run_of(steps=100, checkpoints=(50, 100), evaluation_prompts=640)
    same = run.model_copy(update={"seed": 1})
    speeds = speeds_of(with_evaluations(run, 30.0))
    assert speeds.estimate(same) == TimeEstimate(31.0, "measured", 1, 30.0)
    more = run.model_copy(update={"checkpoints": tuple(range(10, 101, 10)), "evaluation_prompts": 1280})
    expected = 30.0 * more.evaluation_flops() / run.evaluation_flops()
    assert expected > 4 * 30.0
    assert speeds.estimate(more).seconds == pytest.approx(1.0 + expected)


def test_evaluations_of_a_larger_shape_take_longer_and_those_of_a_smaller_one_no_less() -> None:
    run = run_of(layers=4, steps=100)
    speeds = speeds_of(with_evaluations(run, 30.0))
    for layers, factor in ((2, 1.0), (4, 1.0), (8, 2.0)):
        estimate = speeds.estimate(run_of(layers=layers, steps=100))
        assert estimate.evaluation_seconds == pytest.approx(30.0 * factor, rel=1e-9)


def test_a_member_has_its_share_of_the_evaluations_of_a_stack() -> None:
    run = run_of(steps=100)
    speeds = speeds_of(with_evaluations(run, 3.0, **in_stack(16)))
    seconds = [speeds.estimate(run, members).evaluation_seconds for members in (16, 32, 4, 1)]
    assert seconds == pytest.approx([3.0, 3.0, 12.0, 48.0])


def test_a_flop_of_evaluations_that_nothing_has_measured_takes_as_long_as_one_of_steps() -> None:
    run = run_of(steps=100)  # a second
    expected = pytest.approx(run.evaluation_flops() / run.training_flops_full_length())
    other = with_evaluations(run_of(architecture="s4"), 30.0)
    diverged = measured(run_of(seed=1), 100.0, evaluation_seconds=0.0, evaluation_flops=0)
    for speeds in (speeds_of(measured(run_of(), 100.0), other), speeds_of(diverged)):
        estimate = speeds.estimate(run)
        assert of_steps(estimate) == (1.0, "measured", 1)
        assert estimate.evaluation_seconds == expected
    larger = run_of(layers=8, steps=100)
    assert speeds.estimate(larger).evaluation_seconds == pytest.approx(2 * estimate.evaluation_seconds)


def test_less_work_a_step_is_not_promised_to_be_faster() -> None:
    speeds = speeds_of(measured(run_of(), 100.0))
    assert of_steps(speeds.estimate(run_of(layers=1, steps=100))) == (1.0, "scaled", 1)


def test_an_architecture_is_scaled_from_itself_and_never_from_others() -> None:
    speeds = speeds_of(measured(run_of(layers=1), 1e6), measured(run_of(layers=4, architecture="s4"), 50.0))
    other = run_of(layers=1, architecture="s4", steps=100)
    assert of_steps(speeds.estimate(other)) == (2.0, "scaled", 1)


def in_stack(members: int) -> dict[str, Any]:
    return {"stack": {"id": "stack-1", "members": members, "place": 0}}


def test_a_member_of_a_stack_costs_its_share_of_the_stacks_steps() -> None:
    speeds = speeds_of(measured(run_of(), 50.0, **in_stack(16)), measured(run_of(seed=1), 100.0))
    run = run_of(seed=2, steps=800)
    assert of_steps(speeds.estimate(run, 16)) == (1.0, "measured", 16)
    assert of_steps(speeds.estimate(run, 1)) == (8.0, "measured", 1)


def test_a_stack_that_was_not_measured_is_promised_no_gain() -> None:
    run = run_of(seed=2, steps=800)
    alone, large = (
        speeds_of(measured(run_of(), 100.0)),
        speeds_of(measured(run_of(), 50.0, **in_stack(16))),
    )
    assert of_steps(alone.estimate(run, 16)) == (8.0, "scaled", 16)
    assert of_steps(large.estimate(run, 32)) == (1.0, "scaled", 32)
    # Its step takes no longer than that of 16.
    assert of_steps(large.estimate(run, 4)) == (4.0, "scaled", 4)
    assert of_steps(large.estimate(run, 1)) == (16.0, "scaled", 1)


def test_of_several_measured_stacks_the_lowest_bound_counts() -> None:
    """Alone a step takes 10 ms. In a stack of 16 it takes 20 ms, 1.25 ms for each member."""
    speeds = speeds_of(measured(run_of(), 50.0, **in_stack(16)), measured(run_of(seed=1), 100.0))
    run = run_of(seed=2, steps=800)
    seconds = {members: of_steps(speeds.estimate(run, members))[0] for members in (1, 2, 4, 8, 16, 32)}
    assert seconds == pytest.approx({1: 8, 2: 8, 4: 4, 8: 2, 16: 1, 32: 1})
    slow = speeds_of(measured(run_of(), 5.0, **in_stack(16)), measured(run_of(seed=1), 100.0))
    assert of_steps(slow.estimate(run, 16))[0] == pytest.approx(10), "what was measured needs no bound"


def test_memory_that_is_named_counts_before_that_of_a_record() -> None:
    record = speed_record(run_of(), (1, 10.0))
    pool = pool_with()
    assert Speeds(pool, record.device, records=[record]).memory_mib == record.memory_mib == 80_000
    assert Speeds(pool, record.device, records=[record], memory_mib=40_000).memory_mib == 40_000
    assert Speeds(pool, "another device", records=[record]).memory_mib is None
    assert (Speeds(pool, record.device, records=[record]).kind, Speeds(pool).kind) == ("gpu", "cpu")


def test_scaling_and_stacks_go_together() -> None:
    speeds = speeds_of(measured(run_of(), 50.0, **in_stack(16)))
    assert of_steps(speeds.estimate(run_of(layers=8, steps=800), 16)) == (2.0, "scaled", 16)


def test_speeds_of_another_device_are_not_used() -> None:
    speeds = speeds_of(measured(run_of(), 100.0, device="another device"))
    assert not speeds
    assert speeds.estimate(run_of()) == TimeEstimate(None, "unknown")


def test_without_a_device_the_one_with_most_results_speaks() -> None:
    results = [measured(run_of(seed=seed), 10.0, device="often") for seed in (0, 1)]
    speeds = speeds_of(measured(run_of(seed=2), 99.0, device="once"), *results, device=None)
    assert speeds.device == "often"
    assert of_steps(speeds.estimate(run_of(steps=10))) == (1.0, "measured", 1)


def test_the_device_of_the_preferred_kind_that_was_measured_most_counts_if_there_is_one() -> None:
    cpus = [measured(run_of(seed=seed), 10.0, device="cpu", captured=False) for seed in range(3)]
    gpus = [
        measured(run_of(seed=3 + seed), 90.0, device=name, captured=True)
        for seed, name in enumerate(("small gpu", "large gpu", "large gpu"))
    ]
    pool = pool_with(runs={result["id"]: result for result in cpus + gpus})
    devices = [most_measured(pool, [], kind) for kind in (None, "gpu", "cpu")]
    assert devices == ["cpu", "large gpu", "cpu"]
    record = speed_record(run_of(), (1, 10.0), (2, 12.0), (4, 14.0), device="third gpu")
    assert most_measured(pool, [record], "gpu") == "third gpu"
    alone = pool_with(runs={result["id"]: result for result in cpus})
    assert most_measured(alone, [], "gpu") == "cpu", "a time of another kind of device, which is named"
    assert most_measured(pool_with(), [], "gpu") is None


def test_made_up_results_and_diverged_runs_have_no_speed() -> None:
    diverged = result_of(run_of(seed=1), outcome="diverged", provenance={"synthetic": False, "device": "d"})
    speeds = speeds_of(measured(run_of(), 100.0, synthetic=True), diverged, device=None)
    assert not speeds
    assert speeds.device is None


SPEED = st.one_of(st.none(), st.integers(0, 2**53), st.floats(0, allow_infinity=False))


@pytest.mark.slow
@example(speeds=[5e-324], layers=1, width=768)
@given(speeds=st.lists(SPEED, max_size=4), layers=st.integers(1, 64), width=st.sampled_from([8, 64, 768]))
def test_no_estimate_is_ever_zero_or_negative_or_nan(speeds: list[Any], layers: int, width: int) -> None:
    results = [measured(run_of(seed=seed), speed) for seed, speed in enumerate(speeds)]
    wanted = run_of(layers=layers, width=width, steps=1, checkpoints=(1,))
    estimate = speeds_of(*results).estimate(wanted)
    assert (estimate.seconds is None) == (estimate.basis == "unknown")
    assert estimate.seconds is None or 0 < estimate.seconds < math.inf
