"""The selective scan of Mamba (Gu & Dao 2023, Algorithm 2): one recurrence, several ways to compute it.

For every prompt and channel, with a state h of N numbers that starts at zero:

    Δ_t = softplus(step_t + bias)
    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t          y_t = (C_t · h_t + skip x_t) · silu(z_t)

Shapes: x, step, z (B, L, E); bias, skip (E,); A (E, N); B, C (B, L, N); y (B, L, E).

`reference` is the specification: a loop that autograd differentiates. `sequential` computes the same
with the gradient derived by hand, and runs everywhere without a compiler. `triton` is one fused kernel
each way, and needs an NVIDIA GPU. `mamba_ssm` calls the official CUDA kernel. A backend is chosen by
name; none replaces another silently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.registry import load

if TYPE_CHECKING:
    from torch import Tensor

Scan: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"
ARGUMENTS = ("x", "step", "bias", "A", "B", "C", "skip", "z")


def selective_scan(name: str) -> Scan:
    """The scan of the backend `name` (`bench.kernels.backends.NAMES`); imports what it needs."""
    return load("selective scan", name)
