"""Linear attention with decay in Triton: chunks in parallel, and the states between them in turn.

With the state S before a chunk of C tokens, and G_i = Σ_{j ≤ i} g_j within it:

    y_i = (q_i exp(G_i)) S + Σ_{j ≤ i} A_ij v_j          A_ij = Σ_d q_id k_jd exp(G_id − G_jd)
    S ← diag(exp(G_C)) S + Σ_j (k_j exp(G_C − G_j)) v_jᵀ

`_states` computes the states between chunks: a program has a block of a head's state and goes through the
chunks. The gradient of the states is the same recurrence in reversed time, with q exp(G) and dy in place of
k exp(G_C − G) and v. `_outputs` and `_gradient` then have a program per chunk.

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
from bench.kernels.operators import operator, rows, unwanted
from bench.kernels.product.precision import dot_precision
from bench.kernels.triton_functions import load_tile, store_tile

CHUNK = {False: 32, True: 16}
"""Tokens of a chunk with a decay per head (False) and per channel of the keys (True)."""
LARGEST = 256
"""Largest number of channels of a key."""
STATE = 64, 32
"""Largest block of a state that a program of `_states` has: channels of keys and of values."""
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
    """States between chunks of updates a bᵀ; REVERSE: their gradients, from a = q and b = dy."""
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
    q, k, v, g, states, y, batch, length,
    q_k, q_b, q_t, q_h, k_k, k_b, k_t, k_h, v_k, v_b, v_t, v_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, SHARED: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, VECTOR: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The outputs of a chunk, of a block of the values' channels."""
    chunks = tl.cdiv(length, CHUNK)
    program, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    first, value = chunk * CHUNK, tl.program_id(1) * BLOCK
    q = head_of(q, program, HEADS, batch, q_k, q_b, q_h, SHARED)
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, SHARED)
    v = head_of(v, program, HEADS, batch, v_k, v_b, v_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    y += (program // HEADS).to(tl.int64) * length * (HEADS * VALUES) + (program % HEADS) * VALUES
    states += (program.to(tl.int64) * (chunks - 1) + chunk - 1) * (KEYS * VALUES)
    q_c = load_tile(q, first, length, q_t, 0, KEYS, CHUNK, WIDTH)
    g_c = load_decays(g, first, length, g_t, 0, KEYS, CHUNK, WIDTH, VECTOR)
    if VECTOR:
        scores = vector_scores(q_c, k, g, first, length, k_t, g_t, KEYS, CHUNK, WIDTH)
    else:
        k_c = load_tile(k, first, length, k_t, 0, KEYS, CHUNK, WIDTH)
        scores = tl.dot(q_c, tl.trans(k_c), input_precision=DOT) * decays_between(g_c, CHUNK)
    v_c = load_tile(v, first, length, v_t, value, VALUES, CHUNK, BLOCK)
    # The state before the first chunk is zero: `load_tile` with no rows.
    state = load_tile(states, 0, tl.where(chunk > 0, KEYS, 0), VALUES, value, VALUES, WIDTH, BLOCK)
    outputs = tl.dot(scores, v_c, input_precision=DOT)
    q_c *= decays_since_start(g_c, CHUNK, VECTOR)
    outputs = tl.dot(q_c, state, outputs, input_precision=DOT, out_dtype=outputs.dtype)
    store_tile(y, outputs, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)


@triton.jit(do_not_specialize=["batch", "length"])
def _gradient(
    dy, q, k, v, g, states, d_states, dq, dk, dv, dg, batch, length,
    q_k, q_b, q_t, q_h, k_k, k_b, k_t, k_h, v_k, v_b, v_t, v_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, SHARED: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, VECTOR: tl.constexpr, DOT: tl.constexpr,
    WITH_VALUES: tl.constexpr,
):  # fmt: skip
    """All gradients of a chunk; that of v only if WITH_VALUES."""
    chunks = tl.cdiv(length, CHUNK)
    program, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    first = chunk * CHUNK
    q = head_of(q, program, HEADS, batch, q_k, q_b, q_h, SHARED)
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, SHARED)
    v = head_of(v, program, HEADS, batch, v_k, v_b, v_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    row, head = (program // HEADS).to(tl.int64) * length * HEADS, program % HEADS
    dy += (row + head) * VALUES
    dv += (row + head) * VALUES
    dq += (row + head) * KEYS
    dk += (row + head) * KEYS
    states += (program.to(tl.int64) * (chunks - 1) + chunk - 1) * (KEYS * VALUES)
    d_states += (program.to(tl.int64) * (chunks - 1) + chunk) * (KEYS * VALUES)
    q_c = load_tile(q, first, length, q_t, 0, KEYS, CHUNK, WIDTH)
    k_c = load_tile(k, first, length, k_t, 0, KEYS, CHUNK, WIDTH)
    g_c = load_decays(g, first, length, g_t, 0, KEYS, CHUNK, WIDTH, VECTOR)
    until_end = decays_until_end(g_c, CHUNK, VECTOR)
    if WITH_VALUES:
        if VECTOR:
            scores = vector_scores(q_c, k, g, first, length, k_t, g_t, KEYS, CHUNK, WIDTH)
        else:
            scores = tl.dot(q_c, tl.trans(k_c), input_precision=DOT) * decays_between(g_c, CHUNK)
    d_scores = tl.zeros((CHUNK, CHUNK), q_c.dtype)
    dq_c, dk_c = tl.zeros((CHUNK, WIDTH), q_c.dtype), tl.zeros((CHUNK, WIDTH), q_c.dtype)
    through = tl.zeros((WIDTH,), q_c.dtype)
    for value in range(0, VALUES, BLOCK):
        dy_c = load_tile(dy, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        v_c = load_tile(v, first, length, v_t, value, VALUES, CHUNK, BLOCK)
        # No state is before the first chunk, and none after the last one is read.
        state = load_tile(states, 0, tl.where(chunk > 0, KEYS, 0), VALUES, value, VALUES, WIDTH, BLOCK)
        read = tl.where(chunk < chunks - 1, KEYS, 0)
        d_state = load_tile(d_states, 0, read, VALUES, value, VALUES, WIDTH, BLOCK)
        d_scores = tl.dot(dy_c, tl.trans(v_c), d_scores, input_precision=DOT, out_dtype=d_scores.dtype)
        dq_c = tl.dot(dy_c, tl.trans(state), dq_c, input_precision=DOT, out_dtype=dq_c.dtype)
        dk_c = tl.dot(v_c, tl.trans(d_state), dk_c, input_precision=DOT, out_dtype=dk_c.dtype)
        through += tl.sum(state * d_state, axis=1)
        if WITH_VALUES:
            dv_c = tl.dot(tl.trans(scores), dy_c, input_precision=DOT)
            dv_c = tl.dot(k_c * until_end, d_state, dv_c, input_precision=DOT, out_dtype=dv_c.dtype)
            store_tile(dv, dv_c, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
    dq_c *= decays_since_start(g_c, CHUNK, VECTOR)
    dk_c *= until_end
    out, into = q_c * dq_c, k_c * dk_c  # out of the state before the chunk, into the state after it
    i = tl.arange(0, CHUNK)
    later, earlier = i[:, None] <= i[None, :], i[:, None] > i[None, :]
    if VECTOR:
        dq_c, dk_c, dG = vector_gradients(
            d_scores, q_c, dq_c, dk_c, k, g, first, length, k_t, g_t, KEYS, CHUNK, WIDTH
        )
        dg_c = add_up(later, dG + out, True) + add_up(earlier, into, True)
        dg_c += (through * tl.exp(tl.sum(g_c, axis=0)))[None, :]
        store_tile(dg + (row + head) * KEYS, dg_c, first, length, HEADS * KEYS, 0, KEYS, CHUNK, WIDTH)
    else:
        d_scores *= decays_between(g_c, CHUNK)
        # The products of the scores again: kept since then, they would need registers in the loop.
        pairs = tl.where(earlier, d_scores * tl.dot(q_c, tl.trans(k_c), input_precision=DOT), 0.0)
        dG = tl.sum(pairs, axis=1) - tl.sum(pairs, axis=0) + tl.sum(out, axis=1)
        dg_c = add_up(later, dG, False) + add_up(earlier, tl.sum(into, axis=1), False)
        dg_c += tl.sum(through, axis=0) * decay_of_chunk(g_c, False)
        tl.store(dg + row + head + (first + i) * HEADS, dg_c, mask=first + i < length)
        dq_c = tl.dot(d_scores, k_c, dq_c, input_precision=DOT, out_dtype=dq_c.dtype)
        dk_c = tl.dot(tl.trans(d_scores), q_c, dk_c, input_precision=DOT, out_dtype=dk_c.dtype)
    store_tile(dq, dq_c, first, length, HEADS * KEYS, 0, KEYS, CHUNK, WIDTH)
    store_tile(dk, dk_c, first, length, HEADS * KEYS, 0, KEYS, CHUNK, WIDTH)


def states_between(a: Tensor, b: Tensor, g: Tensor, *, reverse: bool) -> Tensor:
    """The states between chunks, (K, B, H, chunks − 1, Dk, Dv), from a = k and b = v.

    If `reverse`, their gradients without those of later kernels, from a = q and b = dy.
    """
    K, batch, length, heads, values = b.shape
    vector, keys = g.dim() == 5, a.shape[-1]
    states = b.new_empty(K, batch, heads, chunks_of(length, vector) - 1, keys, values)
    if states.numel():
        width, block = (min(size, largest) for size, largest in zip(padded(keys, values), STATE, strict=True))
        _states[(K * batch * heads, triton.cdiv(keys, width), triton.cdiv(values, block))](
            a, b, g, states, batch, length, *strides(a), *strides(b), *strides(g),
            **constants(a, b, g), WIDTH=width, BLOCK=block, REVERSE=reverse, num_warps=4,
        )  # fmt: skip
    return states


def outputs(q: Tensor, k: Tensor, v: Tensor, g: Tensor, states: Tensor) -> Tensor:
    """y from the states between chunks."""
    K, batch, length, heads, values = v.shape
    y = v.new_empty(K, batch, length, heads, values)
    if y.numel():
        tile = launch(q.shape[-1], values)
        chunks = chunks_of(length, g.dim() == 5)
        _outputs[(K * batch * heads * chunks, triton.cdiv(values, tile["BLOCK"]))](
            q, k, v, g, states, y, batch, length, *strides(q), *strides(k), *strides(v), *strides(g),
            **constants(q, v, g), **tile,
        )  # fmt: skip
    return y


def gradients(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, states: Tensor, d_states: Tensor,
    *, with_values: bool = True,
) -> tuple[Tensor, ...]:  # fmt: skip
    """dq, dk, dv and dg from the states and their gradients. dv is `unwanted` if not `with_values`."""
    K, batch, length, heads, values = v.shape
    keys, groups = q.shape[-1], q.shape[3]
    dq, dk = (v.new_empty(K, batch, length, heads, keys) for _ in "qk")
    dv = v.new_empty(v.shape) if with_values else unwanted(v)
    dg = g.new_empty(g.shape)
    if not v.numel():
        return q.new_zeros(q.shape), k.new_zeros(k.shape), dv, dg.zero_()
    _gradient[(K * batch * heads * chunks_of(length, g.dim() == 5),)](
        dy, q, k, v, g, states, d_states, dq, dk, dv, dg, batch, length,
        *strides(q), *strides(k), *strides(v), *strides(g),
        **constants(q, v, g), **launch(keys, values), WITH_VALUES=with_values,
    )  # fmt: skip
    if groups < heads:
        dq, dk = (torch.unflatten(value, 3, (groups, heads // groups)).sum(4) for value in (dq, dk))
    return dq, dk, dv, dg


def forward(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Stacked q, k (K, B, L, G, Dk), v (K, B, L, H, Dv), g (K, B, L, H) or like k → y like v, and states."""
    check(q)
    q, k, v, g = prepared(q, k, v, g)
    states = states_between(k, v, g, reverse=False)
    return outputs(q, k, v, g, states), states


def backward(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, states: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `forward`, in their order."""
    q, k, v, g = prepared(q, k, v, g)
    dy, states = dy.contiguous(), states.contiguous()
    return gradients(dy, q, k, v, g, states, states_between(q, dy, g, reverse=True))


def check(k: Tensor) -> None:
    """Refuse keys that are too wide for a program."""
    if k.shape[-1] > LARGEST:
        raise ValueError(
            f"the triton linear attention takes keys of at most {LARGEST} channels, not {k.shape[-1]}: "
            "use sequential"
        )


def prepared(*values: Tensor) -> tuple[Tensor, ...]:
    """Inputs as kernels read them: the last dimension of a matrix per head is contiguous."""
    return tuple(rows(value) if value.dim() == 5 else value for value in values)


def strides(value: Tensor) -> tuple[int, ...]:
    """Strides of models, prompts, tokens and heads."""
    return value.stride()[:4]


def chunks_of(length: int, vector: bool) -> int:
    """Number of chunks of a prompt; at least one."""
    return max(1, -(-length // CHUNK[vector]))


def padded(*sizes: int) -> tuple[int, ...]:
    """The smallest sides of tiles that hold these numbers of channels."""
    return tuple(max(16, triton.next_power_of_2(size)) for size in sizes)


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


def launch(keys: int, values: int) -> dict[str, int]:
    """Tiles of a program per chunk, which has all channels of the keys, and its warps."""
    width, block = padded(keys, values)
    return {"WIDTH": width, "BLOCK": min(block, 64 if width <= 64 else 32), "num_warps": 4 if width <= 64 else 8}


def _shapes(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    K, batch, length, heads, values = v.shape
    chunks = chunks_of(length, g.dim() == 5)
    return v.new_empty(v.shape), v.new_empty(K, batch, heads, chunks - 1, q.shape[-1], values)


scalar_decay = operator("scalar_decay_triton", ARGUMENTS, ("states",), forward, backward, _shapes)
vector_decay = operator("vector_decay_triton", ARGUMENTS, ("states",), forward, backward, _shapes)
