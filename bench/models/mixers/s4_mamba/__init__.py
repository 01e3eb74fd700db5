"""Mamba's block around S4's time-invariant SSM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class S4Mamba(Block):
    """Mamba's block with its selective SSM replaced by S4D (§3.1).

    The paper's text states that selection is the only difference from Mamba. The released code has three more
    differences, which are the defaults: dropout 0.1 of whole channels on the SSM's output, a gate
    without SiLU, and a skip drawn from N(0, 1). `dropout: 0.0`, `gate: silu` and `skip: ones` undo them.

    Attributes:
        state: state size N of a channel in real numbers, that is N/2 complex modes.
        expand: inner width over D.
        convolution: taps of the short convolution.
        dropout: probability with which training zeroes a whole channel of the SSM's output.
        gate: function of the gate: "identity", or "silu" as in Mamba.
        skip: initial values of the SSM's skip: "normal" draws from N(0, 1), "ones" is 1 as in Mamba.
    """

    later_fields: ClassVar[Mapping[str, Any]] = {"skip": "normal"}
    stackable: ClassVar[bool] = True

    name: Literal["s4_mamba"] = "s4_mamba"
    state: PositiveInt = Field(default=16, multiple_of=2)
    expand: PositiveInt = 2
    convolution: PositiveInt = 4
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    gate: Literal["identity", "silu"] = "identity"
    skip: Literal["normal", "ones"] = "normal"

    def parameters(self, D: int) -> int:
        inner = self.expand * D
        ssm = inner * (2 * self.state + 2)
        return 3 * inner * D + inner * (self.convolution + 1) + ssm

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Mamba's projections 3LED² and 4LED, recurrence 3LEDN (see `bench.flops`)."""
        E, N = self.expand, self.state
        return 3 * L * E * D**2 + 3 * L * E * D * N + 4 * L * E * D

    def state_numbers(self, L: int, D: int) -> int:
        return self.expand * D * self.state

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.s4_mamba.module import S4MambaModule

        return S4MambaModule(
            place.width,
            place.blocks,
            place.backend,
            state=self.state,
            expand=self.expand,
            taps=self.convolution,
            dropout=self.dropout,
            gate=self.gate,
            skip=self.skip,
        )
