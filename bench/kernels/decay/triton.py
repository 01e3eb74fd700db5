"""Linear attention with decay in Triton: chunks in parallel, and the states between them in turn.

With the state S before a chunk of C tokens, and G_i = Σ_{j ≤ i} g_j within it:

    y_i = (q_i exp(G_i)) S + Σ_{j ≤ i} A_ij v_j          A_ij = Σ_d q_id k_jd exp(G_id − G_jd)
    S ← diag(exp(G_C)) S + Σ_j (k_j exp(G_C − G_j)) v_jᵀ

`_states` computes the states between chunks: a program has a block of a head's state and goes through the
chunks. The gradient of the states is the same recurrence in reversed time, with q exp(G) and dy in place of
k exp(G_C − G) and v. `_outputs` and `_gradient` then have a program per chunk and block of channels.

dg_t sums over all paths across token t: from the state before the chunk to the outputs from t on, from the
updates before t to the state after the chunk, from one state to the other, and from tokens before t to
tokens from t on. No other path enters the sum, so that strong decays, whose paths are all faint, keep their
relative accuracy.

With shared queries and keys, every head writes gradients of its own, which are then added up per group.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.decay.triton_chunks import (
    add_up,
    decay_of_chunk,
    decays_between,
    decays_since_start,
    decays_until_end,
    load_decays,
    vector_gradients,
    vector_scores,
)
from bench.kernels.operators import operator, rows
from bench.kernels.product.precision import dot_precision
from bench.kernels.triton_functions import load_tile, store_tile

CHUNK = {False: 32, True: 16}
"""Tokens of a chunk with a decay per head (False) and per channel of the keys (True)."""
STATE = 64, 32
"""Largest block of a state that a program of `_states` has: channels of keys and of values."""
OUTPUTS = 32, 64
"""Largest blocks of channels of keys and of values that `_outputs` reads at once."""
GRADIENT = 32, 32
"""The same for `_gradient`. Larger ones would spill registers, compiled for sm_90."""
ARGUMENTS = ("q", "k", "v", "log_decay")


@triton.jit
def head_of(values, program, heads, batch, s_k, s_b, s_h, SHARED: tl.constexpr):
    """Pointer to the first token of a program's head; SHARED heads in a row have the same values."""
    row, head = (program // heads).to(tl.int64), program % heads
    return values + (row // batch) * s_k + (row % batch) * s_b + (head // SHARED) * s_h


@triton.jit(do_not_specialize=["batch", "length"])
def _states(
    a, b, g, states, batch, length,
    a_k, a_b, a_t, a_h, b_k, b_b, b_t, b_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, SHARED: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, VECTOR: tl.constexpr,
    REVERSE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """States between chunks of updates a bᵀ; REVERSE: their gradients, from a = q and b = dy.

    A program has a tile (WIDTH, BLOCK) of a head's state in registers, and goes through the chunks. Entry i
    of `states` is what chunk i leaves to chunk i + 1, or the gradient of that.
    """
    chunks, program = tl.cdiv(length, CHUNK), tl.program_id(0)
    key, value = tl.program_id(1) * WIDTH, tl.program_id(2) * BLOCK
    a = head_of(a, program, HEADS, batch, a_k, a_b, a_h, SHARED)
    b = head_of(b, program, HEADS, batch, b_k, b_b, b_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    states += program.to(tl.int64) * (chunks - 1) * (KEYS * VALUES)
    state = tl.zeros((WIDTH, BLOCK), states.dtype.element_ty)
    for step in range(chunks - 1):
        chunk = chunks - 1 - step if REVERSE else step
        first = chunk * CHUNK
        a_c = load_tile(a, first, length, a_t, key, KEYS, CHUNK, WIDTH)
        b_c = load_tile(b, first, length, b_t, value, VALUES, CHUNK, BLOCK)
        g_c = load_decays(g, first, length, g_t, key, KEYS, CHUNK, WIDTH, VECTOR)
        if REVERSE:
            a_c *= decays_since_start(g_c, CHUNK, VECTOR)
        else:
            a_c *= decays_until_end(g_c, CHUNK, VECTOR)
        state = tl.dot(
            tl.trans(a_c), b_c, state * decay_of_chunk(g_c, VECTOR),
            input_precision=DOT, out_dtype=state.dtype,
        )  # fmt: skip
        place = states + (chunk - 1 if REVERSE else chunk) * (KEYS * VALUES)
        store_tile(place, state, key, KEYS, VALUES, value, VALUES, WIDTH, BLOCK)


@triton.jit(do_not_specialize=["batch", "length"])
def _outputs(
    q, k, b, g, states, y, batch, length,
    q_k, q_b, q_t, q_h, k_k, k_b, k_t, k_h, b_k, b_b, b_t, b_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, SHARED: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, VECTOR: tl.constexpr,
    REVERSE: tl.constexpr, STATES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The outputs of a chunk, of a block of channels, from b = v; REVERSE: the gradient of v, from b = dy.

    Registers hold the outputs (CHUNK, BLOCK) and A_ij as `scores` (CHUNK, CHUNK). Both are sums over blocks
    of the keys' channels, in order. Without STATES, only the part that stays within the chunk.
    """
    chunks = tl.cdiv(length, CHUNK)
    program, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    first, value = chunk * CHUNK, tl.program_id(1) * BLOCK
    q = head_of(q, program, HEADS, batch, q_k, q_b, q_h, SHARED)
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, SHARED)
    b = head_of(b, program, HEADS, batch, b_k, b_b, b_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    y += (program // HEADS).to(tl.int64) * length * (HEADS * VALUES) + (program % HEADS) * VALUES
    # The first chunk has no state before it, and the state after the last chunk is not read: use a tile
    # without rows there.
    boundary = chunk if REVERSE else chunk - 1
    states += (program.to(tl.int64) * (chunks - 1) + boundary) * (KEYS * VALUES)
    state_rows = tl.where((boundary >= 0) & (boundary < chunks - 1), KEYS, 0)
    scores = tl.zeros((CHUNK, CHUNK), y.dtype.element_ty)
    outputs = tl.zeros((CHUNK, BLOCK), y.dtype.element_ty)
    for key in range(0, KEYS, WIDTH):
        q_c = load_tile(q, first, length, q_t, key, KEYS, CHUNK, WIDTH)
        k_c = load_tile(k, first, length, k_t, key, KEYS, CHUNK, WIDTH)
        g_c = load_decays(g, first, length, g_t, key, KEYS, CHUNK, WIDTH, VECTOR)
        if VECTOR:
            scores += vector_scores(q_c, k, g, first, length, k_t, g_t, key, KEYS, CHUNK, WIDTH)
        else:
            scores = tl.dot(q_c, tl.trans(k_c), scores, input_precision=DOT, out_dtype=scores.dtype)
        if STATES:
            state = load_tile(states, key, state_rows, VALUES, value, VALUES, WIDTH, BLOCK)
            if REVERSE:
                reads = k_c * decays_until_end(g_c, CHUNK, VECTOR)
            else:
                reads = q_c * decays_since_start(g_c, CHUNK, VECTOR)
            outputs = tl.dot(reads, state, outputs, input_precision=DOT, out_dtype=outputs.dtype)
    if not VECTOR:
        scores *= decays_between(load_decays(g, first, length, g_t, 0, KEYS, CHUNK, WIDTH, False), CHUNK)
    b_c = load_tile(b, first, length, b_t, value, VALUES, CHUNK, BLOCK)
    mixing = tl.trans(scores) if REVERSE else scores
    outputs = tl.dot(mixing, b_c, outputs, input_precision=DOT, out_dtype=outputs.dtype)
    store_tile(y, outputs, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)


@triton.jit(do_not_specialize=["batch", "length"])
def _gradient(
    dy, q, k, v, g, states, d_states, dq, dk, dg, batch, length,
    q_k, q_b, q_t, q_h, k_k, k_b, k_t, k_h, v_k, v_b, v_t, v_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, SHARED: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, VECTOR: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The gradients of q, k and g of a chunk, of a block of the keys' channels.

    The first loop adds up, over blocks of the values' channels, d_scores = dy vᵀ and what the states pass to
    q, k and g. Then the decays within the chunk are applied. With a decay per head, a block's part of dg;
    parts are the last dimension.
    """
    chunks = tl.cdiv(length, CHUNK)
    program, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    first, key = chunk * CHUNK, tl.program_id(1) * WIDTH
    q = head_of(q, program, HEADS, batch, q_k, q_b, q_h, SHARED)
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, SHARED)
    v = head_of(v, program, HEADS, batch, v_k, v_b, v_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    token = (program // HEADS).to(tl.int64) * length * HEADS + program % HEADS
    dy += token * VALUES
    states += (program.to(tl.int64) * (chunks - 1) + chunk - 1) * (KEYS * VALUES)
    d_states += (program.to(tl.int64) * (chunks - 1) + chunk) * (KEYS * VALUES)
    state_rows, d_state_rows = tl.where(chunk > 0, KEYS, 0), tl.where(chunk < chunks - 1, KEYS, 0)
    d_scores = tl.zeros((CHUNK, CHUNK), dq.dtype.element_ty)
    dq_c = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    dk_c = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    through = tl.zeros((WIDTH,), dq.dtype.element_ty)
    for value in range(0, VALUES, BLOCK):
        dy_c = load_tile(dy, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        v_c = load_tile(v, first, length, v_t, value, VALUES, CHUNK, BLOCK)
        state = load_tile(states, key, state_rows, VALUES, value, VALUES, WIDTH, BLOCK)
        d_state = load_tile(d_states, key, d_state_rows, VALUES, value, VALUES, WIDTH, BLOCK)
        d_scores = tl.dot(dy_c, tl.trans(v_c), d_scores, input_precision=DOT, out_dtype=d_scores.dtype)
        dq_c = tl.dot(dy_c, tl.trans(state), dq_c, input_precision=DOT, out_dtype=dq_c.dtype)
        dk_c = tl.dot(v_c, tl.trans(d_state), dk_c, input_precision=DOT, out_dtype=dk_c.dtype)
        through += tl.sum(state * d_state, axis=1)
    q_c = load_tile(q, first, length, q_t, key, KEYS, CHUNK, WIDTH)
    k_c = load_tile(k, first, length, k_t, key, KEYS, CHUNK, WIDTH)
    g_c = load_decays(g, first, length, g_t, key, KEYS, CHUNK, WIDTH, VECTOR)
    dq_c *= decays_since_start(g_c, CHUNK, VECTOR)
    dk_c *= decays_until_end(g_c, CHUNK, VECTOR)
    i = tl.arange(0, CHUNK)
    later, earlier = i[:, None] <= i[None, :], i[:, None] > i[None, :]
    # A token's score with itself has no decay. It is left out of dG, where its two parts would cancel only
    # up to rounding.
    own = tl.sum(tl.where(i[:, None] == i[None, :], d_scores, 0.0), axis=1)[:, None]
    out, into = q_c * dq_c, k_c * dk_c  # out of the state before the chunk, into the state after it
    if VECTOR:
        dq_in, dk_in = vector_gradients(d_scores, q_c, k, g, first, length, k_t, g_t, key, KEYS, CHUNK, WIDTH)
    else:
        d_scores = tl.where(earlier, d_scores * decays_between(g_c, CHUNK), 0.0)
        dq_in = tl.dot(d_scores, k_c, input_precision=DOT)
        dk_in = tl.dot(tl.trans(d_scores), q_c, input_precision=DOT)
    out += q_c * dq_in - k_c * dk_in
    dq_c += dq_in + own * k_c
    dk_c += dk_in + own * q_c
    store_tile(dq + token * KEYS, dq_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
    store_tile(dk + token * KEYS, dk_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
    if VECTOR:
        dg_c = add_up(later, out, True) + add_up(earlier, into, True)
        dg_c += (through * tl.exp(tl.sum(g_c, axis=0)))[None, :]
        store_tile(dg + token * KEYS, dg_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
    else:
        dg_c = add_up(later, tl.sum(out, axis=1), False) + add_up(earlier, tl.sum(into, axis=1), False)
        dg_c += tl.sum(through, axis=0) * decay_of_chunk(g_c, False)
        place = (token + (first + i) * HEADS) * tl.num_programs(1) + tl.program_id(1)
        tl.store(dg + place, dg_c, mask=first + i < length)


def states_between(a: Tensor, b: Tensor, g: Tensor, *, reverse: bool) -> Tensor:
    """The states between chunks, (K, B, H, chunks − 1, Dk, Dv), from a = k and b = v.

    If `reverse`, their gradients, from a = q and b = dy.
    """
    K, batch, length, heads, values = b.shape
    keys = a.shape[-1]
    states = b.new_empty(K, batch, heads, chunks_of(length, g.dim() == 5) - 1, keys, values)
    if states.numel():
        width, block = padded(keys, STATE[0]), padded(values, STATE[1])
        _states[(K * batch * heads, triton.cdiv(keys, width), triton.cdiv(values, block))](
            a, b, g, states, batch, length, *strides(a), *strides(b), *strides(g),
            **constants(a, b, g), WIDTH=width, BLOCK=block, REVERSE=reverse, num_warps=4,
        )  # fmt: skip
    return states


def outputs(
    q: Tensor, k: Tensor, b: Tensor, g: Tensor, states: Tensor | None, *, reverse: bool = False
) -> Tensor:
    """The outputs, from b = v and the states between chunks.

    If `reverse`, the gradient of v, from b = dy and the states' gradients. Without states, only the part that
    stays within chunks.
    """
    K, batch, length, heads, values = b.shape
    y = b.new_empty(K, batch, length, heads, values)
    if y.numel():
        width, block = padded(q.shape[-1], OUTPUTS[0]), padded(values, OUTPUTS[1])
        chunks = chunks_of(length, g.dim() == 5)
        _outputs[(K * batch * heads * chunks, triton.cdiv(values, block))](
            q, k, b, g, b if states is None else states, y, batch, length,
            *strides(q), *strides(k), *strides(b), *strides(g),
            **constants(q, b, g), WIDTH=width, BLOCK=block, REVERSE=reverse, STATES=states is not None,
            num_warps=4,
        )  # fmt: skip
    return y


def gradients(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, states: Tensor, d_states: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk and dg from the states between chunks and their gradients."""
    K, batch, length, heads, values = v.shape
    keys, groups = q.shape[-1], q.shape[3]
    width, block = padded(keys, GRADIENT[0]), padded(values, GRADIENT[1])
    blocks = triton.cdiv(keys, width)
    dq, dk = (v.new_empty(K, batch, length, heads, keys) for _ in "qk")
    dg = v.new_empty(*g.shape, 1 if g.dim() == 5 else blocks)
    if not v.numel():
        return q.new_zeros(q.shape), k.new_zeros(k.shape), g.new_zeros(g.shape)
    _gradient[(K * batch * heads * chunks_of(length, g.dim() == 5), blocks)](
        dy, q, k, v, g, states, d_states, dq, dk, dg, batch, length,
        *strides(q), *strides(k), *strides(v), *strides(g),
        **constants(q, v, g), WIDTH=width, BLOCK=block, num_warps=4,
    )  # fmt: skip
    if groups < heads:
        dq, dk = (torch.unflatten(value, 3, (groups, heads // groups)).sum(4) for value in (dq, dk))
    return dq, dk, dg.squeeze(-1) if dg.shape[-1] == 1 else dg.sum(-1)


def forward(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Stacked q, k (K, B, L, G, Dk), v (K, B, L, H, Dv), g (K, B, L, H) or like k → y like v, and states."""
    q, k, v, g = prepared(q, k, v, g)
    states = states_between(k, v, g, reverse=False)
    return outputs(q, k, v, g, states), states


def backward(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, states: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `forward`, in their order."""
    q, k, v, g = prepared(q, k, v, g)
    dy, states = dy.contiguous(), states.contiguous()
    d_states = states_between(q, dy, g, reverse=True)
    dq, dk, dg = gradients(dy, q, k, v, g, states, d_states)
    return dq, dk, outputs(q, k, dy, g, d_states, reverse=True), dg


def prepared(*values: Tensor) -> tuple[Tensor, ...]:
    """Inputs as kernels read them: the last dimension of a matrix per head is contiguous."""
    return tuple(rows(value) if value.dim() == 5 else value for value in values)


def strides(value: Tensor) -> tuple[int, ...]:
    """Strides of models, prompts, tokens and heads."""
    return value.stride()[:4]


def chunks_of(length: int, vector: bool) -> int:
    """Number of chunks of a prompt; at least one."""
    return max(1, -(-length // CHUNK[vector]))


def padded(channels: int, largest: int) -> int:
    """Side of a tile with a block of channels: a power of two."""
    return min(largest, max(16, triton.next_power_of_2(channels)))


def constants(q: Tensor, v: Tensor, g: Tensor) -> dict[str, Any]:
    """Compile-time constants of all kernels."""
    vector, heads = g.dim() == 5, v.shape[3]
    return {
        "HEADS": heads,
        "SHARED": heads // q.shape[3],
        "KEYS": q.shape[-1],
        "VALUES": v.shape[-1],
        "CHUNK": CHUNK[vector],
        "VECTOR": vector,
        "DOT": dot_precision(v.dtype),
    }


def _shapes(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    K, batch, length, heads, values = v.shape
    chunks = chunks_of(length, g.dim() == 5)
    return v.new_empty(v.shape), v.new_empty(K, batch, heads, chunks - 1, q.shape[-1], values)


scalar_decay = operator("scalar_decay_triton", ARGUMENTS, ("states",), forward, backward, _shapes)
vector_decay = operator("vector_decay_triton", ARGUMENTS, ("states",), forward, backward, _shapes)
