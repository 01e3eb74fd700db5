"""Claims that a model has a symbol of Table 1: `symbol: {expected: ✓, among: [...]}`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from bench.check.claim import Claim, Holds, Judgement, Member
from bench.check.measurement import Measurement
from bench.check.quantity import Quantity
from bench.frozen import Frozen
from bench.paper.symbols import SYMBOLS, symbol
from bench.strict_yaml.complaints import Complaint
from bench.uncertainty import Floats

if TYPE_CHECKING:
    from bench.suite import Suite


def _symbol(value: Any) -> Any:
    if value in SYMBOLS:
        return value
    raise ValueError(f"expected one of {', '.join(SYMBOLS)}, not {value!r}")


class ExpectedSymbol(Frozen):
    """A symbol (`bench.paper.symbols`).

    Attributes:
        among: the models that are compared, the measured one among them.
    """

    expected: Annotated[str, BeforeValidator(_symbol)]
    among: tuple[Quantity, ...] = Field(min_length=2)


class SymbolClaim(Claim):
    """The measured model has this symbol when compared with several models."""

    kind: ClassVar[str] = "symbol"
    relative: ClassVar[bool] = True

    symbol: ExpectedSymbol

    @property
    def members(self) -> tuple[Member, ...]:
        """The measured model, then the models it is compared with."""
        among = enumerate(self.symbol.among)
        return (
            Member(Quantity()),
            *(Member(quantity, ("symbol", "among", index)) for index, quantity in among),
        )

    @property
    def expected(self) -> str:
        return self.symbol.expected

    @property
    def operation(self) -> None:
        return None

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        subject, *compared = measurements
        excesses = [measurement.value for measurement in compared]
        measured = symbol(subject.value, excesses)
        values = ", ".join(
            f"{name}: {error:.4g}" for name, error in zip(self.names[1:], excesses, strict=True)
        )
        return self.judged(measurements, subject, f"{measured} among {values}", measured)

    def parts(self, values: Floats) -> Holds:
        return np.array([[symbol(row[0], row[1:]) == self.symbol.expected for row in values.tolist()]])

    def undecidable(self, suite: Suite) -> Iterator[Complaint]:
        for place, quantity in zip(self.members, self.quantities, strict=True):
            if quantity.of != "excess":
                at = place.place or ("measure",)
                yield Complaint(at, f"a symbol compares excesses: set of: excess, not {quantity.of}")
