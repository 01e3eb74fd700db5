"""The mLSTM's block."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn

MAP = 4
"""Channels that a block of the block-diagonal maps to queries, keys and values mixes."""


class MLSTM(Block):
    """Beck et al.'s LSTM with a matrix as memory (2024, "xLSTM"), between an up- and a down-projection.

    Attributes:
        heads: number of heads, H; divides the inner width.
        expand: the inner width E over D. The authors round the inner width up to a multiple of 64.
        convolution: taps of the short convolution before queries and keys.
    """

    stackable: ClassVar[bool] = True

    name: Literal["mlstm"] = "mlstm"
    heads: PositiveInt = 4
    expand: PositiveInt = 2
    convolution: PositiveInt = 4

    def width_fault(self, D: int) -> str | None:
        inner = self.expand * D
        for divisor, what in ((self.heads, f"of {self.heads} heads"), (MAP, f"of {MAP}")):
            if inner % divisor:
                return f"its inner width {inner} is not a multiple {what}"
        return None

    def parameters(self, D: int) -> int:
        E, H = self.expand * D, self.heads
        return (
            2 * E * D  # up: D → x, z
            + 3 * MAP * E  # queries, keys, values
            + (self.convolution + 1) * E
            + 2 * E  # norm, skip
            + 2 * H * (3 * E + 1)  # gates
            + E * D  # down
        )

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections, maps, convolution, gates 6LEH, recurrence 3L·H·K², products 5LE."""
        E, H = self.expand * D, self.heads
        linear = 3 * E * D + 3 * MAP * E + self.convolution * E + 6 * E * H
        return L * (linear + 3 * E**2 // H + 5 * E)

    def state_numbers(self, L: int, D: int) -> int:
        """The memory and the normaliser of every head, and the logarithm of their common divisor."""
        E, H = self.expand * D, self.heads
        return E**2 // H + E + H

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.mlstm.module import MLSTMModule

        return MLSTMModule(
            place.width,
            place.blocks,
            place.backend,
            heads=self.heads,
            expand=self.expand,
            taps=self.convolution,
            map_width=MAP,
        )
