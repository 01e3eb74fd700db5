"""Kimi Delta Attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class KDA(Block):
    """Kimi Delta Attention (Kimi Team 2025): the gated delta rule with a decay per channel of the keys.

    Decays and the output's gate come from maps of low rank, whose rank is the width of a head.
    `bench.kernels.vector_delta` has the recurrence.

    Attributes:
        heads: number of heads, H; divides D. A head's keys and values have K = D/H numbers.
        convolution: taps of the short convolution of queries, keys and values; with 1, tokens do not mix.
        negative_eigenvalues: whether β ranges over (0, 2) instead of (0, 1), as in `GatedDeltaNet`.
    """

    stackable: ClassVar[bool] = True

    name: Literal["kda"] = "kda"
    heads: PositiveInt = 4
    convolution: PositiveInt = 4
    negative_eigenvalues: bool = False

    def width_fault(self, D: int) -> str | None:
        return f"its width {D} is not a multiple of {self.heads} heads" if D % self.heads else None

    def parameters(self, D: int) -> int:
        H, K = self.heads, D // self.heads
        return (
            D * (3 * D + H)  # q, k, v, β
            + 3 * self.convolution * D
            + 2 * 2 * K * D  # decays and gate, of low rank
            + 2 * D  # their biases
            + H  # rates
            + K  # norm
            + D**2  # out
        )

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections, maps of low rank, convolution, recurrence 4L·H·K², gate LD."""
        H, K = self.heads, D // self.heads
        projections = D * (4 * D + H + 4 * K) + 3 * self.convolution * D
        return L * (projections + 4 * self.state_numbers(L, D) + D)

    def state_numbers(self, L: int, D: int) -> int:
        return D**2 // self.heads

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.kda.module import KDAModule

        return KDAModule(
            place.width,
            place.blocks,
            place.backend,
            heads=self.heads,
            taps=self.convolution,
            negative_eigenvalues=self.negative_eigenvalues,
        )
