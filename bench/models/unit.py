"""Unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6
"""ε, added to the squared length."""


def unit(x: Tensor) -> Tensor:
    """Vectors (…, K) divided by their lengths. Vectors shorter than √ε stay shorter than 1."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPSILON)
