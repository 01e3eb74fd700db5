"""The selective scan in Triton: forward and backward, each one launch and one pass over the prompt.

A program takes one prompt and a block of channels through time. A thread owns a channel and holds its
N states in registers: tiles are (N, channels) with one warp a program, so that the sum over N is
additions within a thread. Softplus, skip and gate happen on the way.

The forward pass keeps the state at the start of every chunk of tokens. The backward pass goes through
the chunks from the last: it computes a chunk's states again, holds them in registers, and takes the
gradient back through them. Sums over channels (dB, dC) and over prompts (dA, …) leave a program as
partial sums and are added by PyTorch in a fixed order, so that two runs agree to the bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 16
"""Tokens between kept states."""
FORWARD = {"BLOCK": 32, "UNROLL": 4, "CHUNK": CHUNK}
BACKWARD = {"BLOCK": 32, "UNROLL": 2, "CHUNK": CHUNK}
"""Channels a program (a warp) takes, and tokens whose loads are issued together."""
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["length", "batch", "channels"])
def _forward(
    x, step, bias, A, B, C, skip, z, y, delta, starts,
    B_k, B_b, B_t, C_k, C_b, C_t, z_k, z_b, z_t,
    batch, length, channels,
    STATE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
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
    for first in range(0, length, UNROLL):
        if first % CHUNK == 0:
            tl.store(starts + (first // CHUNK) * STATE * channels, h, mask=tile)
        xs, steps, zs, ys, deltas = (), (), (), (), ()
        for i in tl.static_range(UNROLL):  # loads before anything that waits for one
            here = inside & (first + i < length)
            xs += (tl.load(x + place + (first + i) * channels, mask=here, other=0.0),)
            steps += (tl.load(step + place + (first + i) * channels, mask=here, other=0.0),)
            zs += (tl.load(z + (first + i) * z_t, mask=here, other=0.0),)
        for i in tl.static_range(UNROLL):
            B_i = tl.load(B + (first + i) * B_t, mask=first + i < length, other=0.0)
            C_i = tl.load(C + (first + i) * C_t, mask=first + i < length, other=0.0)
            delta_i = _softplus(steps[i] + biases)
            h = tl.exp2(delta_i[None, :] * rate) * h + (delta_i * xs[i])[None, :] * B_i[:, None]
            ungated = tl.sum(h * C_i[:, None], axis=0) + skips * xs[i]
            ys += (ungated * zs[i] * _sigmoid(zs[i]),)
            deltas += (delta_i,)
        for i in tl.static_range(UNROLL):
            here = inside & (first + i < length)
            tl.store(y + place + (first + i) * channels, ys[i], mask=here)
            tl.store(delta + place + (first + i) * channels, deltas[i], mask=here)


@triton.jit(do_not_specialize=["length", "batch", "channels"])
def _backward(
    dy, x, delta, A, B, C, skip, z, starts, states, dx, dstep, dbias, dA, dB, dC, dskip, dz,
    B_k, B_b, B_t, C_k, C_b, C_t, z_k, z_b, z_t,
    batch, length, channels,
    STATE: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, UNROLL: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    if ALIGNED:
        channels = tl.multiple_of(channels, 16)
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
    states += row * (CHUNK + 1) * STATE * channels + within
    partial = (row * length * blocks + block) * STATE + n
    carry = tl.zeros_like(rate)  # exp(Δ_{t+1} A) g_{t+1}
    sum_A = tl.zeros_like(rate)
    sum_skip = tl.zeros_like(skips)
    sum_bias = tl.zeros_like(skips)
    for back in range(chunks):
        first = (chunks - 1 - back) * CHUNK
        groups = tl.cdiv(tl.minimum(CHUNK, length - first), UNROLL)
        h = tl.load(starts + (first // CHUNK) * STATE * channels, mask=tile, other=0.0)
        tl.store(states, h, mask=tile)
        for group in range(groups):
            at = first + group * UNROLL
            xs, deltas = (), ()
            for i in tl.static_range(UNROLL):
                here = inside & (at + i < length)
                xs += (tl.load(x + place + (at + i) * channels, mask=here, other=0.0),)
                deltas += (tl.load(delta + place + (at + i) * channels, mask=here, other=0.0),)
            for i in tl.static_range(UNROLL):
                B_i = tl.load(B + (at + i) * B_t, mask=at + i < length, other=0.0)
                h = tl.exp2(deltas[i][None, :] * rate) * h + (deltas[i] * xs[i])[None, :] * B_i[:, None]
                tl.store(states + (at + i - first + 1) * STATE * channels, h, mask=tile)
        tl.debug_barrier()
        for group in range(groups):
            at = first + (groups - 1 - group) * UNROLL
            after = tl.load(states + (at + UNROLL - first) * STATE * channels, mask=tile, other=0.0)
            xs, deltas, zs, dys, befores = (), (), (), (), ()
            for i in tl.static_range(UNROLL):
                here = inside & (at + i < length)
                xs += (tl.load(x + place + (at + i) * channels, mask=here, other=0.0),)
                deltas += (tl.load(delta + place + (at + i) * channels, mask=here, other=0.0),)
                zs += (tl.load(z + (at + i) * z_t, mask=here, other=0.0),)
                dys += (tl.load(dy + place + (at + i) * channels, mask=here, other=0.0),)
                befores += (tl.load(states + (at + i - first) * STATE * channels, mask=tile, other=0.0),)
            for i in tl.static_range(UNROLL - 1, -1, -1):
                t = at + i
                inward = t < length
                here = inside & inward
                B_t_ = tl.load(B + t * B_t, mask=inward, other=0.0)
                C_t_ = tl.load(C + t * C_t, mask=inward, other=0.0)
                sigmoid = _sigmoid(zs[i])
                ungated = tl.sum(after * C_t_[:, None], axis=0) + skips * xs[i]
                d_gate = dys[i] * ungated * sigmoid * (1 + zs[i] * (1 - sigmoid))
                dy_t = dys[i] * zs[i] * sigmoid
                g = carry + dy_t[None, :] * C_t_[:, None]
                d_input = tl.sum(g * B_t_[:, None], axis=0)  # gradient of Δ_t x_t
                carry = tl.exp2(deltas[i][None, :] * rate) * g
                exponent = carry * befores[i]  # gradient of Δ_t A
                sum_A += exponent * deltas[i][None, :]
                d_step = d_input * xs[i] + tl.sum(exponent * A_, axis=0)
                d_step *= _softplus_slope(deltas[i])
                sum_bias += d_step
                sum_skip += dy_t * xs[i]
                tl.store(dx + place + t * channels, d_input * deltas[i] + skips * dy_t, mask=here)
                tl.store(dstep + place + t * channels, d_step, mask=here)
                tl.store(dz + place + t * channels, d_gate, mask=here)
                to = partial + t * blocks * STATE
                tl.store(dC + to, tl.sum(after * dy_t[None, :], axis=1), mask=inward)
                tl.store(dB + to, tl.sum(g * (deltas[i] * xs[i])[None, :], axis=1), mask=inward)
                after = befores[i]
        tl.debug_barrier()
    per_channel = row * channels + e
    tl.store(dbias + per_channel, sum_bias, mask=inside)
    tl.store(dskip + per_channel, sum_skip, mask=inside)
    tl.store(dA + row * STATE * channels + within, sum_A, mask=tile)


@triton.jit
def _sigmoid(v):
    return 1 / (1 + tl.exp(-v))


@triton.jit
def _softplus(v):
    """log(1 + exp v), to the last bits also where it is tiny: log(1 + w) is corrected for 1 + w's rounding."""
    w = tl.exp(-tl.abs(v))
    u = 1 + w
    rounded = u - 1
    small = rounded == 0
    log1p = tl.where(small, w, tl.log(u) * (w / tl.where(small, 1.0, rounded)))
    return tl.maximum(v, 0.0) + log1p


@triton.jit
def _softplus_slope(s):
    """d softplus(v)/dv = 1 − exp(−s) where s = softplus(v); a series where the difference would cancel."""
    series = s * (1 - s / 2 * (1 - s / 3 * (1 - s / 4 * (1 - s / 5 * (1 - s / 6 * (1 - s / 7))))))
    return tl.where(s < 0.0625, series, 1 - tl.exp(-s))


def forward(
    x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Stacked inputs → y, Δ (K, B, L, E) and the states at the starts of chunks (K, B, ⌈L/CHUNK⌉, N, E)."""
    K, batch, length, channels = x.shape
    state = A.shape[-1]
    x, step, (B, C, z) = x.contiguous(), step.contiguous(), map(_rows, (B, C, z))
    y, delta = torch.empty_like(x), torch.empty_like(x)
    starts = x.new_empty(K, batch, triton.cdiv(length, CHUNK), state, channels)
    grid = (K * batch * triton.cdiv(channels, FORWARD["BLOCK"]),)
    if starts.numel():
        _forward[grid](
            x, step, bias.contiguous(), _tile(A), B, C, skip.contiguous(), z, y, delta, starts,
            *B.stride()[:3], *C.stride()[:3], *z.stride()[:3],
            batch, length, channels, STATE=state, num_warps=1, **FORWARD,
        )  # fmt: skip
    return y, delta, starts


def backward(
    dy: Tensor, x: Tensor, step: Tensor, bias: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor,
    z: Tensor, delta: Tensor, starts: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of the inputs, in their order."""
    K, batch, length, channels = x.shape
    state = A.shape[-1]
    blocks = triton.cdiv(channels, BACKWARD["BLOCK"])
    dy, x, delta, (B, C, z) = dy.contiguous(), x.contiguous(), delta.contiguous(), map(_rows, (B, C, z))
    dx, dstep, dz = (torch.empty_like(x) for _ in range(3))
    dbias, dskip = (x.new_empty(K, batch, channels) for _ in range(2))
    dA = x.new_empty(K, batch, state, channels)
    dB, dC = (x.new_empty(K, batch, length, blocks, state) for _ in range(2))
    states = x.new_empty(K, batch, CHUNK + 1, state, channels)
    if starts.numel():
        _backward[(K * batch * blocks,)](
            dy, x, delta, _tile(A), B, C, skip.contiguous(), z, starts, states,
            dx, dstep, dbias, dA, dB, dC, dskip, dz,
            *B.stride()[:3], *C.stride()[:3], *z.stride()[:3],
            batch, length, channels, STATE=state, num_warps=1, ALIGNED=channels % 16 == 0, **BACKWARD,
        )  # fmt: skip
    dA = dA.sum(1).transpose(1, 2).contiguous()
    return dx, dstep, dbias.sum(1), dA, dB.sum(3), dC.sum(3), dskip.sum(1), dz


def _rows(value: Tensor) -> Tensor:
    """`value` with its last dimension contiguous; the others may have any stride (a slice stays one)."""
    return value if value.stride(-1) == 1 else value.contiguous()


def _tile(A: Tensor) -> Tensor:
    """(K, E, N) → (K, N, E) in memory."""
    return A.transpose(1, 2).contiguous()
