"""Linear dynamical systems: what is drawn, the Kalman filter, and regressions in context."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.dynamical_system import LinearDynamicalSystem, driven_states, orthonormal_columns
from bench.tasks.task import Prompts

PROMPTS = 4000


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


@cache
def prompts() -> Prompts:
    return LinearDynamicalSystem().sample(draws(), PROMPTS)


@cache
def rows() -> dict[str, Baseline]:
    return {row.name: row for row in LinearDynamicalSystem().baselines(prompts())}


KALMAN = "Kalman filter that knows the system"


# Prompts.


def test_matrices_are_uniformly_random_orthogonal_ones() -> None:
    """The trace of a Haar-orthogonal matrix has mean 0, and variance 1."""
    q = prompts().more["transition"] / 0.95
    assert torch.allclose(q.mT @ q, torch.eye(4).double().expand_as(q), atol=1e-9)
    trace = q.diagonal(dim1=1, dim2=2).sum(dim=1)
    assert abs(float(trace.mean())) < 4.5 * PROMPTS**-0.5
    assert float(trace.var()) == pytest.approx(1, abs=0.1)
    assert float((torch.linalg.det(q) > 0).double().mean()) == pytest.approx(
        0.5, abs=4.5 * 0.5 * PROMPTS**-0.5
    )


def test_gram_schmidt_is_a_qr_factorisation_with_a_positive_diagonal() -> None:
    matrices = torch.randn(50, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, r = torch.linalg.qr(matrices)
    signed = q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)
    torch.testing.assert_close(orthonormal_columns(matrices), signed, atol=1e-10, rtol=0)


@given(steps=st.integers(1, 40), k=st.integers(1, 4), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_states_are_those_of_a_loop(steps: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = 0.5 * torch.randn(3, k, k, dtype=torch.float64, generator=generator)
    noise = torch.randn(3, steps, k, dtype=torch.float64, generator=generator)
    state, states = torch.zeros(3, k, 1, dtype=torch.float64), driven_states(a, noise)
    for t in range(steps):
        state = a @ state + noise[:, t].unsqueeze(2)
        torch.testing.assert_close(states[:, t], state.squeeze(2))


def test_targets_are_the_next_outputs_and_all_have_the_same_variance() -> None:
    task = LinearDynamicalSystem()
    assert torch.equal(prompts().tokens[:, 1:, 0], prompts().targets[:, :-1])
    assert task.error_scale == pytest.approx(0.05 / (1 - 0.95**2) + 0.1) == pytest.approx(0.6128, abs=1e-4)
    zero = rows()["zero"]
    assert zero.kind == "trivial"
    excess = np.array(zero.mean) - task.error_scale
    assert np.all(np.abs(excess) < 4.5 * np.array(zero.standard_error))


def test_a_system_without_noise_in_its_outputs_is_possible() -> None:
    task = LinearDynamicalSystem(output_noise=0.0, n_points=12)
    found = {row.name: row for row in task.baselines(task.sample(draws(), 200))}
    assert found[KALMAN].mean[-1] < found["zero"].mean[-1]


# Baselines.


def test_the_kalman_filter_has_the_known_errors() -> None:
    """Innovation variances of an independent simulation of 20,000 systems, known to 1 %."""
    floor = rows()[KALMAN]
    assert floor.kind == "floor"
    # The first prediction, of y₂, is at position 0.
    for number, known in ((4, 0.359), (8, 0.281)):
        error = (floor.standard_error[number - 2] ** 2 + (0.01 * known) ** 2) ** 0.5
        assert abs(floor.mean[number - 2] - known) < 4.5 * error
    assert np.mean(floor.mean[:63]) == pytest.approx(0.283, rel=0.02)
    assert np.mean(floor.mean[30:]) == pytest.approx(0.274, rel=0.02)


def test_other_predictors_have_the_known_errors() -> None:
    found = rows()
    assert np.mean(found["last output"].mean) == pytest.approx(1.21, rel=0.02)
    short = found["ridge on the last 4 outputs"].mean
    assert [short[seen - 1] for seen in (16, 32, 63)] == pytest.approx([0.38, 0.34, 0.32], rel=0.07)
    assert found["ridge on the last 8 outputs"].mean[62] == pytest.approx(0.32, rel=0.07)


def test_the_kalman_filter_is_the_conditional_mean_of_the_outputs() -> None:
    """The joint covariance of all outputs gives the same predictions without a recursion."""
    task = LinearDynamicalSystem(n_points=6, n_states=3)
    drawn = task.sample(draws(), 4)
    (floor,) = (row for row in task.baselines(drawn) if row.kind == "floor")
    y = torch.cat((drawn.tokens[:, :, 0], drawn.targets[:, -1:]), dim=1).double()
    errors = np.zeros((4, 6))
    for prompt in range(4):
        a, c = drawn.more["transition"][prompt], drawn.more["c"][prompt]
        # A scaled orthogonal matrix keeps the stationary covariance a multiple of I, so Cov(y_s, y_t) =
        # variance · c·A^{t−s}c for t > s.
        powers = [torch.linalg.matrix_power(a, lag) for lag in range(7)]
        lags = [task.state_variance * float(c @ power @ c) for power in powers]
        covariance = torch.tensor([[lags[abs(s - t)] for s in range(7)] for t in range(7)]).double()
        covariance += 0.1 * torch.eye(7)
        for seen in range(1, 7):
            weights = torch.linalg.solve(covariance[:seen, :seen], covariance[:seen, seen])
            errors[prompt, seen - 1] = float(weights @ y[prompt, :seen] - y[prompt, seen]) ** 2
    assert floor.mean == pytest.approx(errors.mean(axis=0).tolist(), rel=1e-4)


def test_the_autoregression_is_a_ridge_regression_on_the_prompt_so_far() -> None:
    task = LinearDynamicalSystem(n_points=9)
    drawn = task.sample(draws(), 3)
    (row,) = (row for row in task.baselines(drawn) if row.name == "ridge on the last 4 outputs")
    errors = np.zeros((3, 9))
    for prompt in range(3):
        y = [0.0] * 3 + drawn.tokens[prompt, :, 0].tolist()
        for at in range(9):
            x = torch.tensor([y[i : i + 4] for i in range(at + 1)]).double()
            targets = drawn.targets[prompt, : at + 1].double()
            gram = x[:at].mT @ x[:at] + torch.eye(4)
            weights = torch.linalg.solve(gram, x[:at].mT @ targets[:at])
            errors[prompt, at] = float(x[at] @ weights - targets[at]) ** 2
    assert row.mean == pytest.approx(errors.mean(axis=0).tolist(), rel=1e-4)


def test_no_predictor_is_better_than_the_kalman_filter() -> None:
    floor = rows()[KALMAN]
    for row in rows().values():
        assert np.all(np.array(row.mean) > np.array(floor.mean) * 0.99)
