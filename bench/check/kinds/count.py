"""Claims that several statements hold: `count: {orders: [[…, …], …], at_least: 3}`, or `claims` by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from bench.check.claim import Holds, Judgement, Member, Place
from bench.check.measurement import Measurement
from bench.check.quantity import Quantity
from bench.check.slack import SlackClaim
from bench.frozen import Frozen
from bench.uncertainty import Floats


class Count(Frozen):
    """Statements, and how many of them hold at least.

    Attributes:
        orders: pairs; the first of a pair is claimed to be the lower.
        claims: ids of other claims of the file.
    """

    at_least: PositiveInt
    orders: tuple[tuple[Quantity, Quantity], ...] | None = Field(default=None, min_length=1)
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
        """Number of statements."""
        return len(self.orders or self.claims or ())


class CountClaim(SlackClaim):
    """So many of several pairs, or of several claims, hold."""

    kind: ClassVar[str] = "count"

    count: Count

    @model_validator(mode="after")
    def _slack_of_orders(self) -> Self:
        if "slack" in self.model_fields_set and not self.count.orders:
            raise ValueError("slack belongs to a count of orders: claims have their own tolerances")
        return self

    @property
    def members(self) -> tuple[Member, ...]:
        """Both members of each pair, one pair after the other."""
        return tuple(
            Member(quantity, ("count", "orders", index, side))
            for index, pair in enumerate(self.count.orders or ())
            for side, quantity in enumerate(pair)
        )

    @property
    def other_claims(self) -> Mapping[Place, str]:
        return {("count", "claims", index): claim for index, claim in enumerate(self.count.claims or ())}

    @property
    def expected(self) -> str:
        return f"at least {self.count.at_least} of {self.count.total}"

    @property
    def bound_text(self) -> str:
        return f"≥ {self.count.at_least} of {self.count.total}"

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        pairs = list(zip(measurements[::2], measurements[1::2], strict=True))
        names = list(zip(self.names[::2], self.names[1::2], strict=True))
        broken = [
            f"{low_name} {low.value:.3g} against {high_name} {high.value:.3g}"
            for (low_name, high_name), (low, high) in zip(names, pairs, strict=True)
            if not self.below(np.array(low.value), np.array(high.value))
        ]
        holds, share = self.decided(measurements)
        return self._judgement(holds, broken, "; ", share)

    def holds(self, values: Floats) -> Holds:
        holding = self.below(values[:, ::2], values[:, 1::2]).sum(axis=1)
        return np.asarray(holding >= self.count.at_least)

    def judge_claims(self, reproduced: Mapping[str, bool]) -> Judgement:
        broken = [claim for claim in self.count.claims or () if not reproduced[claim]]
        return self._judgement(self.count.total - len(broken) >= self.count.at_least, broken, ", ")

    def _judgement(
        self, holds: bool | None, broken: Sequence[str], separator: str, share: str = ""
    ) -> Judgement:
        total = self.count.total
        holding = total - len(broken)
        reason = f"{holding} of {total} hold" + (f"; not: {separator.join(broken)}" if broken else "")
        return Judgement(holds, holding, None, reason + share)
