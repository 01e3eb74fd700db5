"""The short convolution of recurrent blocks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.kernels.convolution import short_convolution


class ShortConvolution(nn.Module):
    """Causal depthwise convolution with SiLU, (B, L, E) → (B, L, E). Initialised like `nn.Conv1d`.

    Args:
        channels: E.
        taps: taps of the convolution.
        backend: name of the kernels' backend.
        bias: whether a bias is added before the SiLU.
    """

    def __init__(self, channels: int, taps: int, backend: str, *, bias: bool = True) -> None:
        super().__init__()
        self.convolve = short_convolution(backend)
        bound = 1 / math.sqrt(taps)
        self.weight = nn.Parameter(torch.empty(channels, taps).uniform_(-bound, bound))
        self.bias: Tensor
        if bias:
            self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        else:
            self.register_buffer("bias", torch.zeros(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight, self.bias)
