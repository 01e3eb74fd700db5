"""The selective scan with its gradient derived by hand, in plain PyTorch: any device, no compiler.

It keeps the states and reads each large array once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.operators import operator


def sequential(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> Tensor:
    """`reference` with a hand-derived gradient; any device, capturable in a CUDA graph."""
    y: Tensor = _recurrence(x, functional.softplus(step + bias), A, B, C, skip)
    return y * functional.silu(z)


def _run_recurrence(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Time first: every array over (L, K, B, E, N) is made once, and only one product runs token by token."""
    x_, delta_, B_, C_ = (_time_first(value) for value in (x, delta, B, C))
    decay = (delta_.unsqueeze(-1) * A.unsqueeze(1)).exp_()
    states = (delta_ * x_).unsqueeze(-1) * B_.unsqueeze(3)
    for t in range(1, states.shape[0]):
        states[t].addcmul_(decay[t], states[t - 1])
    y = torch.matmul(states, C_.unsqueeze(-1)).squeeze(-1) + skip.unsqueeze(1) * x_
    # On a CPU the exponential is a fifth of a training step and memory is plenty; on a GPU it is
    # the other way round, and it is computed again.
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
    """The gradient by hand.

    With g_t the gradient with respect to h_t,

        g_t = C_t dy_t + exp(Δ_{t+1} A) g_{t+1}

    and the rest are sums over all tokens of g_t with what stands beside h_t in the recurrence.
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
