"""The gated delta rule (Yang et al. 2024, "Gated Delta Networks"): one recurrence, several backends.

For every prompt and head, with a state S of K × V numbers that starts at zero, token t

    S ← exp(g_t) S                                      decays the state,
    S ← S + β_tj k_tj (v_tj − Sᵀ k_tj)ᵀ,  j = 1 … n     corrects what the state returns for n keys, in turn,
    y_t = Sᵀ q_t                                        and reads it.

With n = 1 this is Gated DeltaNet, with g = 0 DeltaNet (Yang et al. 2024, "Parallelizing Linear
Transformers with the Delta Rule"), with n > 1 DeltaProduct (Siems et al. 2025): for unit keys, the state is
multiplied by n generalised Householder matrices I − β k kᵀ a token.

Shapes: q (B, L, H, K); k (B, L, n, H, K); v (B, L, n, H, V); beta (B, L, n, H); the log-decay g (B, L, H),
at most 0; y (B, L, H, V).

`reference` is the specification: the recurrence, token by token. `sequential` computes a prompt chunk by
chunk, with matrix products and a triangular system per chunk, on any device. `triton` does the same in fused
kernels, and uses some kernels of linear attention with decay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import HEADS, normal_draws
from bench.kernels.kernel import Kernel
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

DeltaRule: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]"
ARGUMENTS = ("q", "k", "v", "beta", "g")


def delta_rule(name: str) -> DeltaRule:
    """The gated delta rule of the backend `name` (`bench.kernels.backends.NAMES`)."""
    return DELTA_RULE.load(name)


def inputs(length: int, batch: int, channels: int) -> list[Tensor]:
    """Unit queries and keys, step sizes β up to 2, and log-decays as at a Gated DeltaNet's start."""
    normal, heads = normal_draws(length), (batch, length, HEADS)
    q, k = (
        torch.nn.functional.normalize(normal(*heads, channels // HEADS), dim=-1).contiguous() for _ in "qk"
    )
    v, beta = normal(*heads, channels // HEADS), 2 * torch.sigmoid(normal(*heads))
    log_decay = -torch.exp(normal(*heads) - 3)
    return [q, k.unsqueeze(2), v.unsqueeze(2), beta.unsqueeze(2), log_decay]


# `floats` forward: q, k, v in, y out; backward: these and dy in, three gradients out.
DELTA_RULE = Kernel("delta rule", __name__, "delta_rule", inputs, floats=11)
KERNELS = (DELTA_RULE,)
