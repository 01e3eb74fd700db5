"""The elementwise functions by PyTorch, on any device."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def bias_gelu(u: Tensor, bias: Tensor) -> Tensor:
    return functional.gelu(u + bias, approximate="tanh")


def gelu(u: Tensor) -> Tensor:
    return functional.gelu(u)


def bias_glu(u: Tensor, bias: Tensor) -> Tensor:
    return functional.glu(u + bias, dim=-1)


def gate(y: Tensor, z: Tensor) -> Tensor:
    return y * z


def silu_gate(y: Tensor, z: Tensor) -> Tensor:
    return y * functional.silu(z)
