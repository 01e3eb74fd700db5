"""Causal multi-head attention in PyTorch."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional


class AttentionModule(nn.Module):
    """Causal multi-head attention, (B, L, D) → (B, L, D).

    Args:
        width: D.
        heads: how many; divides D.
        layers: layers of the whole model, which GPT-2's initialisation depends on.
        init: one of the two initialisations that the settings explain.
    """

    def __init__(self, width: int, heads: int, layers: int, init: Literal["gpt2", "torch"]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)
        if init == "gpt2":
            nn.init.normal_(self.qkv.weight, std=0.02)
            nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, h: Tensor) -> Tensor:
        B, L, D = h.shape
        q, k, v = self.qkv(h).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, heads, L, D/heads)
        y: Tensor = self.out(mixed.transpose(1, 2).reshape(B, L, D))
        return y
