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
chunk, with matrix products and a triangular system per chunk, on any device. `triton` does so in kernels of
its own, two forward and two backward, which both rules share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.registry import load

if TYPE_CHECKING:
    from torch import Tensor

VectorDeltaRule: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"
DiagonalPlusRankOne: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"


def vector_delta_rule(name: str) -> VectorDeltaRule:
    """(q, k, v, beta, g) → y, as the backend `name` computes it (`bench.kernels.backends.NAMES`)."""
    return load("vector delta rule", name)


def diagonal_plus_rank_one(name: str) -> DiagonalPlusRankOne:
    """(q, read, erase, write, v, g) → y, as the backend `name` computes it."""
    return load("diagonal plus rank one", name)
