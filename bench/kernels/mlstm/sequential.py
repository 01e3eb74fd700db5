"""The mLSTM's cell for all pairs of tokens at once, in PyTorch's operations; autograd differentiates it.

With F_t = Σ_{j ≤ t} log σ(f_j), the logarithm of token s's weight at token t is

    D_ts = F_t − F_s + i_s for s ≤ t, −∞ for s > t          m_t = max_s D_ts
    P_ts = q_t·k_s/√K exp(D_ts − m_t)          y_t = Σ_s P_ts v_s / max(|Σ_s P_ts|, exp(−m_t))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.mlstm import EPSILON, LARGEST
from bench.kernels.running_sum import running_sum


def mlstm(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor) -> Tensor:
    """All pairs of tokens of a head at once, (B, H, L, L)."""
    L, K = k.shape[1], k.shape[3]
    q, k, v, i, f = (value.transpose(1, 2) for value in (q, k, v, i.unsqueeze(-1), f.unsqueeze(-1)))
    sums = running_sum(functional.logsigmoid(f))  # (B, H, L, 1)
    later = torch.ones(L, L, dtype=torch.bool, device=q.device).triu(1)
    weights = ((sums - sums.mT).to(q.dtype) + i.mT).masked_fill(later, -math.inf)
    largest = weights.amax(-1, keepdim=True).detach()
    scores = (q @ k.mT) * (torch.exp(weights - largest) / math.sqrt(K))
    one = torch.exp((-largest).clamp(max=LARGEST))
    denominator = torch.maximum(scores.sum(-1, keepdim=True).abs(), one) + EPSILON
    return (scores @ v / denominator).transpose(1, 2)
