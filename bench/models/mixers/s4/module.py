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
from bench.models.step_sizes import STEP_MAX, STEP_MIN


class DiagonalSSM(nn.Module):
    """An independent SSM with a skip per channel, (B, L, E) → (B, L, E).

    The initialisation is S4D-Lin: A_n = −1/2 + iπn, C complex standard normal, Δ log-uniform on
    [STEP_MIN, STEP_MAX], skip standard normal or ones. All parameters have the run's learning rate.
    """

    def __init__(
        self, channels: int, state: int, backend: str, skip: Literal["normal", "ones"] = "normal"
    ) -> None:
        super().__init__()
        self.ssm, modes = diagonal_ssm(backend), state // 2
        low, high = math.log(STEP_MIN), math.log(STEP_MAX)
        self.log_step = nn.Parameter(torch.rand(channels) * (high - low) + low)
        self.log_decay = nn.Parameter(torch.full((channels, modes), math.log(0.5)))
        self.frequency = nn.Parameter((math.pi * torch.arange(modes)).repeat(channels, 1))
        self.C = nn.Parameter(torch.randn(channels, modes, 2) * math.sqrt(0.5))  # real, imaginary
        self.skip = nn.Parameter(torch.randn(channels) if skip == "normal" else torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.ssm(x, self.log_step, self.log_decay, self.frequency, self.C, self.skip)


class S4Module(nn.Module):
    """SSM, GELU and a gated 1×1 mixing of channels, (B, L, D) → (B, L, D)."""

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
