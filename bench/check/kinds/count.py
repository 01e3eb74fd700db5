"""Claims that several statements hold: `count: {orders: [[…, …], …], at_least: 3}`, or `claims` by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from bench.check.claim import Judgement, Member
from bench.check.measurement import Measurement
from bench.check.quantity import Quantity
from bench.check.slack import SlackClaim, T
from bench.frozen import Frozen
from bench.strict_yaml.complaints import Loc

if TYPE_CHECKING:
    from bench.run import Run


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
    def other_claims(self) -> Mapping[Loc, str]:
        return {("count", "claims", index): claim for index, claim in enumerate(self.count.claims or ())}

    @property
    def expected(self) -> str:
        return f"at least {self.count.at_least} of {self.count.total}"

    @property
    def bound_text(self) -> str:
        return f"≥ {self.count.at_least} of {self.count.total}"

    @property
    def condition(self) -> str:
        return f"{self.bound_text}, each with {super().bound_text}" if self.slack else self.bound_text

    @property
    def operation(self) -> None:
        return None

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        values = np.array([[measurement.value for measurement in measurements]])
        words = [
            "not comparable" if incomparable else "holds" if holds else "tie" if tie else "does not hold"
            for holds, tie, incomparable in zip(
                self.parts(values)[:, 0],
                self.ties(values)[:, 0],
                self.incomparable_parts(measurements),
                strict=True,
            )
        ]
        texts = [measurement.text(name) for name, measurement in zip(self.names, measurements, strict=True)]
        statements = [
            f"{low} against {high} ({word})"
            for (low, high), word in zip(self.pairs(texts), words, strict=True)
        ]
        holding, decision = words.count("holds"), self.decided(measurements)
        reason = f"{self._counted(holding)}: {'; '.join(statements)}{decision.text}"
        return Judgement(decision.holds, holding, None, reason, share=decision.share)

    def pairs(self, members: Iterable[T]) -> list[tuple[T, T]]:
        listed = list(members)
        return list(zip(listed[::2], listed[1::2], strict=True))

    @property
    def dispensable(self) -> int:
        return self.count.total - self.count.at_least

    def judge_claims(self, reproduced: Mapping[str, bool]) -> Judgement:
        broken = [claim for claim in self.count.claims or () if not reproduced[claim]]
        holding = self.count.total - len(broken)
        reason = self._counted(holding) + (f"; not: {', '.join(broken)}" if broken else "")
        return Judgement(holding >= self.count.at_least, holding, None, reason)

    def _counted(self, holding: int) -> str:
        return f"{holding} of {self.count.total} hold"

    def number_in_words(self, runs: Sequence[Run]) -> str:
        if self.count.claims:
            return "claims that are reproduced"
        return self._of_members("pairs of which the first has the lower value", runs)
