"""S4 with a diagonal state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class S4(Block):
    """S4D, diagonal S4 (the released `s4d`): a time-invariant SSM per channel, GELU, 1×1 mixing, GLU.

    Attributes:
        state: state size N of a channel in real numbers, that is N/2 complex modes.
        dropout: probability with which training zeroes a whole channel between GELU and mixing.
    """

    stackable: ClassVar[bool] = True

    name: Literal["s4"] = "s4"
    state: PositiveInt = Field(default=16, multiple_of=2)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    def parameters(self, D: int) -> int:
        ssm = D * (2 * self.state + 2)  # C (complex), log(−Re A), Im A; Δ, skip
        return ssm + 2 * D**2 + 2 * D

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. 1×1 mixing 2LD², recurrence 3LDN, skip and gate 2LD (see `bench.flops`)."""
        return 2 * L * D**2 + 3 * L * D * self.state + 2 * L * D

    def state_numbers(self, L: int, D: int) -> int:
        return D * self.state

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.s4.module import S4Module

        return S4Module(place.width, place.backend, state=self.state, dropout=self.dropout)
