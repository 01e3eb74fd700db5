"""LayerNorm, alone and fused with the residual addition before it.

    total = h + update          normed = weight · (total − mean) / √(variance + ε) + bias

with mean and variance of each row over its channels, and ε = 1e-5. Shapes: h, update, total and normed
(..., D); weight and bias (D,).

`norm` normalises h. `add_norm` adds first and returns both tensors: the total goes on as the residual
stream. `norm_of_sum` adds first and returns only the normed tensor, for a model's last block.
h and update have the same gradient, which is written once. `reference` is the specification, `sequential` is
PyTorch's LayerNorm, `triton` has one launch forward and two backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.registry import load

if TYPE_CHECKING:
    from torch import Tensor

Norm: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
AddNorm: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]"
NormOfSum: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]"
ARGUMENTS = ("h", "update", "weight", "bias")
EPSILON = 1e-5


def norm(name: str) -> Norm:
    """(h, weight, bias) → normed, as the backend `name` computes it; imports what it needs."""
    return load("norm", name)


def add_norm(name: str) -> AddNorm:
    """(h, update, weight, bias) → (total, normed), as the backend `name` computes it."""
    return load("addition and norm", name)


def norm_of_sum(name: str) -> NormOfSum:
    """(h, update, weight, bias) → normed, as the backend `name` computes it."""
    return load("norm of a sum", name)
