"""The mLSTM's cell (Beck et al. 2024, "xLSTM"): linear attention with exponential gates and a normaliser.

For every prompt and head, with a matrix C of K×V numbers and a vector n of K numbers that start at zero:

    C_t = σ(f_t) C_{t−1} + exp(i_t) k_t v_tᵀ/√K        n_t = σ(f_t) n_{t−1} + exp(i_t) k_t/√K
    y_t = C_tᵀ q_t / max(|n_tᵀ q_t|, 1)

i and f are gates before their activations. exp(i) could overflow. Therefore C, n and the 1 are divided by
exp(m_t), with m_t = max(log σ(f_t) + m_{t−1}, i_t) and m_0 = −∞. As in the authors' code, `EPSILON` is added
to the divided denominator. exp(−m) is bounded by exp(`LARGEST`), where outputs vanish, because an infinite
denominator would give NaN gradients. Gradients treat m_t as a constant, because m_t cancels except in the
term with `EPSILON`.

Shapes: q, k (B, L, H, K); v, y (B, L, H, V); i, f (B, L, H).

`reference` is the specification: the recurrence, token by token. `sequential` computes all pairs of tokens at
once in PyTorch, as attention does. `triton` computes chunks, by the kernels of linear attention with decay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import HEADS, normal_draws
from bench.kernels.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

Cell: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"
EPSILON = 1e-6
LARGEST = 80.0


def mlstm(name: str) -> Cell:
    """(q, k, v, i, f) → y, as the backend `name` (`bench.kernels.backends.NAMES`) computes it."""
    return MLSTM_CELL.load(name)


def _inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """Gates as at an mLSTM's start, with more spread."""
    normal = normal_draws(length)
    q, k, v = (normal(batch, length, HEADS, channels // HEADS) for _ in "qkv")
    return [q, k, v, normal(batch, length, HEADS), normal(batch, length, HEADS) + 4]


# `floats` forward: q, k, v in, y out; backward: these and dy in, three gradients out.
MLSTM_CELL = Kernel("mLSTM", __name__, "mlstm", _inputs, floats=11)
KERNELS = (MLSTM_CELL,)
