"""The mLSTM's cell as linear attention with decay, whose Triton kernels do the work.

With F_t = Σ_{j ≤ t} log σ(f_j), the weight of token s at token t, divided by exp(m_t), is

    exp(F_t − F_s + i_s − m_t) = exp(c_s − c_t) exp(i_s − F_s − c_s)          c_t = max_{s ≤ t} (i_s − F_s)

because m_t = F_t + c_t. c never falls, so c_{t−1} − c_t is a decay. exp(i_s − F_s − c_s) ≤ 1 scales the keys,
so no exponential overflows. The normaliser is the sum of the same weights: it is one more channel of the
values, which is 1 for every token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.decay.sequential import exp_like
from bench.kernels.decay.triton import scalar_decay
from bench.kernels.mlstm import EPSILON, LARGEST
from bench.kernels.running_sum import running_sum


def mlstm(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor) -> Tensor:
    """The cell by chunks of tokens."""
    sums = running_sum(functional.logsigmoid(f))  # F, float64
    gates = i - sums
    largest = torch.cummax(gates.detach(), dim=1).values  # c
    decays = functional.pad(largest[:, :-1] - largest[:, 1:], (0, 0, 1, 0)).to(v.dtype)
    k = k * exp_like(gates - largest, k).unsqueeze(-1)
    # exp(F_t) cancels in the outputs. The factor exp(F − F.detach()), which is 1, keeps its gradient.
    q = q * (exp_like(sums - sums.detach(), q) / math.sqrt(q.shape[-1])).unsqueeze(-1)
    values = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)
    y, weights = scalar_decay(q, k, values, decays).split((v.shape[-1], 1), dim=-1)
    one = exp_like(-(sums + largest).detach().clamp(min=-LARGEST), v).unsqueeze(-1)
    normed: Tensor = y / (torch.maximum(weights.abs(), one) + EPSILON)
    return normed
