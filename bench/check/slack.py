"""Claims that compare measurements with each other: their slack, and the ratio of two measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from bench.check.claim import Claim
from bench.check.measurement import Measurement, ratio_error

Pair = tuple[Measurement, Measurement]
"""Two measurements of which the first is claimed to be the lower."""


class SlackClaim(Claim):
    """A claim that some measurements are lower than others.

    Attributes:
        slack: how much, as a fraction, a lower member may exceed a higher one. A negative slack is a
            margin: with −0.5, less than half of it.
    """

    slack: float = Field(default=0.0, gt=-1.0)

    @property
    def tolerance(self) -> str:
        if self.slack < 0:
            return f"{-100 * self.slack:g} % margin"
        return f"{100 * self.slack:g} % slack" if self.slack else "none"


def is_below(pair: Pair, slack: float) -> bool:
    """Whether the first is lower, up to the slack. Equal values are not in order without slack."""
    low, high = pair
    return low.value < high.value * (1 + slack)


def largest_ratio(pairs: Sequence[Pair]) -> tuple[float, float | None]:
    """The largest ratio of a lower member to a higher one, and its standard error; of equals, the first."""
    worst = max(pairs, key=_ratio)
    return _ratio(worst), ratio_error(*worst)


def _ratio(pair: Pair) -> float:
    low, high = pair
    if high.value == 0:
        return 1.0 if low.value == 0 else math.inf
    return low.value / high.value
