"""An architecture in one file: linear attention with one forget gate per head (after Yang et al., 2024).

Each head keeps a decaying sum of outer products of keys and values. With the gate gᵢ in (0, 1), the output
at token t is Σ_{s ≤ t} (Π_{s < i ≤ t} gᵢ) (qₜ · kₛ) vₛ. It is computed here for all tokens at once.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from bench.models.architecture import Architecture
from bench.models.blocks import MLP, Block, Place


class GatedLinearAttention(Block):
    name: str = "gated_linear_attention"
    heads: PositiveInt = 4

    def multiplications(self, L: int, D: int) -> int:
        return 4 * L * D**2 + L * D * self.heads + 2 * L**2 * D  # as the module below computes it

    def build(self, place: Place) -> nn.Module:
        return GatedLinearAttentionModule(place.width, self.heads)


class GatedLinearAttentionModule(nn.Module):
    """(B, L, D) → (B, L, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.gate = heads, nn.Linear(width, heads)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        B, L, D = h.shape
        q, k, v = self.qkv(h).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        log_decay = nn.functional.logsigmoid(self.gate(h) + 3).cumsum(1).transpose(1, 2)  # (B, heads, L)
        future = torch.ones(L, L, dtype=torch.bool, device=h.device).triu(1)
        decay = (log_decay[..., :, None] - log_decay[..., None, :]).masked_fill(future, -torch.inf).exp()
        return self.out(((q @ k.mT * decay) @ v).transpose(1, 2).reshape(B, L, D))


simple_gla = Architecture(name="simple_gla", layer=(GatedLinearAttention(), MLP()))
