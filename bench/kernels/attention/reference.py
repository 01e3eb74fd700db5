"""Causal attention by its formula. All other backends are compared with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(qkv: Tensor) -> Tensor:
    """All scores of a head at once, (B, H, L, L), those of later tokens at −∞; softmax; average of values."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    length, head_dim = q.shape[-2:]
    later = torch.ones(length, length, dtype=torch.bool, device=qkv.device).triu(1)
    scores = (q @ k.mT / math.sqrt(head_dim)).masked_fill(later, -math.inf)
    y: Tensor = (scores.softmax(-1) @ v).transpose(1, 2)
    return y
