"""Mamba's short convolution with its SiLU in Triton: one launch forward, one backward.

A program takes a stretch of tokens of one prompt and a block of channels. A thread owns a channel and
slides over the stretch; what the taps need from before and after it is read again.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

STRETCH, BLOCK = 16, 128


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _forward(
    x, weight, bias, y, x_k, x_b, x_t, batch, length, channels,
    TAPS: tl.constexpr, STRETCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    k, b = row // batch, row % batch
    first = tl.program_id(1) * STRETCH
    e = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    x += k * x_k + b * x_b + e
    y += row * length * channels + e
    weights, xs = (), ()
    for tap in tl.static_range(TAPS):
        weights += (tl.load(weight + (k * channels + e) * TAPS + tap, mask=inside, other=0.0),)
    bias_ = tl.load(bias + k * channels + e, mask=inside, other=0.0)
    for i in tl.static_range(STRETCH + TAPS - 1):
        t = first + i - (TAPS - 1)
        xs += (tl.load(x + t * x_t, mask=inside & (t >= 0) & (t < length), other=0.0),)
    for i in tl.static_range(STRETCH):
        before = bias_
        for tap in tl.static_range(TAPS):
            before += weights[tap] * xs[i + tap]
        here = inside & (first + i < length)
        tl.store(y + (first + i) * channels, before / (1 + tl.exp(-before)), mask=here)


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _backward(
    dy, x, weight, bias, dx, dweight, dbias, x_k, x_b, x_t, batch, length, channels,
    TAPS: tl.constexpr, STRETCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    k, b = row // batch, row % batch
    first = tl.program_id(1) * STRETCH
    e = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    x += k * x_k + b * x_b + e
    place = row * length * channels + e
    weights, xs, ds, sums = (), (), (), ()
    for tap in tl.static_range(TAPS):
        weights += (tl.load(weight + (k * channels + e) * TAPS + tap, mask=inside, other=0.0),)
        sums += (tl.zeros_like(weights[tap]),)
    bias_ = tl.load(bias + k * channels + e, mask=inside, other=0.0)
    bias_sum = tl.zeros_like(bias_)
    for i in tl.static_range(STRETCH + 2 * (TAPS - 1)):
        t = first + i - (TAPS - 1)
        xs += (tl.load(x + t * x_t, mask=inside & (t >= 0) & (t < length), other=0.0),)
    for i in tl.static_range(STRETCH + TAPS - 1):  # gradient before the SiLU
        d = tl.load(dy + place + (first + i) * channels, mask=inside & (first + i < length), other=0.0)
        before = bias_
        for tap in tl.static_range(TAPS):
            before += weights[tap] * xs[i + tap]
        sigmoid = 1 / (1 + tl.exp(-before))
        ds += (d * sigmoid * (1 + before * (1 - sigmoid)),)
    for i in tl.static_range(STRETCH):
        d_x = tl.zeros_like(bias_)
        sums_after = ()
        for tap in tl.static_range(TAPS):
            d_x += weights[TAPS - 1 - tap] * ds[i + tap]
            sums_after += (sums[tap] + ds[i] * xs[i + tap],)
        sums = sums_after
        bias_sum += ds[i]
        tl.store(dx + place + (first + i) * channels, d_x, mask=inside & (first + i < length))
    partial = row * tl.num_programs(1) + tl.program_id(1)
    tl.store(dbias + partial * channels + e, bias_sum, mask=inside)
    for tap in tl.static_range(TAPS):
        tl.store(dweight + (partial * TAPS + tap) * channels + e, sums[tap], mask=inside)


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor]:
    """Stacked inputs: x (K, B, L, E), weight (K, E, taps), bias (K, E) → y like x."""
    _, batch, length, channels = x.shape
    x = x if x.stride(-1) == 1 else x.contiguous()
    y = x.new_empty(x.shape)
    if y.numel():
        _forward[_grid(x)](
            x, weight.contiguous(), bias.contiguous(), y, *x.stride()[:3], batch, length, channels,
            TAPS=weight.shape[-1], STRETCH=STRETCH, BLOCK=BLOCK,
        )  # fmt: skip
    return (y,)


def backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the inputs, in their order."""
    K, batch, length, channels = x.shape
    taps = weight.shape[-1]
    x = x if x.stride(-1) == 1 else x.contiguous()
    dx = x.new_empty(x.shape)
    parts = batch * triton.cdiv(length, STRETCH)
    dweight, dbias = x.new_empty(K, parts, taps, channels), x.new_empty(K, parts, channels)
    if dx.numel():
        _backward[_grid(x)](
            dy.contiguous(), x, weight.contiguous(), bias.contiguous(), dx, dweight, dbias,
            *x.stride()[:3], batch, length, channels, TAPS=taps, STRETCH=STRETCH, BLOCK=BLOCK,
        )  # fmt: skip
    return dx, dweight.sum(1).transpose(1, 2).contiguous(), dbias.sum(1)


def _grid(x: Tensor) -> tuple[int, int, int]:
    K, batch, length, channels = x.shape
    return K * batch, triton.cdiv(length, STRETCH), triton.cdiv(channels, BLOCK)
