"""The gated feed-forward network in PyTorch."""

from __future__ import annotations

import math

from torch import Tensor, nn

from bench.kernels.activation import silu_gate
from bench.models.linear import Linear


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
        for projection, std in ((self.gate, 0.02), (self.up, 0.02), (self.down, 0.02 / math.sqrt(blocks))):
            nn.init.normal_(projection.weight, std=std)

    def forward(self, h: Tensor) -> Tensor:
        y: Tensor = self.down(self.silu_gate(self.up(h), self.gate(h)))
        return y
