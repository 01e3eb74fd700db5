"""Mamba's block and its gated input by the kernels for their parts. With those of `reference`, they are the
specification.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from bench.kernels.convolution import short_convolution
from bench.kernels.product import linear
from bench.kernels.scan import selective_scan


def _gated_input(
    backend: str, h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor
) -> tuple[Tensor, Tensor]:
    x, z = linear(backend)(h, input).chunk(2, dim=-1)
    return short_convolution(backend)(x, taps, taps_bias), z


def _block(
    backend: str, h: Tensor, input: Tensor, taps: Tensor, taps_bias: Tensor, project: Tensor, step: Tensor,
    step_bias: Tensor, log_A: Tensor, skip: Tensor, output: Tensor,
) -> Tensor:  # fmt: skip
    product = linear(backend)
    x, z = _gated_input(backend, h, input, taps, taps_bias)
    state = log_A.shape[-1]
    low_rank, B, C = torch.split(product(x, project), [step.shape[-1], state, state], dim=-1)
    A = -torch.exp(log_A)
    y = selective_scan(backend)(x, product(low_rank, step), step_bias, A, B, C, skip, z)
    return product(y, output)


reference = functools.partial(_block, "reference")
sequential = functools.partial(_block, "sequential")
mamba_ssm = functools.partial(_block, "mamba_ssm")
reference_input = functools.partial(_gated_input, "reference")
sequential_input = functools.partial(_gated_input, "sequential")
mamba_ssm_input = functools.partial(_gated_input, "mamba_ssm")
