"""Multi-head attention in PyTorch."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from bench.kernels.attention import attention, attention_dropout, reference
from bench.models.dropout import DropoutModule
from bench.models.linear import Linear


class AttentionModule(nn.Module):
    """Multi-head attention, (B, L, D) → (B, L, D).

    Args:
        width: D.
        heads: number of heads; divides D.
        scan: name of the kernels' backend.
        layers: layers of the whole model, for GPT-2's initialisation.
        init: the initialisation (`bench.models.mixers.attention.Attention.init`).
        causal: whether a token attends to earlier tokens and itself only.
        weight_dropout: dropout of the softmax's weights.
        dropout: dropout of the output.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        scan: str,
        *,
        layers: int,
        init: Literal["gpt2", "torch"],
        causal: bool,
        weight_dropout: DropoutModule,
        dropout: DropoutModule,
    ) -> None:
        super().__init__()
        self.causal, self.weight_dropout, self.dropout = causal, weight_dropout, dropout
        self.heads, self.attend, self.attend_dropping = heads, attention(scan), attention_dropout(scan)
        self.qkv = Linear(width, 3 * width, scan)
        self.out = Linear(width, width, scan)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)
        # GPT-2 scales the projections that write to the residual stream by 1/√N for N = 2·layers additions.
        if init == "gpt2":
            nn.init.normal_(self.qkv.weight, std=0.02)
            nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, h: Tensor) -> Tensor:
        B, L, D = h.shape
        qkv = self.qkv(h).view(B, L, 3, self.heads, D // self.heads)
        mask = self.weight_dropout.mask
        if self.causal and mask is not None:
            attended = self.attend_dropping(qkv, *mask)
        elif self.causal and not self.weight_dropout.drops:
            attended = self.attend(qkv)
        else:
            attended = reference.attention(qkv, self.causal, self.weight_dropout)
        y: Tensor = self.dropout(self.out(attended.reshape(B, L, D)))
        return y
