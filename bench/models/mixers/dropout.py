"""Dropout as a block of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class Dropout(Block):
    """Dropout of single values in training, for plain stacks. The LSTM of Xie et al. uses 0.2.

    Attributes:
        dropout: probability of dropping a value in training.
    """

    stackable: ClassVar[bool] = True

    name: Literal["dropout"] = "dropout"
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)

    def parameters(self, D: int) -> int:
        return 0

    def multiplications(self, L: int, D: int) -> int:
        return 0

    def state_numbers(self, L: int, D: int) -> int:
        return 0

    def build(self, place: Place) -> nn.Module:
        from bench.models import dropout

        return dropout.DropoutModule(self.dropout, place.site(0), place.backend)
