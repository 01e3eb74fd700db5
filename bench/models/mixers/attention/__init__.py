"""Causal multi-head attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class Attention(Block):
    """Causal multi-head attention with biases.

    Attributes:
        init: "gpt2" draws weights from N(0, 0.02²), the output projection's from N(0, 0.02² / (2·layers)).
            "torch" keeps PyTorch's uniform weights, as the released hybrids do. Biases start at zero.
    """

    uses_heads: ClassVar[bool] = True
    stackable: ClassVar[bool] = True

    name: Literal["attention"] = "attention"
    init: Literal["gpt2", "torch"] = "gpt2"

    def parameters(self, D: int) -> int:
        return 4 * D**2 + 4 * D

    def multiplications(self, L: int, D: int) -> int:
        """Table 9: QKV 3LD², outer product and multiplication with V 2L²D, outer projection LD²."""
        return 4 * L * D**2 + 2 * L**2 * D

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.attention.module import AttentionModule

        return AttentionModule(place.width, place.heads, place.scan, layers=place.layers, init=self.init)
