"""The gated input with one gradient: what `bench.kernels.mamba.triton` saves, for blocks around another SSM.

The halves of the weight have products of their own, so the gradients of u and z need not be joined. The
product for z runs beside the convolution, and so does its gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.kernels.branches import Branch
from bench.kernels.convolution import triton as convolution
from bench.kernels.mamba import INPUT_ARGUMENTS
from bench.kernels.mamba.products import input_gradient, input_gradient_into, product, weight_gradient
from bench.kernels.operators import operator


def forward(h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Stacked inputs → u, z and the convolution's input x, (K, B, L, E)."""
    for_x, for_z = input.chunk(2, dim=1)
    of_z = Branch(h)
    with of_z:
        z = product(h, for_z)
    x = product(h, for_x)
    (u,) = convolution.forward(x, taps, taps_bias)
    of_z.join()
    return u, z, x


def backward(
    du: Tensor, dz: Tensor, h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor, x: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the inputs, in their order."""
    for_x, for_z = input.chunk(2, dim=1)
    du, dz = du.contiguous(), dz.contiguous()
    of_weights, of_rest = Branch(h, 0), Branch(h, 1)
    with of_weights:
        d_for_z = weight_gradient(dz, h)
    with of_rest:
        dh = input_gradient(dz, for_z)
    dx = x.new_empty(x.shape)
    partial = convolution.input_gradient(du, x, taps, taps_bias, dx)
    of_rest.join()
    with of_rest:
        dtaps, dtaps_bias = convolution.sums(partial, taps, taps_bias)
    with of_weights:
        dinput = torch.cat((weight_gradient(dx, h), d_for_z), dim=1)
    input_gradient_into(dh, dx, for_x, add=True)
    of_rest.leave(partial)
    of_weights.leave(dz, h, dx, d_for_z)
    return dh, dinput, dtaps, dtaps_bias


def _shapes(h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, z, x = (h.new_empty(*h.shape[:3], taps.shape[1]) for _ in range(3))
    return u, z, x


gated_input = operator(
    "gated_input_triton",
    INPUT_ARGUMENTS,
    ("x",),
    forward,
    backward,
    _shapes,
    outputs=("u", "z"),
    parameters=INPUT_ARGUMENTS[1:],
)
