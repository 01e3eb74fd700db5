"""RWKV-7: the time mix, and the channel mix that follows it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class RWKV7(Block):
    """RWKV-7's time mix (Peng et al. 2025): a state with a decay and a share of erasure per channel.

    Each input is mixed with the token before it. Decays, shares, the values' residual and the output's gate
    come from maps of low rank, whose ranks follow from D. `bench.kernels.vector_delta` has the recurrence.

    Attributes:
        heads: number of heads, H; divides D. A head's keys and values have N = D/H numbers; the authors'
            have 64.
        value_residual: whether values are mixed with those of the first time mix of the model. The first
            time mix itself has no such mix.
    """

    stackable: ClassVar[bool] = True

    name: Literal["rwkv7"] = "rwkv7"
    heads: PositiveInt = 4
    value_residual: bool = True

    def first_of_model(self) -> Self:
        return self.model_copy(update={"value_residual": False})

    def width_fault(self, D: int) -> str | None:
        return f"its width {D} is not a multiple of {self.heads} heads" if D % self.heads else None

    def ranks(self, D: int) -> list[int]:
        """Ranks of decay, share, gate and, if there is one, values' residual: multiples of 32 near c√D."""
        factors = [2.5, 2.5, 5.0] + [1.7] * self.value_residual
        return [max(32, 32 * round(factor * math.sqrt(D) / 32)) for factor in factors]

    def parameters(self, D: int) -> int:
        # 4 matrices; 6 mixes with the token before; biases of decay, share and values' residual; 3 vectors
        # of the keys; weights and biases of the norm.
        return 4 * D**2 + 2 * D * sum(self.ranks(D)) + (13 + self.value_residual) * D

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections, maps of low rank, recurrence 5L·H·N², and products per channel.

        For each number of the state, a token costs one multiplication for each of: the decay, a read at the
        key, an erasure, a value, a read at the query. Per channel it costs 6 mixes with the token before, 2
        for the key to erase with, 1 for the key of the value, 3 for the value that the output reads directly,
        2 for the share and the gate, and 1 for the values' residual.
        """
        projections = 4 * D**2 + 2 * D * sum(self.ranks(D))
        return L * (projections + 5 * D**2 // self.heads + (14 + self.value_residual) * D)

    def state_numbers(self, L: int, D: int) -> int:
        """The states and the token before."""
        return D**2 // self.heads + D

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.rwkv7.module import TimeMix

        return TimeMix(
            place.width,
            place.backend,
            heads=self.heads,
            ranks=self.ranks(place.width),
            depth=depth(place),
            passed_on=place.passed_on,
        )


class RWKV7ChannelMix(Block):
    """RWKV-7's feed-forward network W_d ReLU²(W_u x), with x mixed with the token before.

    Attributes:
        expand: inner width over D.
    """

    stackable: ClassVar[bool] = True

    name: Literal["rwkv7_channel_mix"] = "rwkv7_channel_mix"
    expand: PositiveInt = 4

    def parameters(self, D: int) -> int:
        return 2 * self.expand * D**2 + D

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Two projections, and the mix with the token before."""
        return L * (2 * self.expand * D**2 + D)

    def state_numbers(self, L: int, D: int) -> int:
        """The token before."""
        return D

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.rwkv7.module import ChannelMix

        return ChannelMix(place.width, self.expand * place.width, place.backend, depth=depth(place))


def depth(place: Place) -> tuple[int, int]:
    """The layer of a block, from 0, and the number of layers, with two blocks to a layer.

    Blocks before the first layer count too, so later blocks get higher layers, but none beyond the last.
    """
    layers = max(1, place.blocks // 2)
    return min(place.index // 2, layers - 1), layers
