"""The mLSTM's cell by its recurrence. All other backends are compared with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.mlstm import EPSILON, LARGEST


def mlstm(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor) -> Tensor:
    """The recurrence, token by token."""
    B, _, H, K = k.shape
    memory, normaliser = v.new_zeros(B, H, K, v.shape[3]), k.new_zeros(B, H, K)
    largest = i.new_full((B, H), -math.inf)
    k, log_forget = k / math.sqrt(K), functional.logsigmoid(f)
    outputs = []
    for q_t, k_t, v_t, i_t, f_t in zip(*(value.unbind(1) for value in (q, k, v, i, log_forget)), strict=True):
        before, largest = largest, torch.maximum(f_t + largest, i_t).detach()
        forget = torch.exp(f_t + before - largest).unsqueeze(-1)
        write = torch.exp(i_t - largest).unsqueeze(-1) * k_t
        memory = forget.unsqueeze(-1) * memory + write.unsqueeze(-1) * v_t.unsqueeze(-2)
        normaliser = forget * normaliser + write
        sums = (normaliser * q_t).sum(-1).abs()
        read = (memory * q_t.unsqueeze(-1)).sum(-2)
        one = torch.exp((-largest).clamp(max=LARGEST))
        outputs.append(read / (torch.maximum(sums, one) + EPSILON).unsqueeze(-1))
    return torch.stack(outputs, dim=1)
