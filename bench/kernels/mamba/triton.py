"""Mamba's block with one gradient for all of its parts.

The parts are the kernels of other folders. Between them, PyTorch's autograd would join the gradients of x and
z, join those of r, B and C, and add the two gradients of the convolution's output. Here the parts write into
slices of one tensor, and the addition is part of a matrix product. Gradients of weights are computed on
branches, beside what the backward pass waits for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.kernels.branches import Branch
from bench.kernels.convolution import triton as convolution
from bench.kernels.mamba import ARGUMENTS
from bench.kernels.mamba.products import input_gradient, input_gradient_into, product, weight_gradient
from bench.kernels.operators import operator
from bench.kernels.scan import triton as scan

Tensors = tuple[Tensor, ...]


def forward(
    h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor, project: Tensor, step: Tensor,
    step_bias: Tensor, log_A: Tensor, skip: Tensor, output: Tensor,
) -> Tensors:  # fmt: skip
    """Stacked inputs → the block's result, and what its gradient needs.

    These are xz (K, B, L, 2E), the convolution's output u (K, B, L, E), r, B and C (K, B, L, R + 2N), and of
    the scan: y and Δ (K, B, L, E), kept states and A (K, N, E).
    """
    of_A = Branch(h)
    with of_A:
        tile = log_A.new_empty(log_A.mT.shape)
        torch.neg(log_A.exp().mT, out=tile)
    xz = product(h, input)
    x, z = xz.chunk(2, dim=-1)
    (u,) = convolution.forward(x, taps, taps_bias)
    projected = product(u, project)
    low_rank, B, C = _split(projected, step)
    steps = product(low_rank, step)
    of_A.join()
    y, delta, starts = scan.run(u, steps, step_bias, tile, B, C, skip, z)
    return product(y, output), xz, u, projected, y, delta, starts, tile


def backward(
    d: Tensor, h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor, project: Tensor, step: Tensor,
    step_bias: Tensor, log_A: Tensor, skip: Tensor, output: Tensor, xz: Tensor, u: Tensor, projected: Tensor,
    scanned: Tensor, delta: Tensor, starts: Tensor, tile: Tensor,
) -> Tensors:  # fmt: skip
    """Gradients of the inputs, in their order."""
    of_weights, of_taps = Branch(h, 0), Branch(h, 1)
    x, z = xz.chunk(2, dim=-1)
    low_rank, B, C = _split(projected, step)
    # Rows of the slices begin at the same distances as those of x, z, r, B and C.
    dxz, dprojected = xz.new_empty(xz.shape), xz.new_empty(projected.shape)
    dx, dz = dxz.chunk(2, dim=-1)
    dlow_rank, dB, dC = _split(dprojected, step)

    with of_weights:
        doutput = weight_gradient(d, scanned)
    dy = input_gradient(d, output)
    du, dsteps, dstep_bias, dA, dskip = scan.differentiate(
        dy, u, step_bias, tile.contiguous(), B, C, skip, z, delta, starts, dB, dC, dz
    )
    with of_weights:
        dstep = weight_gradient(dsteps, low_rank)
        dlog_A = dA.mul_(tile.mT)  # A = −exp(log A)
    input_gradient_into(dlow_rank, dsteps, step)
    with of_weights:
        dproject = weight_gradient(dprojected, u)
    input_gradient_into(du, dprojected, project, add=True)
    partial = convolution.input_gradient(du, x, taps, taps_bias, dx)
    with of_taps:
        dtaps, dtaps_bias = convolution.sums(partial, taps, taps_bias)
    with of_weights:
        dinput = weight_gradient(dxz, h)
    dh = input_gradient(dxz, input)
    of_weights.leave(d, scanned, dsteps, low_rank, dA, tile, dprojected, u, dxz, h)
    of_taps.leave(partial)
    return dh, dinput, dtaps, dtaps_bias, dproject, dstep, dstep_bias, dlog_A, dskip, doutput


def _split(projected: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    """(K, B, L, R + 2N) → views of widths R, N and N."""
    rank = step.shape[-1]
    state = (projected.shape[-1] - rank) // 2
    return torch.split(projected, [rank, state, state], dim=-1)


def _shapes(
    h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor, project: Tensor, step: Tensor,
    step_bias: Tensor, log_A: Tensor, skip: Tensor, output: Tensor,
) -> Tensors:  # fmt: skip
    over = h.shape[:3]
    xz, projected = (h.new_empty(*over, weight.shape[1]) for weight in (input, project))
    u, tile = h.new_empty(*over, step.shape[1]), h.new_empty(log_A.mT.shape)
    _, B, C = _split(projected, step)
    y, delta, starts = scan.shapes(u, step_bias, tile, B, C, skip, u)
    return h.new_empty(*over, output.shape[1]), xz, u, projected, y, delta, starts, tile


block = operator(
    "mamba_block_triton",
    ARGUMENTS,
    ("xz", "u", "projected", "scanned", "delta", "starts", "tile"),
    forward,
    backward,
    _shapes,
    parameters=ARGUMENTS[1:],
)
