"""The feed-forward half of a Transformer layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class MLP(Block):
    """Feed-forward network D → expand·D → D with tanh-approximated GELU, initialised like GPT-2's."""

    stackable: ClassVar[bool] = True

    name: Literal["mlp"] = "mlp"
    expand: PositiveInt = 4

    def parameters(self, D: int) -> int:
        return 2 * self.expand * D**2 + (self.expand + 1) * D

    def multiplications(self, L: int, D: int) -> int:
        """Table 9: 8LD² at `expand` 4."""
        return 2 * self.expand * L * D**2

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.mlp.module import MLPModule

        return MLPModule(place.width, place.scan, expand=self.expand, layers=place.layers)
