"""Sums over all tokens so far."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 64
"""Longest block whose sums are one product."""


def running_sum(values: Tensor) -> Tensor:
    """y_t = Σ_{s ≤ t} values_s over the second to last dimension, (..., L, C) → (..., L, C) in float64.

    It is a product with a triangular matrix, because `torch.cumsum` is not deterministic on a GPU. It is in
    float64, because TF32 must not round it, and because differences of large sums would cancel. Longer
    prompts are cut into blocks.
    """
    L = values.shape[-2]
    if L <= BLOCK:
        triangle = torch.ones(L, L, dtype=torch.float64, device=values.device).tril()
        return triangle @ values.double()
    blocks = -(-L // BLOCK)
    padded = functional.pad(values, (0, 0, 0, blocks * BLOCK - L))
    within = running_sum(torch.unflatten(padded, -2, (blocks, BLOCK)))
    totals = within[..., -1, :]
    before = running_sum(totals) - totals
    sums: Tensor = (within + before.unsqueeze(-2)).flatten(-3, -2)[..., :L, :]
    return sums
