"""What a claim can state: the models of its kinds, each with its words and, where it is simple, its rule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from bench.check.measure import Measure, departure
from bench.frozen import Frozen
from bench.paper.symbols import SYMBOLS

if TYPE_CHECKING:
    from bench.run import Run


class Value(Frozen):
    """A number and how far from it still counts.

    One tolerance: `absolute` (in the value's unit), `relative` (a fraction of what is expected) or
    `log10` (decades: 0.5 is a factor of 3.2 either way).
    """

    expected: float
    absolute: PositiveFloat | None = None
    relative: PositiveFloat | None = None
    log10: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_tolerance(self) -> Self:
        given = [name for name in ("absolute", "relative", "log10") if getattr(self, name) is not None]
        if not given:
            raise ValueError("no tolerance: give one of absolute, relative and log10")
        if len(given) > 1:
            raise ValueError(f"several tolerances ({', '.join(given)}): give one")
        if self.relative is not None and self.expected == 0:
            raise ValueError("a relative tolerance of 0 is none: give an absolute one")
        if self.log10 is not None and self.expected <= 0:
            raise ValueError("log10 needs something above 0 to be expected")
        return self

    @property
    def allowed(self) -> float:
        """The tolerance, in the unit of `distance`."""
        return next(each for each in (self.absolute, self.relative, self.log10) if each is not None)

    @property
    def tolerance(self) -> str:
        if self.absolute is not None:
            return f"± {self.absolute:g}"
        return f"± {100 * self.relative:g} %" if self.relative is not None else f"± {self.log10:g} decades"

    def distance(self, value: float) -> tuple[float, str]:
        """How far a value is from what is expected, and the unit of that."""
        if self.absolute is not None:
            return abs(value - self.expected), ""
        if self.relative is not None:
            return abs(value - self.expected) / abs(self.expected), " of it"
        return abs(math.log10(value) - math.log10(self.expected)) if value > 0 else math.inf, " decades"


class Bound(Frozen):
    """A number the value must not pass; equal to it is within it."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give one of at_most and at_least")
        return self

    @property
    def limit(self) -> float:
        return next(each for each in (self.at_most, self.at_least) if each is not None)

    def admits(self, value: float) -> bool:
        return value <= self.limit if self.at_most is not None else value >= self.limit


class Trend(Frozen):
    """Values that rise, or fall, along a list: each step up to the slack, and the last beyond the first."""

    rising: tuple[Measure, ...] | None = Field(default=None, min_length=2)
    falling: tuple[Measure, ...] | None = Field(default=None, min_length=2)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.rising is None) == (self.falling is None):
            raise ValueError("give one of rising and falling")
        return self

    @property
    def members(self) -> tuple[Measure, ...]:
        """In the order in which values are claimed to rise."""
        return self.rising or (self.falling or ())[::-1]


def _symbol(value: Any) -> Any:
    if value in SYMBOLS:
        return value
    raise ValueError(f"expected one of {', '.join(SYMBOLS)}, not {value!r}")


class Symbol(Frozen):
    """A symbol of Table 1 (`bench.paper.symbols`): the measured model's, compared with these models."""

    expected: Annotated[str, BeforeValidator(_symbol)]
    among: tuple[Measure, ...] = Field(min_length=2)


class Equivalent(Frozen):
    """Two measures with equal mean errors over seeds, up to a ratio of `low` to `high`.

    Decided by the 90 % interval of the ratio (`bench.check.equivalence`): it holds where the interval lies
    within `low` to `high`, fails where all of it lies on one side of them, and is undecided elsewhere.

    Attributes:
        subject: whose mean error is divided.
        reference: by whose mean error.
        learned: the largest mean error at which the reference has learned something. Above it nothing is
            decided: models that have learned nothing are all alike.
        low: the smallest ratio that counts as equal.
        high: the largest one.
        seeds: how many have to finish on each side; one that diverges leaves the claim undecided too.
    """

    subject: Measure
    reference: Measure
    learned: PositiveFloat
    low: PositiveFloat = 0.9
    high: PositiveFloat = 1.1
    seeds: int = Field(default=8, ge=2)

    @model_validator(mode="after")
    def _around_one(self) -> Self:
        if not self.low < 1 < self.high:
            raise ValueError("equal errors have the ratio 1: give a low below 1 and a high above it")
        return self


class Count(Frozen):
    """How many of several statements hold: pairs of which the first is lower, or other claims by id."""

    at_least: PositiveInt
    orders: tuple[tuple[Measure, Measure], ...] | None = Field(default=None, min_length=1)
    claims: tuple[str, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.orders is None) == (self.claims is None):
            raise ValueError("give one of orders and claims")
        if self.at_least > self.total:
            raise ValueError(f"at_least {self.at_least} of {self.total} can never hold")
        return self

    @property
    def total(self) -> int:
        return len(self.orders or self.claims or ())


class Requires(Frozen):
    """What runs must have in common with the paper's, or a claim about them is not comparable.

    Attributes:
        steps: training steps.
        seeds: how many must have finished at the chosen setting.
        protocol: whose side tasks take where the paper's text and the released code differ.
    """

    steps: PositiveInt | None = None
    seeds: PositiveInt | None = None
    protocol: Literal["paper", "released_code"] | None = None

    def unmet_by(self, run: Run) -> str | None:
        """In which way a planned run is not what is required; None when it is."""
        if self.steps is not None and run.steps != self.steps:
            return f"its runs train for {run.steps:,} steps, the claim is about {self.steps:,}"
        if self.protocol is None or (differs := departure(run, self.protocol)) is None:
            return None
        field, mine, wanted = differs
        return f"its task has {field} {mine}, the {self.protocol.replace('_', ' ')} has {wanted}"
