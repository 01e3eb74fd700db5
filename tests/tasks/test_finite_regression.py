"""Regression on a finite pool of functions: the pool, noise, and the two Bayes rules."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.finite_regression import FRESH, FiniteRegression
from bench.tasks.task import Prompts


def draws(step: int = 0, purpose: str = "report", seed: int = 0) -> Draws:
    return Draws(seed, purpose, torch.tensor(step))


def pool_of(task: FiniteRegression) -> torch.Tensor:
    return task._pool(draws(), torch.arange(task.functions))


@cache
def rows(functions: int, evaluation: str, count: int = 640) -> dict[str, Baseline]:
    task = FiniteRegression(functions=functions)
    prompts = task.sample_evaluation(draws(purpose=evaluation), count, evaluation)
    return {row.kind: row for row in task.other_baselines(prompts, evaluation)}


def distances(task: FiniteRegression, prompts: Prompts) -> torch.Tensor:
    """Largest error of each function of the pool on each prompt's values without noise, (P, M)."""
    values = prompts.inputs.double() @ pool_of(task).mT
    return (values - prompts.more["clean"].double().unsqueeze(2)).abs().amax(dim=1)


@pytest.mark.parametrize("purpose", ["train", "report", "select"])
def test_every_purpose_and_seed_draws_functions_of_the_same_pool(purpose: str) -> None:
    task = FiniteRegression(functions=5)
    found = distances(task, task.sample(draws(3, purpose, seed=9), 200)).min(dim=1)
    assert float(found.values.max()) < 1e-5
    assert set(found.indices.tolist()) == set(range(5))


def test_fresh_functions_are_not_in_the_pool() -> None:
    task = FiniteRegression(functions=64)
    prompts = task.sample_evaluation(draws(), 200, FRESH)
    assert float(distances(task, prompts).min()) > 0.01


def test_a_larger_pool_begins_with_the_smaller_one() -> None:
    small, large = pool_of(FiniteRegression(functions=3)), pool_of(FiniteRegression(functions=4000))
    assert torch.equal(large[:3], small)
    assert torch.allclose(large.mT @ large / 4000, torch.eye(8).double(), atol=4.5 * (2 / 4000) ** 0.5)


def test_tokens_have_a_place_for_y_before_x() -> None:
    task = FiniteRegression(n_dims=3, n_points=5)
    prompts = task.sample(draws(), 4)
    assert prompts.tokens.shape == (4, 10, 4)
    assert torch.equal(prompts.tokens[:, 0::2, 1:], prompts.inputs)
    assert torch.equal(prompts.tokens[:, 1::2, 0], prompts.targets)
    assert not prompts.tokens[:, 0::2, 0].any()
    assert not prompts.tokens[:, 1::2, 1:].any()


def test_noise_is_in_the_prompt_but_not_in_the_score() -> None:
    task = FiniteRegression(noise=0.25)
    prompts = task.sample(draws(), 4000)
    noise = prompts.targets - prompts.more["clean"]
    assert float(noise.var()) == pytest.approx(0.25, rel=0.02)
    outputs = torch.zeros(4000, 32, 1)
    outputs[:, 0::2, 0] = prompts.more["clean"]
    assert not task.scores(outputs, prompts).any()
    assert float(task.losses(outputs, prompts).mean()) == pytest.approx(0.25, rel=0.02)


def test_ridge_regression_has_the_known_error_on_fresh_functions() -> None:
    """Known from an independent simulation: the mean is 0.345 of the variance, after 15 examples 0.036."""
    floor = rows(256, FRESH, 4000)["floor"]
    assert floor.name == "ridge (λ = 0.25)"
    assert np.mean(floor.mean) / 8 == pytest.approx(0.345, abs=0.006)
    error = floor.standard_error[-1]
    assert abs(floor.mean[-1] - 0.036 * 8) < 4.5 * 2**0.5 * error
    assert floor.mean[0] / 8 == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(
    ("functions", "on_pool", "on_fresh", "at_end"),
    [(2, 0.040, None, None), (16, 0.096, None, None), (256, 0.198, 0.73, 0.50), (4096, 0.253, 0.52, 0.27)],
)
def test_the_mean_of_the_pool_has_the_known_error(
    functions: int, on_pool: float, on_fresh: float | None, at_end: float | None
) -> None:
    """Known for one other pool of each size. Small pools differ: by √(2/8M) in their mean ‖w‖² alone."""
    floor = rows(functions, "report")["floor"]
    assert floor.name == "mean of the pool"
    assert np.mean(floor.mean) / 8 == pytest.approx(on_pool, rel=0.06 + 2 * (2 / 8 / functions) ** 0.5)
    if on_fresh is not None and at_end is not None:
        baseline = rows(functions, FRESH)["baseline"]
        assert np.mean(baseline.mean) / 8 == pytest.approx(on_fresh, rel=0.06)
        assert baseline.mean[-1] / 8 == pytest.approx(at_end, rel=0.12)


@pytest.mark.parametrize("functions", [1, 16, 256])
def test_each_rule_is_the_best_where_it_is_the_floor(functions: int) -> None:
    for evaluation in ("report", FRESH):
        found = {kind: np.mean(row.mean) for kind, row in rows(functions, evaluation).items()}
        assert found["floor"] < min(found["baseline"], found["trivial"])
    if functions == 1:
        assert max(rows(1, "report")["floor"].mean) < 1e-10  # the only function is known


def test_the_mean_of_the_pool_is_that_of_a_loop() -> None:
    task = FiniteRegression(functions=7, n_dims=3, n_points=4)
    prompts = task.sample(draws(), 5)
    (row,) = (row for row in task.baselines(prompts) if row.kind == "floor")
    pool, scores = pool_of(task), np.zeros((5, 4))
    for prompt in range(5):
        x, y = prompts.inputs[prompt].double(), prompts.targets[prompt].double()
        for seen in range(4):
            weights = torch.exp(-((y[:seen] - pool @ x[:seen].mT) ** 2).sum(1) / 0.5)
            mean = float((weights / weights.sum() * (pool @ x[seen])).sum())
            scores[prompt, seen] = (mean - float(prompts.more["clean"][prompt, seen])) ** 2
    assert row.mean == pytest.approx(scores.mean(axis=0).tolist(), rel=1e-4)
