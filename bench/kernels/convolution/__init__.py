"""Mamba's short convolution: causal, depthwise, a few taps, followed by SiLU.

    y_t = silu(bias + Σ_k weight[k] x_{t−K+1+k})          zeros before the start

Shapes: x (B, L, E), weight (E, K), bias (E,); y (B, L, E). `reference` is the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import normals
from bench.kernels.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

Convolution: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
ARGUMENTS = ("x", "weight", "bias")


def short_convolution(name: str) -> Convolution:
    """The convolution of the backend `name` (`bench.kernels.backends.NAMES`); imports its packages."""
    return SHORT_CONVOLUTION.load(name)


# `floats` forward: x in, y out; backward: x and dy in, dx out.
SHORT_CONVOLUTION = Kernel("short convolution", __name__, "convolution", normals("xtc"), floats=5)
KERNELS = (SHORT_CONVOLUTION,)
