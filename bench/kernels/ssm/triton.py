"""The diagonal SSM in Triton, in real arithmetic: one launch forward, four backward.

A program is one warp; it processes a prompt and a block of channels. A thread computes a channel and has its
modes in registers, so that threads exchange nothing. The forward pass keeps no tensors for the gradient: dx
is the same recurrence in reversed time. Because w does not depend on time, its derivative is computed forward
beside h: p_t = ∂h_t/∂w = w p_{t−1} + h_{t−1}. Each prompt's gradients of log w and c are summed over prompts
in a fixed order; the chain rule then gives those of the parameters. Complex numbers are pairs.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.branches import Branch
from bench.kernels.operators import like_first, operator, rows
from bench.kernels.ssm import ARGUMENTS
from bench.kernels.ssm.triton_parameters import SUMS, add_up, complex_at, mode, times_plus, to_parameters

LAUNCH = {"BLOCK": 32, "UNROLL": 8, "STAGES": 3}
"""Channels of a program, tokens that it computes together, and pipeline stages of such groups."""


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _recurrence(
    x, log_step, log_decay, frequency, C, skip, y, x_k, x_b, x_t, batch, length, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr, STAGES: tl.constexpr,
    REVERSE: tl.constexpr,
):  # fmt: skip
    """The outputs of a prompt for BLOCK channels; REVERSE: the gradient of x, from x = dy.

    The gradient is the same recurrence, from the last token to the first, with the same skip. Registers hold
    w, c and h of each of a channel's MODES, and the inputs and outputs of UNROLL tokens.
    """
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    skips = tl.load(skip + k * channels + e, mask=inside, other=0.0)
    w, c, h = (), (), ()
    for n in tl.static_range(MODES):
        at = (k * channels + e) * MODES + n
        _, _, w_n, hold = mode(log_step + k * channels + e, log_decay + at, frequency + at, inside)
        w += (w_n,)
        c += (times_plus(complex_at(C + 2 * at, inside), hold, (0.0, 0.0)),)
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
                re, im = times_plus(w[n], h[n], (xs[i], 0.0))
                y_t = y_t + c[n][0] * re - c[n][1] * im
                after += ((re, im),)
            h = after
            ys += (2 * y_t + skips * xs[i],)
        for i in tl.static_range(UNROLL):
            t = length - 1 - first - i if REVERSE else first + i
            tl.store(y + t * channels, ys[i], mask=inside & (first + i < length))


@triton.jit(do_not_specialize=["batch", "length", "channels"])
def _parameter_gradients(
    dy, x, log_step, log_decay, frequency, C, by_prompt, x_k, x_b, x_t, batch, length, channels,
    MODES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """A prompt's part of the gradients: log w, 2 w c Σ_t dy_t p_t; c, 2 Σ_t dy_t h_t; skip, Σ_t dy_t x_t.

    Registers hold w, h, p and the two sums over tokens of each mode. The complex gradients are conjugated,
    which is PyTorch's convention.
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
        at = (k * channels + e) * MODES + n
        _, _, w_n, _ = mode(log_step + k * channels + e, log_decay + at, frequency + at, inside)
        w += (w_n,)
        h += ((zero, zero),)
        p += ((zero, zero),)
        sum_h += ((zero, zero),)
        sum_p += ((zero, zero),)
    for first in tl.range(0, length, UNROLL, num_stages=STAGES):
        xs, ds = (), ()
        for i in tl.static_range(UNROLL):
            valid = inside & (first + i < length)
            xs += (tl.load(x + (first + i) * x_t, mask=valid, other=0.0),)
            ds += (tl.load(dy + (first + i) * channels, mask=valid, other=0.0),)
        for i in tl.static_range(UNROLL):
            h_after, p_after, h_sums, p_sums = (), (), (), ()
            for n in tl.static_range(MODES):
                p_re, p_im = times_plus(w[n], p[n], h[n])
                re, im = times_plus(w[n], h[n], (xs[i], 0.0))
                h_after += ((re, im),)
                p_after += ((p_re, p_im),)
                h_sums += ((sum_h[n][0] + ds[i] * re, sum_h[n][1] + ds[i] * im),)
                p_sums += ((sum_p[n][0] + ds[i] * p_re, sum_p[n][1] + ds[i] * p_im),)
            h, p, sum_h, sum_p = h_after, p_after, h_sums, p_sums
            sum_skip += ds[i] * xs[i]
    by_prompt += row * (4 * MODES + 1) * channels + e
    for n in tl.static_range(MODES):
        at = (k * channels + e) * MODES + n
        _, _, _, hold = mode(log_step + k * channels + e, log_decay + at, frequency + at, inside)
        c = times_plus(complex_at(C + 2 * at, inside), hold, (0.0, 0.0))
        d_re, d_im = times_plus(w[n], times_plus(c, sum_p[n], (0.0, 0.0)), (0.0, 0.0))
        tl.store(by_prompt + n * channels, 2 * d_re, mask=inside)
        tl.store(by_prompt + (MODES + n) * channels, -2 * d_im, mask=inside)
        tl.store(by_prompt + (2 * MODES + n) * channels, 2 * sum_h[n][0], mask=inside)
        tl.store(by_prompt + (3 * MODES + n) * channels, -2 * sum_h[n][1], mask=inside)
    tl.store(by_prompt + 4 * MODES * channels, sum_skip, mask=inside)


def forward(
    x: Tensor, log_step: Tensor, log_decay: Tensor, frequency: Tensor, C: Tensor, skip: Tensor
) -> tuple[Tensor]:
    """Stacked inputs: x (K, B, L, E), log_step and skip (K, E), log_decay and frequency (K, E, M),
    C (K, E, M, 2) → y like x.
    """
    return (_run(x, log_step, log_decay, frequency, C, skip, reverse=False),)


def backward(dy: Tensor, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `forward`, in their order."""
    dy = dy.contiguous()
    if not x.numel():
        return x.new_empty(x.shape), *(value.new_zeros(value.shape) for value in parameters)
    of_parameters = Branch(x)
    with of_parameters:  # beside the gradient of x: each takes long and fills only a part of the GPU
        gradients = _of_parameters(dy, rows(x), *parameters)
    dx = _run(dy, *parameters, reverse=True)
    of_parameters.leave(dy, x)
    return dx, *gradients


def _of_parameters(dy: Tensor, x: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Gradients of the parameters."""
    K, batch, length, channels = x.shape
    modes = parameters[1].shape[-1]
    gradients = [value.new_empty(value.shape) for value in parameters]
    *made_of, _ = (value.contiguous() for value in parameters)
    by_prompt = x.new_empty(K, batch, 4 * modes + 1, channels)
    _parameter_gradients[(K * batch * triton.cdiv(channels, LAUNCH["BLOCK"]),)](
        dy, x, *made_of, by_prompt,
        *x.stride()[:3], batch, length, channels, MODES=modes, **LAUNCH, num_warps=1,
    )  # fmt: skip
    sums = x.new_empty(K, 4 * modes + 1, channels)
    add_up[(K, 4 * modes + 1, triton.cdiv(channels, SUMS["CHANNELS"]))](
        by_prompt, sums, batch, channels, **SUMS
    )
    to_parameters[(K, triton.cdiv(channels, LAUNCH["BLOCK"]))](
        sums, *made_of, *gradients, channels, MODES=modes, BLOCK=LAUNCH["BLOCK"], num_warps=1
    )
    return gradients


def _run(x: Tensor, *parameters: Tensor, reverse: bool) -> Tensor:
    K, batch, length, channels = x.shape
    x = rows(x)
    y = x.new_empty(x.shape)
    if y.numel():
        _recurrence[(K * batch * triton.cdiv(channels, LAUNCH["BLOCK"]),)](
            x, *(value.contiguous() for value in parameters), y, *x.stride()[:3], batch, length, channels,
            MODES=parameters[1].shape[-1], **LAUNCH, REVERSE=reverse, num_warps=1,
        )  # fmt: skip
    return y


ssm = operator("ssm_triton", ARGUMENTS, (), forward, backward, like_first, parameters=ARGUMENTS[1:])
