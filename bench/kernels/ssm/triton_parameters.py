"""Parameters of the diagonal SSM in Triton: modes from parameters, and the gradients of the parameters.

`bench.kernels.ssm.triton` computes each prompt's gradients of log w and c. Here they are summed over prompts
in a fixed order, and the chain rule gives the gradients of the parameters. Complex numbers are pairs.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

from bench.kernels.triton_functions import one_minus_exp

SUMS = {"PROMPTS": 64, "CHANNELS": 32}
"""Partial sums that a program of `add_up` adds at once."""


@triton.jit(do_not_specialize=["batch", "channels"])
def add_up(by_prompt, sums, batch, channels, PROMPTS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sum a line over prompts, in a fixed order."""
    k, lines = tl.program_id(0).to(tl.int64), tl.num_programs(1)
    line = tl.program_id(1)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = e < channels
    b = tl.arange(0, PROMPTS)
    place = by_prompt + ((k * batch + b[:, None]) * lines + line) * channels + e[None, :]
    parts = tl.zeros((PROMPTS, CHANNELS), dtype=sums.dtype.element_ty)
    for since in range(0, batch, PROMPTS):
        valid = (since + b < batch)[:, None] & inside[None, :]
        parts += tl.load(place + since * lines * channels, mask=valid, other=0.0)
    tl.store(sums + (k * lines + line) * channels + e, tl.sum(parts, axis=0), mask=inside)


@triton.jit(do_not_specialize=["channels"])
def to_parameters(
    sums, log_step, log_decay, frequency, C, dlog_step, dlog_decay, dfrequency, dC, dskip, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From gradients of log w = Δ A and c = C (w − 1)/A to those of Δ, A and C, by the chain rule."""
    k = tl.program_id(0).to(tl.int64)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    sums += k * (4 * MODES + 1) * channels + e
    d_step = tl.zeros((BLOCK,), dtype=sums.dtype.element_ty)
    for n in tl.static_range(MODES):
        at = (k * channels + e) * MODES + n
        step, a, w, hold = mode(log_step + k * channels + e, log_decay + at, frequency + at, inside)
        d_log_w = _pair(sums + n * channels, MODES * channels, inside)
        d_c = _pair(sums + (2 * MODES + n) * channels, MODES * channels, inside)
        d_C = _times_conjugate(d_c, hold)
        d_w = _over_conjugate(_times_conjugate(d_c, complex_at(C + 2 * at, inside)), a)  # that of w − 1
        d_a = _times_conjugate(d_w, hold)  # minus the part of A as a divisor
        through_w = _times_conjugate(d_w, w)
        d_log_w = (d_log_w[0] + through_w[0], d_log_w[1] + through_w[1])
        d_step += d_log_w[0] * a[0] + d_log_w[1] * a[1]
        tl.store(dlog_decay + at, (step * d_log_w[0] - d_a[0]) * a[0], mask=inside)
        tl.store(dfrequency + at, step * d_log_w[1] - d_a[1], mask=inside)
        tl.store(dC + 2 * at, d_C[0], mask=inside)
        tl.store(dC + 2 * at + 1, d_C[1], mask=inside)
    step = tl.exp(tl.load(log_step + k * channels + e, mask=inside, other=0.0))
    tl.store(dlog_step + k * channels + e, step * d_step, mask=inside)
    skips = tl.load(sums + 4 * MODES * channels, mask=inside, other=0.0)
    tl.store(dskip + k * channels + e, skips, mask=inside)


@triton.jit
def mode(log_step, log_decay, frequency, mask):
    """Δ, A, w = exp(Δ A) and (w − 1)/A."""
    step = tl.exp(tl.load(log_step, mask=mask, other=0.0))
    a = (-tl.exp(tl.load(log_decay, mask=mask, other=0.0)), tl.load(frequency, mask=mask, other=0.0))
    size, turn = tl.exp(step * a[0]), step * a[1]
    w = (size * tl.cos(turn), size * tl.sin(turn))
    half = tl.sin(turn / 2)  # w − 1 without cancellation, as Δ starts at 0.001: cos x = 1 − 2 sin²(x/2)
    less = -one_minus_exp(-step * a[0]) * tl.cos(turn) - 2 * half * half
    return step, a, w, _over_conjugate((less, w[1]), (a[0], -a[1]))


@triton.jit
def complex_at(place, mask):
    """Real and imaginary part, which lie side by side."""
    return _pair(place, 1, mask)


@triton.jit
def _pair(place, apart, mask):
    """The number at `place` and the one `apart` numbers further."""
    return tl.load(place, mask=mask, other=0.0), tl.load(place + apart, mask=mask, other=0.0)


@triton.jit
def times_plus(a, b, c):
    """Real and imaginary part of a b + c, each two fused operations."""
    return c[0] + a[0] * b[0] - a[1] * b[1], c[1] + a[0] * b[1] + a[1] * b[0]


@triton.jit
def _times_conjugate(a, b):
    """The product a b̄."""
    return a[0] * b[0] + a[1] * b[1], a[1] * b[0] - a[0] * b[1]


@triton.jit
def _over_conjugate(a, b):
    """The quotient a / b̄, which is a b / |b|²."""
    square = b[0] * b[0] + b[1] * b[1]
    return (a[0] * b[0] - a[1] * b[1]) / square, (a[0] * b[1] + a[1] * b[0]) / square
