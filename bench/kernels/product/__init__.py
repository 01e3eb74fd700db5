"""Products with a weight matrix, in the precision of the process (`bench.precision`).

    y = x weightᵀ + bias

Shapes: x (..., I), weight (O, I), bias (O,); y (..., O). A stack of models is one batched product; an x
that they share is not copied. `use` sets the precision for the process, `precision` for a `with` block.

`reference` is PyTorch's linear function, in fp32 or TF32. `sequential` is the same, and splits the operands
in PyTorch where the precision is a split form. `triton` has the gradient by hand: fused sums for the bias,
fused splitting, and no gradient that nobody wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.product.precision import current, precision, unavailable, use
from bench.kernels.registry import load

if TYPE_CHECKING:
    from torch import Tensor

Linear: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
LinearBias: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"

__all__ = ["current", "linear", "linear_bias", "precision", "unavailable", "use"]


def linear(name: str) -> Linear:
    """(x, weight) → x weightᵀ, as the backend `name` computes it."""
    return load("product", name)


def linear_bias(name: str) -> LinearBias:
    """(x, weight, bias) → x weightᵀ + bias, as the backend `name` computes it."""
    return load("product and bias", name)
