"""The diagonal SSM in Triton: its recurrence in real arithmetic; a launch forward, and three backward.

With w = exp(exponent) and per channel M complex modes,

    h_t = w h_{t−1} + x_t        y_t = 2 Re Σ_n c_n h_{t,n} + skip x_t

A thread owns a channel and holds its modes in registers: tiles are (M, channels), one warp a program.
Nothing has to be kept for the gradient: dx is the same recurrence in reversed time, and since w does
not change with time, its gradient is carried forward beside h (p_t = ∂h_t/∂w = w p_{t−1} + h_{t−1}).
What each prompt adds to the parameters' gradients is summed over prompts in one order.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

LAUNCH = {"BLOCK": 32, "UNROLL": 4, "STAGES": 4}
"""Channels a program takes, tokens it computes together, and how many such are under way."""
SUMS = {"PROMPTS": 64, "CHANNELS": 32}
"""Partial sums that a program adds at once."""


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _recurrence(
    x, exponent, weight, skip, y, x_k, x_b, x_t, batch, length, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr, STAGES: tl.constexpr,
    REVERSE: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    within = ((k * channels + e[None, :]) * MODES + tl.arange(0, MODES)[:, None]) * 2
    w_re, w_im = _exp(exponent + within, inside[None, :])
    c_re, c_im = _complex(weight + within, inside[None, :])
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


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _parameter_gradients(
    dy, x, exponent, weight, by_prompt, x_k, x_b, x_t, batch, length, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """One prompt's share of dc = 2 Σ_t dy_t h_t and dw = 2 c Σ_t dy_t p_t (conjugated), and Σ_t dy_t x_t.

    What leaves is the gradient of the exponent, dw conj(w).
    """
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    tile = inside[None, :]
    n = tl.arange(0, MODES)[:, None]
    within = ((k * channels + e[None, :]) * MODES + n) * 2
    w_re, w_im = _exp(exponent + within, tile)
    x += k * x_k + b * x_b + e
    dy += row * length * channels + e
    re, im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    p_re, p_im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    sum_re, sum_im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    sum_p_re, sum_p_im = tl.zeros_like(w_re), tl.zeros_like(w_re)
    sum_skip = tl.zeros((BLOCK,), dtype=by_prompt.dtype.element_ty)
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
    c_re, c_im = _complex(weight + within, tile)
    dw_re = 2 * (c_re * sum_p_re - c_im * sum_p_im)
    dw_im = -2 * (c_re * sum_p_im + c_im * sum_p_re)
    by_prompt += row * (4 * MODES + 1) * channels + e
    lines, each = by_prompt[None, :] + n * channels, MODES * channels
    tl.store(lines, dw_re * w_re + dw_im * w_im, mask=tile)
    tl.store(lines + each, dw_im * w_re - dw_re * w_im, mask=tile)
    tl.store(lines + 2 * each, 2 * sum_re, mask=tile)
    tl.store(lines + 3 * each, -2 * sum_im, mask=tile)
    tl.store(by_prompt + 4 * each, sum_skip, mask=inside)


@triton.jit(do_not_specialize=["batch", "channels"])
def _add_up(
    by_prompt, dexponent, dweight, dskip, batch, channels,
    MODES: tl.constexpr, PROMPTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One of a prompt's lines summed over prompts, always in the same order."""
    k = tl.program_id(0).to(tl.int64)
    line = tl.program_id(1)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = e < channels
    b = tl.arange(0, PROMPTS)
    lines = by_prompt + ((k * batch + b[:, None]) * (4 * MODES + 1) + line) * channels + e[None, :]
    sums = tl.zeros((PROMPTS, CHANNELS), dtype=dskip.dtype.element_ty)
    for since in range(0, batch, PROMPTS):
        known = (since + b < batch)[:, None] & inside[None, :]
        sums += tl.load(lines + since * (4 * MODES + 1) * channels, mask=known, other=0.0)
    total = tl.sum(sums, axis=0)
    part, n = line // MODES, line % MODES  # real and imaginary of the exponent, then of the weight
    place = ((k * channels + e) * MODES + n) * 2 + part % 2
    tl.store(dexponent + place, total, mask=inside & (part < 2))
    tl.store(dweight + place, total, mask=inside & (part >= 2) & (part < 4))
    tl.store(dskip + k * channels + e, total, mask=inside & (part == 4))


@triton.jit
def _complex(place, mask):
    """Real and imaginary part, which lie side by side."""
    return tl.load(place, mask=mask, other=0.0), tl.load(place + 1, mask=mask, other=0.0)


@triton.jit
def _exp(place, mask):
    """Real and imaginary part of the exponential."""
    re, im = _complex(place, mask)
    size = tl.exp(re)
    return size * tl.cos(im), size * tl.sin(im)


def forward(x: Tensor, exponent: Tensor, weight: Tensor, skip: Tensor) -> tuple[Tensor]:
    """Stacked inputs: x (K, B, L, E), exponent and weight (K, E, M, 2), skip (K, E) → y like x."""
    return (_run(x, exponent, weight, skip, reverse=False),)


def backward(
    dy: Tensor, x: Tensor, exponent: Tensor, weight: Tensor, skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the inputs, in their order."""
    K, batch, length, channels = x.shape
    modes = exponent.shape[2]
    dx = _run(dy, exponent, weight, skip, reverse=True)
    dexponent, dweight, dskip = (value.new_empty(value.shape) for value in (exponent, weight, skip))
    if not x.numel():
        return dx, dexponent.zero_(), dweight.zero_(), dskip.zero_()
    x = x if x.stride(-1) == 1 else x.contiguous()
    by_prompt = x.new_empty(K, batch, 4 * modes + 1, channels)
    _parameter_gradients[(K * batch * triton.cdiv(channels, LAUNCH["BLOCK"]),)](
        dy.contiguous(), x, exponent.contiguous(), weight.contiguous(), by_prompt,
        *x.stride()[:3], batch, length, channels, MODES=modes, **LAUNCH, num_warps=1,
    )  # fmt: skip
    _add_up[(K, 4 * modes + 1, triton.cdiv(channels, SUMS["CHANNELS"]))](
        by_prompt, dexponent, dweight, dskip, batch, channels, MODES=modes, **SUMS
    )
    return dx, dexponent, dweight, dskip


def _run(x: Tensor, exponent: Tensor, weight: Tensor, skip: Tensor, *, reverse: bool) -> Tensor:
    K, batch, length, channels = x.shape
    modes = exponent.shape[2]
    if modes & (modes - 1):
        raise ValueError(f"the triton SSM takes 1, 2, 4, 8, … complex modes, not {modes}: use sequential")
    x = x if x.stride(-1) == 1 else x.contiguous()
    y = x.new_empty(x.shape)
    if y.numel():
        _recurrence[(K * batch * triton.cdiv(channels, LAUNCH["BLOCK"]),)](
            x, exponent.contiguous(), weight.contiguous(), skip.contiguous(), y,
            *x.stride()[:3], batch, length, channels, MODES=modes, **LAUNCH, REVERSE=reverse, num_warps=1,
        )  # fmt: skip
    return y
