"""The mLSTM's block (Beck et al. 2024) in PyTorch.

x, z = up(h)                            widths E, E
c = silu(conv(x))                       causal, depthwise, 4 taps
q, k, v = Q c, K c, V x                 block-diagonal maps of 4 channels each
i, f = gates(q, k, v)                   H numbers each
y = cell(q, k, v, i, f)                 per head of E/H numbers
down((norm(y) (1 + γ) + skip c) · silu(z))          LayerNorm per head, without a bias
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.kernels.activation import silu_gate
from bench.kernels.mlstm import mlstm
from bench.models.convolution import ShortConvolution
from bench.models.linear import Linear

EPSILON = 1e-5
FORGET_FIRST, FORGET_LAST = 3.0, 6.0
INPUT_STD = 0.1


class MLSTMModule(nn.Module):
    """One block with a matrix memory per head, (B, L, D) → (B, L, D).

    Args:
        width: D.
        blocks: residual blocks of the model's layers, for the initial values of the last projection.
        backend: name of the kernels' backend.
        heads: H, which divides E.
        expand: E over D.
        taps: taps of the short convolution.
        map_width: channels that a block of the maps to queries, keys and values mixes; divides E.
    """

    def __init__(
        self, width: int, blocks: int, backend: str, *, heads: int, expand: int, taps: int, map_width: int
    ) -> None:
        super().__init__()
        inner, std = expand * width, math.sqrt(2 / (5 * width))
        self.heads, self.cell, self.silu_gate = heads, mlstm(backend), silu_gate(backend)
        self.up = Linear(width, 2 * inner, backend, bias=False)
        self.convolution = ShortConvolution(inner, taps, backend)
        self.qkv = nn.Parameter(torch.empty(3, inner // map_width, map_width, map_width).normal_(std=std))
        self.gates = Linear(3 * inner, 2 * heads, backend)
        self.norm_weight = nn.Parameter(torch.zeros(inner))  # γ: the weight is 1 + γ
        self.skip = nn.Parameter(torch.ones(inner))
        self.down = Linear(inner, width, backend, bias=False)
        nn.init.normal_(self.up.weight, std=std)
        nn.init.normal_(self.down.weight, std=2 / (blocks * math.sqrt(width)))
        nn.init.zeros_(self.gates.weight)
        with torch.no_grad():
            self.gates.bias[:heads].normal_(std=INPUT_STD)
            self.gates.bias[heads:] = torch.linspace(FORGET_FIRST, FORGET_LAST, heads)

    def forward(self, h: Tensor) -> Tensor:
        x, z = self.up(h).chunk(2, dim=-1)
        c = self.convolution(x)
        q, k, v = (
            block_diagonal(value, weight) for value, weight in zip((c, c, x), self.qkv.unbind(), strict=True)
        )
        i, f = self.gates(torch.cat((q, k, v), dim=-1)).chunk(2, dim=-1)
        q, k, v = (torch.unflatten(value, -1, (self.heads, -1)) for value in (q, k, v))
        y = self.cell(q, k, v, i, f)
        y = functional.layer_norm(y, y.shape[-1:], eps=EPSILON).flatten(-2)
        out: Tensor = self.down(self.silu_gate(y * (1 + self.norm_weight) + self.skip * c, z))
        return out


def block_diagonal(x: Tensor, weight: Tensor) -> Tensor:
    """(..., n·C) → (..., n·C) with a map (C, C) for each of n groups of C channels; weight (n, C, C)."""
    groups = torch.unflatten(x, -1, weight.shape[:2])
    return torch.einsum("...ni,noi->...no", groups, weight).flatten(-2)
