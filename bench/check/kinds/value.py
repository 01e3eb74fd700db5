"""Claims that a number has a value, within a tolerance: `value: {expected: 0.25, absolute: 0.02}`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import PositiveFloat, model_validator

from bench.check.claim import ROUNDING, Claim, Judgement
from bench.check.measurement import Measurement
from bench.frozen import Frozen


class ExpectedValue(Frozen):
    """A number and one tolerance.

    Attributes:
        absolute: in the unit of the value.
        relative: as a fraction of the expected value.
        log10: in decades: 0.5 is a factor of 3.2 either way.
    """

    expected: float
    absolute: PositiveFloat | None = None
    relative: PositiveFloat | None = None
    log10: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_tolerance(self) -> Self:
        tolerances = [name for name in ("absolute", "relative", "log10") if getattr(self, name) is not None]
        if not tolerances:
            raise ValueError("no tolerance: give one of absolute, relative and log10")
        if len(tolerances) > 1:
            raise ValueError(f"several tolerances ({', '.join(tolerances)}): give one")
        if self.relative is not None and self.expected == 0:
            raise ValueError("a relative tolerance of 0 is none: give an absolute one")
        if self.log10 is not None and self.expected <= 0:
            raise ValueError("log10 needs an expected value above 0")
        return self

    @property
    def allowed(self) -> float:
        """The tolerance, in the unit of `distance`."""
        tolerances = (self.absolute, self.relative, self.log10)
        return next(tolerance for tolerance in tolerances if tolerance is not None)

    def distance(self, value: float) -> tuple[float, str]:
        """The distance of a value from the expected value, and its unit."""
        if self.absolute is not None:
            return abs(value - self.expected), ""
        if self.relative is not None:
            return abs(value - self.expected) / abs(self.expected), " of it"
        return abs(math.log10(value) - math.log10(self.expected)) if value > 0 else math.inf, " decades"


class ValueClaim(Claim):
    """A number has this value, within a tolerance."""

    kind: ClassVar[str] = "value"

    value: ExpectedValue

    @property
    def expected(self) -> str:
        return f"{self.value.expected:.4g}"

    @property
    def tolerance(self) -> str:
        if self.value.absolute is not None:
            return f"± {self.value.absolute:g}"
        if self.value.relative is not None:
            return f"± {100 * self.value.relative:g} %"
        return f"± {self.value.log10:g} decades"

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        (measurement,) = measurements
        distance, unit = self.value.distance(measurement.value)
        holds = distance <= self.value.allowed * (1 + ROUNDING)
        reason = f"{measurement.text()} is {distance:.4g}{unit} from {self.expected}"
        return Judgement(holds, measurement.value, measurement.standard_error, reason)
