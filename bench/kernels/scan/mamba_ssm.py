"""The official CUDA scan of Mamba (package mamba_ssm) behind this project's interface.

A stack of models is folded into channels, with a group of B and C per model. The kernel sums gradients with
floating-point atomics, so they are not bit-reproducible.
"""

from __future__ import annotations

import selective_scan_cuda
from torch import Tensor

from bench.kernels.operators import operator, unfolded
from bench.kernels.scan import ARGUMENTS

PIECE = 2048
"""Tokens of a piece. The kernel keeps a state per piece for the gradient."""


def forward(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Stacked inputs → y, the output before its gate (K, B, E, L) and the kernel's states."""
    ungated, states, gated = selective_scan_cuda.fwd(*_folded(x, step, bias, A, B, C, skip, z), True)
    K = x.shape[0]
    return unfolded(gated, x), *(value.unflatten(1, (K, -1)).movedim(1, 0) for value in (ungated, states))


def backward(
    dy: Tensor, x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor,
    z: Tensor, ungated: Tensor, states: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of the inputs, in their order."""
    inputs = _folded(x, step, bias, A, B, C, skip, z)
    ungated, states = (value.movedim(0, 1).flatten(1, 2).contiguous() for value in (ungated, states))
    dx, dstep, dA, dB, dC, dskip, dbias, dz = selective_scan_cuda.bwd(
        *inputs, _channels_first(dy), states, ungated, None, True, False
    )
    dB, dC = (value.permute(1, 0, 3, 2).contiguous() for value in (dB, dC))
    dx, dstep, dz = (unfolded(value, x) for value in (dx, dstep, dz))
    return dx, dstep, dbias.view_as(bias), dA.view_as(A), dB, dC, dskip.view_as(skip), dz


def _folded(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> tuple[Tensor, ...]:
    """The inputs in the kernel's order of arguments and dimensions."""
    x, step, z = (_channels_first(value) for value in (x, step, z))
    B, C = (value.permute(1, 0, 3, 2).contiguous() for value in (B, C))
    A, skip, bias = (value.flatten(0, 1).contiguous() for value in (A, skip, bias))
    return x, step, A, B, C, skip, z, bias


def _channels_first(value: Tensor) -> Tensor:
    """(K, B, L, E) → (B, K·E, L)."""
    return value.permute(1, 0, 3, 2).flatten(1, 2).contiguous()


def _shapes(x: Tensor, step: Tensor, bias: Tensor, A: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    (K, batch, length, channels), state = x.shape, A.shape[-1]
    pieces = -(-length // PIECE)
    kept = [x.new_empty(batch, K, channels, *last) for last in ((length,), (pieces, 2 * state))]
    return x.new_empty(x.shape), *(value.movedim(1, 0) for value in kept)


scan = operator("scan_mamba_ssm", ARGUMENTS, ("ungated", "states"), forward, backward, _shapes)
