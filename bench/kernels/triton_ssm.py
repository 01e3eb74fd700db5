"""The diagonal SSM in Triton: its recurrence in real arithmetic, one launch and one pass over the prompt.

With w = exp(exponent) and per channel M complex modes,

    h_t = w h_{t−1} + x_t        y_t = 2 Re Σ_n c_n h_{t,n} + skip x_t

A thread owns a channel and holds its modes in registers: tiles are (M, channels), one warp a program.
Nothing has to be kept for the gradient: dx is the same recurrence in reversed time, and since w does
not change with time, its gradient is carried forward beside h (p_t = ∂h_t/∂w = w p_{t−1} + h_{t−1}).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK, UNROLL, STAGES = 32, 4, 4


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _recurrence(
    x, w_real, w_imag, c_real, c_imag, skip, y, x_k, x_b, x_t, batch, length, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr, STAGES: tl.constexpr,
    REVERSE: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    tile = inside[None, :]
    within = (k * MODES + tl.arange(0, MODES)[:, None]) * channels + e[None, :]
    w_re, w_im = (
        tl.load(w_real + within, mask=tile, other=0.0),
        tl.load(w_imag + within, mask=tile, other=0.0),
    )
    c_re, c_im = (
        tl.load(c_real + within, mask=tile, other=0.0),
        tl.load(c_imag + within, mask=tile, other=0.0),
    )
    skips = tl.load(skip + k * channels + e, mask=inside, other=0.0)
    x += k * x_k + b * x_b + e
    y += row * length * channels + e
    re, im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    for first in tl.range(0, length, UNROLL, num_stages=STAGES):
        xs, ys = (), ()
        for i in tl.static_range(UNROLL):
            t = length - 1 - first - i if REVERSE else first + i
            xs += (tl.load(x + t * x_t, mask=inside & (first + i < length), other=0.0),)
        for i in tl.static_range(UNROLL):
            re, im = w_re * re - w_im * im + xs[i][None, :], w_re * im + w_im * re
            ys += (2 * tl.sum(c_re * re - c_im * im, axis=0) + skips * xs[i],)
        for i in tl.static_range(UNROLL):
            t = length - 1 - first - i if REVERSE else first + i
            tl.store(y + t * channels, ys[i], mask=inside & (first + i < length))


@triton.jit(do_not_specialize=["rows", "batch", "length", "channels"])
def _parameter_gradients(
    dy, x, w_real, w_imag, c_real, c_imag, sums, dskip, rows, x_k, x_b, x_t, batch, length, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """One prompt's share of dw = 2 c Σ_t dy_t p_t, dc = 2 Σ_t dy_t h_t (conjugated) and Σ_t dy_t x_t."""
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    tile = inside[None, :]
    n = tl.arange(0, MODES)[:, None]
    within = (k * MODES + n) * channels + e[None, :]
    w_re, w_im = (
        tl.load(w_real + within, mask=tile, other=0.0),
        tl.load(w_imag + within, mask=tile, other=0.0),
    )
    x += k * x_k + b * x_b + e
    dy += row * length * channels + e
    re, im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    p_re, p_im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    sum_re, sum_im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    sum_p_re, sum_p_im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    sum_skip = tl.zeros_like(tl.load(dskip + e, mask=e < 0, other=0.0))
    for first in tl.range(0, length, UNROLL, num_stages=STAGES):
        xs, ds = (), ()
        for i in tl.static_range(UNROLL):
            here = inside & (first + i < length)
            xs += (tl.load(x + (first + i) * x_t, mask=here, other=0.0),)
            ds += (tl.load(dy + (first + i) * channels, mask=here, other=0.0),)
        for i in tl.static_range(UNROLL):
            p_re, p_im = w_re * p_re - w_im * p_im + re, w_re * p_im + w_im * p_re + im
            re, im = w_re * re - w_im * im + xs[i][None, :], w_re * im + w_im * re
            d = ds[i][None, :]
            sum_re += d * re
            sum_im += d * im
            sum_p_re += d * p_re
            sum_p_im += d * p_im
            sum_skip += ds[i] * xs[i]
    c_re, c_im = (
        tl.load(c_real + within, mask=tile, other=0.0),
        tl.load(c_imag + within, mask=tile, other=0.0),
    )
    out = (row * MODES + n) * channels + e[None, :]
    each = rows.to(tl.int64) * MODES * channels
    tl.store(sums + out, 2 * (c_re * sum_p_re - c_im * sum_p_im), mask=tile)
    tl.store(sums + each + out, -2 * (c_re * sum_p_im + c_im * sum_p_re), mask=tile)
    tl.store(sums + 2 * each + out, 2 * sum_re, mask=tile)
    tl.store(sums + 3 * each + out, -2 * sum_im, mask=tile)
    tl.store(dskip + row * channels + e, sum_skip, mask=inside)


def forward(
    x: Tensor, w_real: Tensor, w_imag: Tensor, c_real: Tensor, c_imag: Tensor, skip: Tensor
) -> tuple[Tensor]:
    """Stacked inputs: x (K, B, L, E), w and c (K, M, E), skip (K, E) → y like x."""
    return (_run(x, w_real, w_imag, c_real, c_imag, skip, reverse=False),)


def backward(
    dy: Tensor, x: Tensor, w_real: Tensor, w_imag: Tensor, c_real: Tensor, c_imag: Tensor, skip: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the inputs, in their order."""
    K, batch, length, channels = x.shape
    modes = w_real.shape[1]
    dx = _run(dy, w_real, w_imag, c_real, c_imag, skip, reverse=True)
    x, dy = x if x.stride(-1) == 1 else x.contiguous(), dy.contiguous()
    sums = x.new_empty(4, K, batch, modes, channels)
    dskip = x.new_empty(K, batch, channels)
    if x.numel():
        _parameter_gradients[(K * batch * triton.cdiv(channels, BLOCK),)](
            dy, x, *(value.contiguous() for value in (w_real, w_imag, c_real, c_imag)), sums, dskip,
            K * batch, *x.stride()[:3], batch, length, channels,
            MODES=modes, BLOCK=BLOCK, UNROLL=UNROLL, STAGES=STAGES, num_warps=1,
        )  # fmt: skip
    return dx, *(value.clone() for value in sums.sum(2)), dskip.sum(1)


def _run(
    x: Tensor,
    w_real: Tensor,
    w_imag: Tensor,
    c_real: Tensor,
    c_imag: Tensor,
    skip: Tensor,
    *,
    reverse: bool,
) -> Tensor:
    K, batch, length, channels = x.shape
    modes = w_real.shape[1]
    if modes & (modes - 1):
        raise ValueError(f"the triton SSM takes 1, 2, 4, 8, … complex modes, not {modes}: use sequential")
    x = x if x.stride(-1) == 1 else x.contiguous()
    y = x.new_empty(x.shape)
    if y.numel():
        _recurrence[(K * batch * triton.cdiv(channels, BLOCK),)](
            x, *(value.contiguous() for value in (w_real, w_imag, c_real, c_imag, skip)), y,
            *x.stride()[:3], batch, length, channels,
            MODES=modes, BLOCK=BLOCK, UNROLL=UNROLL, STAGES=STAGES, REVERSE=reverse, num_warps=1,
        )  # fmt: skip
    return y
