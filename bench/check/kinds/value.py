"""Claims that a number has a value, within a tolerance: `value: {expected: 0.25, absolute: 0.02}`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import PositiveFloat, model_validator

from bench.check.claim import ROUNDING, Claim, Holds, Judgement
from bench.check.measurement import Measurement
from bench.digits import short, with_minus
from bench.frozen import Frozen
from bench.uncertainty import Floats


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
        """The tolerance, in the unit of `distances`."""
        tolerances = (self.absolute, self.relative, self.log10)
        return next(tolerance for tolerance in tolerances if tolerance is not None)

    def in_words(self, distance: float) -> str:
        """One of `distances` with its unit."""
        if self.relative is not None:
            return f"{100 * distance:.3g} %"
        return f"{distance:.4g}{'' if self.absolute is not None else ' decades'}"

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value within the tolerance."""
        if self.log10 is not None:
            return self.expected / 10**self.log10, self.expected * 10**self.log10
        width = self.allowed if self.relative is None else self.relative * abs(self.expected)
        return self.expected - width, self.expected + width

    def distances(self, values: Floats) -> Floats:
        """The distance of each value from the expected value; of a value without logarithm, infinite."""
        if self.absolute is not None:
            return np.asarray(np.abs(values - self.expected))
        if self.relative is not None:
            return np.asarray(np.abs(values - self.expected) / abs(self.expected))
        logarithms = np.log10(values, out=np.full_like(values, math.inf), where=values > 0)
        return np.asarray(np.abs(logarithms - math.log10(self.expected)))


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

    @property
    def bound_text(self) -> str:
        ends = (short(float(f"{end:.{2 if abs(end) < 0.01 else 3}g}")) for end in self.value.ends)
        return " to ".join(map(with_minus, ends))

    @property
    def favours_subject(self) -> bool | None:
        equal = 1.0 if self.measure.relative_to else 0.0
        return None if self.value.expected == equal else self.value.expected < equal

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        (measurement,) = measurements
        distance = self.value.distances(np.array([measurement.value]))[0]
        comparison = f"{self.value.in_words(distance)} from {self.expected}"
        return self.judged(measurements, measurement, comparison)

    def parts(self, values: Floats) -> Holds:
        # Not below the tolerance, and not above it.
        drawn, expected = values[:, 0], self.value.expected
        near = self.value.distances(drawn) <= self.value.allowed * (1 + ROUNDING)
        return np.stack([near | (drawn > expected), near | (drawn < expected)])
