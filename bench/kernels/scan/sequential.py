"""The selective scan with a hand-written gradient in plain PyTorch, for any device, without a compiler.

It keeps the states of all tokens and reads each large array once. Autograd of the reference would instead
keep several arrays per token and launch its operations token by token.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.operators import operator


def scan(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> Tensor:
    """The scan; a CUDA graph can capture it."""
    y: Tensor = _recurrence(x, functional.softplus(step + bias), A, B, C, skip)
    return y * functional.silu(z)


def _run_recurrence(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The recurrence with time first. Only `addcmul_` runs token by token, on slices (K, B, E, N)."""
    x_, delta_, B_, C_ = (_time_first(value) for value in (x, delta, B, C))
    decay = (delta_.unsqueeze(-1) * A.unsqueeze(1)).exp_()
    states = (delta_ * x_).unsqueeze(-1) * B_.unsqueeze(3)
    for t in range(1, states.shape[0]):
        states[t].addcmul_(decay[t], states[t - 1])
    y = torch.matmul(states, C_.unsqueeze(-1)).squeeze(-1) + skip.unsqueeze(1) * x_
    # On a CPU the exponential takes a fifth of a training step and memory suffices to keep its result. On a
    # GPU memory is scarce and the exponential cheap, so the backward pass computes it again.
    kept = decay[:0].clone() if x.is_cuda else decay
    return y.movedim(0, 2).contiguous(), states.movedim(1, 0), kept.movedim(1, 0)


def _differentiate_recurrence(
    dy: Tensor,
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    skip: Tensor,
    states: Tensor,
    decay: Tensor,
) -> tuple[Tensor, ...]:
    """The hand-written gradient.

    With g_t the gradient with respect to h_t:

    g_t = C_t dy_t + exp(Δ_{t+1} A) g_{t+1}
    d(Δ_t x_t) = B_t · g_t            dB_t = Σ_e Δ_t x_t g_t          dC_t = Σ_e dy_t h_t
    d(Δ_t A) = g_t exp(Δ_t A) h_{t−1}       dA = Σ_t Δ_t d(Δ_t A)
    """
    dy, x, delta, B, C = (_time_first(value) for value in (dy, x, delta, B, C))
    A_, states, decay = A.unsqueeze(1), states.movedim(0, 1), decay.movedim(0, 1)
    if x.is_cuda:
        decay = (delta.unsqueeze(-1) * A_).exp_()
    g = dy.unsqueeze(-1) * C.unsqueeze(3)
    for t in range(g.shape[0] - 2, -1, -1):
        g[t].addcmul_(decay[t + 1], g[t + 1])
    dC = torch.matmul(dy.unsqueeze(-2), states).squeeze(-2)
    dB = torch.matmul((delta * x).unsqueeze(-2), g).squeeze(-2)
    d_input = torch.matmul(g, B.unsqueeze(-1)).squeeze(-1)  # gradient of Δ_t x_t
    exponent = g[1:].mul_(decay[1:]).mul_(states[:-1])  # gradient of Δ_t A; zero at t = 0
    d_delta = d_input * x
    d_delta[1:] += (exponent * A_).sum(-1)
    dA = (exponent * delta[1:].unsqueeze(-1)).sum((0, 2))
    dx = d_input * delta + skip.unsqueeze(1) * dy
    d_skip = (dy * x).sum((0, 2))
    dx, d_delta, dB, dC = (value.movedim(0, 2).contiguous() for value in (dx, d_delta, dB, dC))
    return dx, d_delta, dA, dB, dC, d_skip


def _recurrence_shapes(x: Tensor, delta: Tensor, A: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    (K, batch, length, channels), state = x.shape, A.shape[-1]
    kept = [x.new_empty(steps, K, batch, channels, state) for steps in (length, 0 if x.is_cuda else length)]
    return x.new_empty(x.shape), *(value.movedim(1, 0) for value in kept)


def _time_first(value: Tensor) -> Tensor:
    return value.movedim(2, 0).contiguous()


_recurrence = operator(
    "recurrence",
    ("x", "delta", "A", "B", "C", "skip"),
    ("states", "decay"),
    _run_recurrence,
    _differentiate_recurrence,
    _recurrence_shapes,
)
