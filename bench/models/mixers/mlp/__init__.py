"""The feed-forward half of a Transformer layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class MLP(Block):
    """Feed-forward network D → expand·D → D with tanh-approximated GELU, initialised like GPT-2's.

    Attributes:
        expand: inner width over D.
        dropout: probability of dropping an entry of the output in training (GPT-2's residual dropout).
    """

    later_fields: ClassVar[Mapping[str, Any]] = {"dropout": 0.0}
    stackable: ClassVar[bool] = True

    name: Literal["mlp"] = "mlp"
    expand: PositiveInt = 4
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    def parameters(self, D: int) -> int:
        return 2 * self.expand * D**2 + (self.expand + 1) * D

    def multiplications(self, L: int, D: int) -> int:
        """Table 9: 8LD² at `expand` 4."""
        return 2 * self.expand * L * D**2

    def state_numbers(self, L: int, D: int) -> int:
        return 0

    def build(self, place: Place) -> nn.Module:
        from bench.models.dropout import DropoutModule
        from bench.models.mixers.mlp.module import MLPModule

        dropout = DropoutModule(self.dropout, place.site(0), place.backend)
        return MLPModule(place.width, place.backend, expand=self.expand, blocks=place.blocks, dropout=dropout)
