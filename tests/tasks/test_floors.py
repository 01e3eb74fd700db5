"""Every task's floor, computed on its own evaluation prompts, against what is known analytically."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.tasks import TASKS, Task
from bench.tasks import network_baselines as networks
from bench.tasks import sparse_baselines as sparse
from bench.tasks import tree_baselines as trees
from bench.tasks.baselines import Baseline
from bench.tasks.chain_of_thought import ChainOfThought
from bench.tasks.draws import Draws
from bench.tasks.outliers import CLEAN, ManyOutlierRegression, OrthogonalOutlierRegression
from bench.tasks.parity import SparseParity
from bench.tasks.recall import VectorMQAR
from bench.tasks.regression import LinearRegression, SparseLinearRegression
from bench.tasks.task import Prompts

PROMPTS = 320
Z = 4.5
"""Standard errors that a mean may be away from its expectation: the prompts are fixed."""


def prompts_of(task: Task, evaluation: str = "report", count: int = PROMPTS) -> Prompts:
    return task.sample_evaluation(Draws(20_240_206, evaluation, torch.tensor(0)), count, evaluation)


def floor_of(task: Task, evaluation: str = "report", count: int = PROMPTS) -> Baseline:
    prompts = prompts_of(task, evaluation, count)
    found = task.baselines(prompts) if evaluation == "report" else task.other_baselines(prompts, evaluation)
    (floor,) = (one for one in found if one.kind == "floor" and one.evaluation == "report")
    return floor


def assert_means(found: Baseline, expected: list[float], scale: float) -> None:
    """Normalised means agree with what is expected within sampling error, at every position."""
    mean, error = np.array(found.mean) / scale, np.array(found.standard_error) / scale
    assert np.all(np.abs(mean - np.array(expected)) <= Z * error + 1e-6)


def test_least_squares_leaves_one_minus_i_over_d() -> None:
    task = LinearRegression()
    floor = floor_of(task)
    assert_means(floor, [max(0.0, 1 - i / 20) for i in range(41)], 20)
    assert np.mean(floor.mean) / 20 == pytest.approx(0.2561, abs=0.02)


@pytest.mark.slow
def test_supports_are_found_from_the_fourth_example() -> None:
    task = SparseLinearRegression()
    floor = sparse.sparse_bayes(
        prompts_of(task, count=64), task.sparsity
    )  # the Lasso beside it takes far longer
    assert floor is not None
    assert floor.kind == "floor"
    assert max(floor.mean[4:]) < 1e-6
    assert floor.mean[0] / 3 == pytest.approx(1, abs=0.5)


@pytest.mark.slow
def test_one_outlier_rules_out_two_dimensions_of_w() -> None:
    """Paper's version: c clean pairs leave 1 − c/18, as an outlier comes before the first clean pair."""
    floor = floor_of(OrthogonalOutlierRegression())
    assert floor.positions == list(range(1, 101, 2))
    assert_means(floor, [max(0.0, 1 - c / 18) for c in range(50)], 20 * 18 / 20)


def test_the_released_outliers_say_nothing_of_w() -> None:
    released = {f: v["released_code"] for f, v in OrthogonalOutlierRegression.protocol_fields.items()}
    floor = floor_of(OrthogonalOutlierRegression(**released))
    assert_means(floor, [max(0.0, 1 - c / 20) for c in range(51)], 20)


def test_many_outliers_leave_what_clean_pairs_leave() -> None:
    floor = floor_of(ManyOutlierRegression(), count=160)
    assert_means(floor, [max(0.0, 1 - c / 20) for c in range(51)], 20)


@pytest.mark.parametrize("task", [OrthogonalOutlierRegression(), ManyOutlierRegression(n_points=120)])
def test_clean_prompts_have_the_floor_of_linear_regression(task: Task) -> None:
    floor = floor_of(task, CLEAN)
    assert_means(floor, [max(0.0, 1 - i / 20) for i in range(task.n_points)], 20)


def test_parity_is_settled_after_a_dozen_examples() -> None:
    floor = floor_of(SparseParity())
    assert np.mean(floor.mean) == pytest.approx(0.983, abs=0.004)
    assert min(floor.mean[20:]) > 0.995


def test_a_lookup_recalls_exactly_and_a_linear_memory_does_not() -> None:
    found = {one.name: one for one in VectorMQAR().baselines(prompts_of(VectorMQAR()))}
    assert max(found["nearest key"].mean) == 0
    assert np.mean(found["zero"].mean) == pytest.approx(1, abs=1e-5)
    assert np.mean(found["mean of the values"].mean) == pytest.approx(1 - 1 / 32, abs=0.01)
    assert np.mean(found["linear memory"].mean) == pytest.approx(1 - 20 / 32, abs=0.015)


def test_a_chain_is_known_once_every_unit_was_active_often_enough() -> None:
    task = ChainOfThought(n_points=61)
    found = task.baselines(prompts_of(task, count=64))
    floors = {one.evaluation: one for one in found if one.kind in ("floor", "reference")}
    assert {name for name, one in floors.items() if one.kind == "floor"} == {"teacher_forced"}
    assert set(floors) == set(task.evaluations())
    for floor in floors.values():
        assert max(floor.mean[-15:]) < 1e-3 * task.error_scale  # exact but for rounding
    assert floors["report"].mean[0] / task.error_scale == pytest.approx(1, abs=0.6)
    assert np.mean(floors["teacher_forced"].mean) < np.mean(floors["report"].mean)


SMALL: dict[str, dict[str, int]] = {
    "sparse_linear_regression": {"n_dims": 6, "n_points": 14},
    "two_layer_network": {"n_dims": 4, "n_points": 12},
    "decision_tree": {"n_dims": 5, "n_points": 10, "depth": 2},
    "many_outlier_regression": {"n_points": 120},
    "chain_of_thought": {"n_points": 31},
}
"""Where the predictors that are fitted anew at every position would take minutes."""
REFERENCES = {("two_layer_network", "report"), ("chain_of_thought", "report"), ("chain_of_thought", "hidden")}
"""Tasks and evaluations whose Bayes optimum is not known in closed form."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.discrete])
def test_no_baseline_beats_the_floor_on_the_same_prompts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "BOOSTED_PROMPTS", 12)
    monkeypatch.setattr(networks, "TRAINED_PROMPTS", 12)
    task = TASKS[name](**SMALL.get(name, {}))
    found = task.baselines(prompts_of(task, count=40))
    for evaluation in task.other_evaluations:
        prompts = prompts_of(task, evaluation, count=40)
        found += [replace(one, evaluation=evaluation) for one in task.other_baselines(prompts, evaluation)]
    sign = -1 if task.metric == "accuracy" else 1
    for evaluation in task.evaluations():
        rows = [one for one in found if one.evaluation == evaluation]
        (best,) = (one for one in rows if one.kind in ("floor", "reference"))
        assert best.kind == ("reference" if (name, evaluation) in REFERENCES else "floor")
        # On fewer prompts the same predictor has a row of its own, which names their number.
        names = {40: best.name, 12: f"{best.name}, first 12 prompts"}
        floors = {one.prompts: one for one in rows if one.name == names[one.prompts]}
        for one in rows:
            floor = dict(zip(floors[one.prompts].positions, floors[one.prompts].mean, strict=True))
            for position, mean, error in zip(one.positions, one.mean, one.standard_error, strict=True):
                slack = 1e-6 if best.kind == "floor" else 0.03
                assert sign * (mean - floor[position]) >= -Z * error - slack * task.error_scale, one.name
