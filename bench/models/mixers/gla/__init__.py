"""Gated linear attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.models.mixers.block import Block, Place, whole_product

if TYPE_CHECKING:
    from torch import nn


class GLA(Block):
    """Yang et al.'s linear attention with a decay per channel of the keys (2023).

    Every head's output is divided by its root mean square, then gated. The logarithm of a decay is
    log σ(map of the input) / `temperature`: at a map of 0 and the default, half of the state is left after
    16 tokens.

    Attributes:
        heads: number of heads, H; divides D and the width of all keys.
        expand_keys: width of all keys over D. The values of all heads are D wide.
        rank: rank of the map that produces the decays.
        temperature: divisor of the decays' logarithms.
    """

    stackable: ClassVar[bool] = True

    name: Literal["gla"] = "gla"
    heads: PositiveInt = 4
    expand_keys: float = Field(default=0.5, gt=0.0)
    rank: PositiveInt = 16
    temperature: float = Field(default=16.0, gt=0.0)

    def width_fault(self, D: int) -> str | None:
        keys = whole_product(self.expand_keys, D)
        if D % self.heads:
            return f"its width {D} is not a multiple of {self.heads} heads"
        if keys is None or keys % self.heads:
            return f"the width of its keys {self.expand_keys * D:g} is not a multiple of {self.heads} heads"
        return None

    def key_width(self, D: int) -> int:
        """Width of the keys of all heads."""
        return round(self.expand_keys * D)

    def parameters(self, D: int) -> int:
        keys = self.key_width(D)
        return (
            D * (2 * keys + 2 * D)  # q, k, v, gate
            + self.rank * (D + keys)  # decays, of low rank
            + keys  # bias of the decays
            + D // self.heads  # norm of a head
            + D**2  # out
        )

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections, decays of low rank, recurrence 3L·H·K·V, gate LD."""
        keys = self.key_width(D)
        projections = D * (2 * keys + 3 * D) + self.rank * (D + keys)
        return L * (projections + 3 * self.state_numbers(L, D) + D)

    def state_numbers(self, L: int, D: int) -> int:
        return self.key_width(D) * D // self.heads

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.gla.module import GLAModule

        return GLAModule(
            place.width,
            place.blocks,
            place.backend,
            heads=self.heads,
            key_width=self.key_width(place.width),
            rank=self.rank,
            temperature=self.temperature,
        )
