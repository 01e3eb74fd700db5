"""Attention as PyTorch computes it: the fastest on a processor."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def attention(qkv: Tensor) -> Tensor:
    """PyTorch's own kernel for the device; y is a view of a tensor with heads before tokens."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
