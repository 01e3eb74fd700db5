"""Mamba-2's block (Dao & Gu 2024) in PyTorch.

z, x, B, C, step = in(h)        widths E, E, N, N, H
x, B, C = silu(conv(x, B, C))   causal, depthwise, 4 taps
Δ = softplus(step + bias)       a step size per head
S_t = exp(−Δ A) S_{t−1} + B_t (Δ x_t)ᵀ          y_t = S_tᵀ C_t + skip x_t          per head of P channels
out(norm(y · silu(z)))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.kernels.activation import silu_gate
from bench.kernels.decay import scalar_decay
from bench.models.convolution import ShortConvolution
from bench.models.linear import Linear, output_projection
from bench.models.step_sizes import step_biases

A_MIN, A_MAX = 1.0, 16.0
EPSILON = 1e-5


class Mamba2Module(nn.Module):
    """One state-space block with a decay per head, (B, L, D) → (B, L, D).

    Args:
        width: D.
        blocks: residual blocks of the model's layers; the output projection starts smaller by 1/√blocks.
        backend: name of the kernels' backend.
        state: N.
        head_dim: P, which divides E.
        expand: E over D.
        taps: taps of the short convolution.
    """

    undecayed = ("step_bias", "log_A", "skip")

    def __init__(
        self, width: int, blocks: int, backend: str, *, state: int, head_dim: int, expand: int, taps: int
    ) -> None:
        super().__init__()
        inner = expand * width
        heads = inner // head_dim
        self.decay, self.silu_gate = scalar_decay(backend), silu_gate(backend)
        self.head_dim = head_dim
        self.splits, self.convolved = [inner, inner + 2 * state, heads], [inner, state, state]
        self.input = Linear(width, sum(self.splits), backend, bias=False)
        self.convolution = ShortConvolution(inner + 2 * state, taps, backend)
        self.step_bias = nn.Parameter(step_biases(heads))
        self.log_A = nn.Parameter(torch.empty(heads).uniform_(A_MIN, A_MAX).log())
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(inner, eps=EPSILON)
        self.output = output_projection(inner, width, blocks, backend)

    def forward(self, h: Tensor) -> Tensor:
        z, x, step = self.input(h).split(self.splits, dim=-1)
        x, B, C = self.convolution(x).split(self.convolved, dim=-1)
        x = torch.unflatten(x, -1, (-1, self.head_dim))
        step = functional.softplus(step + self.step_bias)
        # One group: B and C have no dimension of heads, and all heads share them.
        y = self.decay(C.unsqueeze(2), B.unsqueeze(2), step.unsqueeze(-1) * x, -step * self.log_A.exp())
        y = (y + self.skip.unsqueeze(-1) * x).flatten(-2)
        out: Tensor = self.output(self.norm(self.silu_gate(y, z)))
        return out
