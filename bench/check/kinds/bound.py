"""Claims that a number is on one side of a bound: `bound: {at_most: 0.4}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import model_validator

from bench.check.claim import Claim, Holds, Judgement
from bench.check.measurement import Measurement
from bench.digits import short
from bench.frozen import Frozen
from bench.uncertainty import Floats


class Bound(Frozen):
    """The largest or the smallest value that is allowed. The bound itself is allowed."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give one of at_most and at_least")
        return self

    @property
    def limit(self) -> float:
        """The number of the bound, whichever side it is on."""
        return next(limit for limit in (self.at_most, self.at_least) if limit is not None)

    def admits(self, values: Floats) -> Holds:
        """Whether each value is on the right side."""
        return np.asarray(values <= self.limit if self.at_most is not None else values >= self.limit)


class BoundClaim(Claim):
    """A number does not pass a bound."""

    kind: ClassVar[str] = "bound"

    bound: Bound

    @property
    def expected(self) -> str:
        return f"at {'most' if self.bound.at_most is not None else 'least'} {short(self.bound.limit)}"

    @property
    def bound_text(self) -> str:
        return f"{'≤' if self.bound.at_most is not None else '≥'} {short(self.bound.limit)}"

    @property
    def favours_subject(self) -> bool:
        return self.bound.at_most is not None

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        (measurement,) = measurements
        value, limit = measurement.value, self.bound.limit
        side = "above" if value > limit else "below" if value < limit else "at"
        return self.judged(measurements, measurement, f"{side} {short(limit)}")

    def parts(self, values: Floats) -> Holds:
        return self.bound.admits(values.T[:1])
