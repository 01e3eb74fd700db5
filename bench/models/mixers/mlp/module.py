"""The feed-forward network in PyTorch."""

from __future__ import annotations

import math

from torch import Tensor, nn

from bench.kernels.activation import bias_gelu
from bench.models.dropout import DropoutModule
from bench.models.linear import GPT2_STD, Linear


class MLPModule(nn.Module):
    """Feed-forward network (B, L, D) → (B, L, D) with GPT-2's GELU (tanh approximation) and initialisation.

    Args:
        width: D.
        backend: name of the kernels' backend.
        expand: inner width over D.
        blocks: residual blocks of the model's layers, for GPT-2's initialisation.
        dropout: dropout of the output.
    """

    def __init__(self, width: int, backend: str, *, expand: int, blocks: int, dropout: DropoutModule) -> None:
        super().__init__()
        self.dropout = dropout
        self.up = Linear(width, expand * width, backend)
        self.down = Linear(expand * width, width, backend)
        self.bias_gelu = bias_gelu(backend)
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)
        nn.init.normal_(self.up.weight, std=GPT2_STD)
        nn.init.normal_(self.down.weight, std=GPT2_STD / math.sqrt(blocks))

    def forward(self, h: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.down(self.bias_gelu(self.up.product(h), self.up.bias)))
        return y
