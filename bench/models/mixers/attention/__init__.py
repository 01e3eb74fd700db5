"""Causal multi-head attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class Attention(Block):
    """Causal multi-head attention with biases.

    Attributes:
        init: "gpt2" draws weights from N(0, 0.02²), the output projection's from N(0, 0.02² / (2·layers)).
            "torch" keeps PyTorch's uniform weights, as the released hybrids do. Biases start at zero.
        dropout: probability of dropping an entry of the output in training (GPT-2's residual dropout).
        attention_dropout: the same for the weights of the softmax.
        causal: if false, every token attends to all tokens. A model of the next token then reads the answer:
            only for a control that shows what this looks like.

    Without the causal mask, attention is computed by its formula: the kernels of `bench.kernels.attention`
    are causal.
    """

    later_fields: ClassVar[Mapping[str, Any]] = {"dropout": 0.0, "attention_dropout": 0.0, "causal": True}

    uses_heads: ClassVar[bool] = True
    stackable: ClassVar[bool] = True

    name: Literal["attention"] = "attention"
    init: Literal["gpt2", "torch"] = "gpt2"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    attention_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    causal: bool = True

    def parameters(self, D: int) -> int:
        return 4 * D**2 + 4 * D

    def multiplications(self, L: int, D: int) -> int:
        """Table 9: QKV 3LD², outer product and multiplication with V 2L²D, outer projection LD²."""
        return 4 * L * D**2 + 2 * L**2 * D

    def state_numbers(self, L: int, D: int) -> int:
        """The keys and the values of all tokens."""
        return 2 * L * D

    def build(self, place: Place) -> nn.Module:
        from bench.models.dropout import DropoutModule
        from bench.models.mixers.attention.module import AttentionModule

        return AttentionModule(
            place.width,
            place.heads,
            place.scan,
            layers=place.layers,
            init=self.init,
            causal=self.causal,
            weight_dropout=DropoutModule(self.attention_dropout, place.site(1), place.scan),
            dropout=DropoutModule(self.dropout, place.site(0), place.scan),
        )
