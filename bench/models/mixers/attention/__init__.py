"""Causal multi-head attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class Attention(Block):
    """Causal multi-head attention.

    The defaults are GPT-2's. The options are later changes of Transformers. "Transformer++" has rotary
    positions (Su et al. 2021) and no biases. Qwen3-Next has norms of queries and keys (Dehghani et al. 2023)
    and a gate of the output (Qiu et al. 2025).

    Attributes:
        init: "gpt2" draws weights from N(0, 0.02²), the output projection's from N(0, 0.02² / blocks).
            "torch" keeps PyTorch's uniform weights, as the released hybrids do. Biases start at zero.
        dropout: probability of dropping an entry of the output in training (GPT-2's residual dropout).
        attention_dropout: the same for the weights of the softmax.
        causal: if false, every token attends to all tokens. A model of the next token can then read the
            answer. Only for controls.
        bias: whether the projections have biases.
        rotary: whether queries and keys are rotated by their positions, in pairs of dimensions i and
            i + Dh/2 with base 10,000. This defines positions beyond those of training too.
        qk_norm: whether every head's queries and keys are divided by their root mean squares, before the
            rotation, and multiplied by weights that start at 1. All heads have the same weights, so a norm
            has as many as a head is wide. The option needs `attention_heads`, because the number of
            parameters must not depend on the heads of a size.
        output_gate: whether a head's output is multiplied by the sigmoid of a linear map of the input.
        window: tokens that a token attends to, itself included; None for all.
        attention_heads: number of heads, which divides D; None for the heads of the size.

    With `causal: false` or a window, attention is computed by its formula, because the kernels of
    `bench.kernels.attention` support neither.
    """

    later_fields: ClassVar[Mapping[str, Any]] = {
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "causal": True,
        "bias": True,
        "rotary": False,
        "qk_norm": False,
        "output_gate": False,
        "window": None,
        "attention_heads": None,
    }

    uses_heads: ClassVar[bool] = True
    stackable: ClassVar[bool] = True

    name: Literal["attention"] = "attention"
    init: Literal["gpt2", "torch"] = "gpt2"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    attention_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    causal: bool = True
    bias: bool = True
    rotary: bool = False
    qk_norm: bool = False
    output_gate: bool = False
    window: PositiveInt | None = None
    attention_heads: PositiveInt | None = None

    @model_validator(mode="after")
    def _window_is_causal(self) -> Self:
        if self.window is not None and not self.causal:
            raise ValueError("a window is of earlier tokens: it needs causal: true")
        return self

    @model_validator(mode="after")
    def _norms_have_a_width(self) -> Self:
        if self.qk_norm and self.attention_heads is None:
            raise ValueError("qk_norm: true has as many weights as a head is wide: it needs attention_heads")
        return self

    def width_fault(self, D: int) -> str | None:
        heads = self.attention_heads
        return f"its width {D} is not a multiple of {heads} attention_heads" if heads and D % heads else None

    @property
    def is_causal(self) -> bool:
        return self.causal

    def parameters(self, D: int) -> int:
        projections = 5 if self.output_gate else 4
        norms = 2 * D // (self.attention_heads or 1) if self.qk_norm else 0
        return projections * (D**2 + self.bias * D) + norms

    def multiplications(self, L: int, D: int) -> int:
        """Table 9: QKV 3LD², outer product and multiplication with V 2L²D, outer projection LD².

        With a window of W tokens, 2LWD in place of 2L²D. A gate costs LD² + LD.
        """
        gate = self.output_gate * (L * D**2 + L * D)
        return 4 * L * D**2 + 2 * L * self._seen(L) * D + gate

    def state_numbers(self, L: int, D: int) -> int:
        """The keys and the values of all tokens, or of those in the window."""
        return 2 * self._seen(L) * D

    def _seen(self, L: int) -> int:
        """Tokens that the last of L tokens attends to."""
        return L if self.window is None else min(self.window, L)

    def build(self, place: Place) -> nn.Module:
        from bench.models.dropout import DropoutModule
        from bench.models.mixers.attention.module import AttentionModule

        return AttentionModule(
            place.width,
            self.attention_heads or place.heads,
            place.backend,
            blocks=place.blocks,
            init=self.init,
            causal=self.causal,
            bias=self.bias,
            rotary=self.rotary,
            qk_norm=self.qk_norm,
            output_gate=self.output_gate,
            window=self.window,
            weight_dropout=DropoutModule(self.attention_dropout, place.site(1), place.backend),
            dropout=DropoutModule(self.dropout, place.site(0), place.backend),
        )
