"""S4 with a diagonal state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class S4(Block):
    """S4D, the diagonal S4 (released code's `s4d`): one time-invariant SSM a channel, GELU, 1×1 mixing, GLU.

    State size N counts real numbers: N/2 complex modes.
    """

    stackable: ClassVar[bool] = True

    name: Literal["s4"] = "s4"
    state: PositiveInt = Field(default=16, multiple_of=2)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    def parameters(self, D: int) -> int:
        ssm = D * (2 * self.state + 2)  # C (complex), log(−Re A), Im A; Δ, skip
        return ssm + 2 * D**2 + 2 * D

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper: 1×1 mixing 2LD², recurrence 3LDN, skip and gate 2LD (see `bench.flops`)."""
        return 2 * L * D**2 + 3 * L * D * self.state + 2 * L * D

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.s4.module import S4Module

        return S4Module(place.width, place.scan, state=self.state, dropout=self.dropout)
