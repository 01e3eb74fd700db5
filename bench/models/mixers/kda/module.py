"""Kimi Delta Attention (Kimi Team 2025) in PyTorch.

[q, k, v], b = in(h)                                           per head K, K, K and 1 numbers
q, k, v = silu(conv([q, k, v]))                                causal, depthwise, without bias
q, k = q/‖q‖/√K, k/‖k‖                                         a head's
β, g = sigmoid(b), −exp(log A) · softplus(decay(h) + bias)     per head 1 and K numbers
y = vector_delta_rule(q, k, v, β, g)
out(norm(y) · sigmoid(gate(h)))                                RMSNorm of each head, with shared weights

decay and gate are maps of rank K. The rates A of the heads are uniform on (1, 16) at first, and the step
sizes softplus(bias) of the channels log-uniform on (0.001, 0.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.kernels.normalization import rms_norm
from bench.kernels.vector_delta import vector_delta_rule
from bench.models.convolution import ShortConvolution
from bench.models.linear import Linear, output_projection
from bench.models.step_sizes import step_biases
from bench.models.unit import unit

RATES = 1.0, 16.0


class KDAModule(nn.Module):
    """One block of Kimi Delta Attention, (B, L, D) → (B, L, D).

    Args:
        width: D.
        blocks: residual blocks of the model's layers; the output projection starts smaller by 1/√blocks.
        backend: name of the kernels' backend.
        heads: H; divides D.
        taps: taps of the short convolution.
        negative_eigenvalues: whether β ranges over (0, 2) instead of (0, 1).
    """

    undecayed = ("log_A", "step_bias")

    def __init__(
        self, width: int, blocks: int, backend: str, *, heads: int, taps: int, negative_eigenvalues: bool
    ) -> None:
        super().__init__()
        K = width // heads
        self.heads, self.largest_beta = heads, 2 if negative_eigenvalues else 1
        self.delta, self.norm = vector_delta_rule(backend), rms_norm(backend)
        self.splits = [3 * width, heads, K, K]  # the last two: inner numbers of decay and gate
        self.input = Linear(width, sum(self.splits), backend, bias=False)
        self.convolution = ShortConvolution(3 * width, taps, backend, bias=False)
        self.decay = Linear(K, width, backend, bias=False)
        self.gate = Linear(K, width, backend)
        self.log_A = nn.Parameter(torch.empty(heads).uniform_(*RATES).log())
        self.step_bias = nn.Parameter(step_biases(width))
        self.norm_weight = nn.Parameter(torch.ones(K))
        self.output = output_projection(width, width, blocks, backend)

    def forward(self, h: Tensor) -> Tensor:
        qkv, b, decay, gate = self.input(h).split(self.splits, dim=-1)
        # Queries and keys together: half as many operations.
        qk, v = self.convolution(qkv).split([2 * h.shape[-1], h.shape[-1]], dim=-1)
        q, k = unit(torch.unflatten(qk, -1, (2, self.heads, -1))).unbind(-3)
        v = torch.unflatten(v, -1, (self.heads, -1))
        beta = self.largest_beta * torch.sigmoid(b)
        steps = torch.unflatten(functional.softplus(self.decay(decay) + self.step_bias), -1, (self.heads, -1))
        g = -torch.exp(self.log_A).unsqueeze(-1) * steps
        y = self.delta(q * q.shape[-1] ** -0.5, k, v, beta, g)
        y = self.norm(y, self.norm_weight).flatten(-2)
        out: Tensor = self.output(y * torch.sigmoid(self.gate(gate)))
        return out
