"""Mamba's block and its gated input by a backend's kernels for their parts.

The kernels are loaded with the module, not in the function: torch.compile cannot follow an import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.kernels.convolution import short_convolution
from bench.kernels.product import linear
from bench.kernels.scan import selective_scan

if TYPE_CHECKING:
    from bench.kernels.mamba import Block, Input


def input_of(backend: str) -> Input:
    """The gated input by the product and the convolution of a backend."""
    product, convolution = linear(backend), short_convolution(backend)

    def gated_input(h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor) -> tuple[Tensor, Tensor]:
        x, z = product(h, input).chunk(2, dim=-1)
        return convolution(x, taps, taps_bias), z

    return gated_input


def block_of(backend: str) -> Block:
    """Mamba's block by the product, the convolution and the scan of a backend."""
    product, scan, gated_input = linear(backend), selective_scan(backend), input_of(backend)

    def block(
        h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor, project: Tensor, step: Tensor,
        step_bias: Tensor, log_A: Tensor, skip: Tensor, output: Tensor,
    ) -> Tensor:  # fmt: skip
        x, z = gated_input(h, input, taps, taps_bias)
        state = log_A.shape[-1]
        low_rank, B, C = torch.split(product(x, project), [step.shape[-1], state, state], dim=-1)
        y = scan(x, product(low_rank, step), step_bias, -torch.exp(log_A), B, C, skip, z)
        return product(y, output)

    return block
