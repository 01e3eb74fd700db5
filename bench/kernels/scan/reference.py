"""The selective scan by its formula. All other backends are compared with it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def scan(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> Tensor:
    """The recurrence, token by token."""
    delta = functional.softplus(step + bias)
    state = x.new_zeros(x.shape[0], x.shape[2], A.shape[1])
    outputs = []
    for x_t, delta_t, B_t, C_t in zip(x.unbind(1), delta.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        decay = torch.exp(delta_t.unsqueeze(-1) * A)
        state = decay * state + (delta_t * x_t).unsqueeze(-1) * B_t.unsqueeze(1)
        outputs.append((state * C_t.unsqueeze(1)).sum(-1))
    return (torch.stack(outputs, dim=1) + skip * x) * functional.silu(z)
