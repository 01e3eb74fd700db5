"""The gated delta rule by its formula. All other backends are compared with it."""

from __future__ import annotations

import torch
from torch import Tensor


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
    """The recurrence, token by token."""
    batch, _, updates, heads, K = k.shape
    state = q.new_zeros(batch, heads, K, v.shape[-1])
    outputs = []
    for q_t, k_t, v_t, beta_t, g_t in zip(*(value.unbind(1) for value in (q, k, v, beta, g)), strict=True):
        state = torch.exp(g_t)[..., None, None] * state
        for j in range(updates):
            key, gap = k_t[:, j], v_t[:, j] - _read(state, k_t[:, j])
            state = state + (beta_t[:, j, :, None] * key).unsqueeze(-1) * gap.unsqueeze(-2)
        outputs.append(_read(state, q_t))
    return torch.stack(outputs, dim=1)


def _read(state: Tensor, key: Tensor) -> Tensor:
    """Sᵀ k of every head: (B, H, K, V) and (B, H, K) → (B, H, V)."""
    return (state * key.unsqueeze(-1)).sum(-2)
