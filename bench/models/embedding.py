"""Embedding of discrete tokens. A tied model also reads out with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.kernels import product
from bench.models.linear import GPT2_STD


class Embedding(nn.Module):
    """A vector per token id: (B, L) int64 → (B, L, D).

    The lookup is a product with one-hot vectors. Its gradient is then a product too, which is deterministic.
    A gradient by additions at indices would not be. The product also works for a stack of models and in a
    captured graph. It costs little, because vocabularies have about a hundred tokens.

    The vectors have the standard deviation of the learned positions that are added to them, so that neither
    hides the other at first. The weight itself always starts from N(0, 0.02²), because logits are products
    with it.

    Args:
        tokens: number of different tokens.
        width: D.
        std: standard deviation of the initial vectors.
        backend: name of the kernels' backend.
    """

    def __init__(self, tokens: int, width: int, std: float, backend: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tokens, width) * GPT2_STD)
        self.scale = std / GPT2_STD
        self.linear = product.linear(backend)

    def forward(self, ids: Tensor) -> Tensor:
        columns = torch.arange(self.weight.shape[0], device=ids.device)
        one_hot = (ids.unsqueeze(-1) == columns).to(self.weight.dtype)
        vectors = self.linear(one_hot, self.weight.mT.contiguous())
        return vectors * self.scale if self.scale != 1 else vectors

    def logits(self, h: Tensor) -> Tensor:
        """Products of states (B, L, D) with the vectors of all tokens, (B, L, tokens)."""
        return self.linear(h, self.weight)
