"""Linear attention with decay: the recurrence of Mamba-2, Mamba-3, GLA and RetNet.

For every prompt and head, with a state S of K×V numbers that starts at zero:

    S_t = diag(exp(g_t)) S_{t−1} + k_t v_tᵀ          y_t = S_tᵀ q_t

g = log_decay ≤ 0 is a number per head (scalar decay) or per channel of the keys (vector decay). Nothing is
scaled.

Shapes of the scalar decay: q, k (B, L, G, K); v (B, L, H, V); log_decay (B, L, H); y (B, L, H, V). G divides
H, and consecutive H/G heads share their queries and keys. Shapes of the vector decay: q, k, log_decay
(B, L, H, K); v, y (B, L, H, V).

`reference` is the specification: the recurrence, token by token. `sequential` cuts a prompt into chunks and
computes products of matrices in PyTorch, on any device. `triton` does so in kernels of its own, two forward
and three backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.registry import load

if TYPE_CHECKING:
    from torch import Tensor

Decay: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]"


def scalar_decay(name: str) -> Decay:
    """(q, k, v, log_decay) → y with a decay per head, as the backend `name` computes it."""
    return load("scalar decay", name)


def vector_decay(name: str) -> Decay:
    """(q, k, v, log_decay) → y with a decay per channel of the keys, as the backend `name` computes it."""
    return load("vector decay", name)
