"""One claim: a statement, what is measured, and what would bear it out."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from bench.check.kinds import Bound, Count, Equivalent, Requires, Symbol, Trend, Value
from bench.check.measure import Measure
from bench.frozen import Frozen

KINDS = ("value", "bound", "order", "trend", "symbol", "equivalent", "count")
NOT_BY_SEED = ("of", "at_flops", "relative_to", "minus", "over_seeds", "seed")
PLACE = ("at", "evaluation", "step")
"""Fields of a measure that say where its number is read."""
Text = Annotated[str, Field(min_length=1)]


class Claim(Frozen):
    """One statement and what would bear it out.

    Attributes:
        statement: the claim in words.
        source: where it is made: section, figure, table.
        reason: why this number or this tolerance.
        measure: what is measured; for an order, what its members have in common.
        value: the number is this one, within a tolerance.
        bound: the number is on this side of a bound.
        order: values rise from the first member to the last.
        trend: values rise, or fall, along a list whose members need not share their prompts.
        symbol: the measured model has this symbol of Table 1 among others.
        equivalent: two measures have equal mean errors over seeds, within a range of ratios.
        count: so many of several statements hold.
        slack: with `order`, `trend` and `count`, how much (relative) an earlier member may still exceed a
            later one; negative asks for a margin: −0.5 for less than half of it.
        requires: what runs must have in common with the paper's; completed from the file's.
        awaits: what the suite lacks for now; until it is there, the claim is missing.
    """

    statement: Text
    source: Text | None = None
    reason: Text | None = None
    measure: Measure = Measure()
    value: Value | None = None
    bound: Bound | None = None
    order: tuple[Measure, ...] | None = Field(default=None, min_length=2)
    trend: Trend | None = None
    symbol: Symbol | None = None
    equivalent: Equivalent | None = None
    count: Count | None = None
    slack: float = Field(default=0.0, gt=-1.0)
    requires: Requires = Requires()
    awaits: Text | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            has = f"this one has {' and '.join(given)}" if given else "this one has none"
            raise ValueError(f"a claim states one of {', '.join(KINDS[:-1])} and {KINDS[-1]}; {has}")
        slackless = self.order is None and self.trend is None and not (self.count and self.count.orders)
        if "slack" in self.model_fields_set and slackless:
            raise ValueError("slack belongs to an order, a trend or a count of orders")
        return self

    @model_validator(mode="after")
    def _errors_by_seed(self) -> Self:
        if self.equivalent is None:
            return self
        plain = Measure()
        for measure in self.measures:
            extra = [field for field in NOT_BY_SEED if getattr(measure, field) != getattr(plain, field)]
            if extra:
                raise ValueError(f"equivalent compares errors over all seeds: leave out {', '.join(extra)}")
        first, second = self.measures
        differing = [field for field in PLACE if getattr(first, field) != getattr(second, field)]
        if differing:
            raise ValueError(
                f"equivalent compares one number: its two sides differ in {', '.join(differing)}"
            )
        return self

    @property
    def kind(self) -> str:
        """Which of `KINDS` it states."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def members(self) -> tuple[Measure, ...]:
        """What it lists, each completing the common measure: the subject of a symbol comes first."""
        if self.order:
            return self.order
        if self.trend:
            return self.trend.members
        if self.symbol:
            return (Measure(), *self.symbol.among)
        if self.equivalent:
            return self.equivalent.subject, self.equivalent.reference
        if self.count:
            return tuple(member for pair in self.count.orders or () for member in pair)
        return (Measure(),)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured: one, or one for each member."""
        return tuple(self.measure.updated(member) for member in self.members)

    @property
    def names(self) -> tuple[str, ...]:
        """For each measure, what tells it from the others, in words; nothing for a single one."""
        if self.value or self.bound:
            return ("",)
        return tuple(member.text() or self.measure.text() for member in self.members)

    @property
    def expected(self) -> str:
        """What is claimed, in words."""
        if self.value:
            return f"{self.value.expected:.4g}"
        if self.bound:
            return f"at {'most' if self.bound.at_most is not None else 'least'} {self.bound.limit:.4g}"
        if self.symbol:
            return self.symbol.expected
        if self.equivalent:
            return " ≈ ".join(self.names)
        if self.count:
            return f"at least {self.count.at_least} of {self.count.total}"
        if self.trend and self.trend.falling:
            return f"falling: {' > '.join(reversed(self.names))}"
        return (f"rising: {' < '.join(self.names)}") if self.trend else " < ".join(self.names)

    @property
    def tolerance(self) -> str:
        """How much is allowed, in words."""
        if self.value:
            return self.value.tolerance
        if self.equivalent:
            return f"ratio {self.equivalent.low:g} to {self.equivalent.high:g}"
        if self.slack < 0:
            return f"{-100 * self.slack:g} % margin"
        return f"{100 * self.slack:g} % slack" if self.slack else "none"
