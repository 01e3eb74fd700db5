"""The delta rule with a decay per channel of the keys: the recurrences of Kimi Delta Attention and RWKV-7.

For every prompt and head, with a state S of K × V numbers that starts at zero, token t

    S ← diag(exp(g_t)) S                                        decays the state,
    S ← S + β_t k_t (v_t − Sᵀ k_t)ᵀ                             corrects what it returns for a key,
    y_t = Sᵀ q_t                                                and reads it.

This is `vector_delta_rule` (Kimi Team 2025, "Kimi Linear"). With equal channels it is the gated delta rule of
`bench.kernels.delta`. In `diagonal_plus_rank_one` (RWKV-7, Peng et al. 2025) the second line has three keys:

    S ← S − erase_t (Sᵀ read_t)ᵀ + write_t v_tᵀ

With read = k and erase = write = β k, both rules are the same.

Shapes: q, k, read, erase, write and the log-decay g ≤ 0 (B, L, H, K); v, y (B, L, H, V); beta (B, L, H).

`reference` is the specification: the recurrence, token by token. `sequential` computes a prompt chunk by
chunk, with matrix products and a triangular system per chunk, on any device. `triton` does the same in fused
kernels, two forward and two backward, for both rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels import delta
from bench.kernels.inputs import HEADS, normal_draws
from bench.kernels.kernel import Kernel
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

VectorDeltaRule: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"
DiagonalPlusRankOne: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"


def vector_delta_rule(name: str) -> VectorDeltaRule:
    """(q, k, v, beta, g) → y, as the backend `name` computes it (`bench.kernels.backends.NAMES`)."""
    return VECTOR_DELTA_RULE.load(name)


def diagonal_plus_rank_one(name: str) -> DiagonalPlusRankOne:
    """(q, read, erase, write, v, g) → y, as the backend `name` computes it."""
    return DIAGONAL_PLUS_RANK_ONE.load(name)


def _inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """The inputs of the delta rule with one update per token and a log-decay per channel."""
    q, k, v, beta, _ = delta.inputs(length, batch, channels)
    log_decay = -torch.exp(normal_draws(length + 1)(batch, length, HEADS, channels // HEADS) - 3)
    return [q, k[:, :, 0], v[:, :, 0], beta[:, :, 0], log_decay]


def _three_keys(length: int, batch: int, channels: int) -> list[Tensor]:
    """The keys of an RWKV-7: a unit key, a share of it per channel, and a key for values."""
    q, k, v, _, log_decay = _inputs(length, batch, channels)
    normal = normal_draws(length + 2)
    return [q, k, torch.sigmoid(normal(*k.shape)) * k, normal(*k.shape) / k.shape[-1] ** 0.5, v, log_decay]


# `floats` forward: q, k, v, g in, y out; backward: these and dy in, four gradients out.
VECTOR_DELTA_RULE = Kernel("vector delta rule", __name__, "vector_delta_rule", _inputs, floats=14)
DIAGONAL_PLUS_RANK_ONE = Kernel(
    "diagonal plus rank one",
    __name__,
    "diagonal_plus_rank_one",
    _three_keys,
    floats=20,  # the same, with two more keys
)
KERNELS = (VECTOR_DELTA_RULE, DIAGONAL_PLUS_RANK_ONE)
