"""The gradient of the selective scan in Triton; `bench.kernels.scan.triton` launches it.

A program is one warp. It processes a prompt and a block of channels, chunk by chunk from the last. For a
chunk, it recomputes the states from the kept one into memory that stays in cache, then computes the gradient
token by token in reversed order. A thread has 4 channels and a quarter of the state, so that sums over
channels or over the state are additions within the thread and two or three exchanges between threads. Sums
over channels (dB, dC) and over prompts (dA, dbias, dskip) are written as partial sums, which `add_up` adds in
a fixed order, so that two runs agree to the bit.

If there are too few prompts and channels to fill the GPU, a prompt is cut into segments, which several
programs process at once. `segment_carries` first computes what each segment passes on to the earlier ones if
it gets nothing from later ones. The recurrence is linear, so `backward` adds the contributions of all later
segments.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

from bench.kernels.triton_functions import LOG2_E, one_minus_exp, sigmoid_of

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit(do_not_specialize=["rows", "length", "batch", "channels", "span"])
def backward(
    dy, x, delta, A, B, C, skip, z, starts, states, carries, spans, dx, dstep, dz, by_prompt, by_block,
    B_k, B_b, B_t, C_k, C_b, C_t, z_k, z_b, z_t, dz_t,
    rows, batch, length, channels, span,
    STATE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, SEGMENTS: tl.constexpr,
    WIDE: tl.constexpr, STAGES_AGAIN: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The gradient of a segment of a prompt, for BLOCK channels, from the last token to the first.

    With d = dy silu(z), the gradient of the ungated output, and the gradient g_t of the state h_t,

        g_t = C_t d_t + carry          carry = exp(Δ_{t+1} A) g_{t+1}, at the last token from later segments

    and the other gradients follow from g_t (`bench.kernels.scan.sequential` lists them). A chunk has two
    loops. The first recomputes the state before each token from the kept one and writes it to `states`. The
    second goes back: from the state before a token it computes h_t and g_t, and writes dx, dstep and dz.

    Registers hold, for all channels and states, A (`rate`), `carry`, the sum of dA, and the kept state of the
    chunk that comes next. A sum over channels is written for every token (`by_block`: dB, dC). A sum over
    tokens is written once, at the end (`by_prompt`: dA, dbias, dskip).
    """
    if WIDE:  # tell the compiler about divisibility, for vector loads; `_aligned` guarantees it for z
        channels, dz_t = channels // 16 * 16, dz_t // 16 * 16
        z_k, z_b, z_t = z_k // 4 * 4, z_b // 4 * 4, z_t // 4 * 4
    blocks = tl.cdiv(channels, BLOCK)
    block = tl.program_id(0) % blocks
    part = tl.program_id(0) // blocks  # a segment of a prompt
    segment = part % SEGMENTS
    row = (part // SEGMENTS).to(tl.int64)
    k, b = row // batch, row % batch
    # The state consists of STATE / LOW tiles (LOW, channels). Values without a dimension of states are such
    # tiles too, with LOW equal rows: every thread then has the values of its own channels, without any
    # exchange.
    LOW: tl.constexpr = 4 if STATE >= 4 else STATE
    low = tl.arange(0, LOW)[:, None]
    e = tl.broadcast_to(block * BLOCK + tl.arange(0, BLOCK)[None, :], (LOW, BLOCK))
    inside = e < channels
    once = inside & (low == 0)
    within, tile = low * channels + e, LOW * channels
    skips = tl.load(skip + k * channels + e, mask=inside, other=0.0)
    place = row * length * channels + e
    x, delta, dy = x + place, delta + place, dy + place
    dx, dstep, dz = dx + place, dstep + place, dz + row * length * dz_t + e
    A += k * STATE * channels + within
    B += k * B_k + b * B_b + low
    C += k * C_k + b * C_b + low
    z += k * z_k + b * z_b + e
    chunks = tl.cdiv(length, CHUNK)
    begin, end = segment * span, tl.minimum((segment + 1) * span, chunks)
    starts += row * chunks * STATE * channels + within
    states += (row * SEGMENTS + segment) * CHUNK * STATE * channels + within
    by_block += (row * length * blocks + block) * STATE + low
    half = rows.to(tl.int64) * length * blocks * STATE  # the partial sums of dC follow those of dB
    sum_skip = tl.zeros_like(skips)
    sum_bias = tl.zeros_like(skips)
    # A, what later segments pass on, and the kept state of the last chunk, a tile for each LOW of the states.
    rate, carry, sum_A, start = (), (), (), ()
    for i in tl.static_range(STATE // LOW):
        rate += (tl.load(A + i * tile, mask=inside, other=0.0) * LOG2_E,)
        passed = tl.zeros_like(skips)
        for later in tl.static_range(SEGMENTS - 1, 0, -1):
            if later > segment:
                at = row * SEGMENTS + later
                total = tl.load(spans + at * channels + e, mask=inside, other=0.0)
                entry = carries + at * STATE * channels + within + i * tile
                passed = tl.exp2(total * rate[i]) * passed + tl.load(entry, mask=inside, other=0.0)
        carry += (passed,)
        sum_A += (tl.zeros_like(skips),)
        start += (tl.load(starts + (end - 1) * STATE * channels + i * tile, mask=inside, other=0.0),)
    for back in range(end - begin):
        first = (end - 1 - back) * CHUNK
        steps = tl.minimum(CHUNK, length - first)
        # Recompute the states before each token of the chunk.
        h = start
        for j in tl.range(0, steps, num_stages=STAGES_AGAIN):
            t = first + j
            delta_t = tl.load(delta + t * channels, mask=inside, other=0.0)
            step_x = delta_t * tl.load(x + t * channels, mask=inside, other=0.0)
            after = ()
            for i in tl.static_range(STATE // LOW):
                tl.store(states + j * STATE * channels + i * tile, h[i], mask=inside)
                input = step_x * tl.load(B + t * B_t + i * LOW)
                after += (tl.exp2(delta_t * rate[i]) * h[i] + input,)
            h = after
        before = tl.maximum(end - 2 - back, 0)  # the next chunk's start, loaded long before it is used
        start = ()
        for i in tl.static_range(STATE // LOW):
            start += (tl.load(starts + before * STATE * channels + i * tile, mask=inside, other=0.0),)
        tl.debug_barrier()  # the states must be written before other threads read them
        # Back through the chunk, with the gradient of the state.
        for done in tl.range(0, steps, num_stages=STAGES):
            j = steps - 1 - done
            t = first + j
            x_t = tl.load(x + t * channels, mask=inside, other=0.0)
            delta_t = tl.load(delta + t * channels, mask=inside, other=0.0)
            z_of_t = tl.load(z + t * z_t, mask=inside, other=0.0)
            dy_t = tl.load(dy + t * channels, mask=inside, other=0.0)
            step_x = delta_t * x_t
            sigmoid = sigmoid_of(z_of_t)
            slope = dy_t * sigmoid
            d = slope * z_of_t
            sums = by_block + t * blocks * STATE
            ungated, d_input, d_decay = tl.zeros_like(d), tl.zeros_like(d), tl.zeros_like(d)
            carried, added = (), ()
            for i in tl.static_range(STATE // LOW):
                h_before = tl.load(states + j * STATE * channels + i * tile, mask=inside, other=0.0)
                B_i, C_i = tl.load(B + t * B_t + i * LOW), tl.load(C + t * C_t + i * LOW)
                decay = tl.exp2(delta_t * rate[i])
                h_t = decay * h_before + step_x * B_i
                g = carry[i] + d * C_i
                carried += (decay * g,)
                exponent = carried[i] * h_before  # gradient of Δ_t A
                added += (sum_A[i] + exponent * delta_t,)
                ungated += h_t * C_i
                d_input += g * B_i  # gradient of Δ_t x_t
                d_decay += exponent * rate[i]
                tl.store(sums + i * LOW, tl.sum(g * step_x, axis=1, keep_dims=True))
                tl.store(sums + half + i * LOW, tl.sum(h_t * d, axis=1, keep_dims=True))
            carry, sum_A = carried, added
            ungated = tl.sum(ungated, axis=0, keep_dims=True) + skips * x_t
            d_input = tl.sum(d_input, axis=0, keep_dims=True)
            d_step = d_input * x_t + tl.sum(d_decay, axis=0, keep_dims=True) * LN_2
            d_step *= one_minus_exp(delta_t)  # dΔ/dv = sigmoid(v) = 1 − exp(−Δ) for Δ = softplus(v)
            sum_bias += d_step
            sum_skip += d * x_t
            tl.store(dz + t * dz_t, ungated * (slope + d * (1 - sigmoid)), mask=once)
            tl.store(dx + t * channels, d_input * delta_t + skips * d, mask=once)
            tl.store(dstep + t * channels, d_step, mask=once)
        tl.debug_barrier()
    by_prompt += (row * SEGMENTS + segment) * (STATE + 2) * channels
    for i in tl.static_range(STATE // LOW):
        tl.store(by_prompt + within + i * tile, sum_A[i], mask=inside)
    tl.store(by_prompt + STATE * channels + e, sum_bias, mask=once)
    tl.store(by_prompt + (STATE + 1) * channels + e, sum_skip, mask=once)


@triton.jit(do_not_specialize=["length", "batch", "channels", "span"])
def segment_carries(
    dy, delta, A, C, z, carries, spans, C_k, C_b, C_t, z_k, z_b, z_t,
    batch, length, channels, span,
    STATE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, SEGMENTS: tl.constexpr,
    WIDE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """For each segment, the carry that leaves it if none enters it, and the sum of its Δ."""
    if WIDE:  # as in `backward`
        channels = channels // 16 * 16
        z_k, z_b, z_t = z_k // 4 * 4, z_b // 4 * 4, z_t // 4 * 4
    blocks = tl.cdiv(channels, BLOCK)
    part = tl.program_id(0) // blocks
    segment = part % SEGMENTS
    row = (part // SEGMENTS).to(tl.int64)
    k, b = row // batch, row % batch
    LOW: tl.constexpr = 4 if STATE >= 4 else STATE
    low = tl.arange(0, LOW)[:, None]
    e = tl.broadcast_to((tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)[None, :], (LOW, BLOCK))
    inside = e < channels
    within, tile = low * channels + e, LOW * channels
    place = row * length * channels + e
    delta, dy = delta + place, dy + place
    A += k * STATE * channels + within
    C += k * C_k + b * C_b + low
    z += k * z_k + b * z_b + e
    total = tl.zeros((LOW, BLOCK), dtype=A.dtype.element_ty)
    rate, carry = (), ()
    for i in tl.static_range(STATE // LOW):
        rate += (tl.load(A + i * tile, mask=inside, other=0.0) * LOG2_E,)
        carry += (tl.zeros_like(total),)
    begin = segment * span * CHUNK
    steps = tl.minimum((segment + 1) * span * CHUNK, length) - begin
    for done in tl.range(0, steps, num_stages=STAGES):
        t = begin + steps - 1 - done
        delta_t = tl.load(delta + t * channels, mask=inside, other=0.0)
        z_of_t = tl.load(z + t * z_t, mask=inside, other=0.0)
        d = tl.load(dy + t * channels, mask=inside, other=0.0) * sigmoid_of(z_of_t) * z_of_t
        total += delta_t
        carried = ()
        for i in tl.static_range(STATE // LOW):
            C_i = tl.load(C + t * C_t + i * LOW)
            carried += (tl.exp2(delta_t * rate[i]) * (carry[i] + d * C_i),)
        carry = carried
    at = row * SEGMENTS + segment
    for i in tl.static_range(STATE // LOW):
        tl.store(carries + at * STATE * channels + within + i * tile, carry[i], mask=inside)
    tl.store(spans + at * channels + e, total, mask=inside & (low == 0))


@triton.jit(do_not_specialize=["batch", "tokens", "blocks", "channels"])
def add_up(
    by_prompt, by_block, dA, dbias, dskip, dB, dC, BC_t, batch, tokens, blocks, channels,
    STATE: tl.constexpr, PROMPTS: tl.constexpr, CHANNELS: tl.constexpr,
    TOKENS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Add partial sums over prompts and over blocks of channels, in a fixed order."""
    n = tl.arange(0, STATE)
    parts = tl.cdiv(tokens, TOKENS)
    program = tl.program_id(0)
    if program < 2 * parts:  # the branches use different names, because Triton would merge equal ones
        t = (program % parts) * TOKENS + tl.arange(0, TOKENS).to(tl.int64)
        j = tl.arange(0, BLOCKS)
        source = by_block + (program // parts).to(tl.int64) * tokens * blocks * STATE
        rows = source + (t[:, None, None] * blocks + j[None, :, None]) * STATE + n[None, None, :]
        row_sum = tl.zeros((TOKENS, STATE), dtype=dB.dtype.element_ty)
        for first in range(0, blocks, BLOCKS):
            there = (t < tokens)[:, None, None] & (first + j < blocks)[None, :, None]
            row_sum += tl.sum(tl.load(rows + first * STATE, mask=there, other=0.0), axis=1)
        out = t[:, None] * BC_t + n[None, :]
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
            valid = (since + b < batch)[:, None] & inside[None, :]
            line_sum += tl.sum(tl.load(lines + since * (STATE + 2) * channels, mask=valid, other=0.0), axis=0)
        tl.store(dA + (k * channels + e) * STATE + line, line_sum, mask=inside & (line < STATE))
        tl.store(dbias + k * channels + e, line_sum, mask=inside & (line == STATE))
        tl.store(dskip + k * channels + e, line_sum, mask=inside & (line > STATE))
