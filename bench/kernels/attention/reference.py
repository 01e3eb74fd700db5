"""Attention by its formula. All other backends are compared with it; they are causal."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.kernels.dropout.reference import dropout


def attention(
    qkv: Tensor,
    causal: bool = True,
    drop: Callable[[Tensor], Tensor] = lambda weights: weights,
    window: int | None = None,
) -> Tensor:
    """All scores of a head at once, (B, H, L, L), those of later tokens at −∞; softmax; average of values.

    Args:
        qkv: queries, keys and values, (B, L, 3, H, Dh).
        causal: whether scores of later tokens are −∞.
        drop: applied to the softmax's weights.
        window: scores of tokens that are `window` or more before are −∞ too; None for no such limit.
    """
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    length, head_dim = q.shape[-2:]
    scores = q @ k.mT / math.sqrt(head_dim)
    if causal:
        later = torch.ones(length, length, dtype=torch.bool, device=qkv.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    if window is not None:
        earlier = torch.ones(length, length, dtype=torch.bool, device=qkv.device).tril(-window)
        scores = scores.masked_fill(earlier, -math.inf)
    y: Tensor = (drop(scores.softmax(-1)) @ v).transpose(1, 2)
    return y


def attention_dropout(qkv: Tensor, key: Tensor, site: Tensor) -> Tensor:
    """Causal attention whose weights are dropped (`bench.kernels.dropout`)."""
    return attention(qkv, drop=lambda weights: dropout(weights, key, site))
