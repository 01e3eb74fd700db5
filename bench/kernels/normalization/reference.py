"""LayerNorm and RMSNorm as their formulas have them; autograd differentiates them."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.kernels.normalization import EPSILON, RMS_EPSILON


def norm(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Every row with mean 0 and variance 1, times `weight`, plus `bias`."""
    centered = h - h.mean(-1, keepdim=True)
    variance = (centered**2).mean(-1, keepdim=True)
    return weight * centered / torch.sqrt(variance + EPSILON) + bias


def add_norm(h: Tensor, update: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    total = h + update
    return total, norm(total, weight, bias)


def norm_of_sum(h: Tensor, update: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return norm(h + update, weight, bias)


def rms_norm(h: Tensor, weight: Tensor) -> Tensor:
    """Every row with root mean square 1, times `weight`."""
    return weight * h / torch.sqrt((h**2).mean(-1, keepdim=True) + RMS_EPSILON)


def add_rms_norm(h: Tensor, update: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = h + update
    return total, rms_norm(total, weight)


def rms_norm_of_sum(h: Tensor, update: Tensor, weight: Tensor) -> Tensor:
    return rms_norm(h + update, weight)
