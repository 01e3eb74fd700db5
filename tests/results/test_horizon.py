"""Horizons and their uncertainty over prompts: known answers, and simulated prompts with a known horizon."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.results.horizon import horizon_of
from bench.uncertainty import Floats, SeedErrors, Steps, interval

POSITIONS = 256


def horizon(accuracies: list[float], answers: int = 900) -> Steps:
    """The horizon of consecutive positions. With 900 answers, the standard error of 0.9 is 0.01."""
    return horizon_of(dict(enumerate(accuracies)), dict.fromkeys(range(len(accuracies)), answers))


@pytest.mark.parametrize(
    ("accuracies", "reached", "error", "unit"),
    [
        ([1.0, 0.95, 0.2], 2, 0.0, 1),
        ([1.0, 0.95, 0.895], 2, 0.5, 1),  # one standard error more: 3
        ([1.0, 0.905, 0.895], 2, 1.0, 1),  # 3, or one error less: 1
        ([1.0, 0.905, 0.89501, 0.895, 0.3], 2, 1.5, 1),  # 4 or 1
        ([1.0, 0.2, 0.905], 3, 1.0, 0),  # 3 or 1
        ([0.95, 0.2, 1.0, 0.905, 0.2], 4, 0.5, 1),  # 4 or 3: positions before a certain one do not matter
        ([1.0, 0.2, 0.95, 0.905, 0.2], 4, 0.5, 1),  # nor does a better position before it
        ([1.0, 0.905, 0.899, 0.901, 0.2], 4, 1.5, 1),  # the third position crosses by chance: 4 or 1
        ([1.0, 0.95, 0.899, 0.901, 0.2], 4, 1.0, 1),  # 4 or 2
        ([0.85, 0.895, 0.87], 0, 1.0, 0),  # 2 or 0
        ([0.2, 0.3], 0, 0.0, 0),
        ([0.9, 0.2], 1, 0.5, 1),
        ([1.0, 1.0], 2, 0.0, 0),
    ],
)
def test_the_error_of_a_horizon_is_half_of_its_range_within_one_error_of_the_accuracies(
    accuracies: list[float], reached: int, error: float, unit: int
) -> None:
    steps = horizon(accuracies)
    assert (steps.value, steps.prompt_error, steps.unit) == (reached, error, unit)


def test_accuracies_of_few_answers_are_uncertain_even_without_a_wrong_one() -> None:
    """An accuracy of 0.9 gives eight right answers of eight in 43 % of all cases, and 80 of 80 in 0.02 %."""
    few, many = (horizon([1.0, 1.0, 0.0], answers) for answers in (8, 80))
    assert (few.prompt_error, many.prompt_error) == (1.0, 0.0)


def test_an_accuracy_that_is_no_number_is_no_horizon() -> None:
    assert horizon([math.nan, math.nan]).value == 0
    steps = horizon([1.0, math.nan, 0.905, math.nan])
    assert (steps.value, steps.prompt_error) == (3, 1.0)


def test_positions_that_were_left_out_are_no_horizons() -> None:
    steps = horizon_of({0: 1.0, 4: 0.905, 8: 0.895, 12: 0.1}, dict.fromkeys((0, 4, 8, 12), 900))
    assert (steps.value, steps.prompt_error, steps.unit) == (5, 4.0, 4)
    assert set(steps.after(np.linspace(-9, 99, 2000)).tolist()) == {1, 5, 9, 13}


def right_answers(random: np.random.Generator, loss: float, guess: float, prompts: int) -> Floats:
    """The accuracies of a model that loses the state of a prompt at some position, and then guesses."""
    lost = (random.random((prompts, POSITIONS)) < loss).cumsum(axis=1) > 0
    right = ~lost | (random.random(lost.shape) < guess)
    return np.asarray(right.mean(axis=0))


@pytest.mark.parametrize(
    ("loss", "guess", "prompts"), list(itertools.product((0.002, 0.01), (0.5, 1 / 60), (200, 1000)))
)
def test_an_interval_of_a_horizon_over_prompts_covers_the_truth(
    loss: float, guess: float, prompts: int
) -> None:
    """The state is kept for t positions in (1 − loss)^t of the prompts. The others guess."""
    truth = math.floor(math.log((0.9 - guess) / (1 - guess)) / math.log(1 - loss))
    random = np.random.default_rng(prompts)
    trials, covered, widths = 300, 0, 0.0
    for trial in range(trials):
        steps = horizon(right_answers(random, loss, guess, prompts).tolist(), prompts)
        model = SeedErrors(str(trial), np.array([steps.value]), np.array([steps.prompt_error]), steps=[steps])
        low, high = interval(model.draws())
        covered += low <= truth <= high
        widths += (high - low) / trials
    # A share of 0.9 of 300 trials has a standard error of 0.017.
    assert covered / trials >= 0.86
    assert widths < 1.5 * truth


def test_a_horizon_counts_prompts_that_share_a_function_once() -> None:
    """Prompts of a group lose their state at one position. 90 % intervals must count groups, not prompts."""
    loss, groups, group = 0.002, 20, 64
    truth = math.floor(math.log(0.9) / math.log(1 - loss))
    random = np.random.default_rng(3)
    trials, covered = 300, {groups: 0, groups * group: 0}
    for trial in range(trials):
        accuracies = right_answers(random, loss, 0.0, groups).tolist()
        for answers in covered:
            steps = horizon(accuracies, answers)
            values, errors = np.array([steps.value]), np.array([steps.prompt_error])
            low, high = interval(SeedErrors(str(trial), values, errors, steps=[steps]).draws())
            covered[answers] += low <= truth <= high
    assert covered[groups] / trials >= 0.86
    assert covered[groups * group] / trials <= 0.6


def test_seeds_of_one_model_move_together_and_those_of_two_models_alone() -> None:
    steps = horizon([1.0, 0.905, 0.905, 0.895, 0.895, 0.2])
    means, errors = np.full(3, steps.value), np.full(3, steps.prompt_error)
    one, other = (SeedErrors(key, means, errors, steps=[steps] * 3) for key in ("one", "other"))
    assert set(one.draws(training=False).tolist()) <= set(steps.values.tolist())
    assert np.corrcoef(one.draws(training=False), other.draws(training=False))[0, 1] < 0.1
