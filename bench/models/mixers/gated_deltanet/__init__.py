"""Gated DeltaNet, DeltaNet and DeltaProduct."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class GatedDeltaNet(Block):
    """A state that is corrected towards v at key k (the delta rule), with decay and an output gate.

    The defaults give Gated DeltaNet (Yang, Kautz & Hatamizadeh 2024). Without decay and gate it is DeltaNet
    (Yang et al. 2024). With several Householder products per token it is DeltaProduct (Siems et al. 2025).
    `bench.kernels.delta` has the recurrence.

    Attributes:
        heads: number of heads, H.
        key_dim: numbers of a head's key, K; None for ¾D/H with a gate and D/H without, rounded down. The
            number of parameters is then about the same with and without a gate.
        expand: numbers of a head's value over those of its key, V/K.
        convolution: taps of the short convolution of queries, keys and values; with 1, tokens do not mix.
        gate: whether silu of a linear map of the input multiplies the output.
        decay: whether the state decays, by a factor per head and token.
        negative_eigenvalues: whether β ranges over (0, 2) instead of (0, 1). The eigenvalue 1 − β along a key
            then ranges over (−1, 1) (Grazzi et al. 2024).
        householders: number of keys, values and β per token, n.
    """

    stackable: ClassVar[bool] = True

    name: Literal["gated_deltanet"] = "gated_deltanet"
    heads: PositiveInt = 3
    key_dim: PositiveInt | None = None
    expand: PositiveInt = 2
    convolution: PositiveInt = 4
    gate: bool = True
    decay: bool = True
    negative_eigenvalues: bool = False
    householders: PositiveInt = 1

    def actual_key_dim(self, D: int) -> int:
        """The numbers of a head's key, K."""
        width = 3 * D // 4 if self.gate else D
        return self.key_dim or max(1, width // self.heads)

    def convolved(self, D: int) -> int:
        """Channels of the short convolution: queries, keys and values of all heads."""
        K, n = self.actual_key_dim(D), self.householders
        return self.heads * (K + n * (K + self.expand * K))

    def parameters(self, D: int) -> int:
        H, K = self.heads, self.actual_key_dim(D)
        V = self.expand * K
        return (
            D * self.convolved(D)
            + self.convolution * self.convolved(D)
            + D * H * self.householders  # β
            + self.decay * (D * H + 2 * H)  # its step size, the step size's bias, the rate
            + self.gate * D * H * V
            + V  # norm
            + H * V * D
        )

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections, convolution, gate, and the recurrence.

        For each number of the state, a token costs one multiplication for the decay, one for reading it at
        the query, and for each Householder product one for reading it at the key and one for correcting it.
        """
        H, K, n = self.heads, self.actual_key_dim(D), self.householders
        V = self.expand * K
        projections = D * (self.convolved(D) + H * n + self.decay * H + self.gate * H * V + H * V)
        recurrence = (self.decay + 2 * n + 1) * H * K * V
        return L * (projections + self.convolution * self.convolved(D) + recurrence + self.gate * H * V)

    def state_numbers(self, L: int, D: int) -> int:
        return self.heads * self.expand * self.actual_key_dim(D) ** 2

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.gated_deltanet.module import GatedDeltaNetModule

        return GatedDeltaNetModule(
            place.width,
            place.blocks,
            place.backend,
            heads=self.heads,
            key_dim=self.actual_key_dim(place.width),
            value_dim=self.expand * self.actual_key_dim(place.width),
            taps=self.convolution,
            gate=self.gate,
            decay=self.decay,
            negative_eigenvalues=self.negative_eigenvalues,
            householders=self.householders,
        )
