"""The choice of a learning rate and a size, and which seeds are reported at it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.selection import choose, equals_of, one_seed_less, seeds_to_report

LOW, MIDDLE, HIGH = (1e-4, 10.0), (1e-3, 10.0), (1e-2, 10.0)


def test_a_choice_prefers_finished_seeds_then_the_lower_mean_then_the_lower_rate() -> None:
    errors = {LOW: {0: 0.3, 1: 0.3}, MIDDLE: {0: 0.2, 1: 0.3}, HIGH: {0: 0.1, 1: None}}
    assert choose({"s": errors}) == ("s", MIDDLE)
    assert choose({"s": {HIGH: {0: 0.2}, MIDDLE: {0: 0.2}}}) == ("s", MIDDLE)
    assert choose({"s": {LOW: {0: math.nan}, MIDDLE: {0: 0.9}}}) == ("s", MIDDLE)
    assert choose({"s": {LOW: {0: 0.3}}, "t": {LOW: {0: 0.2}, MIDDLE: {0: 0.4}}}) == ("t", LOW)
    assert choose({"s": {LOW: {0: None}}, "t": {MIDDLE: {0: 0.4}}}) == ("t", MIDDLE)
    assert choose({"s": {LOW: {0: None}, MIDDLE: {0: math.nan}}}) is None
    assert choose({}) is None


def test_of_equals_the_lowest_is_chosen_or_the_preferred_one() -> None:
    equal = {LOW: {0: 0.2, 1: 0.4, 2: 0.3}, MIDDLE: {0: 0.3, 1: 0.2, 2: 0.4}, HIGH: {0: 0.3, 1: 0.3, 2: 0.4}}
    assert choose({"s": equal}) == choose({"s": equal}, ("s", HIGH)) == ("s", LOW)
    assert choose({"s": equal}, ("s", MIDDLE)) == ("s", MIDDLE)
    sizes = {"s": equal, "t": equal, "u": {HIGH: {0: 0.3}}}
    assert choose(sizes) == choose(sizes, ("s", LOW)) == ("s", LOW)
    assert choose(sizes, ("t", MIDDLE)) == ("t", MIDDLE)
    assert choose({**sizes, "u": {LOW: {0: 0.9}}}, ("u", MIDDLE)) == ("s", MIDDLE)
    assert equals_of(equal, LOW) == [MIDDLE]
    assert equals_of(equal, MIDDLE) == [LOW]
    perfect = {LOW: dict.fromkeys(range(3), 0.0), MIDDLE: dict.fromkeys(range(3), 0.0)}
    assert seeds_to_report(perfect, MIDDLE, MIDDLE) == dict.fromkeys(range(3), MIDDLE)
    fewer = {LOW: {0: 0.0, 1: None}, MIDDLE: {0: 0.0, 1: 0.0}}
    assert equals_of(fewer, MIDDLE) == []


def test_seeds_that_did_not_choose_are_reported_alone_where_there_are_three() -> None:
    errors = {LOW: {0: 0.2, 1: 0.3, 2: 0.3, 3: 0.4}, HIGH: {0: 0.5}}
    assert seeds_to_report(errors, LOW) == {1: LOW, 2: LOW, 3: LOW}
    errors[LOW].pop(3)
    assert seeds_to_report(errors, LOW) == {0: LOW, 1: LOW, 2: LOW}


def test_a_seed_is_reported_at_the_setting_that_the_others_choose() -> None:
    errors = {LOW: {0: 0.1, 1: 0.3, 2: 0.3}, HIGH: {0: 0.5, 1: 0.25, 2: 0.2}}
    assert choose({None: errors}) == (None, LOW)  # 0.233 < 0.317, by seed 0
    assert seeds_to_report(errors, LOW) == {0: HIGH, 1: LOW, 2: LOW}


def test_choices_without_one_of_the_seeds_are_those_that_a_single_seed_prevents() -> None:
    small = {LOW: {0: 0.1, 1: 0.3, 2: 0.3}, HIGH: {0: 0.5, 1: 0.25, 2: 0.2}}
    assert one_seed_less({"s": small}, ("s", LOW)) == (("s", HIGH),)
    assert (
        one_seed_less({"s": {HIGH: {0: 0.3, 1: 0.3, 2: 0.3}, LOW: {0: 0.1, 1: 0.1, 2: 0.2}}}, ("s", LOW))
        == ()
    )
    # Without seed 2, t is the better size.
    large = {MIDDLE: {0: 0.15, 1: 0.15, 2: 0.9}}
    assert one_seed_less({"s": small, "t": large}, ("s", LOW)) == (("s", HIGH), ("t", MIDDLE))
    diverged = {LOW: {0: 0.3, 1: 0.3, 2: 0.3}, HIGH: {0: None, 1: 0.1, 2: 0.1}}
    assert one_seed_less({"s": diverged}, ("s", LOW)) == (("s", HIGH),)


def test_a_choice_by_one_seed_or_two_has_no_choice_without_one_of_them() -> None:
    two = {LOW: {0: 0.1, 1: 0.3}, HIGH: {0: 0.5, 1: 0.2}}
    assert one_seed_less({"s": two}, ("s", LOW)) == ()
    # Seed 0 chose, the others were trained at its choice.
    assert one_seed_less({"s": {LOW: {0: 0.1, 1: 0.3, 2: 0.3, 3: 0.3}, HIGH: {0: 0.5}}}, ("s", LOW)) == ()


def test_a_seed_that_diverged_where_the_others_send_it_counts_as_diverged() -> None:
    errors = {LOW: {0: 0.5, 1: 0.5, 2: 0.5}, HIGH: {0: None, 1: 0.1, 2: 0.1}}
    assert choose({None: errors}) == (None, LOW)
    assert seeds_to_report(errors, LOW) == {0: HIGH, 1: LOW, 2: LOW}


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_seeds_are_reported_at_the_chosen_candidate(seeds: int) -> None:
    errors = {LOW: dict.fromkeys(range(seeds), 0.2), HIGH: dict.fromkeys(range(seeds), 0.3)}
    assert seeds_to_report(errors, LOW) == dict.fromkeys(range(seeds), LOW)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_reported_error_is_not_too_low(seeds: int) -> None:
    """Four candidates that are equally good, trainings that vary by 10 %."""
    random, rates = np.random.default_rng(0), [(rate, 10.0) for rate in (1e-4, 2e-4, 4e-4, 8e-4)]
    naive, reported = [], []
    for _ in range(2000):
        drawn = random.normal(1.0, 0.1, (len(rates), seeds))
        errors = {
            rate: dict(enumerate(map(float, values))) for rate, values in zip(rates, drawn, strict=True)
        }
        choice = choose({None: errors})
        assert choice is not None
        naive.append(np.mean(list(errors[choice[1]].values())))
        places = seeds_to_report(errors, choice[1])
        reported.append(np.mean([errors[candidate][seed] for seed, candidate in places.items()]))
    noise = np.std(reported) / math.sqrt(2000)
    assert abs(np.mean(reported) - 1) < 4 * noise
    assert np.mean(naive) < 1 - 10 * noise
