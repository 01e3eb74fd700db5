"""The two halves of a Transformer layer: causal multi-head attention, and the feed-forward network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models import blocks as specs


class Attention(nn.Module):
    """Causal multi-head attention, (B, L, D) → (B, L, D).

    Args:
        spec: its settings; see `blocks.Attention` for the two initialisations.
        width: D.
        heads: how many; divides D.
        layers: layers of the whole model, which GPT-2's initialisation depends on.
    """

    def __init__(self, spec: specs.Attention, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)
        if spec.init == "gpt2":
            nn.init.normal_(self.qkv.weight, std=0.02)
            nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, h: Tensor) -> Tensor:
        B, L, D = h.shape
        q, k, v = self.qkv(h).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, heads, L, D/heads)
        y: Tensor = self.out(mixed.transpose(1, 2).reshape(B, L, D))
        return y


class MLP(nn.Module):
    """D → expand·D → D with GPT-2's GELU (tanh approximation) and initialisation."""

    def __init__(self, spec: specs.MLP, width: int, layers: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, spec.expand * width)
        self.down = nn.Linear(spec.expand * width, width)
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)
        nn.init.normal_(self.up.weight, std=0.02)
        nn.init.normal_(self.down.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, h: Tensor) -> Tensor:
        y: Tensor = self.down(functional.gelu(self.up(h), approximate="tanh"))
        return y


def learned_positions(rows: int, width: int, std: float) -> nn.Parameter:
    """A table of positions, (rows, D), drawn from N(0, std²)."""
    return nn.Parameter(torch.randn(rows, width) * std)
