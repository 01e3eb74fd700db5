"""Mamba-3's block with one input and one output per head (SISO)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bench.models.mixers.block import Place, whole_product
from bench.models.mixers.state_space import HeadedStateSpace

if TYPE_CHECKING:
    from torch import nn


class Mamba3(HeadedStateSpace):
    """Mamba-3's state-space block (2026): a trapezoidal rule, and B and C rotated by sums of angles.

    There is no convolution. B and C are divided by their root mean squares, and every head adds its biases.
    The decays' rates A depend on the input. The authors use `head_dim: 64` and `state: 128`.

    Attributes:
        state: numbers in the state of a channel, N.
        head_dim: channels of a head, P; divides the inner width.
        expand: the inner width E over D.
        rotation: "data" rotates pairs of B's and C's coordinates by sums of Δ π tanh(map of the input) over
            all tokens so far, which lets a state count. "fixed" rotates by the position times a frequency, as
            rotary embeddings do (base 10,000). "none" rotates nothing.
        rotated: share of the N coordinates that are rotated.
    """

    stackable: ClassVar[bool] = True

    name: Literal["mamba3"] = "mamba3"
    rotation: Literal["data", "fixed", "none"] = "data"
    rotated: float = Field(default=0.5, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        rotated = whole_product(self.rotated, self.state)
        if rotated is None or rotated % 2:
            count = self.rotated * self.state
            raise ValueError(
                f"{self.rotated:g} of {self.state} coordinates are {count:g}: not a number of pairs"
            )
        return self

    @property
    def pairs(self) -> int:
        """Rotated pairs of coordinates, R."""
        return 0 if self.rotation == "none" else round(self.rotated * self.state) // 2

    @property
    def angles(self) -> int:
        """Angles that a token states, the same for all heads."""
        return self.pairs if self.rotation == "data" else 0

    def parameters(self, D: int) -> int:
        E, N, H = self.expand * D, self.state, self.heads(D)
        return (
            D * (2 * E + 2 * N + 3 * H + self.angles)  # in: D → z, x, B, C, step, A, mix, angles
            + 2 * H  # step's bias, skip
            + 2 * H * N  # biases of B and C
            + 2 * N  # norms of B and C
            + E * D  # out
        )

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections, recurrence 4LEN, scales, skip and gate 3LE, rotations 8LRH."""
        E, N, H = self.expand * D, self.state, self.heads(D)
        projections = D * (2 * E + 2 * N + 3 * H + self.angles) + E * D
        return L * (projections + 4 * E * N + 3 * E + 8 * self.pairs * H)

    def state_numbers(self, L: int, D: int) -> int:
        """The state, and of the last token x, B of every head, and every head's sums of angles."""
        E, N = self.expand * D, self.state
        return E * N + E + self.heads(D) * (N + self.angles)

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.mamba3.module import Mamba3Module

        return Mamba3Module(
            place.width,
            place.blocks,
            place.backend,
            state=self.state,
            head_dim=self.head_dim,
            expand=self.expand,
            pairs=self.pairs,
            angles=self.angles,
        )
