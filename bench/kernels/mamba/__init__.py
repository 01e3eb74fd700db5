"""Mamba's block (Gu & Dao 2023, Figure 3) as one operation.

    x, z = h inputᵀ                     two halves of width E
    x = silu(conv(x))                   `bench.kernels.convolution`
    r, B, C = x projectᵀ                of widths R, N and N
    y = scan(x, r stepᵀ, step_bias, −exp(log A), B, C, skip, z)            `bench.kernels.scan`
    output = y outputᵀ

Shapes: h (B, L, D), input (2E, D), taps (E, K), taps_bias (E,), project (R + 2N, E), step (E, R),
step_bias (E,), log_A (E, N), skip (E,), output (D, E); the result (B, L, D).

The first two lines are also a separate operation, `gated_input`: (h, input, taps, taps_bias) → x and z,
(B, L, E) each. Blocks with another SSM, such as S4-Mamba, begin with it.

All backends except `triton` compute both operations by their kernels for the parts. `triton` has one gradient
for the whole block. This saves copies and additions between the parts. It computes gradients of weights on a
second stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import STATE, TAPS, normal_draws
from bench.kernels.kernel import Kernel
from bench.lazy import torch

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
    return MAMBA_BLOCK.load(name)


def gated_input(name: str) -> Input:
    """(h, input, taps, taps_bias) → x and z, as the backend `name` computes them."""
    return GATED_INPUT.load(name)


def _inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """A block whose input is half as wide as its inner channels, with weights as at the start."""
    normal, width, rank = normal_draws(length), channels // 2, 4

    def weight(outputs: int, inputs: int) -> Tensor:
        return normal(outputs, inputs) / math.sqrt(inputs)

    return [
        normal(batch, length, width),
        weight(2 * channels, width),
        weight(channels, TAPS),
        normal(channels),
        weight(rank + 2 * STATE, channels),
        weight(channels, rank),
        normal(channels) - 3,
        torch.arange(1, STATE + 1).log().repeat(channels, 1),
        normal(channels),
        weight(width, channels),
    ]


# `floats` of x, z: 2 and 4; convolution 5, products 5, scan 11. D and the low rank are not counted.
MAMBA_BLOCK = Kernel("Mamba block", __name__, "block", _inputs, floats=27)
GATED_INPUT = Kernel(
    "gated input",
    __name__,
    "gated_input",
    lambda *sizes: _inputs(*sizes)[: len(INPUT_ARGUMENTS)],
    floats=11,  # z: 1 and 1; x: 1 and 1; the convolution; half as wide h and dh: 1 and 1
    places={"triton": f"{__name__}.triton_input:gated_input"},
)
KERNELS = (MAMBA_BLOCK, GATED_INPUT)
