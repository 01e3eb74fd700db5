"""Reference predictors of sparse parity against theory, a second computation, and answers done by head."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from baseline_checks import agrees, by_hand, sample

from bench.tasks import baselines as known
from bench.tasks import parity_baselines as parities
from bench.tasks.parity import SparseParity
from bench.tasks.task import Prompts


@pytest.fixture(scope="module")
def parity_prompts() -> Prompts:
    return sample(SparseParity(), 640)


def test_version_space_is_nearly_certain_from_13_examples(parity_prompts: Prompts) -> None:
    result = parities.version_space(parity_prompts, 2)
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
    result = parities.version_space(few, 2)
    assert result is not None
    assert result.mean[:12] == pytest.approx(scores.mean(axis=0), rel=1e-4)


def test_version_space_by_head() -> None:
    # One coordinate of two. First the two disagree: a tie. Then the label shows that it is the second.
    prompts = by_hand([[1, -1], [-1, 1], [1, -1], [1, 1]], [-1, 1, -1, 1])
    result = parities.version_space(prompts, 1)
    assert result is not None
    assert result.mean == [0.5, 1, 1, 1]


@pytest.mark.parametrize(("dims", "sparsity"), [(5, 2), (6, 3), (4, 1)])
def test_least_squares_on_products_is_that_on_the_products(dims: int, sparsity: int) -> None:
    prompts = sample(SparseParity(n_dims=dims, n_points=25, sparsity=sparsity), 8)
    sets = torch.tensor(list(itertools.combinations(range(dims), sparsity)))
    features = prompts.inputs[:, :, sets].prod(dim=3).double()
    scores = np.empty((8, 25))
    for prompt, seen in itertools.product(range(8), range(25)):
        said = 0.0
        if seen:
            x, y = features[prompt].numpy(), prompts.targets[prompt].double().numpy()
            said = float(x[seen] @ np.linalg.lstsq(x[:seen], y[:seen], rcond=1e-12)[0])
        label = float(prompts.targets[prompt, seen])
        scores[prompt, seen] = 0.5 if abs(said) < 1e-6 else float((said > 0) == (label > 0))
    result = parities.product_least_squares(prompts, sparsity)
    assert result.mean == pytest.approx(scores.mean(axis=0), rel=1e-4)


@pytest.mark.slow
def test_least_squares_on_products_is_exact_after_as_many_examples(parity_prompts: Prompts) -> None:
    result = parities.product_least_squares(parity_prompts, 2)
    floor = parities.version_space(parity_prompts, 2)
    assert floor is not None
    assert min(result.mean[70:]) == 1
    assert max(result.mean[:2]) < 0.6
    assert sum(result.mean) < sum(floor.mean)
    assert (result.name, result.kind) == ("least squares on products of 2", "baseline")


def test_copying_has_its_analytic_accuracy(parity_prompts: Prompts) -> None:
    result = parities.copying(parity_prompts)
    expected = {i: 0.5 + 0.5 * (1 - (1 - 2**-10) ** i) for i in range(140)}
    # Binomial errors: while hardly any input repeats, the measured ones are too rough to judge by.
    for position, value in expected.items():
        error = math.sqrt((value - 0.5) * (1 - value) / 640)
        assert abs(result.mean[position] - value) <= 4 * error + 1e-3
    assert expected[139] == pytest.approx(0.563, abs=1e-3)


def test_copying_by_head() -> None:
    prompts = by_hand([[1, 1], [1, -1], [1, 1], [1, -1]], [1, -1, 1, -1])
    assert parities.copying(prompts).mean == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize(("d", "k"), [(10, 2), (6, 3), (5, 4), (4, 1)])
def test_the_symmetric_polynomial_of_signs_is_the_sum_over_all_sets(d: int, k: int) -> None:
    for negative, value in enumerate(parities.krawtchouk(d, k)):
        signs = [-1] * negative + [1] * (d - negative)
        assert value == sum(math.prod(chosen) for chosen in itertools.combinations(signs, k))


def test_the_input_alone_gives_its_binomial_accuracy(parity_prompts: Prompts) -> None:
    """Given m coordinates of −1, a share (1 + |e₂|/45)/2 of the sets agrees with the guess."""
    expected = sum(
        math.comb(10, m) / 2**10 * (1 + abs(((10 - 2 * m) ** 2 - 10) / 2) / 45) / 2 for m in range(11)
    )
    assert expected == pytest.approx(0.5547, abs=1e-4)
    result = parities.input_alone(parity_prompts, 2)
    assert (result.name, result.kind, result.prompts) == ("input alone", "baseline", 640)
    agrees(result, dict.fromkeys(range(140), expected), scale=1)
    error = np.sqrt(expected * (1 - expected) / (640 * 140))
    assert abs(np.mean(result.mean) - expected) < 4 * error


@pytest.mark.parametrize(("dims", "sparsity"), [(10, 2), (6, 3), (4, 4)])
def test_before_any_example_the_input_alone_is_the_bayes_rule(dims: int, sparsity: int) -> None:
    prompts = sample(SparseParity(n_dims=dims, n_points=9, sparsity=sparsity), 100)
    floor = parities.version_space(prompts, sparsity)
    assert floor is not None
    assert parities.input_alone(prompts, sparsity).mean[0] == floor.mean[0]


def test_neighbours_of_parity_copy_when_they_can(parity_prompts: Prompts) -> None:
    copying = parities.copying(parity_prompts).mean
    nearest = known.nearest_neighbours(parity_prompts, 1, classify=True)
    assert nearest.mean[-1] > copying[139]


def test_a_coin_flip_is_right_half_of_the_time(parity_prompts: Prompts) -> None:
    result = known.trivial(SparseParity(), parity_prompts)
    assert (set(result.mean), set(result.standard_error), result.name) == ({0.5}, {0.0}, "coin flip")


def test_a_guess_is_right_as_often_as_the_task_states(parity_prompts: Prompts) -> None:
    class FourAnswers(SparseParity):
        @property
        def trivial(self) -> float:
            return 1 / 4

    result = known.trivial(FourAnswers(), parity_prompts)
    assert (set(result.mean), result.name) == ({0.25}, "guess")


def test_baselines_treat_all_coordinates_alike() -> None:
    """So scores on prompts with one subset are uncorrelated, and standard errors count prompts singly."""
    task = SparseParity(subset="per_batch", n_dims=6, n_points=20)
    prompts = sample(task, 256)
    permuted = Prompts(prompts.tokens, prompts.targets, prompts.inputs[:, :, [3, 0, 5, 1, 2, 4]])
    for before, after in zip(task.baselines(prompts), task.baselines(permuted), strict=True):
        assert before.mean == after.mean, before.name
