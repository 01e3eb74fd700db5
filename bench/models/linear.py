"""Linear maps. A kernel backend computes their products, in the precision of the run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.kernels import product

GPT2_STD = 0.02
"""Standard deviation of GPT-2's initial weights. For projections that write to the residual stream, where N
outputs are added, it is divided by √N."""


class Linear(nn.Linear):
    """`nn.Linear` with the backend's product: (..., inputs) → (..., outputs). Initialised like `nn.Linear`.

    Args:
        inputs: width of an input.
        outputs: width of an output.
        backend: name of the kernels' backend.
        bias: whether a bias is added.
    """

    def __init__(self, inputs: int, outputs: int, backend: str, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.with_bias, self.without_bias = product.linear_bias(backend), product.linear(backend)

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return self.without_bias(x, self.weight)
        return self.with_bias(x, self.weight, self.bias)

    def product(self, x: Tensor) -> Tensor:
        """The product x weightᵀ without the bias, for callers that fuse the bias into the next operation."""
        return self.without_bias(x, self.weight)


def output_projection(inner: int, width: int, blocks: int, backend: str) -> Linear:
    """Projection from the inner width to D: PyTorch's initial values divided by √blocks, as GPT-2 scales."""
    projection = Linear(inner, width, backend, bias=False)
    with torch.no_grad():
        projection.weight /= math.sqrt(blocks)
    return projection
