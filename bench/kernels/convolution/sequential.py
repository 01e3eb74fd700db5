"""The short convolution in plain PyTorch, on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One shifted product per tap: elementwise operations, deterministic on every device."""
    L, K = x.shape[1], weight.shape[1]
    padded = functional.pad(x, (0, 0, K - 1, 0))
    y = bias
    for k in range(K):
        y = torch.addcmul(y, padded[:, k : k + L], weight[:, k])
    return functional.silu(y)
