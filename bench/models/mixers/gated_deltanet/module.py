"""Gated DeltaNet (Yang, Kautz & Hatamizadeh 2024) in PyTorch, with DeltaNet and DeltaProduct.

[q, k, v], z, b, a = in(h)           of every head: one q; a k, v and b per Householder product; one a
q, k, v = silu(conv([q, k, v]))      causal, depthwise, without bias
q, k = q/‖q‖/√K, k/‖k‖               a head's
β, g = sigmoid(b), −exp(log A) · softplus(a + bias)
y = delta_rule(q, k, v, β, g)
out(norm(y) · silu(z))               RMSNorm of each head, with the same V weights for all heads

The rates A are uniform on (0.01, 16) at first, and the step sizes softplus(bias) log-uniform on (0.001, 0.1):
a state then halves within 1 to 100 tokens. Rates near 0 would keep a head from ever forgetting.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.kernels.activation import silu_gate
from bench.kernels.delta import delta_rule
from bench.kernels.normalization import rms_norm
from bench.models.convolution import ShortConvolution
from bench.models.linear import Linear, output_projection
from bench.models.step_sizes import step_biases
from bench.models.unit import unit

RATES = 0.01, 16.0


class GatedDeltaNetModule(nn.Module):
    """One block of the gated delta rule, (B, L, D) → (B, L, D).

    Args:
        width: D.
        blocks: residual blocks of the model's layers; the output projection starts smaller by 1/√blocks.
        backend: name of the kernels' backend.
        heads: H.
        key_dim: numbers of a head's key, K.
        value_dim: numbers of a head's value, V.
        taps: taps of the short convolution.
        gate: whether the output is gated.
        decay: whether the state decays.
        negative_eigenvalues: whether β ranges over (0, 2) instead of (0, 1).
        householders: keys, values and β per token, n.
    """

    undecayed = ("log_A", "step_bias")

    def __init__(
        self,
        width: int,
        blocks: int,
        backend: str,
        *,
        heads: int,
        key_dim: int,
        value_dim: int,
        taps: int,
        gate: bool,
        decay: bool,
        negative_eigenvalues: bool,
        householders: int,
    ) -> None:
        super().__init__()
        n = householders
        self.heads, self.householders, self.largest_beta = heads, n, 2 if negative_eigenvalues else 1
        self.delta, self.norm, self.silu_gate = delta_rule(backend), rms_norm(backend), silu_gate(backend)
        self.qkv_splits = [heads * key_dim, n * heads * key_dim, n * heads * value_dim]
        self.splits = [sum(self.qkv_splits), gate * heads * value_dim, n * heads, decay * heads]
        self.input = Linear(width, sum(self.splits), backend, bias=False)
        self.convolution = ShortConvolution(self.splits[0], taps, backend, bias=False)
        self.log_A = nn.Parameter(torch.empty(heads).uniform_(*RATES).log()) if decay else None
        self.step_bias = nn.Parameter(step_biases(heads)) if decay else None
        self.norm_weight = nn.Parameter(torch.ones(value_dim))
        self.output = output_projection(heads * value_dim, width, blocks, backend)

    def forward(self, h: Tensor) -> Tensor:
        n, H = self.householders, self.heads
        qkv, z, b, a = self.input(h).split(self.splits, dim=-1)
        q, k, v = self.convolution(qkv).split(self.qkv_splits, dim=-1)
        q = torch.unflatten(q, -1, (H, -1))
        k, v = (torch.unflatten(value, -1, (n, H, -1)) for value in (k, v))
        beta = self.largest_beta * torch.unflatten(torch.sigmoid(b), -1, (n, H))
        if self.log_A is None:
            g = h.new_zeros(*h.shape[:-1], H)
        else:
            g = -torch.exp(self.log_A) * functional.softplus(a + self.step_bias)
        y = self.delta(unit(q) * q.shape[-1] ** -0.5, unit(k), v, beta, g)
        y = self.norm(y, self.norm_weight).flatten(-2)
        out: Tensor = self.output(self.silu_gate(y, z) if z.shape[-1] else y)
        return out
