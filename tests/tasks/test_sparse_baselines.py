"""Reference predictors for sparse linear regression: against theory, a second computation, and by head."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from baseline_checks import at, by_hand, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import Lasso

from bench.tasks import baselines as known
from bench.tasks import linear_baselines as linear
from bench.tasks import parity_baselines as parities
from bench.tasks import sparse_baselines as sparse
from bench.tasks.regression import SparseLinearRegression


def slow_sparse_bayes(x: np.ndarray, y: np.ndarray, query: np.ndarray, k: int) -> float:
    """The Bayes rule for at most k examples, from multivariate normal densities."""
    supports = [list(s) for s in itertools.combinations(range(x.shape[1]), k)]
    covariances = [x[:, s] @ x[:, s].T for s in supports]
    logs = np.array([stats.multivariate_normal(cov=c).logpdf(y) for c in covariances])
    weights = np.exp(logs - logs.max())
    said = [query[s] @ x[:, s].T @ np.linalg.solve(c, y) for s, c in zip(supports, covariances, strict=True)]
    return float(weights @ said / weights.sum())


def test_sparse_bayes_weighs_supports_by_the_density_of_the_examples() -> None:
    prompts = sample(SparseLinearRegression(n_dims=6, n_points=5), 12)
    inputs, targets = prompts.inputs.double().numpy(), prompts.targets.double().numpy()
    result = sparse.sparse_bayes(prompts, 3)
    assert result is not None
    for seen in (1, 2, 3):
        said = [slow_sparse_bayes(x[:seen], y[:seen], x[seen], 3)
                for x, y in zip(inputs, targets, strict=True)]  # fmt: skip
        expected = np.mean((np.array(said) - targets[:, seen]) ** 2)
        assert result.mean[seen] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_sparse_bayes_is_exact_from_one_example_more_than_the_sparsity() -> None:
    prompts = sample(SparseLinearRegression(n_points=30), 100)
    result = sparse.sparse_bayes(prompts, 3)
    assert result is not None
    assert result.mean[3] > 0.3
    assert max(result.mean[4:]) < 1e-6
    ordinary = linear.least_squares(prompts).mean
    assert all(ours < theirs for ours, theirs in zip(result.mean[2:20], ordinary[2:20], strict=True))
    assert (result.prompts, result.kind) == (100, "floor")


def test_sparse_bayes_by_head() -> None:
    # One weight of two: after x = (1, 1), y = 2 either is as likely, and (2·3 + 2·1)/2 = 4 is said for 6.
    prompts = by_hand([[1, 1], [3, 1], [5, 7]], [2, 6, 10])
    result = sparse.sparse_bayes(prompts, 1)
    assert result is not None
    assert result.mean == pytest.approx([4, 4, 0], abs=1e-6)


def test_enumerations_that_are_too_large_are_left_out() -> None:
    prompts = sample(SparseLinearRegression(n_dims=40, n_points=3, sparsity=5), 2)
    assert sparse.sparse_bayes(prompts, 5) is None
    assert parities.version_space(prompts, 5) is None
    task = SparseLinearRegression(n_dims=40, n_points=1, sparsity=5)
    assert [b.kind for b in task.baselines(sample(task, 2))] == ["trivial"] + 5 * ["baseline"]


def exact_lasso(x: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    """The Lasso by brute force: the least loss among the solutions of all patterns of signs."""
    seen, d = x.shape
    best, least = np.zeros(d), np.inf
    for signs in itertools.product((-1, 0, 1), repeat=d):
        s = np.array(signs)
        active = s != 0
        weights = np.zeros(d)
        if active.any():
            gram, moment = x[:, active].T @ x[:, active] / seen, x[:, active].T @ y / seen
            weights[active] = np.linalg.lstsq(gram, moment - alpha * s[active], rcond=None)[0]
        loss = ((y - x @ weights) ** 2).sum() / (2 * seen) + alpha * np.abs(weights).sum()
        if loss < least:
            best, least = weights, loss
    return best


@given(
    seen=st.integers(1, 8),
    seed=st.integers(0, 2**31),
    alpha=st.sampled_from([0.5, 0.1, 0.001]),
    kind=st.sampled_from(["normal", "signs", "repeated"]),
)
@settings(max_examples=40)
def test_lasso_weights_reach_the_minimum_over_all_patterns_of_signs(
    seen: int, seed: int, alpha: float, kind: str
) -> None:
    """Also where the solution is not unique: inputs of ±1, and coordinates that are equal."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((seen, 4))
    if kind == "signs":
        x = np.sign(x)
    if kind == "repeated":
        x[:, 3] = x[:, 0]
    y = x @ np.array([1.0, 0, -2, 0]) + 0.1 * rng.standard_normal(seen)
    gram, moment = torch.tensor(x.T @ x / seen), torch.tensor(x.T @ y / seen)
    weights = sparse.lasso_weights(gram[None], moment[None], [alpha])[0]
    violation = sparse.violations(gram[None], moment[None], weights, alpha)
    assert float(violation) <= 1e-9 * float(moment.abs().max())

    def loss(w: np.ndarray) -> float:
        return float(((y - x @ w) ** 2).sum() / (2 * seen) + alpha * np.abs(w).sum())

    assert loss(weights[0].numpy()) == pytest.approx(loss(exact_lasso(x, y, alpha)), rel=1e-6, abs=1e-9)


def test_lasso_meets_the_conditions_of_optimality_on_the_papers_prompts() -> None:
    """Least squares is nearly singular at 20 examples, where approximate solvers stop early."""
    prompts = sample(SparseLinearRegression(), 64)
    penalties = (0.1, 0.01, 0.001)
    for seen in (1, 5, 10, 19, 20, 21, 40):
        x, y = prompts.inputs[:, :seen].double(), prompts.targets[:, :seen].double()
        gram, moment = x.mT @ x / seen, (x.mT @ y.unsqueeze(-1)).squeeze(-1) / seen
        for alpha, weights in zip(penalties, sparse.lasso_weights(gram, moment, penalties), strict=True):
            slopes = moment - (gram @ weights.unsqueeze(-1)).squeeze(-1)
            assert float(slopes.abs().max()) <= alpha + 1e-9
            assert torch.allclose((slopes * weights).sum(dim=1), alpha * weights.abs().sum(dim=1), atol=1e-9)
    (smallest,) = sparse.lasso(prompts, [0.001])
    assert smallest.prompts == 64
    assert at(smallest)[20] < 2e-5  # coordinate descent that stops early leaves 100 times as much


def test_violations_of_optimality_by_head() -> None:
    # G = I and m = (3, 1): with α = 2 the minimum is (1, 0), with slopes (2, 1).
    gram, moment = torch.eye(2).double()[None], torch.tensor([[3.0, 1.0]]).double()
    assert sparse.lasso_weights(gram, moment, [2.0]).tolist() == [[[1.0, 0.0]]]
    for weights, violation in (([1.0, 0.0], 0.0), ([0.0, 0.0], 1.0), ([1.5, 0.0], 0.5), ([1.0, 0.25], 1.25)):
        found = sparse.violations(gram, moment, torch.tensor([weights]).double(), 2.0)
        assert found.tolist() == [violation]


def test_lasso_is_scikit_learns() -> None:
    prompts = sample(SparseLinearRegression(n_dims=8, n_points=20), 4)
    (result,) = sparse.lasso(prompts, [0.05])
    assert result.positions == list(range(20))
    for seen in (1, 4, 9, 19):
        scores = []
        for x, y in zip(prompts.inputs.double().numpy(), prompts.targets.double().numpy(), strict=True):
            fitted = Lasso(alpha=0.05, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(
                x[:seen], y[:seen]
            )
            scores.append((fitted.predict(x[seen : seen + 1])[0] - y[seen]) ** 2)
        assert result.mean[seen] == pytest.approx(np.mean(scores), rel=1e-4, abs=1e-6)


def test_lasso_with_a_huge_penalty_says_zero() -> None:
    prompts = sample(SparseLinearRegression(n_points=5), 10)
    zero = known.trivial(SparseLinearRegression(n_points=5), prompts)
    assert sparse.lasso(prompts, [1e6])[0].mean == zero.mean
