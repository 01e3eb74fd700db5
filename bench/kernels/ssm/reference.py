"""The diagonal SSM by the formula of its convolution kernel. All other backends are compared with it."""

from __future__ import annotations

import torch
from torch import Tensor


def ssm(x: Tensor, log_step: Tensor, log_decay: Tensor, frequency: Tensor, C: Tensor, skip: Tensor) -> Tensor:
    """The convolution as a product with the Toeplitz matrix of its kernel."""
    L = x.shape[1]
    exponent, weight = discretised(log_step, log_decay, frequency, C)
    powers = torch.exp(exponent.unsqueeze(-1) * torch.arange(L, device=x.device))  # (E, M, L)
    kernel = 2 * torch.einsum("en,enl->el", weight, powers).real
    lag = torch.arange(L, device=x.device).unsqueeze(1) - torch.arange(L, device=x.device)
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0.0)
    return torch.einsum("ets,bse->bte", toeplitz, x) + skip * x


def discretised(log_step: Tensor, log_decay: Tensor, frequency: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The exponent log w and the weight c of every mode, (E, M) complex."""
    A = torch.complex(-log_decay.exp(), frequency)
    exponent = A * log_step.exp().unsqueeze(-1)
    return exponent, torch.view_as_complex(C) * (torch.exp(exponent) - 1) / A
