"""S4 with a diagonal state (S4D: Gu et al. 2022) in PyTorch.

The SSM of a channel is a convolution. Its kernel is a sum of N/2 damped complex exponentials:

    K_l = 2 Re Σ_n C_n (exp(Δ A_n) − 1)/A_n · exp(Δ A_n l)          (zero-order hold, B = 1)

The kernel does not depend on the input, so a backend may compute a convolution or a recurrence.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from bench.kernels.activation import bias_glu, gelu
from bench.kernels.ssm import diagonal_ssm
from bench.models.linear import Linear
from bench.models.step_sizes import log_steps


class DiagonalSSM(nn.Module):
    """An independent SSM with a skip per channel, (B, L, E) → (B, L, E).

    The initialisation is S4D-Lin: A_n = −1/2 + iπn, C complex standard normal, Δ log-uniform
    (`bench.models.step_sizes`). All parameters have the run's learning rate.

    Args:
        channels: E.
        state: N, an even number; a channel has N/2 complex modes.
        backend: name of the kernels' backend.
        skip: initial values of the skip: from N(0, 1), or 1.
    """

    def __init__(
        self, channels: int, state: int, backend: str, skip: Literal["normal", "ones"] = "normal"
    ) -> None:
        super().__init__()
        self.ssm, modes = diagonal_ssm(backend), state // 2
        self.log_step = nn.Parameter(log_steps(channels))
        self.log_decay = nn.Parameter(torch.full((channels, modes), math.log(0.5)))
        self.frequency = nn.Parameter((math.pi * torch.arange(modes)).repeat(channels, 1))
        self.C = nn.Parameter(torch.randn(channels, modes, 2) * math.sqrt(0.5))  # real, imaginary
        self.skip = nn.Parameter(torch.randn(channels) if skip == "normal" else torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.ssm(x, self.log_step, self.log_decay, self.frequency, self.C, self.skip)


class S4Module(nn.Module):
    """SSM, GELU and a gated 1×1 mixing of channels, (B, L, D) → (B, L, D).

    Args:
        width: D.
        backend: name of the kernels' backend.
        state: N, an even number.
        dropout: probability with which training zeroes a whole channel after the GELU.
    """

    def __init__(self, width: int, backend: str, *, state: int, dropout: float) -> None:
        super().__init__()
        self.ssm = DiagonalSSM(width, state, backend)
        self.dropout = nn.Dropout1d(dropout)
        self.mix = Linear(width, 2 * width, backend)
        self.gelu, self.bias_glu = gelu(backend), bias_glu(backend)

    def forward(self, h: Tensor) -> Tensor:
        # Dropout1d drops whole rows of its second dimension: channels must come before tokens.
        y = self.dropout(self.gelu(self.ssm(h)).transpose(1, 2)).transpose(1, 2)
        return self.bias_glu(self.mix.product(y), self.mix.bias)
