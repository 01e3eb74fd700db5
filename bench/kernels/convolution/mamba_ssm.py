"""The official CUDA short convolution of Mamba (package causal_conv1d) behind this project's interface.

It takes 2 to 4 taps. A stack of models is folded into channels. Gradients are bit-reproducible if PyTorch's
deterministic algorithms are on, as in training.
"""

from __future__ import annotations

import torch
from causal_conv1d.cpp_functions import causal_conv1d_bwd_function, causal_conv1d_fwd_function
from torch import Tensor

from bench.kernels.convolution import ARGUMENTS
from bench.kernels.operators import like_first, operator, unfolded


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor]:
    """Stacked inputs: x (K, B, L, E), weight (K, E, taps), bias (K, E) → y like x."""
    y = causal_conv1d_fwd_function(*_folded(x, weight, bias), None, None, None, True)
    return (unfolded(y, x),)


def backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the inputs, in their order."""
    inputs = _folded(x, weight, bias)
    dx, dweight, dbias, _ = causal_conv1d_bwd_function(
        *inputs, _channels(dy), None, None, None, None, False, True
    )
    return unfolded(dx, x), dweight.view_as(weight), dbias.view_as(bias)


def _folded(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _channels(x), weight.flatten(0, 1).contiguous(), bias.flatten(0, 1).contiguous()


def _channels(value: Tensor) -> Tensor:
    """(K, B, L, E) → (B, K·E, L): channels last in memory if the kernel accepts it, else tokens last."""
    value = value.permute(1, 0, 3, 2).flatten(1, 2) if value.shape[0] > 1 else value[0].transpose(1, 2)
    by_prompt, by_channel, by_token = value.stride()
    whole = not any(n % 8 for n in (value.shape[1], by_prompt, by_token)) and value.data_ptr() % 16 == 0
    return value if by_channel == 1 and whole else value.clone(memory_format=torch.contiguous_format)


convolution = operator("convolution_mamba_ssm", ARGUMENTS, (), forward, backward, like_first)
