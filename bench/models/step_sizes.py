"""Initial step sizes of state-space models (Gu & Dao 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEP_MIN, STEP_MAX = 1e-3, 0.1


def log_steps(count: int) -> Tensor:
    """Logarithms (count,) of step sizes Δ that are log-uniform on [STEP_MIN, STEP_MAX]."""
    low, high = math.log(STEP_MIN), math.log(STEP_MAX)
    return torch.rand(count) * (high - low) + low


def step_biases(count: int) -> Tensor:
    """Biases (count,) with which Δ = softplus(bias) is log-uniform on [STEP_MIN, STEP_MAX].

    A bias is the inverse softplus, Δ + log(1 − exp(−Δ)); expm1 keeps it accurate for small Δ.
    """
    steps = log_steps(count).exp()
    return steps + torch.log(-torch.expm1(-steps))
