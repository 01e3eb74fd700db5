"""Claims that compare measurements with each other: their slack, and the ratio of two measurements."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from bench.check.claim import Claim, Holds, Interval, Judgement, Sides, deciding_interval
from bench.check.measurement import Measurement, ratio_of, ratios
from bench.check.verdict import Operation
from bench.check.wording import runs_in_words
from bench.uncertainty import Floats

if TYPE_CHECKING:
    from bench.run import Run

Pair = tuple[Measurement, Measurement]
"""Two measurements of which the first is claimed to be the lower."""
T = TypeVar("T")


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

    @abstractmethod
    def pairs(self, members: Iterable[T]) -> list[tuple[T, T]]:
        """The pairs of members that are compared; the first of a pair is claimed to be the lower."""

    def lower_pairs(self) -> Sequence[tuple[Sides, Sides]]:
        return self.pairs([quantity.operands for quantity in self.quantities])

    def parts(self, values: Floats) -> Holds:
        return np.stack([self.below(low, high) for low, high in self.pairs(values.T)])

    def ties(self, values: Floats) -> Holds:
        # With slack a tie holds, and with a margin it fails.
        return np.stack([(low == high) & (self.slack == 0) for low, high in self.pairs(values.T)])

    def incomparable_parts(self, measurements: Sequence[Measurement]) -> Holds:
        return np.array([not self._are_comparable(*pair) for pair in self.pairs(measurements)])

    def _are_comparable(self, low: Measurement, high: Measurement) -> bool:
        """Whether one of two models has learned enough (`Requires.learned`), and one can be better."""
        shares = [side.not_learned for side in (low, high) if side.not_learned is not None]
        has_learned = not shares or min(shares) <= self.requires.learned
        return has_learned and not (low.at_best and high.at_best)


class RatioClaim(SlackClaim):
    """A claim whose value is the largest ratio of a lower member to a higher one."""

    @property
    def operation(self) -> Operation:
        return "ratio"

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        decision = self.decided(measurements)
        # Of equal ratios, the first.
        ratio = max(map(self._ratio, self.pairs(measurements)), key=lambda ratio: ratio.value)
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
        interval = deciding_interval(ratios(low.draws, high.draws))
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
