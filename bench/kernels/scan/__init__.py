"""The selective scan of Mamba (Gu & Dao 2023, Algorithm 2): one recurrence, several backends.

For every prompt and channel, with a state h of N numbers that starts at zero:

    Δ_t = softplus(step_t + bias)
    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t          y_t = (C_t · h_t + skip x_t) · silu(z_t)

Shapes: x, step, z (B, L, E); bias, skip (E,); A (E, N); B, C (B, L, N); y (B, L, E).

`reference` is the specification: a loop that autograd differentiates. `sequential` has a hand-written
gradient and runs on any device without a compiler. `triton` is a fused kernel for the forward pass and one
for the gradient, on NVIDIA GPUs. Both exist in CUDA C++ and in Triton. The CUDA C++ kernels run if PyTorch
includes the compiler NVRTC; `bench doctor` states which kernels run. `mamba_ssm` calls the official
CUDA kernel. A backend is chosen by name and never replaced silently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import STATE, normal_draws
from bench.kernels.kernel import Kernel
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Scan: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"
ARGUMENTS = ("x", "step", "bias", "A", "B", "C", "skip", "z")


def selective_scan(name: str) -> Scan:
    """The scan of the backend `name` (`bench.kernels.backends.NAMES`); imports its packages."""
    return SELECTIVE_SCAN.load(name)


def _inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """Magnitudes and signs as in a trained Mamba."""
    normal = normal_draws(length)
    return [
        normal(batch, length, channels),
        normal(batch, length, channels),
        normal(channels) - 3,
        -torch.arange(1, STATE + 1).float().repeat(channels, 1),
        normal(batch, length, STATE),
        normal(batch, length, STATE),
        normal(channels),
        normal(batch, length, channels),
    ]


SELECTIVE_SCAN = Kernel(
    "selective scan",
    __name__,
    "scan",
    _inputs,
    floats=11,  # forward: x, step, z in, y out; backward: these and dy in, three gradients out
    floats_per_token=6 * STATE,  # B and C
)
KERNELS = (SELECTIVE_SCAN,)
