"""S4D's diagonal state-space model (Gu et al. 2022): a time-invariant recurrence per channel.

With M complex modes per channel, A = −exp(log_decay) + i frequency, and a step Δ = exp(log_step),

    w = exp(Δ A)    c = C (w − 1)/A                  (zero-order hold, B = 1)
    h_t = w h_{t−1} + x_t          y_t = 2 Re Σ_n c_n h_{t,n} + skip x_t

which equals a causal convolution with K_l = 2 Re Σ_n c_n w_n^l.

Shapes: x (B, L, E); log_step, skip (E,); log_decay, frequency (E, M); C (E, M, 2), real and imaginary
part; y (B, L, E).

`reference` is the specification: the convolution kernel and its Toeplitz product. `sequential` uses the
Fourier transform and runs on any device. `triton` computes the recurrence, which moves the fewest bytes at
the paper's lengths. The package mamba_ssm has no such kernel, so `mamba_ssm` is `sequential`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import STATE, normal_draws
from bench.kernels.kernel import Kernel
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

SSM: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"
ARGUMENTS = ("x", "log_step", "log_decay", "frequency", "C", "skip")


def diagonal_ssm(name: str) -> SSM:
    """The SSM of the backend `name` (`bench.kernels.backends.NAMES`); imports its packages."""
    return DIAGONAL_SSM.load(name)


def _inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """Modes and step sizes of S4D-Lin's initialisation."""
    normal, modes = normal_draws(length), STATE // 2
    return [
        normal(batch, length, channels),
        torch.logspace(-3, -1, channels).log(),
        torch.full((channels, modes), 0.5).log(),
        torch.pi * torch.arange(modes).repeat(channels, 1),
        normal(channels, modes, 2),
        normal(channels),
    ]


DIAGONAL_SSM = Kernel(
    "diagonal SSM",
    __name__,
    "ssm",
    _inputs,
    floats=5,  # forward: x in, y out; backward: x and dy in, dx out
    places={"mamba_ssm": "sequential"},  # the package has no time-invariant SSM
)
KERNELS = (DIAGONAL_SSM,)
