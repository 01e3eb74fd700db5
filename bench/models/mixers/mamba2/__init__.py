"""Mamba-2's block."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from bench.models.mixers.block import Place
from bench.models.mixers.state_space import HeadedStateSpace

if TYPE_CHECKING:
    from torch import nn


class Mamba2(HeadedStateSpace):
    """Dao & Gu's state-space block with a decay per head (2024, "Transformers are SSMs").

    All heads share B and C, which are the keys and queries of linear attention. The output is gated first,
    then divided by its root mean square over all channels. The authors use `head_dim: 64` and `state: 128`,
    which is four heads at width 128.

    Attributes:
        state: numbers in the state of a channel, N.
        head_dim: channels of a head, P; divides the inner width.
        expand: the inner width E over D.
        convolution: taps of the short convolution of x, B and C.
    """

    stackable: ClassVar[bool] = True

    name: Literal["mamba2"] = "mamba2"
    convolution: PositiveInt = 4

    def parameters(self, D: int) -> int:
        E, N, H = self.expand * D, self.state, self.heads(D)
        return (
            D * (2 * E + 2 * N + H)  # in: D → z, x, B, C, step
            + (self.convolution + 1) * (E + 2 * N)
            + 3 * H  # step's bias, A, skip
            + E  # norm
            + E * D  # out
        )

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections LD(3E + 2N + H), convolution, recurrence 3LEN, skip and gate 2LE."""
        E, N, H = self.expand * D, self.state, self.heads(D)
        projections = D * (2 * E + 2 * N + H) + E * D
        return L * (projections + self.convolution * (E + 2 * N) + 3 * E * N + 2 * E)

    def state_numbers(self, L: int, D: int) -> int:
        return self.expand * D * self.state

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.mamba2.module import Mamba2Module

        return Mamba2Module(
            place.width,
            place.blocks,
            place.backend,
            state=self.state,
            head_dim=self.head_dim,
            expand=self.expand,
            taps=self.convolution,
        )
