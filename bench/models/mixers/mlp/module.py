"""The feed-forward network in PyTorch."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional


class MLPModule(nn.Module):
    """D → expand·D → D with GPT-2's GELU (tanh approximation) and initialisation."""

    def __init__(self, width: int, expand: int, layers: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, expand * width)
        self.down = nn.Linear(expand * width, width)
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)
        nn.init.normal_(self.up.weight, std=0.02)
        nn.init.normal_(self.down.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, h: Tensor) -> Tensor:
        y: Tensor = self.down(functional.gelu(self.up(h), approximate="tanh"))
        return y
