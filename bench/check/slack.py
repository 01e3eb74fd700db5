"""Claims that compare measurements with each other: their slack, and the ratio of two measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from bench.check.claim import Claim, Holds
from bench.check.measurement import Measurement, ratio_of
from bench.uncertainty import Floats

Pair = tuple[Measurement, Measurement]
"""Two measurements of which the first is claimed to be the lower."""


class SlackClaim(Claim):
    """A claim that some measurements are lower than others.

    Attributes:
        slack: how much, as a fraction, a lower member may exceed a higher one. A negative slack is a
            margin: with −0.5, less than half of it.
    """

    relative: ClassVar[bool] = True

    slack: float = Field(default=0.0, gt=-1.0)

    @property
    def tolerance(self) -> str:
        if self.slack < 0:
            return f"{-100 * self.slack:g} % margin"
        return f"{100 * self.slack:g} % slack" if self.slack else "none"

    @property
    def bound_text(self) -> str:
        return f"ratio < {1 + self.slack:.4g}"

    def below(self, low: Floats, high: Floats) -> Holds:
        """Whether each first value is the lower, up to the slack. Without slack, equal values are not."""
        # A share of a value below 0 (an excess can be) would narrow the slack instead of widening it.
        allowance = self.slack * np.abs(high, out=np.zeros_like(high), where=np.isfinite(high))
        return np.asarray(low < high + allowance)


def largest_ratio(pairs: Sequence[Pair]) -> tuple[float, float | None]:
    """The largest ratio of a lower member to a higher one, and its standard error; of equals, the first."""
    return max((_ratio(pair) for pair in pairs), key=lambda ratio: ratio[0])


def _ratio(pair: Pair) -> tuple[float, float | None]:
    low, high = pair
    if low.value == high.value:
        return 1.0, ratio_of(low, high)[1]
    if high.value <= 0:
        return math.inf, None
    return ratio_of(low, high)
