"""Mamba's block."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class Mamba(Block):
    """Gu & Dao's selective state-space block, with a short convolution and a SiLU gate.

    Attributes:
        state: numbers in the state of a channel, N.
        expand: inner width over D, E.
        convolution: taps of the short convolution.
    """

    stackable: ClassVar[bool] = True

    name: Literal["mamba"] = "mamba"
    state: PositiveInt = 16
    expand: PositiveInt = 2
    convolution: PositiveInt = 4

    def rank(self, D: int) -> int:
        """Rank of the projection that produces the step size Δ: ⌈D/16⌉."""
        return -(-D // 16)

    def parameters(self, D: int) -> int:
        inner, rank, state = self.expand * D, self.rank(D), self.state
        convolution = inner * (self.convolution + 1)
        return (
            3 * inner * D  # in: D → 2·inner; out: inner → D
            + convolution
            + inner * (rank + 2 * state)  # x → (Δ, B, C)
            + inner * (rank + 1)  # Δ: rank → inner
            + inner * (state + 1)  # A, skip
        )

    def multiplications(self, L: int, D: int) -> int:
        """Table 10: input projection 2LED², SSM 7LEDN + 4LED, output projection LED²."""
        E, N = self.expand, self.state
        return 3 * L * E * D**2 + 7 * L * E * D * N + 4 * L * E * D

    def state_numbers(self, L: int, D: int) -> int:
        return self.expand * D * self.state

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.mamba.module import MambaModule

        return MambaModule(
            place.width,
            place.blocks,
            place.backend,
            state=self.state,
            expand=self.expand,
            taps=self.convolution,
            rank=self.rank(place.width),
        )
