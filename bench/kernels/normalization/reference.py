"""LayerNorm and RMSNorm as their formulas have them; autograd differentiates them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.kernels.normalization import EPSILON, RMS_EPSILON


def norm(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Every row with mean 0 and variance 1, times `weight`, plus `bias`."""
    centered = h - h.mean(-1, keepdim=True)
    variance = (centered**2).mean(-1, keepdim=True)
    return weight * centered / torch.sqrt(variance + EPSILON) + bias


def rms_norm(h: Tensor, weight: Tensor) -> Tensor:
    """Every row with root mean square 1, times `weight`."""
    return weight * h / torch.sqrt((h**2).mean(-1, keepdim=True) + RMS_EPSILON)


def of_sums(
    norm: Callable[..., Tensor],
) -> tuple[Callable[..., tuple[Tensor, Tensor]], Callable[..., Tensor]]:
    """The functions `add_norm` and `norm_of_sum` by a norm, (h, *parameters) → normed."""

    def add_norm(h: Tensor, update: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        total = h + update
        return total, norm(total, *parameters)

    def norm_of_sum(h: Tensor, update: Tensor, *parameters: Tensor) -> Tensor:
        return norm(h + update, *parameters)

    return add_norm, norm_of_sum


add_norm, norm_of_sum = of_sums(norm)
add_rms_norm, rms_norm_of_sum = of_sums(rms_norm)
