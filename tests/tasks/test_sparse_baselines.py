"""Reference predictors for sparse linear regression: against theory, a second computation, and by head."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from baseline_checks import by_hand, sample
from scipy import stats
from sklearn.linear_model import Lasso

from bench.tasks import baselines as known
from bench.tasks import discrete_baselines as discrete
from bench.tasks import linear_baselines as linear
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
    assert discrete.parity_version_space(prompts, 5) is None
    task = SparseLinearRegression(n_dims=40, n_points=1, sparsity=5)
    assert [b.kind for b in task.baselines(sample(task, 2))] == ["trivial"] + 5 * ["baseline"]


def test_lasso_is_scikit_learns() -> None:
    prompts = sample(SparseLinearRegression(n_dims=8, n_points=20), 4)
    result = sparse.lasso(prompts, alpha=0.05)
    assert result.positions == list(range(20))
    for seen in (1, 4, 9, 19):
        scores = []
        for x, y in zip(prompts.inputs.double().numpy(), prompts.targets.double().numpy(), strict=True):
            fitted = Lasso(alpha=0.05, fit_intercept=False, tol=1e-8, max_iter=100_000).fit(
                x[:seen], y[:seen]
            )
            scores.append((fitted.predict(x[seen : seen + 1])[0] - y[seen]) ** 2)
        assert result.mean[seen] == pytest.approx(np.mean(scores), rel=2e-3, abs=1e-4)


def test_lasso_with_a_huge_penalty_says_zero() -> None:
    prompts = sample(SparseLinearRegression(n_points=5), 10)
    zero = known.trivial(SparseLinearRegression(n_points=5), prompts)
    assert sparse.lasso(prompts, alpha=1e6).mean == zero.mean
