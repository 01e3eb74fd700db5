"""Causal multi-head attention in PyTorch."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from bench.kernels.attention import attention
from bench.models.linear import Linear


class AttentionModule(nn.Module):
    """Causal multi-head attention, (B, L, D) → (B, L, D).

    Args:
        width: D.
        heads: number of heads; divides D.
        scan: name of the kernels' backend.
        layers: layers of the whole model, for GPT-2's initialisation.
        init: the initialisation (`bench.models.mixers.attention.Attention.init`).
    """

    def __init__(
        self, width: int, heads: int, scan: str, *, layers: int, init: Literal["gpt2", "torch"]
    ) -> None:
        super().__init__()
        self.heads, self.attend = heads, attention(scan)
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
        y: Tensor = self.out(self.attend(qkv).reshape(B, L, D))
        return y
