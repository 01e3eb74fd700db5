"""Causal multi-head attention (Vaswani et al. 2017): one formula, several backends.

For every prompt and head, with queries q, keys k and values v of Dh numbers a token:

    y_t = Σ_s P_ts v_s          P_ts = exp(q_t·k_s / √Dh) / Σ_{r ≤ t} exp(q_t·k_r / √Dh),  s ≤ t

Shapes: qkv (B, L, 3, H, Dh), a view of the output (B, L, 3·D) of a linear layer, with D = H·Dh;
y (B, L, H, Dh), of which (B, L, D) is a view where y is contiguous.

Only `reference` has a window and attention without the causal mask.

With dropout, P_ts is multiplied by keep_ts / (1 − p), where keep is the mask of `bench.kernels.dropout` for
weights of shape (B, H, L, L).

`reference` is the specification: all scores at once, and autograd. `sequential` is PyTorch's
`scaled_dot_product_attention`, the fastest on a CPU; with dropout it is `reference`. `triton` is a launch
forward and a launch backward; it needs an NVIDIA GPU. The package mamba_ssm has no attention, so `mamba_ssm`
is `triton`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.dropout import site
from bench.kernels.inputs import HEADS, normal_draws
from bench.kernels.kernel import Kernel
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Attention: TypeAlias = "Callable[[Tensor], Tensor]"
DroppingAttention: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
ARGUMENTS = ("qkv",)
DROPOUT_ARGUMENTS = ("qkv", "key", "site")


def attention(name: str) -> Attention:
    """The attention of the backend `name` (`bench.kernels.backends.NAMES`); imports its packages."""
    return ATTENTION.load(name)


def attention_dropout(name: str) -> DroppingAttention:
    """(qkv, key, site) → y with dropout of the weights, of the backend `name`."""
    return ATTENTION_DROPOUT.load(name)


def _inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    return [normal_draws(length)(batch, length, 3, HEADS, channels // HEADS)]


def _dropout_inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    return [*_inputs(length, batch, channels), torch.tensor([5, -7, length]), site(3, 0.1)]


# `floats` forward: q, k, v in, y out; backward: these, y and dy in, three gradients out.
ATTENTION = Kernel("attention", __name__, "attention", _inputs, floats=12)
ATTENTION_DROPOUT = Kernel(
    "attention with dropout",
    __name__,
    "attention_dropout",
    _dropout_inputs,
    floats=12,  # the same: masks are not in memory
    places={"sequential": "reference"},
)
KERNELS = (ATTENTION, ATTENTION_DROPOUT)
