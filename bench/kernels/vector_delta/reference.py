"""The delta rule with a decay per channel by its formula. All other backends are compared with it."""

from __future__ import annotations

import torch
from torch import Tensor


def vector_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
    """The recurrence with one key, token by token."""
    state = q.new_zeros(*k[:, 0].shape, v.shape[-1])
    outputs = []
    for q_t, k_t, v_t, beta_t, g_t in zip(*(value.unbind(1) for value in (q, k, v, beta, g)), strict=True):
        state = torch.exp(g_t).unsqueeze(-1) * state
        gap = v_t - _read(state, k_t)
        state = state + (beta_t.unsqueeze(-1) * k_t).unsqueeze(-1) * gap.unsqueeze(-2)
        outputs.append(_read(state, q_t))
    return torch.stack(outputs, dim=1)


def diagonal_plus_rank_one(
    q: Tensor, read: Tensor, erase: Tensor, write: Tensor, v: Tensor, g: Tensor
) -> Tensor:
    """The recurrence with three keys, token by token."""
    state = q.new_zeros(*read[:, 0].shape, v.shape[-1])
    outputs = []
    for q_t, read_t, erase_t, write_t, v_t, g_t in zip(
        *(value.unbind(1) for value in (q, read, erase, write, v, g)), strict=True
    ):
        state = torch.exp(g_t).unsqueeze(-1) * state
        erased = erase_t.unsqueeze(-1) * _read(state, read_t).unsqueeze(-2)
        state = state - erased + write_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        outputs.append(_read(state, q_t))
    return torch.stack(outputs, dim=1)


def _read(state: Tensor, key: Tensor) -> Tensor:
    """Sᵀ k of every head: (B, H, K, V) and (B, H, K) → (B, H, V)."""
    return (state * key.unsqueeze(-1)).sum(-2)
