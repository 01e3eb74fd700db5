"""LayerNorm and RMSNorm by PyTorch, on any device."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from bench.kernels.normalization import EPSILON, RMS_EPSILON


def norm(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(h, h.shape[-1:], weight, bias, EPSILON)


def add_norm(h: Tensor, update: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    total = h + update
    return total, norm(total, weight, bias)


def norm_of_sum(h: Tensor, update: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return norm(h + update, weight, bias)


def rms_norm(h: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(h, h.shape[-1:], weight, RMS_EPSILON)


def add_rms_norm(h: Tensor, update: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = h + update
    return total, rms_norm(total, weight)


def rms_norm_of_sum(h: Tensor, update: Tensor, weight: Tensor) -> Tensor:
    return rms_norm(h + update, weight)
