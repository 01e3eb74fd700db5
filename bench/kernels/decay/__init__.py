"""Linear attention with decay: the recurrence of Mamba-2 (Dao & Gu 2024), Mamba-3, GLA (Yang et al. 2023) and
RetNet (Sun et al. 2023).

For every prompt and head, with a state S of K×V numbers that starts at zero:

    S_t = diag(exp(g_t)) S_{t−1} + k_t v_tᵀ          y_t = S_tᵀ q_t

g = log_decay ≤ 0 is a number per head (scalar decay) or per channel of the keys (vector decay). Queries are
not scaled.

Shapes of the scalar decay: q, k (B, L, G, K); v (B, L, H, V); log_decay (B, L, H); y (B, L, H, V). G divides
H, and consecutive H/G heads share their queries and keys. Shapes of the vector decay: q, k, log_decay
(B, L, H, K); v, y (B, L, H, V).

`reference` is the specification: the recurrence, token by token. `sequential` cuts a prompt into chunks and
computes matrix products in PyTorch, on any device. `triton` does the same in fused kernels, two forward and
three backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import HEADS, STATE, normal_draws
from bench.kernels.kernel import Kernel
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Decay: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]"


def scalar_decay(name: str) -> Decay:
    """(q, k, v, log_decay) → y with a decay per head, as the backend `name` computes it."""
    return SCALAR_DECAY.load(name)


def vector_decay(name: str) -> Decay:
    """(q, k, v, log_decay) → y with a decay per channel of the keys, as the backend `name` computes it."""
    return VECTOR_DECAY.load(name)


def _scalar_inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """Half-lives of a token and of a hundred; all heads share queries and keys."""
    normal = normal_draws(length)
    q, k = (normal(batch, length, 1, STATE) for _ in "qk")
    rates = torch.logspace(-2, 0, HEADS)
    g = -rates * normal(batch, length, HEADS).exp()
    return [q, k, normal(batch, length, HEADS, channels // HEADS), g]


def _vector_inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """Half-lives of a token and of a hundred over the channels of the keys."""
    normal = normal_draws(length)
    q, k, v, g = (normal(batch, length, HEADS, channels // HEADS) for _ in "qkvg")
    return [q, k, v, -torch.logspace(-2, 0, channels // HEADS) * g.exp()]


# `floats` forward: v in, y out; backward: v and dy in, dv out; many channels share q, k and g.
SCALAR_DECAY = Kernel("scalar decay", __name__, "scalar_decay", _scalar_inputs, floats=5)
# `floats` forward: q, k, v, g in, y out; backward: these and dy in, four gradients out.
VECTOR_DECAY = Kernel("vector decay", __name__, "vector_decay", _vector_inputs, floats=14)
KERNELS = (SCALAR_DECAY, VECTOR_DECAY)
