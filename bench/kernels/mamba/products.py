"""Products of tokens (K, B, L, I) with weights (K, O, I), and their gradients, for operators of blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.kernels.operators import rows
from bench.kernels.product.stacked import multiply, multiply_into, sum_of_parts
from bench.kernels.product.triton_split import split


def product(x: Tensor, weight: Tensor) -> Tensor:
    """The product x weightᵀ, (K, B, L, O)."""
    return torch.unflatten(multiply(_flat(x), rows(weight).mT, split), 1, x.shape[1:3])


def input_gradient(dy: Tensor, weight: Tensor) -> Tensor:
    """The product dy weight, the gradient of x, (K, B, L, I)."""
    return torch.unflatten(multiply(_flat(dy), rows(weight), split), 1, dy.shape[1:3])


def input_gradient_into(dx: Tensor, dy: Tensor, weight: Tensor, *, add: bool = False) -> None:
    """Write `input_gradient` into `dx`, or add it. `dx` may be a slice of the last dimension of a tensor."""
    multiply_into(dx.flatten(1, 2), _flat(dy), rows(weight), split, add=add)


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """The sum of dy xᵀ over all tokens, the gradient of the weight, (K, O, I)."""
    return sum_of_parts(_flat(dy).mT, _flat(x), split)


def _flat(value: Tensor) -> Tensor:
    """(K, B, L, I) → (K, B·L, I); a view of a contiguous tensor and of slices of its last dimension."""
    return rows(value.flatten(1, 2))
