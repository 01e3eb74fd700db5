"""Gated linear attention (Yang et al. 2023) in PyTorch.

q, k, v, gate = in(h)                           per head K, K, V and V numbers
g = log σ(decay(low_rank(h))) / temperature     per head K numbers
S_t = diag(exp(g_t)) S_{t−1} + k_t v_tᵀ          y_t = S_tᵀ q_t / √K
out(norm(y) · silu(gate))                       norm per head
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.kernels.activation import silu_gate
from bench.kernels.decay import vector_decay
from bench.models.linear import Linear, output_projection

EPSILON = 1e-5


class GLAModule(nn.Module):
    """Linear attention with a decay per channel of the keys, (B, L, D) → (B, L, D).

    Args:
        width: D, which is also the width of all values.
        blocks: residual blocks of the model's layers; the output projection starts smaller by 1/√blocks.
        backend: name of the kernels' backend.
        heads: number of heads; divides D and `key_width`.
        key_width: width of the keys of all heads.
        rank: rank of the map that produces the decays.
        temperature: divisor of the decays' logarithms.
    """

    def __init__(
        self,
        width: int,
        blocks: int,
        backend: str,
        *,
        heads: int,
        key_width: int,
        rank: int,
        temperature: float,
    ) -> None:
        super().__init__()
        self.attend, self.silu_gate = vector_decay(backend), silu_gate(backend)
        self.heads, self.temperature, self.scale = heads, temperature, 1 / math.sqrt(key_width // heads)
        self.splits = [key_width, key_width, width, width]
        self.input = Linear(width, sum(self.splits), backend, bias=False)
        self.low_rank = Linear(width, rank, backend, bias=False)
        self.decay = Linear(rank, key_width, backend)
        self.norm = nn.RMSNorm(width // heads, eps=EPSILON)
        self.output = output_projection(width, width, blocks, backend)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v, gate = self.input(h).split(self.splits, dim=-1)
        log_decay = functional.logsigmoid(self.decay(self.low_rank(h))) / self.temperature
        q, k, v, log_decay = (torch.unflatten(value, -1, (self.heads, -1)) for value in (q, k, v, log_decay))
        y = self.norm(self.attend(self.scale * q, k, v, log_decay)).flatten(-2)
        out: Tensor = self.output(self.silu_gate(y, gate))
        return out
