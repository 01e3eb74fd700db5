"""The diagonal SSM in Triton: its recurrence in real arithmetic; a launch forward, and three backward.

With w = exp(exponent) and per channel M complex modes,

    h_t = w h_{t−1} + x_t        y_t = 2 Re Σ_n c_n h_{t,n} + skip x_t

A thread owns a channel and holds its modes in registers: nothing is exchanged between threads. A program,
one warp, takes one prompt and a block of channels.
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

LAUNCH = {"BLOCK": 32, "UNROLL": 8, "STAGES": 3}
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
    skips = tl.load(skip + k * channels + e, mask=inside, other=0.0)
    w, c, h = (), (), ()
    for n in tl.static_range(MODES):
        within = ((k * channels + e) * MODES + n) * 2
        w += (_exp(exponent + within, inside),)
        c += (_complex(weight + within, inside),)
        h += ((tl.zeros_like(skips), tl.zeros_like(skips)),)
    x += k * x_k + b * x_b + e
    y += row * length * channels + e
    for first in tl.range(0, length, UNROLL, num_stages=STAGES):
        xs, ys = (), ()
        for i in tl.static_range(UNROLL):
            t = length - 1 - first - i if REVERSE else first + i
            xs += (tl.load(x + t * x_t, mask=inside & (first + i < length), other=0.0),)
        for i in tl.static_range(UNROLL):
            after, y_t = (), tl.zeros_like(skips)
            for n in tl.static_range(MODES):
                re, im = _times_plus(w[n], h[n], (xs[i], 0.0))
                y_t = y_t + c[n][0] * re - c[n][1] * im
                after += ((re, im),)
            h = after
            ys += (2 * y_t + skips * xs[i],)
        for i in tl.static_range(UNROLL):
            t = length - 1 - first - i if REVERSE else first + i
            tl.store(y + t * channels, ys[i], mask=inside & (first + i < length))


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _parameter_gradients(
    dy, x, exponent, weight, by_prompt, x_k, x_b, x_t, batch, length, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """One prompt's share of the gradients: 2 w c Σ_t dy_t p_t of the exponent, 2 Σ_t dy_t h_t of the weight
    (both conjugated, as PyTorch has it), and Σ_t dy_t x_t of the skip.
    """
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    x += k * x_k + b * x_b + e
    dy += row * length * channels + e
    zero = tl.zeros((BLOCK,), dtype=by_prompt.dtype.element_ty)
    sum_skip = zero
    w, h, p, sum_h, sum_p = (), (), (), (), ()
    for n in tl.static_range(MODES):
        w += (_exp(exponent + ((k * channels + e) * MODES + n) * 2, inside),)
        h += ((zero, zero),)
        p += ((zero, zero),)
        sum_h += ((zero, zero),)
        sum_p += ((zero, zero),)
    for first in tl.range(0, length, UNROLL, num_stages=STAGES):
        xs, ds = (), ()
        for i in tl.static_range(UNROLL):
            here = inside & (first + i < length)
            xs += (tl.load(x + (first + i) * x_t, mask=here, other=0.0),)
            ds += (tl.load(dy + (first + i) * channels, mask=here, other=0.0),)
        for i in tl.static_range(UNROLL):
            h_after, p_after, h_sums, p_sums = (), (), (), ()
            for n in tl.static_range(MODES):
                p_re, p_im = _times_plus(w[n], p[n], h[n])
                re, im = _times_plus(w[n], h[n], (xs[i], 0.0))
                h_after += ((re, im),)
                p_after += ((p_re, p_im),)
                h_sums += ((sum_h[n][0] + ds[i] * re, sum_h[n][1] + ds[i] * im),)
                p_sums += ((sum_p[n][0] + ds[i] * p_re, sum_p[n][1] + ds[i] * p_im),)
            h, p, sum_h, sum_p = h_after, p_after, h_sums, p_sums
            sum_skip += ds[i] * xs[i]
    by_prompt += row * (4 * MODES + 1) * channels + e
    for n in tl.static_range(MODES):
        c = _complex(weight + ((k * channels + e) * MODES + n) * 2, inside)
        da_re, da_im = _times_plus(w[n], _times_plus(c, sum_p[n], (0.0, 0.0)), (0.0, 0.0))
        tl.store(by_prompt + n * channels, 2 * da_re, mask=inside)
        tl.store(by_prompt + (MODES + n) * channels, -2 * da_im, mask=inside)
        tl.store(by_prompt + (2 * MODES + n) * channels, 2 * sum_h[n][0], mask=inside)
        tl.store(by_prompt + (3 * MODES + n) * channels, -2 * sum_h[n][1], mask=inside)
    tl.store(by_prompt + 4 * MODES * channels, sum_skip, mask=inside)


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
def _times_plus(a, b, c):
    """Real and imaginary part of a b + c, each two fused operations."""
    return c[0] + a[0] * b[0] - a[1] * b[1], c[1] + a[0] * b[1] + a[1] * b[0]


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
    x = x if x.stride(-1) == 1 else x.contiguous()
    y = x.new_empty(x.shape)
    if y.numel():
        _recurrence[(K * batch * triton.cdiv(channels, LAUNCH["BLOCK"]),)](
            x, exponent.contiguous(), weight.contiguous(), skip.contiguous(), y,
            *x.stride()[:3], batch, length, channels, MODES=modes, **LAUNCH, REVERSE=reverse, num_warps=1,
        )  # fmt: skip
    return y
