"""The selective scan in Triton; `bench.kernels.fused_scan` launches it.

A program, one warp, takes one prompt and a block of channels through time: its state is a tile
(N, channels) in registers, in the forward pass a channel a thread, so that the sum over N is additions
within a thread. Softplus, skip and gate happen on the way; what the next tokens need is being loaded
into shared memory meanwhile.

The forward pass keeps the state at the start of every chunk of tokens. The backward pass goes through
the chunks from the last: it computes a chunk's states again, into memory that stays in cache, and takes
the gradient back through them. Sums over channels (dB, dC) and over prompts
(dA, …) leave a program as partial sums and are added in one order, so that two runs agree to the bit.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["length", "batch", "channels"])
def forward(
    x, step, bias, A, B, C, skip, z, y, delta, starts,
    B_k, B_b, B_t, C_k, C_b, C_t, z_k, z_b, z_t,
    batch, length, channels,
    STATE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, UNROLL: tl.constexpr,
    STAGES: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    if WIDE:  # a multiple of 16, and the compiler may know it
        channels = channels // 16 * 16
    if STATE >= 4:  # `_aligned` sees to it
        B_k, B_b, B_t = B_k // 4 * 4, B_b // 4 * 4, B_t // 4 * 4
        C_k, C_b, C_t = C_k // 4 * 4, C_b // 4 * 4, C_t // 4 * 4
    blocks = tl.cdiv(channels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, STATE)
    inside = e < channels
    tile, within = inside[None, :], n[:, None] * channels + e[None, :]
    rate = tl.load(A + k * STATE * channels + within, mask=tile, other=0.0) * LOG2_E
    skips = tl.load(skip + k * channels + e, mask=inside, other=0.0)
    biases = tl.load(bias + k * channels + e, mask=inside, other=0.0)
    B += k * B_k + b * B_b + n
    C += k * C_k + b * C_b + n
    z += k * z_k + b * z_b + e
    place = row * length * channels + e
    starts += row * tl.cdiv(length, CHUNK) * STATE * channels + within
    h = tl.zeros_like(rate)
    for first in tl.range(0, length, UNROLL, num_stages=STAGES):
        xs, steps, zs, Bs, Cs = (), (), (), (), ()
        for i in tl.static_range(UNROLL):
            t, inward = first + i, first + i < length
            here = inside & inward
            xs += (tl.load(x + place + t * channels, mask=here, other=0.0),)
            steps += (tl.load(step + place + t * channels, mask=here, other=0.0),)
            zs += (tl.load(z + t * z_t, mask=here, other=0.0),)
            Bs += (tl.load(B + t * B_t, mask=inward, other=0.0),)
            Cs += (tl.load(C + t * C_t, mask=inward, other=0.0),)
        for i in tl.static_range(UNROLL):
            t, here = first + i, inside & (first + i < length)
            if t % CHUNK == 0:
                tl.store(starts + (t // CHUNK) * STATE * channels, h, mask=tile & (t < length))
            delta_t = _softplus(steps[i] + biases)
            h = tl.exp2(delta_t[None, :] * rate) * h + (delta_t * xs[i])[None, :] * Bs[i][:, None]
            ungated = tl.sum(h * Cs[i][:, None], axis=0) + skips * xs[i]
            tl.store(y + place + t * channels, ungated * zs[i] * _sigmoid(zs[i]), mask=here)
            tl.store(delta + place + t * channels, delta_t, mask=here)


@triton.jit(do_not_specialize=["rows", "length", "batch", "channels"])
def backward(
    dy, x, delta, A, B, C, skip, z, starts, states, dx, dstep, dz, by_prompt, by_block,
    B_k, B_b, B_t, C_k, C_b, C_t, z_k, z_b, z_t,
    rows, batch, length, channels,
    STATE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, UNROLL: tl.constexpr,
    STAGES: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    if WIDE:  # a multiple of 16, and the compiler may know it
        channels = channels // 16 * 16
    if STATE >= 4:  # `_aligned` sees to it
        B_k, B_b, B_t = B_k // 4 * 4, B_b // 4 * 4, B_t // 4 * 4
        C_k, C_b, C_t = C_k // 4 * 4, C_b // 4 * 4, C_t // 4 * 4
    blocks = tl.cdiv(channels, BLOCK)
    block = tl.program_id(0) % blocks
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k, b = row // batch, row % batch
    e = block * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, STATE)
    inside = e < channels
    tile, within = inside[None, :], n[:, None] * channels + e[None, :]
    A_ = tl.load(A + k * STATE * channels + within, mask=tile, other=0.0)
    rate = A_ * LOG2_E
    skips = tl.load(skip + k * channels + e, mask=inside, other=0.0)
    B += k * B_k + b * B_b + n
    C += k * C_k + b * C_b + n
    z += k * z_k + b * z_b + e
    place = row * length * channels + e
    chunks = tl.cdiv(length, CHUNK)
    starts += row * chunks * STATE * channels + within
    states += row * CHUNK * STATE * channels + within
    partial = (row * length * blocks + block) * STATE + n
    half = rows.to(tl.int64) * length * blocks * STATE  # behind the parts of dB come those of dC
    carry = tl.zeros_like(rate)  # exp(Δ_{t+1} A) g_{t+1}
    sum_A = tl.zeros_like(rate)
    sum_skip = tl.zeros_like(skips)
    sum_bias = tl.zeros_like(skips)
    for back in range(chunks):
        first = (chunks - 1 - back) * CHUNK
        steps = tl.minimum(CHUNK, length - first)
        h = tl.load(starts + (first // CHUNK) * STATE * channels, mask=tile, other=0.0)
        for j in tl.range(0, steps, num_stages=STAGES):
            tl.store(states + j * STATE * channels, h, mask=tile)
            x_j = tl.load(x + place + (first + j) * channels, mask=inside, other=0.0)
            delta_j = tl.load(delta + place + (first + j) * channels, mask=inside, other=0.0)
            B_j = tl.load(B + (first + j) * B_t)
            h = tl.exp2(delta_j[None, :] * rate) * h + (delta_j * x_j)[None, :] * B_j[:, None]
        tl.debug_barrier()
        for done in tl.range(0, steps, UNROLL, num_stages=STAGES):
            hs, xs, deltas, zs, dys, Bs, Cs = (), (), (), (), (), (), ()
            for i in tl.static_range(UNROLL):
                from_start = steps - 1 - done - i
                t, inward = first + from_start, from_start >= 0
                here = inside & inward
                hs += (tl.load(states + from_start * STATE * channels, mask=tile & inward, other=0.0),)
                xs += (tl.load(x + place + t * channels, mask=here, other=0.0),)
                deltas += (tl.load(delta + place + t * channels, mask=here, other=0.0),)
                zs += (tl.load(z + t * z_t, mask=here, other=0.0),)
                dys += (tl.load(dy + place + t * channels, mask=here, other=0.0),)
                Bs += (tl.load(B + t * B_t, mask=inward, other=0.0),)
                Cs += (tl.load(C + t * C_t, mask=inward, other=0.0),)
            for i in tl.static_range(UNROLL):
                t = first + steps - 1 - done - i
                inward = steps - 1 - done - i >= 0
                here = inside & inward
                decay = tl.exp2(deltas[i][None, :] * rate)
                step_x = deltas[i] * xs[i]
                h = decay * hs[i] + step_x[None, :] * Bs[i][:, None]
                sigmoid = _sigmoid(zs[i])
                ungated = tl.sum(h * Cs[i][:, None], axis=0) + skips * xs[i]
                d_gate = dys[i] * ungated * sigmoid * (1 + zs[i] * (1 - sigmoid))
                d = dys[i] * zs[i] * sigmoid
                g = carry + d[None, :] * Cs[i][:, None]
                d_input = tl.sum(g * Bs[i][:, None], axis=0)  # gradient of Δ_t x_t
                carry = decay * g
                exponent = carry * hs[i]  # gradient of Δ_t A
                sum_A += exponent * deltas[i][None, :]
                d_step = d_input * xs[i] + tl.sum(exponent * A_, axis=0)
                d_step *= _softplus_slope(deltas[i])
                sum_bias += d_step
                sum_skip += d * xs[i]
                tl.store(dz + place + t * channels, d_gate, mask=here)
                tl.store(dx + place + t * channels, d_input * deltas[i] + skips * d, mask=here)
                tl.store(dstep + place + t * channels, d_step, mask=here)
                to = partial + t * blocks * STATE
                tl.store(by_block + to, tl.sum(g * step_x[None, :], axis=1), mask=inward)
                tl.store(by_block + half + to, tl.sum(h * d[None, :], axis=1), mask=inward)
        tl.debug_barrier()
    by_prompt += row * (STATE + 2) * channels
    tl.store(by_prompt + within, sum_A, mask=tile)
    tl.store(by_prompt + STATE * channels + e, sum_bias, mask=inside)
    tl.store(by_prompt + (STATE + 1) * channels + e, sum_skip, mask=inside)


@triton.jit(do_not_specialize=["batch", "tokens", "blocks", "channels"])
def add_up(
    by_prompt, by_block, dA, dbias, dskip, dB, dC, batch, tokens, blocks, channels,
    STATE: tl.constexpr, PROMPTS: tl.constexpr, CHANNELS: tl.constexpr,
    TOKENS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Partial sums over prompts and over blocks of channels, each in one order."""
    n = tl.arange(0, STATE)
    parts = tl.cdiv(tokens, TOKENS)
    program = tl.program_id(0)
    if program < 2 * parts:  # names differ between the branches: Triton would join them
        t = (program % parts) * TOKENS + tl.arange(0, TOKENS).to(tl.int64)
        j = tl.arange(0, BLOCKS)
        source = by_block + (program // parts).to(tl.int64) * tokens * blocks * STATE
        rows = source + (t[:, None, None] * blocks + j[None, :, None]) * STATE + n[None, None, :]
        row_sum = tl.zeros((TOKENS, STATE), dtype=dB.dtype.element_ty)
        for first in range(0, blocks, BLOCKS):
            there = (t < tokens)[:, None, None] & (first + j < blocks)[None, :, None]
            row_sum += tl.sum(tl.load(rows + first * STATE, mask=there, other=0.0), axis=1)
        out = t[:, None] * STATE + n[None, :]
        tl.store(dB + out, row_sum, mask=(t < tokens)[:, None] & (program < parts))
        tl.store(dC + out, row_sum, mask=(t < tokens)[:, None] & (program >= parts))
    else:
        groups = tl.cdiv(channels, CHANNELS)
        place = program - 2 * parts
        e = (place % groups) * CHANNELS + tl.arange(0, CHANNELS)
        line = place // groups % (STATE + 2)
        k = (place // groups // (STATE + 2)).to(tl.int64)
        b = tl.arange(0, PROMPTS)
        lines = by_prompt + ((k * batch + b[:, None]) * (STATE + 2) + line) * channels + e[None, :]
        inside = e < channels
        line_sum = tl.zeros((CHANNELS,), dtype=dA.dtype.element_ty)
        for since in range(0, batch, PROMPTS):
            known = (since + b < batch)[:, None] & inside[None, :]
            line_sum += tl.sum(tl.load(lines + since * (STATE + 2) * channels, mask=known, other=0.0), axis=0)
        tl.store(dA + (k * channels + e) * STATE + line, line_sum, mask=inside & (line < STATE))
        tl.store(dbias + k * channels + e, line_sum, mask=inside & (line == STATE))
        tl.store(dskip + k * channels + e, line_sum, mask=inside & (line > STATE))


@triton.jit
def _sigmoid(v):
    return 1 / (1 + tl.exp(-v))


@triton.jit
def _softplus(v):
    """Returns log(1 + exp v), to the last bits also where it is tiny: 1 + w's rounding is corrected for."""
    w = tl.exp(-tl.abs(v))
    u = 1 + w
    rounded = u - 1
    small = rounded == 0
    log1p = tl.where(small, w, tl.log(u) * (w / tl.where(small, 1.0, rounded)))
    return tl.maximum(v, 0.0) + log1p


@triton.jit
def _softplus_slope(s):
    """Derivative of s = softplus(v): 1 − exp(−s), or its series where the difference would cancel."""
    series = s * (
        1 - s * (1 / 2 - s * (1 / 6 - s * (1 / 24 - s * (1 / 120 - s * (1 / 720 - s * (1 / 5040))))))
    )
    return tl.where(s < 0.0625, series, 1 - tl.exp(-s))
