"""Claims that values rise or fall along a list: `trend: {falling: [{size: small}, {size: large}]}`.

Unlike the members of an order, those of a trend may be evaluated on different prompts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from bench.check.claim import Holds, Member, Sides
from bench.check.measurement import Measurement
from bench.check.quantity import Quantity
from bench.check.slack import RatioClaim, T
from bench.frozen import Frozen
from bench.uncertainty import Floats


class Trend(Frozen):
    """A list along which values rise, or one along which they fall."""

    rising: tuple[Quantity, ...] | None = Field(default=None, min_length=2)
    falling: tuple[Quantity, ...] | None = Field(default=None, min_length=2)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.rising is None) == (self.falling is None):
            raise ValueError("give one of rising and falling")
        return self


class TrendClaim(RatioClaim):
    """Each step of a list rises (or falls), up to the slack, and so does the last member from the first."""

    kind: ClassVar[str] = "trend"

    trend: Trend

    @property
    def members(self) -> tuple[Member, ...]:
        """In the order in which values are claimed to rise: a falling list backwards."""
        way = "rising" if self.trend.rising else "falling"
        listed = self.trend.rising or self.trend.falling or ()
        members = [Member(quantity, ("trend", way, index)) for index, quantity in enumerate(listed)]
        return tuple(members if way == "rising" else reversed(members))

    @property
    def expected(self) -> str:
        if self.trend.rising:
            return f"rising: {' < '.join(self.names)}"
        return f"falling: {' > '.join(reversed(self.names))}"

    def pairs(self, members: Iterable[T]) -> list[tuple[T, T]]:
        return list(itertools.pairwise(members))

    def lower_pairs(self) -> Sequence[tuple[Sides, Sides]]:
        return list(itertools.combinations([quantity.operands for quantity in self.quantities], 2))

    def parts(self, values: Floats) -> Holds:
        # Equal neighbours are allowed unless there is a margin, but the whole list must rise.
        steps = [
            self.below(low, high) | ((low == high) & (self.slack >= 0)) for low, high in self.pairs(values.T)
        ]
        return np.stack([*steps, values[:, 0] < values[:, -1]])

    def ties(self, values: Floats) -> Holds:
        # Of the steps a tie holds, or fails if there is a margin. The whole list may be a tie.
        first, *_, last = values.T
        return np.stack([*np.zeros((len(self.pairs(values.T)), len(values)), dtype=bool), first == last])

    def incomparable_parts(self, measurements: Sequence[Measurement]) -> Holds:
        # A trend may be flat where nothing was learned, so its steps count there too.
        return np.zeros(1, dtype=bool)
