"""The gated feed-forward network in PyTorch."""

from __future__ import annotations

import math

from torch import Tensor, nn

from bench.kernels.activation import silu_gate
from bench.models.linear import GPT2_STD, Linear


class SwiGLUModule(nn.Module):
    """Gated feed-forward network, (B, L, D) → (B, L, D).

    Args:
        width: D.
        inner: inner width, I.
        blocks: residual blocks of the model's layers, for the initial values of the last projection.
        backend: name of the kernels' backend.
    """

    def __init__(self, width: int, inner: int, blocks: int, backend: str) -> None:
        super().__init__()
        self.silu_gate = silu_gate(backend)
        self.gate = Linear(width, inner, backend, bias=False)
        self.up = Linear(width, inner, backend, bias=False)
        self.down = Linear(inner, width, backend, bias=False)
        stds = (GPT2_STD, GPT2_STD, GPT2_STD / math.sqrt(blocks))
        for projection, std in zip((self.gate, self.up, self.down), stds, strict=True):
            nn.init.normal_(projection.weight, std=std)

    def forward(self, h: Tensor) -> Tensor:
        y: Tensor = self.down(self.silu_gate(self.up(h), self.gate(h)))
        return y
