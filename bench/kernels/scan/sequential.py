"""The selective scan of Mamba (Gu & Dao 2023, Algorithm 2): one recurrence, several ways to compute it.

For every prompt and channel, with a state h of N numbers that starts at zero:

    Δ_t = softplus(step_t + bias)
    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t          y_t = (C_t · h_t + skip x_t) · silu(z_t)

Shapes: x, step, z (B, L, E); bias, skip (E,); A (E, N); B, C (B, L, N); y (B, L, E).

`reference` is the specification: a loop that autograd differentiates. `sequential` computes the same
with the gradient derived by hand; it keeps the states, reads each large array once, and is what runs
everywhere without a compiler. `triton` is one fused kernel each way, and needs an NVIDIA GPU.
`mamba_ssm` calls the official CUDA kernel. A backend is chosen by name; none replaces another silently.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.operators import operator

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
ARGUMENTS = ("x", "step", "bias", "A", "B", "C", "skip", "z")


def reference(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> Tensor:
    """The recurrence as it is written, one token after the other."""
    delta = functional.softplus(step + bias)
    state = x.new_zeros(x.shape[0], x.shape[2], A.shape[1])
    outputs = []
    for x_t, delta_t, B_t, C_t in zip(x.unbind(1), delta.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        decay = torch.exp(delta_t.unsqueeze(-1) * A)
        state = decay * state + (delta_t * x_t).unsqueeze(-1) * B_t.unsqueeze(1)
        outputs.append((state * C_t.unsqueeze(1)).sum(-1))
    return (torch.stack(outputs, dim=1) + skip * x) * functional.silu(z)


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


@functools.cache
def _triton() -> Scan:
    from bench.kernels import fused_scan

    def shapes(x: Tensor, step: Tensor, bias: Tensor, A: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        (K, batch, length, channels), state = x.shape, A.shape[-1]
        starts = -(-length // fused_scan.CHUNK)
        kept = x.new_empty(K, batch, starts, state, channels), x.new_empty(K, state, channels)
        return x.new_empty(x.shape), x.new_empty(x.shape), *kept

    kept = ("delta", "starts", "tile")
    return operator("scan_triton", ARGUMENTS, kept, fused_scan.forward, fused_scan.backward, shapes)


@functools.cache
def _official() -> Scan:
    from bench.kernels import official_scan

    def shapes(x: Tensor, step: Tensor, bias: Tensor, A: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        (K, batch, length, channels), state = x.shape, A.shape[-1]
        pieces = -(-length // official_scan.PIECE)
        kept = [x.new_empty(batch, K, channels, *last) for last in ((length,), (pieces, 2 * state))]
        return x.new_empty(x.shape), *(value.movedim(1, 0) for value in kept)

    kept = ("ungated", "states")
    return operator("scan_mamba_ssm", ARGUMENTS, kept, official_scan.forward, official_scan.backward, shapes)


BACKENDS: dict[str, Callable[[], Scan]] = {
    "reference": lambda: reference,
    "sequential": lambda: sequential,
    "triton": _triton,
    "mamba_ssm": _official,
}


def selective_scan(name: str) -> Scan:
    """The backend `name` (`bench.kernels.backends.NAMES`); imports what it needs."""
    return BACKENDS[name]()
