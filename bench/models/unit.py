"""Unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6


def unit(x: Tensor) -> Tensor:
    """Vectors (…, K) divided by their lengths; shorter ones than √ε stay short."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPSILON)
