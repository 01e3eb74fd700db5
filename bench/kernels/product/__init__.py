"""Matrix products with weights, in the precision of the process (`bench.precision`).

    y = x weightᵀ + bias

Shapes: x (..., I), weight (O, I), bias (O,); y (..., O). A stack of models is one batched product; an x
that all models share is not copied. `use` sets the precision of the process, `precision` that of a `with`
block.

`reference` is PyTorch's linear function, in fp32 or TF32. `sequential` is the same, but splits the operands
in PyTorch if the precision is a split form. `triton` has a hand-written gradient with fused sums for the bias
and fused splitting. It skips gradients that are not needed, and computes the others in parallel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import normals
from bench.kernels.kernel import Kernel
from bench.kernels.product.precision import current, precision, unavailable, use
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Linear: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
LinearBias: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"

__all__ = ["current", "linear", "linear_bias", "precision", "unavailable", "use"]


def linear(name: str) -> Linear:
    """(x, weight) → x weightᵀ, computed by the backend `name`."""
    return PRODUCT.load(name)


def linear_bias(name: str) -> LinearBias:
    """(x, weight, bias) → x weightᵀ + bias, computed by the backend `name`."""
    return PRODUCT_AND_BIAS.load(name)


def _inputs_and_bias(length: int, batch: int, channels: int) -> list[Tensor]:
    return [*PRODUCT.inputs(length, batch, channels), torch.linspace(-1, 1, channels)]


# `floats` forward: x in, y out; backward: x and dy in, dx out. The time of multiplication is not counted.
PRODUCT = Kernel("product", __name__, "linear", normals("xw"), floats=5)
PRODUCT_AND_BIAS = Kernel("product and bias", __name__, "linear_bias", _inputs_and_bias, floats=5)
KERNELS = (PRODUCT, PRODUCT_AND_BIAS)
