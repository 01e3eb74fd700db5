"""Mamba's block (Gu & Dao 2023, Figure 3) as one operation.

    x, z = h inputᵀ                     two halves of width E
    x = silu(conv(x))                   `bench.kernels.convolution`
    r, B, C = x projectᵀ                of widths R, N and N
    y = scan(x, r stepᵀ, step_bias, −exp(log A), B, C, skip, z)            `bench.kernels.scan`
    output = y outputᵀ

Shapes: h (B, L, D), input (2E, D), taps (E, K), taps_bias (E,), project (R + 2N, E), step (E, R),
step_bias (E,), log_A (E, N), skip (E,), output (D, E); the result (B, L, D).

The first two lines are an operation of their own too, `gated_input`: (h, input, taps, taps_bias) → x and z,
(B, L, E) each. Blocks around another SSM begin with it.

All backends except `triton` compute both by their kernels for the parts. `triton` has one gradient for the
whole, which saves copies and additions between the parts, and computes gradients of weights on a second
stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.registry import load

if TYPE_CHECKING:
    from torch import Tensor

Block: TypeAlias = "Callable[..., Tensor]"
Input: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]"
ARGUMENTS = (
    "h", "input", "taps", "taps_bias", "project", "step", "step_bias", "log_A", "skip", "output",
)  # fmt: skip
INPUT_ARGUMENTS = ARGUMENTS[:4]


def mamba_block(name: str) -> Block:
    """The block of the backend `name` (`bench.kernels.backends.NAMES`), a function of `ARGUMENTS`."""
    return load("Mamba block", name)


def gated_input(name: str) -> Input:
    """(h, input, taps, taps_bias) → x and z, as the backend `name` computes them."""
    return load("gated input", name)
