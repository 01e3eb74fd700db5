"""Linear attention with decay by its recurrence. All other backends are compared with it."""

from __future__ import annotations

import torch
from torch import Tensor


def scalar_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The recurrence with a decay per head, token by token."""
    heads, channels = v.shape[2], k.shape[3]
    q, k = (value.repeat_interleave(heads // value.shape[2], dim=2) for value in (q, k))
    return vector_decay(q, k, v, log_decay.unsqueeze(-1).expand(*log_decay.shape, channels))


def vector_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The recurrence with a decay per channel of the keys, token by token."""
    B, _, H, K = k.shape
    state = v.new_zeros(B, H, K, v.shape[3])
    outputs = []
    for q_t, k_t, v_t, g_t in zip(*(value.unbind(1) for value in (q, k, v, log_decay)), strict=True):
        state = torch.exp(g_t).unsqueeze(-1) * state + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        outputs.append((state * q_t.unsqueeze(-1)).sum(-2))
    return torch.stack(outputs, dim=1)
