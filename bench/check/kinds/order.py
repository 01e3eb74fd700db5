"""Claims that values rise along a list: `order: [{architecture: mamba}, {architecture: s4}]`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bench.check.claim import Member
from bench.check.quantity import Quantity, runs_of
from bench.check.slack import RatioClaim, T
from bench.strict_yaml.complaints import Complaint

if TYPE_CHECKING:
    from bench.suite import Suite

NUMBER_FIELDS = ("at", "of", "step", "at_flops", "evaluation", "relative_to", "minus", "over_seeds")
"""Fields of a quantity that select the number, rather than the runs."""


class OrderClaim(RatioClaim):
    """Every member of a list is lower than every later one, up to the slack.

    All members are one quantity on the same prompts.
    """

    kind: ClassVar[str] = "order"

    order: tuple[Quantity, ...] = Field(min_length=2)

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(Member(quantity, ("order", index)) for index, quantity in enumerate(self.order))

    @property
    def expected(self) -> str:
        return " < ".join(self.names)

    def pairs(self, members: Iterable[T]) -> list[tuple[T, T]]:
        # All pairs, not only neighbours: otherwise the slack of several steps would add up.
        return list(itertools.combinations(members, 2))

    def undecidable(self, suite: Suite) -> Iterator[Complaint]:
        first = self.quantities[0]
        earlier: list[tuple[Any, ...]] = []
        for index, quantity in enumerate(self.quantities):
            place = ("order", index)
            number = _number(quantity, suite)
            if number in earlier:
                yield Complaint(place, "this measures the same as an earlier member of the order")
            elif quantity.of != first.of:
                text = f"an order compares one quantity: this is {quantity.of}, the first {first.of}"
                yield Complaint(place, text)
            elif runs_of(quantity, suite)[0].task_id != runs_of(first, suite)[0].task_id:
                text = "this is evaluated on other prompts than the first member, never comparable"
                yield Complaint(place, text)
            earlier.append(number)


def _number(quantity: Quantity, suite: Suite) -> tuple[Any, ...]:
    """A key that is equal for two quantities if they are the same number of the same runs."""
    runs = tuple(tuple(run.id for run in runs_of(operand, suite)) for operand in quantity.operands)
    return runs, quantity.model_dump(include=set(NUMBER_FIELDS))
