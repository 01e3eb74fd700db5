"""Reference predictors against theory, against a second computation, and against answers done by head."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from baseline_checks import agrees, by_hand, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from bench.tasks import TASKS
from bench.tasks import baselines as known
from bench.tasks import linear_baselines as linear
from bench.tasks.regression import LinearRegression, TwoLayerNetwork
from bench.tasks.task import MAIN, Prompts


@pytest.fixture(scope="module")
def linear_prompts() -> Prompts:
    return sample(LinearRegression(), 1280)


# Linear regression.


@pytest.mark.slow
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


@pytest.mark.slow
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


def lstsq(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The minimum-norm least-squares weights of one prompt, by NumPy."""
    found = np.linalg.lstsq(x.double().numpy(), y.double().numpy(), rcond=1e-12)[0]
    return torch.from_numpy(found)


@given(
    dims=st.integers(1, 6),
    points=st.integers(1, 40),
    kinds=st.lists(st.sampled_from(["plain", "repeated", "zero", "flat"]), min_size=1, max_size=6),
    noise=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40)
def test_running_least_squares_is_the_minimum_norm_fit_of_what_was_seen(
    dims: int, points: int, kinds: list[str], noise: float, seed: int
) -> None:
    # Prompts of several kinds in one batch: a fit must not depend on its neighbours.
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(kinds), points, dims, generator=generator, dtype=torch.float64)
    for row, kind in enumerate(kinds):
        if kind == "repeated":
            x[row] = x[row, :1]
        elif kind == "zero":
            x[row, points // 2 :] = 0
        elif kind == "flat":  # the first coordinate is never seen
            x[row, :, 0] = 0
    weights = torch.randn(len(kinds), dims, 1, generator=generator, dtype=torch.float64)
    y = (x @ weights).squeeze(2) + noise * torch.randn(len(kinds), points, generator=generator)
    positions = sorted({0, 1, points // 3, points // 2, points})
    found = linear.running_least_squares(x, y, positions)
    assert found.shape == (len(kinds), len(positions), dims)
    for row, (column, seen) in itertools.product(range(len(kinds)), enumerate(positions)):
        expected = lstsq(x[row, :seen], y[row, :seen]) if seen else torch.zeros(dims).double()
        scale = 1 + float(expected.abs().max())
        # What both must get right is what is said, not weights along directions hardly seen.
        said, wanted = x[row, :seen] @ found[row, column], x[row, :seen] @ expected
        assert torch.allclose(said, wanted, atol=1e-7 * scale)
        assert float(found[row, column].norm()) <= float(expected.norm()) * (1 + 1e-6) + 1e-9


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


# Two-layer network.


@pytest.mark.slow
def test_arc_cosine_process_beats_every_linear_predictor() -> None:
    prompts = sample(TwoLayerNetwork(), 640)
    process, ordinary = linear.arc_cosine_process(prompts), linear.least_squares(prompts)
    shrunk = linear.ridge(prompts, 20.0)
    assert all(a < b for a, b in zip(process.mean[3:], ordinary.mean[3:], strict=True))
    assert all(a < b for a, b in zip(process.mean[3:], shrunk.mean[3:], strict=True))
    # No linear function without bias gets below half of the variance.
    assert min(np.array(shrunk.mean[3:]) + 4 * np.array(shrunk.standard_error[3:])) > 0.5 * 20
    assert max(process.mean[50:]) < 0.5 * 20
    assert process.kind == "reference"


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


# Records.

SHORTER = {
    "many_outlier_regression": {"n_points": 120},
    "two_layer_network": {"n_points": 31},
    "sparse_linear_regression": {"n_points": 61},
}
"""Where predictors that are fitted anew at every position would take a minute."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_every_tasks_baselines_are_finite_json_of_modest_size(name: str) -> None:
    task = TASKS[name].model_validate({**TASKS[name].example_fields, **SHORTER.get(name, {})})
    results = task.baselines(sample(task, 2))
    records = [dataclasses.asdict(result) for result in results]
    text = json.dumps(records, allow_nan=False)
    assert len(text) < 30_000
    assert json.loads(text) == records
    assert results[0].kind == "trivial"
    best = "reference" if name in ("two_layer_network", "chain_of_thought") else "floor"
    assert best in {result.kind for result in results if result.evaluation == MAIN}
    assert len({(result.name, result.evaluation) for result in results}) == len(results)
    for result in results:
        stated = task.evaluations()[result.evaluation].positions
        assert result.positions == sorted(set(result.positions) & set(stated))
        assert len(result.positions) == len(result.mean) == len(result.standard_error)
        assert (result.positions[0], result.positions[-1]) == (stated[0], stated[-1])
        assert result.prompts == 2
        assert result.seconds >= 0
        assert result.kind == "baseline" or len(result.positions) == len(stated)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if "n_points" in TASKS[name].model_fields])
@pytest.mark.parametrize(("n_dims", "n_points"), [(3, 1), (3, 2), (4, 12)])
def test_tasks_of_any_size_have_baselines(name: str, n_dims: int, n_points: int) -> None:
    sizes = {"n_dims": n_dims, "n_points": n_points, "outlier_probability": 0.5}
    fields = {field: value for field, value in sizes.items() if field in TASKS[name].model_fields}
    if "outlier_probability" in fields and n_points == 1:
        return  # no clean pair: refused by the task
    task = TASKS[name].model_validate({**TASKS[name].example_fields, **fields})
    for result in task.baselines(sample(task, 2)):
        assert result.positions[-1] == task.evaluations()[result.evaluation].positions[-1]


def test_standard_errors_are_those_of_a_mean_and_numbers_keep_five_digits() -> None:
    scores = torch.tensor([[1.0, 1 / 3], [3.0, 1 / 3]])
    result = known.summarise("x", "baseline", scores, 0.0)
    assert result.mean == [2, 0.33333]
    assert result.standard_error == [1, 0]


def test_scores_that_are_not_finite_never_become_a_record() -> None:
    with pytest.raises(ValueError, match="position 7 is not a finite number"):
        known.summarise("x", "baseline", torch.tensor([[1.0, math.nan], [1.0, 1.0]]), 0.0, [3, 7])
    with pytest.raises(ValueError, match="at least two prompts"):
        known.summarise("x", "baseline", torch.ones(1, 3), 0.0)


def test_scores_belong_to_positions_and_to_an_evaluation() -> None:
    with pytest.raises(ValueError, match="3 columns for 2 positions"):
        known.summarise("x", "baseline", torch.ones(2, 3), 0.0, [0, 1])
    assert known.summarise("x", "floor", torch.ones(2, 1), 0.0).evaluation == "report"
    assert known.summarise("x", "floor", torch.ones(2, 1), 0.0, evaluation="hidden").evaluation == "hidden"


def test_zero_scores_the_squared_norm_of_vectors_where_points_count() -> None:
    targets = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]] * 2)
    counted = torch.tensor([[True, False, True]] * 2)
    prompts = Prompts(torch.zeros(2, 3, 2), targets, torch.zeros(2, 3, 2), counted=counted)
    result = known.trivial(LinearRegression(), prompts)
    assert (result.positions, result.mean) == ([0, 2], [25, 1])


def test_baselines_need_the_same_points_to_count_in_every_prompt() -> None:
    def counting(counted: list[list[bool]]) -> Prompts:
        shape = torch.zeros(2, 2, 1)
        return Prompts(shape, shape[..., 0], shape, counted=torch.tensor(counted))

    with pytest.raises(ValueError, match="at the same positions"):
        known.counted_positions(counting([[True, False], [True, True]]))
    with pytest.raises(ValueError, match="some point counts"):
        known.counted_positions(counting([[False, False]] * 2))


def test_costly_predictors_keep_the_positions_that_reports_ask_for() -> None:
    assert known.spread_positions(41) == list(range(41))
    assert {0, 1, 19, 20, 40, 100} <= set(known.spread_positions(101))
    assert known.spread_positions(140)[-1] == 139
    assert len(known.spread_positions(140)) < 50
    assert known.few_positions(101) == [0, 2, 5, 10, 20, 40, 60, 80, 100]
    assert known.few_positions(3) == [0, 2]
