"""The selective scan in Triton, forward; `bench.kernels.scan.triton` launches it.

A program is one warp. It processes a prompt and a block of channels token by token, with the state in
registers; softplus, skip and gate are fused. It loads the inputs of the next tokens while it computes. It
stores the state at the start of every chunk of tokens for the gradient
(`bench.kernels.scan.triton_gradient`).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

from bench.kernels.triton_functions import LOG2_E, sigmoid_of


@triton.jit(do_not_specialize=["length", "batch", "channels"])
def forward(
    x, step, bias, A, B, C, skip, z, y, delta, starts,
    B_k, B_b, B_t, C_k, C_b, C_t, z_k, z_b, z_t,
    batch, length, channels,
    STATE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, UNROLL: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """The outputs, Δ and kept states of a prompt, for BLOCK channels.

    Registers hold A (`rate`), the state h (STATE, BLOCK), and the inputs of twice UNROLL tokens: those of
    `now` are used while those of `tokens` are loaded. At the start of every chunk, h is stored in `starts`,
    (K, B, chunks, N, E).
    """
    if WIDE:  # tell the compiler that it is a multiple of 16, so that it emits vector loads
        channels = channels // 16 * 16
    if STATE >= 4:  # the same for strides; the launch's `_aligned` guarantees it
        B_k, B_b, B_t = B_k // 4 * 4, B_b // 4 * 4, B_t // 4 * 4
        C_k, C_b, C_t = C_k // 4 * 4, C_b // 4 * 4, C_t // 4 * 4
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, STATE)
    inside = e < channels
    tile, within = inside[None, :], n[:, None] * channels + e[None, :]
    # exp(Δ A) = 2^(Δ A log₂ e): the factor is applied once, and exp2 is a single instruction.
    rate = tl.load(A + k * STATE * channels + within, mask=tile, other=0.0) * LOG2_E
    skips = tl.load(skip + k * channels + e, mask=inside, other=0.0)
    biases = tl.load(bias + k * channels + e, mask=inside, other=0.0)
    place = row * length * channels + e
    x, step, y, delta = x + place, step + place, y + place, delta + place
    B += k * B_k + b * B_b + n
    C += k * C_k + b * C_b + n
    z += k * z_k + b * z_b + e
    starts += row * tl.cdiv(length, CHUNK) * STATE * channels + within
    h = tl.zeros_like(rate)
    tokens = ()  # loaded one round ahead; registers do not suffice for more
    for i in tl.static_range(UNROLL):
        tokens += (_token(x, step, z, B, C, i, length, channels, z_t, B_t, C_t, inside),)
    for first in tl.range(0, length, UNROLL, num_stages=1):
        now = tokens
        tokens = ()
        for i in tl.static_range(UNROLL):
            t = first + UNROLL + i
            tokens += (_token(x, step, z, B, C, t, length, channels, z_t, B_t, C_t, inside),)
        tl.store(starts + (first // CHUNK) * STATE * channels, h, mask=tile & (first % CHUNK == 0))
        for i in tl.static_range(UNROLL):
            t, valid = first + i, inside & (first + i < length)
            x_t, step_t, z_of_t, B_of_t, C_of_t = now[i]
            delta_t = _softplus(step_t + biases)
            h = tl.exp2(delta_t[None, :] * rate) * h + (delta_t * x_t)[None, :] * B_of_t[:, None]
            ungated = tl.sum(h * C_of_t[:, None], axis=0) + skips * x_t
            tl.store(y + t * channels, ungated * z_of_t * sigmoid_of(z_of_t), mask=valid)
            tl.store(delta + t * channels, delta_t, mask=valid)


@triton.jit
def _token(x, step, z, B, C, t, length, channels, z_t, B_t, C_t, inside):
    """Inputs of token `t`; zeros after the last token."""
    inward = t < length
    valid = inside & inward
    return (
        tl.load(x + t * channels, mask=valid, other=0.0),
        tl.load(step + t * channels, mask=valid, other=0.0),
        tl.load(z + t * z_t, mask=valid, other=0.0),
        tl.load(B + t * B_t, mask=inward, other=0.0),
        tl.load(C + t * C_t, mask=inward, other=0.0),
    )


@triton.jit
def _softplus(v):
    """log(1 + exp v) = max(v, 0) + log1p(w) with w = exp(−|v|)."""
    # u = 1 + w is rounded. log1p(w) = log(u) · w / (u − 1) corrects for the rounding error.
    w = tl.exp2(-tl.abs(v) * LOG2_E)
    u = 1 + w
    rounded = u - 1
    small = rounded == 0
    log1p = tl.where(small, w, tl.log(u) * (w / tl.where(small, 1.0, rounded)))
    return tl.maximum(v, 0.0) + log1p
