"""Claims that compare measurements with each other: their slack, and the ratio of two measurements."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from bench.check.claim import Claim, Holds, Interval, Judgement, deciding_interval
from bench.check.measurement import Measurement, ratio_of, ratios
from bench.check.wording import runs_in_words
from bench.uncertainty import Floats

if TYPE_CHECKING:
    from bench.run import Run

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
        # A share of 0 is 0, and 0 is within any slack of 0.
        both_are_zero = (low == 0) & (high == 0)
        return np.asarray((low < high + allowance) | (both_are_zero & (self.slack > 0)))


class RatioClaim(SlackClaim):
    """A claim whose value is the largest ratio of a lower member to a higher one."""

    @abstractmethod
    def compared(self, measurements: Sequence[Measurement]) -> Iterable[Pair]:
        """The pairs of measurements that are compared."""

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        decision = self.decided(measurements)
        # Of equal ratios, the first.
        ratio = max(map(self._ratio, self.compared(measurements)), key=lambda ratio: ratio.value)
        texts = (measurement.text(name) for name, measurement in zip(self.names, measurements, strict=True))
        return Judgement(
            decision.holds,
            ratio.value,
            ratio.standard_error,
            "; ".join(texts) + decision.text,
            interval=ratio.interval,
            share=decision.share,
        )

    def number_in_words(self, runs: Sequence[Run]) -> str:
        """What the ratio is of: "ratio of 1 − accuracy: Mamba / S4"."""
        kind = "ratio" if len(self.members) == 2 else "largest ratio"
        separator = "; " if runs_in_words(self.measure) else ": "
        return f"{self._of_members(kind, runs)}{separator}{' / '.join(self.names)}"

    def _ratio(self, pair: Pair) -> MemberRatio:
        low, high = pair
        if low.value != high.value and high.value <= 0:
            return MemberRatio(math.inf, None, None)
        value, error = ratio_of(low, high)
        interval = deciding_interval(ratios(self.draws_of(low), self.draws_of(high)))
        return MemberRatio(1.0 if low.value == high.value else value, error, interval)


class MemberRatio(NamedTuple):
    """The ratio of a lower member to a higher one.

    Attributes:
        standard_error: None if a drawn ratio is not finite.
        interval: `deciding_interval` of the drawn ratios.
    """

    value: float
    standard_error: float | None
    interval: Interval | None
