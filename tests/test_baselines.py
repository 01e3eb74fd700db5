"""Reference predictors against theory, against a second computation, and against answers done by head."""

from __future__ import annotations

import builtins
import dataclasses
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Lasso, Ridge

from bench.tasks import TASKS
from bench.tasks import baselines as known
from bench.tasks import discrete_baselines as discrete
from bench.tasks import linear_baselines as linear
from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.parity import SparseParity
from bench.tasks.regression import DecisionTree, LinearRegression, SparseLinearRegression, TwoLayerNetwork
from bench.tasks.task import Prompts, Task, interleave


def sample(task: Task, count: int) -> Prompts:
    return task.sample(Draws(0, "report", torch.tensor(0)), count)


def by_hand(inputs: list[list[float]], targets: list[float]) -> Prompts:
    """One prompt, twice: a standard error needs two."""
    x, y = torch.tensor([inputs, inputs]), torch.tensor([targets, targets])
    return Prompts(interleave(x, y), y, x)


def agrees(baseline: Baseline, expected: dict[int, float], scale: float) -> None:
    """Each expected normalised score lies within four standard errors of what was measured."""
    at = {position: column for column, position in enumerate(baseline.positions)}
    for position, value in expected.items():
        mean, error = baseline.mean[at[position]], baseline.standard_error[at[position]]
        assert abs(mean - value * scale) <= 4 * error + 1e-6 * scale, (position, mean / scale, value)


@pytest.fixture(scope="module")
def linear_prompts() -> Prompts:
    return sample(LinearRegression(), 1280)


@pytest.fixture(scope="module")
def parity_prompts() -> Prompts:
    return sample(SparseParity(), 640)


# Linear regression.


def test_least_squares_leaves_one_minus_i_over_d(linear_prompts: Prompts) -> None:
    result = linear.least_squares(linear_prompts, kind="floor")
    agrees(result, {i: max(0.0, 1 - i / 20) for i in range(41)}, scale=20)
    assert max(result.mean[20:]) < 1e-4
    assert sum(result.mean) / 41 / 20 == pytest.approx(0.2561, abs=0.006)
    assert (result.kind, result.positions, result.prompts) == ("floor", list(range(41)), 1280)


def test_averaging_has_its_analytic_risk(linear_prompts: Prompts) -> None:
    agrees(linear.averaging(linear_prompts), {0: 1, **{i: 21 / i for i in range(1, 41)}}, scale=20)


def test_saying_zero_leaves_all_of_the_variance(linear_prompts: Prompts) -> None:
    result = known.trivial(LinearRegression(), linear_prompts)
    agrees(result, dict.fromkeys(range(41), 1), scale=20)
    assert (result.name, result.kind) == ("zero", "trivial")


def test_no_predictor_beats_the_floor_of_linear_regression(linear_prompts: Prompts) -> None:
    floor, *others = (np.array(b.mean) for b in (
        linear.least_squares(linear_prompts), linear.ridge(linear_prompts, 1.0),
        linear.averaging(linear_prompts), known.nearest_neighbours(linear_prompts, 3)))  # fmt: skip
    for other in others:
        assert bool((other[2:] > floor[2:] * 0.97).all())


def test_linear_predictors_by_hand() -> None:
    # w = (3, ·) is all that x₁ = (2, 0), y₁ = 6 tells; x₂ repeats it; x₃ adds the second weight, −1.
    prompts = by_hand([[2, 0], [1, 5], [2, 0], [1, 1]], [6, -2, 6, 2])
    assert linear.least_squares(prompts).mean == pytest.approx([36, 25, 0, 0], abs=1e-12)
    # (1/i)·Σ y x: (12, 0) → says 12 for −2; (5, −5) → 10 for 6; (22, −10)/3 → 4 for 2.
    assert linear.averaging(prompts).mean == pytest.approx([36, 196, 16, 4])
    # λ = 2: w = 12/(4 + 2) = 2 after one example, so 2 is said for −2.
    assert linear.ridge(prompts, 2.0).mean[:2] == pytest.approx([36, 16])


def test_least_squares_of_repeated_and_zero_inputs_is_the_minimum_norm_one() -> None:
    prompts = by_hand([[0, 0], [1, 1], [1, 1], [2, 0]], [0, 2, 2, 2])
    assert linear.least_squares(prompts).mean == pytest.approx([0, 4, 0, 0], abs=1e-12)


def test_ridge_is_scikit_learns(linear_prompts: Prompts) -> None:
    few = Prompts(linear_prompts.tokens[:2], linear_prompts.targets[:2], linear_prompts.inputs[:2])
    expected = []
    for seen in range(1, 41):
        scores = []
        for x, y in zip(few.inputs.double().numpy(), few.targets.double().numpy(), strict=True):
            fitted = Ridge(alpha=3.0, fit_intercept=False, solver="cholesky").fit(x[:seen], y[:seen])
            scores.append((fitted.predict(x[seen : seen + 1])[0] - y[seen]) ** 2)
        expected.append(np.mean(scores))
    assert linear.ridge(few, 3.0).mean[1:] == pytest.approx(expected, rel=1e-4)


def test_nearest_neighbours_by_hand() -> None:
    # Seen at 0, 10, 1 with values 1, 5, 2; the query at 2 is nearest to 1, then 0; 3 has all equal distances.
    prompts = by_hand([[0], [10], [1], [2]], [1, 5, 2, 4])
    assert known.nearest_neighbours(prompts, 1).mean == pytest.approx([1, 16, 1, 4])
    assert known.nearest_neighbours(prompts, 2).mean == pytest.approx([1, 16, 1, 6.25])
    assert known.nearest_neighbours(prompts, 9).mean[3] == pytest.approx((8 / 3 - 4) ** 2, rel=1e-4)
    tie = by_hand([[0], [2], [1]], [7, 9, 8])
    assert known.nearest_neighbours(tie, 1).mean[2] == 1  # of two equally near, the earlier: 7 for 8


def test_classifying_neighbours_vote_and_a_tie_counts_one_half() -> None:
    prompts = by_hand([[0], [1], [2], [3]], [1, -1, -1, -1])
    assert known.nearest_neighbours(prompts, 1, classify=True).mean == [0.5, 0, 1, 1]
    assert known.nearest_neighbours(prompts, 3, classify=True).mean == [0.5, 0, 0.5, 1]


# Sparse linear regression.


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
    result = linear.sparse_bayes(prompts, 3)
    assert result is not None
    for seen in (1, 2, 3):
        said = [slow_sparse_bayes(x[:seen], y[:seen], x[seen], 3)
                for x, y in zip(inputs, targets, strict=True)]  # fmt: skip
        expected = np.mean((np.array(said) - targets[:, seen]) ** 2)
        assert result.mean[seen] == pytest.approx(expected, rel=1e-4)


def test_sparse_bayes_is_exact_from_one_example_more_than_the_sparsity() -> None:
    prompts = sample(SparseLinearRegression(n_points=30), 100)
    result = linear.sparse_bayes(prompts, 3)
    assert result is not None
    assert result.mean[3] > 0.3
    assert max(result.mean[4:]) < 1e-6
    ordinary = linear.least_squares(prompts).mean
    assert all(ours < theirs for ours, theirs in zip(result.mean[2:20], ordinary[2:20], strict=True))
    assert (result.prompts, result.kind) == (100, "floor")


def test_sparse_bayes_by_head() -> None:
    # One weight of two: after x = (1, 1), y = 2 either is as likely, and (2·3 + 2·1)/2 = 4 is said for 6.
    prompts = by_hand([[1, 1], [3, 1], [5, 7]], [2, 6, 10])
    result = linear.sparse_bayes(prompts, 1)
    assert result is not None
    assert result.mean == pytest.approx([4, 4, 0], abs=1e-6)


def test_enumerations_that_are_too_large_are_left_out() -> None:
    prompts = sample(SparseLinearRegression(n_dims=40, n_points=3, sparsity=5), 2)
    assert linear.sparse_bayes(prompts, 5) is None
    assert discrete.parity_version_space(prompts, 5) is None
    task = SparseLinearRegression(n_dims=40, n_points=1, sparsity=5)
    assert [b.kind for b in task.baselines(sample(task, 2))] == [
        "trivial",
        "baseline",
        "baseline",
        "baseline",
    ]


def test_lasso_is_scikit_learns() -> None:
    prompts = sample(SparseLinearRegression(n_dims=8, n_points=20), 4)
    result = linear.lasso(prompts, alpha=0.05)
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
    assert linear.lasso(prompts, alpha=1e6).mean == zero.mean


# Two-layer network.


def test_arc_cosine_process_beats_every_linear_predictor() -> None:
    prompts = sample(TwoLayerNetwork(), 640)
    process, ordinary = linear.arc_cosine_process(prompts), linear.least_squares(prompts)
    shrunk = linear.ridge(prompts, 20.0)
    assert all(a < b for a, b in zip(process.mean[3:], ordinary.mean[3:], strict=True))
    assert all(a < b for a, b in zip(process.mean[3:], shrunk.mean[3:], strict=True))
    # No linear function without bias gets below half of the variance.
    assert min(np.array(shrunk.mean[3:]) + 4 * np.array(shrunk.standard_error[3:])) > 0.5 * 20
    assert max(process.mean[50:]) < 0.5 * 20
    assert process.kind == "floor"


def test_arc_cosine_kernel_is_the_covariance_of_random_networks() -> None:
    x = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = torch.randn(3, 400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hidden = torch.relu(x[0] @ features)
    assert torch.allclose(linear._arc_cosine(x)[0], 2 * hidden @ hidden.T / 400_000, rtol=0.03, atol=0.02)


def test_arc_cosine_process_by_head() -> None:
    # Without biases f(2x) = 2 f(x). Opposite inputs share no hidden unit: f(x) says nothing of f(−x).
    along = by_hand([[1, 2], [2, 4]], [3, 5])
    assert linear.arc_cosine_process(along).mean == pytest.approx([9, 1], rel=1e-3)
    opposite = by_hand([[1, 2], [-1, -2]], [3, 5])
    assert linear.arc_cosine_process(opposite).mean == pytest.approx([9, 25], rel=1e-6)


def test_arc_cosine_process_does_not_depend_on_the_outputs_scale() -> None:
    scaled, plain = (
        linear.arc_cosine_process(sample(TwoLayerNetwork(scaled=on), 20)) for on in (True, False)
    )
    assert plain.mean == pytest.approx([50 * value for value in scaled.mean], rel=1e-3)


def test_processes_in_chunks_are_the_same_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = sample(TwoLayerNetwork(n_points=10), 7)
    at_once = linear.ridge(prompts, 20.0)
    monkeypatch.setattr(linear, "_MOST_ENTRIES", 300)  # three prompts of 10 × 10
    assert linear.ridge(prompts, 20.0).mean == at_once.mean


# Decision tree.


def test_tree_oracle_errs_at_leaves_not_seen_before_and_nowhere_else() -> None:
    task, count = DecisionTree(), 300
    prompts = sample(task, count)
    nodes, leaves = task.tree(Draws(0, "report", torch.tensor(0)), count)
    expected = torch.zeros(count, 101)
    for prompt in range(count):
        seen = set()
        coordinates, goes_right = nodes[prompt].tolist(), (prompts.inputs[prompt] > 0).tolist()
        for point in range(101):
            node = 0
            for _ in range(4):
                node = 2 * node + 1 + goes_right[point][coordinates[node]]
            if node not in seen:
                expected[prompt, point] = leaves[prompt, node - 15] ** 2
            seen.add(node)
    result = discrete.tree_oracle(prompts)
    assert result.mean == pytest.approx(expected.double().mean(dim=0).tolist(), rel=1e-4)
    assert result.kind == "floor"


def test_tree_oracle_by_head() -> None:
    prompts = by_hand([[0.0]] * 5, [3, 2, 3, 2, 1])
    assert discrete.tree_oracle(prompts).mean == [9, 4, 0, 0, 1]


def test_trees_on_signs_are_better_and_neither_reaches_the_oracle() -> None:
    prompts = sample(DecisionTree(), 128)
    on_x = discrete.scikit_tree(prompts, 4, signs=False)
    on_signs = discrete.scikit_tree(prompts, 4, signs=True)
    assert on_x is not None
    assert on_signs is not None
    assert on_x.positions[-1] == 100
    assert discrete.tree_oracle(prompts).mean[100] < on_signs.mean[-1] < on_x.mean[-1]


def test_a_tree_of_depth_one_by_head() -> None:
    prompts = by_hand([[-1], [1], [-2], [3]], [0, 4, 0, 4])
    result = discrete.scikit_tree(prompts, 1, signs=True)
    assert result is not None
    assert dict(zip(result.positions, result.mean, strict=True)) == {0: 0, 1: 16, 2: 0, 3: 0}


def test_without_scikit_learn_its_trees_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    task = DecisionTree(n_points=6)
    prompts = sample(task, 4)
    with_trees = [baseline.name for baseline in task.baselines(prompts)]
    monkeypatch.setattr(builtins, "__import__", without)
    without_trees = [baseline.name for baseline in task.baselines(prompts)]
    assert [name for name in with_trees if "CART" not in name] == without_trees
    assert len(with_trees) == len(without_trees) + 2


# Sparse parity.


def test_version_space_is_nearly_certain_from_13_examples(parity_prompts: Prompts) -> None:
    result = discrete.parity_version_space(parity_prompts, 2)
    assert result is not None
    assert sum(result.mean) / 140 == pytest.approx(0.983, abs=0.002)
    assert min(result.mean[13:]) > 0.99
    assert min(result.mean[25:]) == 1
    assert result.mean[1] < 0.7


def test_version_space_agrees_with_counting_consistent_sets(parity_prompts: Prompts) -> None:
    few = Prompts(parity_prompts.tokens[:6], parity_prompts.targets[:6], parity_prompts.inputs[:6])
    scores = np.empty((6, 12))
    for prompt, seen in itertools.product(range(6), range(12)):
        x, y = few.inputs[prompt].tolist(), few.targets[prompt].tolist()
        votes = sum(
            x[seen][a] * x[seen][b]
            for a, b in itertools.combinations(range(10), 2)
            if all(x[i][a] * x[i][b] == y[i] for i in range(seen))
        )
        scores[prompt, seen] = 0.5 if votes == 0 else float((votes > 0) == (y[seen] > 0))
    result = discrete.parity_version_space(few, 2)
    assert result is not None
    assert result.mean[:12] == pytest.approx(scores.mean(axis=0), rel=1e-4)


def test_version_space_by_head() -> None:
    # One coordinate of two. First the two disagree: a tie. Then the label shows that it is the second.
    prompts = by_hand([[1, -1], [-1, 1], [1, -1], [1, 1]], [-1, 1, -1, 1])
    result = discrete.parity_version_space(prompts, 1)
    assert result is not None
    assert result.mean == [0.5, 1, 1, 1]


def test_copying_has_its_analytic_accuracy(parity_prompts: Prompts) -> None:
    result = discrete.copying(parity_prompts)
    expected = {i: 0.5 + 0.5 * (1 - (1 - 2**-10) ** i) for i in range(140)}
    # Binomial errors: while hardly any input repeats, the measured ones are too rough to judge by.
    for position, value in expected.items():
        error = math.sqrt((value - 0.5) * (1 - value) / 640)
        assert abs(result.mean[position] - value) <= 4 * error + 1e-3
    assert expected[139] == pytest.approx(0.563, abs=1e-3)


def test_copying_by_head() -> None:
    prompts = by_hand([[1, 1], [1, -1], [1, 1], [1, -1]], [1, -1, 1, -1])
    assert discrete.copying(prompts).mean == [0.5, 0.5, 1, 1]


def test_neighbours_of_parity_copy_when_they_can(parity_prompts: Prompts) -> None:
    copying = discrete.copying(parity_prompts).mean
    nearest = known.nearest_neighbours(parity_prompts, 1, classify=True)
    assert nearest.mean[-1] > copying[139]


def test_a_coin_flip_is_right_half_of_the_time(parity_prompts: Prompts) -> None:
    result = known.trivial(SparseParity(), parity_prompts)
    assert (set(result.mean), set(result.standard_error), result.name) == ({0.5}, {0.0}, "coin flip")


# Records.


@pytest.mark.parametrize("name", TASKS)
def test_every_tasks_baselines_are_finite_json_of_modest_size(name: str) -> None:
    task = TASKS[name]()
    prompts = sample(task, 24)
    results = task.baselines(prompts)
    records = [dataclasses.asdict(result) for result in results]
    text = json.dumps(records, allow_nan=False)
    assert len(text) < 12_500
    assert json.loads(text) == records
    assert [result.kind for result in results][:2] == ["trivial", "floor"]
    assert len({result.name for result in results}) == len(results)
    for result in results:
        assert result.positions == sorted(set(result.positions))
        assert len(result.positions) == len(result.mean) == len(result.standard_error)
        assert (result.positions[0], result.positions[-1]) == (0, task.n_points - 1)
        assert result.prompts == 24
        assert result.seconds >= 0
        assert result.kind == "baseline" or len(result.positions) == task.n_points


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("n_dims", "n_points"), [(3, 1), (3, 2), (4, 50)])
def test_tasks_of_any_size_have_baselines(name: str, n_dims: int, n_points: int) -> None:
    task = TASKS[name](n_dims=n_dims, n_points=n_points)
    for result in task.baselines(sample(task, 3)):
        assert result.positions[-1] == n_points - 1


def test_standard_errors_are_those_of_a_mean_and_numbers_keep_five_digits() -> None:
    scores = torch.tensor([[1.0, 1 / 3], [3.0, 1 / 3]])
    result = known.summarise("x", "baseline", scores, 0.0)
    assert result.mean == [2, 0.33333]
    assert result.standard_error == [1, 0]


def test_scores_that_are_not_finite_never_become_a_record() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        known.summarise("x", "baseline", torch.tensor([[1.0, math.nan], [1.0, 1.0]]), 0.0)
    with pytest.raises(ValueError, match="at least two prompts"):
        known.summarise("x", "baseline", torch.ones(1, 3), 0.0)


def test_costly_predictors_keep_the_positions_that_reports_ask_for() -> None:
    assert known.spread(41) == list(range(41))
    assert {0, 1, 19, 20, 40, 100} <= set(known.spread(101))
    assert known.spread(140)[-1] == 139
    assert len(known.spread(140)) < 50
