"""Mamba's short convolution: a few taps, causal, one channel at a time, and the SiLU behind it.

    y_t = silu(bias + Σ_k weight[k] x_{t−K+1+k})          zeros before the start

Shapes: x (B, L, E), weight (E, K), bias (E,); y (B, L, E). `reference` is the specification.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.operators import operator

Convolution = Callable[[Tensor, Tensor, Tensor], Tensor]
ARGUMENTS = ("x", "weight", "bias")


def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Token by token."""
    K = weight.shape[1]
    padded = functional.pad(x, (0, 0, K - 1, 0))
    taps = [(padded[:, t : t + K] * weight.T).sum(1) for t in range(x.shape[1])]
    return functional.silu(torch.stack(taps, dim=1) + bias)


def shifts(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One shifted product per tap: elementwise operations, deterministic on every device."""
    L, K = x.shape[1], weight.shape[1]
    padded = functional.pad(x, (0, 0, K - 1, 0))
    y = bias
    for k in range(K):
        y = torch.addcmul(y, padded[:, k : k + L], weight[:, k])
    return functional.silu(y)


@functools.cache
def _triton() -> Convolution:
    from bench.kernels import triton_convolution as kernels

    return operator("convolution_triton", ARGUMENTS, (), kernels.forward, kernels.backward, _shapes)


@functools.cache
def _official() -> Convolution:
    from bench.kernels import official_convolution as kernels

    return operator("convolution_mamba_ssm", ARGUMENTS, (), kernels.forward, kernels.backward, _shapes)


def _shapes(x: Tensor, *rest: Tensor) -> tuple[Tensor]:
    return (x.new_empty(x.shape),)


BACKENDS: dict[str, Callable[[], Convolution]] = {
    "reference": lambda: reference,
    "sequential": lambda: shifts,
    "triton": _triton,
    "mamba_ssm": _official,
}


def short_convolution(name: str) -> Convolution:
    """What the backend `name` (`bench.kernels.backends.SCAN_NAMES`) convolves with."""
    return BACKENDS[name]()
