"""Mamba's short convolution with its SiLU in Triton: one launch forward, two backward.

A program processes a stretch of tokens of a prompt and a block of channels; in the backward pass, several
stretches in turn. A thread computes a channel. Tokens before and after the stretch that its taps need are
read again. Sums over prompts and tokens are written as partial sums, then added in a fixed order, so that two
runs agree to the bit.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.branches import aside
from bench.kernels.convolution import ARGUMENTS
from bench.kernels.operators import like_first, operator, rows
from bench.kernels.triton_functions import sigmoid_of

LAUNCH = {"STRETCH": 16, "BLOCK": 128}
"""Tokens of a stretch, and channels of a program."""
SUMS = {"PARTS": 128, "CHANNELS": 16}
"""Partial sums that a program adds at once, and its channels."""


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _convolution_forward(
    x, weight, bias, y, x_k, x_b, x_t, batch, length, channels,
    TAPS: tl.constexpr, STRETCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The outputs of a stretch of tokens for a block of channels.

    Registers hold the taps' weights and `xs`, the stretch with the TAPS − 1 tokens before it. Tokens before
    the prompt and after it are zero.
    """
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
        valid = inside & (first + i < length)
        tl.store(y + (first + i) * channels, before * sigmoid_of(before), mask=valid)


@triton.jit(do_not_specialize=["rounds", "batch", "length", "channels"])
def _convolution_backward(
    dy, x, weight, bias, dx, partial, x_k, x_b, x_t, dx_t, rounds, batch, length, channels,
    TAPS: tl.constexpr, STRETCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of x for several stretches, and the program's part of those of weight and bias.

    dx_t is a sum over the outputs t … t + TAPS − 1. `ds` are their gradients before the SiLU. They need the
    outputs before the SiLU, which are computed again from `xs`: the stretch with TAPS − 1 more tokens on both
    sides. `sums` and `bias_sum` stay in registers from stretch to stretch.
    """
    row = tl.program_id(0).to(tl.int64)
    k, b = row // batch, row % batch
    e = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    x += k * x_k + b * x_b + e
    dy += row * length * channels + e
    dx += row * length * dx_t + e
    weights, sums = (), ()
    for tap in tl.static_range(TAPS):
        weights += (tl.load(weight + (k * channels + e) * TAPS + tap, mask=inside, other=0.0),)
        sums += (tl.zeros_like(weights[tap]),)
    bias_ = tl.load(bias + k * channels + e, mask=inside, other=0.0)
    bias_sum = tl.zeros_like(bias_)
    for round in range(rounds):
        first = (tl.program_id(1) * rounds + round) * STRETCH
        xs, ds = (), ()
        for i in tl.static_range(STRETCH + 2 * (TAPS - 1)):
            t = first + i - (TAPS - 1)
            xs += (tl.load(x + t * x_t, mask=inside & (t >= 0) & (t < length), other=0.0),)
        for i in tl.static_range(STRETCH + TAPS - 1):  # gradient before the SiLU
            d = tl.load(dy + (first + i) * channels, mask=inside & (first + i < length), other=0.0)
            before = bias_
            for tap in tl.static_range(TAPS):
                before += weights[tap] * xs[i + tap]
            sigmoid = sigmoid_of(before)
            ds += (d * sigmoid * (1 + before * (1 - sigmoid)),)
        for i in tl.static_range(STRETCH):
            d_x = tl.zeros_like(bias_)
            sums_after = ()
            for tap in tl.static_range(TAPS):
                d_x += weights[TAPS - 1 - tap] * ds[i + tap]
                sums_after += (sums[tap] + ds[i] * xs[i + tap],)
            sums = sums_after
            bias_sum += ds[i]
            tl.store(dx + (first + i) * dx_t, d_x, mask=inside & (first + i < length))
    partial += (row * tl.num_programs(1) + tl.program_id(1)) * (TAPS + 1) * channels + e
    for tap in tl.static_range(TAPS):
        tl.store(partial + tap * channels, sums[tap], mask=inside)
    tl.store(partial + TAPS * channels, bias_sum, mask=inside)


@triton.jit(do_not_specialize=["parts", "channels"])
def _convolution_sums(
    partial, dweight, dbias, parts, channels,
    TAPS: tl.constexpr, PARTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients of weight and bias from partial sums, always added in the same order.

    `line` is a tap, or the bias after the last tap. `bench.kernels.triton_sums` has a kernel like this one. A
    common kernel could add in another order, which would change the bits of results.
    """
    k = tl.program_id(0).to(tl.int64)
    line = tl.program_id(1)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = e < channels
    part = tl.arange(0, PARTS)
    lines = partial + ((k * parts + part[:, None]) * (TAPS + 1) + line) * channels + e[None, :]
    sums = tl.zeros((PARTS, CHANNELS), dtype=dweight.dtype.element_ty)
    for first in range(0, parts, PARTS):
        valid = (first + part < parts)[:, None] & inside[None, :]
        sums += tl.load(lines + first * (TAPS + 1) * channels, mask=valid, other=0.0)
    total = tl.sum(sums, axis=0)
    tl.store(dweight + (k * channels + e) * TAPS + line, total, mask=inside & (line < TAPS))
    tl.store(dbias + k * channels + e, total, mask=inside & (line == TAPS))


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor]:
    """Stacked inputs: x (K, B, L, E), weight (K, E, taps), bias (K, E) → y like x."""
    K, batch, length, channels = x.shape
    x = rows(x)
    y = x.new_empty(x.shape)
    if y.numel():
        grid = K * batch, triton.cdiv(length, LAUNCH["STRETCH"]), triton.cdiv(channels, LAUNCH["BLOCK"])
        _convolution_forward[grid](
            x, weight.contiguous(), bias.contiguous(), y, *x.stride()[:3], batch, length, channels,
            TAPS=weight.shape[-1], **LAUNCH,
        )  # fmt: skip
    return (y,)


def backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the inputs, in their order."""
    dx = x.new_empty(x.shape)
    partial = input_gradient(dy, x, weight, bias, dx)
    with aside(partial):
        of_parameters = sums(partial, weight, bias)
    return dx, *of_parameters


def input_gradient(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, dx: Tensor) -> Tensor:
    """Fill dx; return partial sums of the other gradients.

    dx is contiguous, or a slice of the last dimension of a contiguous tensor.
    """
    K, batch, length, channels = x.shape
    taps = weight.shape[-1]
    x = rows(x)
    stretches = triton.cdiv(length, LAUNCH["STRETCH"])
    # As many stretches per program as programs per prompt, so that both sums are short.
    rounds = max(1, round(math.sqrt(stretches)))
    programs = triton.cdiv(stretches, rounds)
    partial = x.new_empty(K, batch * programs, taps + 1, channels)
    if dx.numel():
        _convolution_backward[(K * batch, programs, triton.cdiv(channels, LAUNCH["BLOCK"]))](
            dy.contiguous(), x, weight.contiguous(), bias.contiguous(), dx, partial, *x.stride()[:3],
            dx.stride(2), rounds, batch, length, channels, TAPS=taps, **LAUNCH,
        )  # fmt: skip
    return partial


def sums(partial: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias from their partial sums."""
    K, parts, lines, channels = partial.shape
    dweight, dbias = weight.new_empty(weight.shape), bias.new_empty(bias.shape)
    if not partial.numel():
        return dweight.zero_(), dbias.zero_()
    _convolution_sums[(K, lines, triton.cdiv(channels, SUMS["CHANNELS"]))](
        partial, dweight, dbias, parts, channels, TAPS=lines - 1, **SUMS
    )
    return dweight, dbias


convolution = operator(
    "convolution_triton", ARGUMENTS, (), forward, backward, like_first, parameters=ARGUMENTS[1:]
)
