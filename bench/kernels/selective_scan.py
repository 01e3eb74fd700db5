"""The selective scan of Mamba (Gu & Dao 2023, Algorithm 2): one recurrence, several ways to compute it.

For every prompt and channel, with a state h of N numbers that starts at zero:

    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t          y_t = C_t · h_t + skip x_t

Shapes: x, Δ (B, L, E); A (E, N); B, C (B, L, N); skip (E,); y (B, L, E).

`reference` is the specification: a loop that autograd differentiates. `sequential` computes the same
with the gradient derived by hand; it keeps the states, reads each large array once, and is what runs
everywhere without a compiler. `mamba_ssm` calls the official CUDA kernel. A backend is chosen by
name; none replaces another silently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def reference(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor) -> Tensor:
    """The recurrence as it is written, one token after the other."""
    state = x.new_zeros(x.shape[0], x.shape[2], A.shape[1])
    outputs = []
    for x_t, delta_t, B_t, C_t in zip(x.unbind(1), delta.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        decay = torch.exp(delta_t.unsqueeze(-1) * A)
        state = decay * state + (delta_t * x_t).unsqueeze(-1) * B_t.unsqueeze(1)
        outputs.append((state * C_t.unsqueeze(1)).sum(-1))
    return torch.stack(outputs, dim=1) + skip * x


class _Sequential(torch.autograd.Function):
    """Time first: every array over (L, B, E, N) is made once, and only one product runs token by token.

    Backward: with g_t the gradient with respect to h_t,

        g_t = C_t dy_t + exp(Δ_{t+1} A) g_{t+1}

    and the rest are sums over all tokens of g_t with what stands beside h_t in the recurrence.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor) -> Tensor:
        x_, delta_, B_, C_ = (value.transpose(0, 1).contiguous() for value in (x, delta, B, C))
        decay = (delta_.unsqueeze(-1) * A).exp_()  # (L, B, E, N)
        states = (delta_ * x_).unsqueeze(-1) * B_.unsqueeze(2)
        for t in range(1, states.shape[0]):
            states[t].addcmul_(decay[t], states[t - 1])
        # On a CPU the exponential is a fifth of a training step and memory is plenty; on a GPU it is
        # the other way round, and it is computed again.
        ctx.save_for_backward(x_, delta_, A, B_, C_, skip, states, None if x.is_cuda else decay)
        y = torch.matmul(states, C_.unsqueeze(-1)).squeeze(-1) + skip * x_
        return y.transpose(0, 1).contiguous()

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        x, delta, A, B, C, skip, states, decay = ctx.saved_tensors
        dy = dy.transpose(0, 1).contiguous()
        if decay is None:
            decay = (delta.unsqueeze(-1) * A).exp_()
        g = dy.unsqueeze(-1) * C.unsqueeze(2)
        for t in range(g.shape[0] - 2, -1, -1):
            g[t].addcmul_(decay[t + 1], g[t + 1])
        dC = torch.matmul(dy.unsqueeze(-2), states).squeeze(-2)
        dB = torch.matmul((delta * x).unsqueeze(-2), g).squeeze(-2)
        d_input = torch.matmul(g, B.unsqueeze(-1)).squeeze(-1)  # gradient of Δ_t x_t
        exponent = g[1:].mul_(decay[1:]).mul_(states[:-1])  # gradient of Δ_t A; zero at t = 0
        d_delta = d_input * x
        d_delta[1:] += (exponent * A).sum(-1)
        dA = (exponent * delta[1:].unsqueeze(-1)).sum((0, 1))
        dx = d_input * delta + skip * dy
        d_skip = (dy * x).sum((0, 1))
        dx, d_delta, dB, dC = (value.transpose(0, 1) for value in (dx, d_delta, dB, dC))
        return dx, d_delta, dA, dB, dC, d_skip


def sequential(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor) -> Tensor:
    """`reference` with a hand-derived gradient; any device, capturable in a CUDA graph."""
    y: Tensor = _Sequential.apply(x, delta, A, B, C, skip)  # type: ignore[no-untyped-call]
    return y


def mamba_ssm(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor) -> Tensor:
    """The official CUDA kernel (extra `cuda`). Its gradients use float atomics: not bit-reproducible."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    x_, delta_, B_, C_ = (value.transpose(1, 2).contiguous() for value in (x, delta, B, C))
    y: Tensor = selective_scan_fn(x_, delta_, A, B_, C_, skip)
    return y.transpose(1, 2)


SCANS: dict[str, Scan] = {"reference": reference, "sequential": sequential, "mamba_ssm": mamba_ssm}
