"""Table 1's symbols: what they say of a model that learned, of one that did not, and of their neighbours."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.paper.symbols import FAILED, SYMBOLS, symbol

EXCESSES = st.floats(-0.1, 1.2)


@pytest.mark.parametrize(
    ("excess", "others", "expected"),
    [
        (0.0, [0.0, 0.9], "✓"),
        (0.09, [0.0, 0.09], "✓"),
        (0.3, [0.2, 0.3], "▲"),  # exactly 0.1 above the best, whatever the rounding
        (0.49, [0.0, 0.49], "▲"),
        (0.609, [0.032, 0.609], "✗"),  # more than half of what can be learned is missing
        (0.97, [0.97, 0.96], "✗"),  # on par with what has learned nothing either
        (-0.01, [-0.01, 0.0], "✓"),  # by chance below the floor on these prompts
    ],
)
def test_a_symbol_says_how_much_of_what_can_be_learned_is_missing(
    excess: float, others: list[float], expected: str
) -> None:
    assert symbol(excess, others) == expected


def test_parity_at_its_plateau_has_learned_nothing() -> None:
    """0.556 is the best guess from the input alone, 0.983 the Bayes rule."""
    plateau, learned = ((0.983 - accuracy) / (0.983 - 0.5) for accuracy in (0.556, 0.97))
    assert plateau > FAILED
    assert [symbol(excess, [plateau, learned]) for excess in (plateau, learned)] == ["✗", "✓"]


@given(EXCESSES, EXCESSES, EXCESSES)
def test_a_larger_excess_never_gets_a_better_symbol(first: float, second: float, best: float) -> None:
    low, high = sorted((first, second))
    marks = [SYMBOLS.index(symbol(excess, [low, high, best])) for excess in (low, high)]
    assert marks == sorted(marks)


def test_no_symbol_is_given_for_what_is_not_a_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        symbol(0.1, [0.1, math.nan])
