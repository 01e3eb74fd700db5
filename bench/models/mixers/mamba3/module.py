"""Mamba-3's block with one input and one output per head (SISO) in PyTorch.

z, x, B, C, step, A, mix, θ = in(h)      widths E, E, N, N, H, H, H, R
B, C = norm(B) + b, norm(C) + c          biases per head
Δ = softplus(step + bias)    λ = σ(mix)    A = −max(h(A), 1e-4),  h(a) = 1 + a if a ≥ 0, else 1/(1 − a)
φ_t = Σ_{s ≤ t} Δ_s π tanh(θ_s)          k, q = B, C with R pairs of coordinates rotated by φ
α = exp(Δ A)
S_t = α_t S_{t−1} + (1 − λ_t) Δ_t α_t k_{t−1} x_{t−1}ᵀ + λ_t Δ_t k_t x_tᵀ      y_t = S_tᵀ q_t + skip x_t
out(y · silu(z))

The rates A are those of the authors' code; another implementation has softplus in place of h.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.kernels.activation import silu_gate
from bench.kernels.decay import Decay, scalar_decay
from bench.kernels.running_sum import running_sum
from bench.models.linear import Linear, output_projection
from bench.models.rotary import positional_angles
from bench.models.step_sizes import step_biases

EPSILON = 1e-5
SLOWEST_RATE = 1e-4


class Mamba3Module(nn.Module):
    """One state-space block with a trapezoidal rule and rotations, (B, L, D) → (B, L, D).

    Args:
        width: D.
        blocks: residual blocks of the model's layers; the output projection starts smaller by 1/√blocks.
        backend: name of the kernels' backend.
        state: N.
        head_dim: P, which divides E.
        expand: E over D.
        pairs: rotated pairs of coordinates.
        angles: angles that a token states; `pairs`, or 0 for fixed rotations and for none.
    """

    undecayed = ("step_bias", "skip")

    def __init__(
        self,
        width: int,
        blocks: int,
        backend: str,
        *,
        state: int,
        head_dim: int,
        expand: int,
        pairs: int,
        angles: int,
    ) -> None:
        super().__init__()
        inner = expand * width
        heads = inner // head_dim
        self.decay, self.silu_gate = scalar_decay(backend), silu_gate(backend)
        self.head_dim, self.pairs = head_dim, pairs
        self.splits = [inner, inner, state, state, heads, heads, heads, angles]
        self.input = Linear(width, sum(self.splits), backend, bias=False)
        self.B_norm, self.C_norm = nn.RMSNorm(state, eps=EPSILON), nn.RMSNorm(state, eps=EPSILON)
        self.B_bias, self.C_bias = (nn.Parameter(torch.ones(heads, state)) for _ in "BC")
        self.step_bias = nn.Parameter(step_biases(heads))
        self.skip = nn.Parameter(torch.ones(heads))
        self.output = output_projection(inner, width, blocks, backend)

    def forward(self, h: Tensor) -> Tensor:
        z, x, B, C, step, A, mix, angles = self.input(h).split(self.splits, dim=-1)
        step = functional.softplus(step + self.step_bias)
        k = self.B_norm(B).unsqueeze(2) + self.B_bias
        q = self.C_norm(C).unsqueeze(2) + self.C_bias
        if self.pairs:
            turns = summed_angles(step, angles) if angles.shape[-1] else fixed_angles(x, self.pairs)
            k, q = rotated(k, turns), rotated(q, turns)
        x = torch.unflatten(x, -1, (-1, self.head_dim))
        y = trapezoid(self.decay, q, k, x, step, rates(A), mix.sigmoid()) + self.skip.unsqueeze(-1) * x
        out: Tensor = self.output(self.silu_gate(y.flatten(-2), z))
        return out


def rates(A: Tensor) -> Tensor:
    """The rates −max(h(A), 1e-4) < 0 of the decays, with h(a) = 1 + a for a ≥ 0 and 1/(1 − a) for a < 0."""
    # As a quotient, neither case divides by zero, and the derivative at 0 is 1.
    return -((1 + A.clamp(min=0)) / (1 + functional.relu(-A))).clamp(min=SLOWEST_RATE)


def summed_angles(step: Tensor, angles: Tensor) -> Tensor:
    """φ_t = Σ_{s ≤ t} Δ_s π tanh(θ_s) mod 2π, (B, L, H) and (B, L, R) → (B, L, H, R)."""
    turns = step.unsqueeze(-1) * (math.pi * angles.tanh()).unsqueeze(2)
    sums = running_sum(turns.flatten(2)).remainder(2 * math.pi)
    return torch.unflatten(sums.to(step.dtype), -1, turns.shape[2:])


def fixed_angles(x: Tensor, pairs: int) -> Tensor:
    """Rotary embedding's angles of every position mod 2π for x (B, L, E): (L, 1, R)."""
    angles = positional_angles(x.shape[1], pairs, torch.float64, x.device)
    return angles.remainder(2 * math.pi).to(x.dtype).unsqueeze(1)


def rotated(values: Tensor, angles: Tensor) -> Tensor:
    """(..., N) with the first R pairs of adjacent coordinates rotated by the angles (..., R)."""
    turned, rest = values.tensor_split((2 * angles.shape[-1],), dim=-1)
    first, second = torch.unflatten(turned, -1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    turned = torch.stack((cos * first - sin * second, sin * first + cos * second), dim=-1).flatten(-2)
    return torch.cat((turned, rest), dim=-1)


def trapezoid(
    decay: Decay, q: Tensor, k: Tensor, x: Tensor, step: Tensor, rate: Tensor, mix: Tensor
) -> Tensor:
    """The recurrence S_t of this module's docstring, y_t = S_tᵀ q_t.

    Token s < t enters y_t with the weight exp(Σ_{s<j≤t} Δ_j A_j) (λ_s Δ_s + (1 − λ_{s+1}) Δ_{s+1}), token t
    itself with λ_t Δ_t. The sum over s < t is linear attention with decay, to which token t adds token t − 1.

    Args:
        decay: linear attention with a decay per head.
        q: (B, L, H, N).
        k: (B, L, H, N).
        x: (B, L, H, P).
        step: Δ, (B, L, H).
        rate: A, (B, L, H).
        mix: λ, (B, L, H).
    """
    log_decay, own = step * rate, mix * step
    weight = log_decay.exp() * (_previous(own) + step - own)
    earlier = decay(q, _previous(k), weight.unsqueeze(-1) * _previous(x), log_decay)
    return earlier + (own * (q * k).sum(-1)).unsqueeze(-1) * x


def _previous(values: Tensor) -> Tensor:
    """The values of the token before, (B, L, ...); zeros for the first."""
    return torch.cat((torch.zeros_like(values[:, :1]), values[:, :-1]), dim=1)
