"""The delta rule with a decay per channel in Triton: chunks in parallel, and the states between them in turn.

Let G_i be the sum of the log-decays of a chunk up to token i, and
⟨x_i, y_j⟩ = Σ_d x_id y_jd exp(G_id − G_jd). With the state S before the chunk, its corrections u_i are the
rows of

    U = T X    T = (I + M)⁻¹    M_ij = ⟨read_i, erase_j⟩ for j < i

In `vector_delta_rule`, read = k, erase = β k, and X_i = v_i − (e^{G_i} read_i)ᵀ S. In
`diagonal_plus_rank_one`, values have a key of their own and are not corrected:
X_i = −(e^{G_i} read_i)ᵀ S − Σ_{j<i} ⟨read_i, write_j⟩ v_j. Outputs and states are, with the terms in brackets
in the second rule only,

    y_i = (e^{G_i} q_i)ᵀ S + Σ_{j≤i} ⟨q_i, erase_j⟩ u_j  [+ Σ_{j≤i} ⟨q_i, write_j⟩ v_j]
    S   ← diag(e^{G_C}) S + Σ_j (e^{G_C − G_j} erase_j) u_jᵀ  [+ Σ_j (e^{G_C − G_j} write_j) v_jᵀ]

The kernels:

    `_chunks`     T of every chunk, by substitution, the products ⟨·,·⟩ and the decayed keys
    `_outputs`    chunk by chunk, U, y and the states
    `_errors`     in reversed time, Z = Tᵀ dU, the gradient of v and those of the states
    `_gradient`   from dX = Z and dM = −Z Uᵀ, the gradients of keys, β and g

As in `bench.kernels.decay.triton`, every exponent is a sum of log-decays over the tokens in between, and
the gradient of g sums over the paths across a token.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.decay import triton as decay
from bench.kernels.decay.triton import head_of, padded, strides
from bench.kernels.decay.triton_chunks import (
    add_up,
    decays_since_start,
    decays_until_end,
    load_row,
)
from bench.kernels.operators import operator, rows
from bench.kernels.product.precision import dot_precision, exact_dot_precision
from bench.kernels.triton_functions import load_tile, store_tile, unit_lower_inverse

BLOCK = 32
"""Largest block of channels that a program reads at once; programs of states have all keys."""
LARGEST = 256
"""Largest number of channels of a key."""
WARPS = {"chunks": 2, "gradient": 4}
"""Warps of a program of `_chunks` and of `_gradient`."""


@triton.jit
def _betas(beta, first, length, stride, ROWS: tl.constexpr, WRITES: tl.constexpr):
    """β of a chunk's tokens as factors of the rows of `erase`; without β, 1."""
    if WRITES:
        return 1.0
    else:
        t = first + tl.arange(0, ROWS)
        return tl.load(beta + t * stride, mask=t < length, other=0.0)[:, None]


@triton.jit
def _beta(beta, t, length, stride, WRITES: tl.constexpr):
    """β of one token; without β, 1."""
    if WRITES:
        return 1.0
    else:
        return tl.load(beta + t * stride, mask=t < length, other=0.0)


@triton.jit
def _matrix(matrices, place, CHUNK: tl.constexpr):
    """Pointers to the matrix at a place, (CHUNK, CHUNK)."""
    i = tl.arange(0, CHUNK)
    return matrices + place * (CHUNK * CHUNK) + i[:, None] * CHUNK + i[None, :]


@triton.jit
def _decayed_key(decayed, place, KEYS: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr):
    """The tile at a place of a chunk's decayed keys, (CHUNK, WIDTH)."""
    return load_tile(decayed + place * (CHUNK * KEYS), 0, CHUNK, KEYS, 0, KEYS, CHUNK, WIDTH)


@triton.jit
def _decay(decayed, KEYS: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, WRITES: tl.constexpr):
    """e^{G_C} of a chunk, (WIDTH,)."""
    d = tl.arange(0, WIDTH)
    return tl.load(decayed + (4 if WRITES else 3) * CHUNK * KEYS + d, mask=d < KEYS, other=0.0)


@triton.jit(do_not_specialize=["batch", "length"])
def _chunks(
    q, read, erase, write, beta, g, matrices, decayed, batch, length,
    q_k, q_b, q_t, q_h, read_k, read_b, read_t, read_h, erase_k, erase_b, erase_t, erase_h,
    write_k, write_b, write_t, write_h, beta_k, beta_b, beta_t, beta_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, KEYS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, WRITES: tl.constexpr,
):  # fmt: skip
    """What the states need of a chunk.

    matrices: T, ⟨q, erase⟩, and ⟨q, write⟩ and ⟨read, write⟩ if WRITES.
    decayed: e^{G_i} q_i, e^{G_i} read_i, e^{G_C − G_i} erase_i, and e^{G_C − G_i} write_i if WRITES. One more
    row has e^{G_C}.

    It goes from the last key to the first, as `vector_scores` of linear attention with decay, so that the
    exponents grow by a token's log-decay at a time.
    """
    chunks = tl.cdiv(length, CHUNK)
    program, first = tl.program_id(0) // chunks, (tl.program_id(0) % chunks) * CHUNK
    q = head_of(q, program, HEADS, batch, q_k, q_b, q_h, 1)
    read = head_of(read, program, HEADS, batch, read_k, read_b, read_h, 1)
    erase = head_of(erase, program, HEADS, batch, erase_k, erase_b, erase_h, 1)
    write = head_of(write, program, HEADS, batch, write_k, write_b, write_h, 1)
    beta = head_of(beta, program, HEADS, batch, beta_k, beta_b, beta_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    matrices += tl.program_id(0).to(tl.int64) * ((4 if WRITES else 2) * CHUNK * CHUNK)
    decayed += tl.program_id(0).to(tl.int64) * (((4 if WRITES else 3) * CHUNK + 1) * KEYS)
    i = tl.arange(0, CHUNK)
    inverse = tl.zeros((CHUNK, CHUNK), matrices.dtype.element_ty)  # −M at first
    q_erase = tl.zeros((CHUNK, CHUNK), matrices.dtype.element_ty)
    q_write = tl.zeros((CHUNK, CHUNK), matrices.dtype.element_ty)
    read_write = tl.zeros((CHUNK, CHUNK), matrices.dtype.element_ty)
    for key in range(0, KEYS, WIDTH):
        q_c = load_tile(q, first, length, q_t, key, KEYS, CHUNK, WIDTH)
        read_c = load_tile(read, first, length, read_t, key, KEYS, CHUNK, WIDTH)
        since_key = tl.zeros((CHUNK, WIDTH), matrices.dtype.element_ty)  # G_i − G_j
        until_end = tl.zeros((CHUNK, WIDTH), matrices.dtype.element_ty)  # G_C − G_i
        rest = tl.zeros((1, WIDTH), matrices.dtype.element_ty)  # G_C − G_j
        for back in range(CHUNK):
            j = CHUNK - 1 - back
            g_next = load_row(g, first + j + 1, length, g_t, key, KEYS, WIDTH)
            since_key = tl.where(i[:, None] > j, since_key + g_next, 0.0)
            rest = tl.where(back > 0, rest + g_next, 0.0)
            until_end = tl.where(i[:, None] == j, rest, until_end)
            decays = tl.exp(since_key)
            q_j, read_j = q_c * decays, read_c * decays
            at, before = (i[:, None] >= j) & (i[None, :] == j), (i[:, None] > j) & (i[None, :] == j)
            erase_j = load_row(erase, first + j, length, erase_t, key, KEYS, WIDTH)
            erase_j *= _beta(beta, first + j, length, beta_t, WRITES)
            q_erase += tl.where(at, tl.sum(q_j * erase_j, axis=1)[:, None], 0.0)
            inverse -= tl.where(before, tl.sum(read_j * erase_j, axis=1)[:, None], 0.0)
            if WRITES:
                write_j = load_row(write, first + j, length, write_t, key, KEYS, WIDTH)
                q_write += tl.where(at, tl.sum(q_j * write_j, axis=1)[:, None], 0.0)
                read_write += tl.where(before, tl.sum(read_j * write_j, axis=1)[:, None], 0.0)
        g_first = load_row(g, first, length, g_t, key, KEYS, WIDTH)
        since_start, until_end = tl.exp(since_key + g_first), tl.exp(until_end)
        store_tile(decayed, q_c * since_start, 0, CHUNK, KEYS, key, KEYS, CHUNK, WIDTH)
        store_tile(decayed, read_c * since_start, CHUNK, 2 * CHUNK, KEYS, key, KEYS, CHUNK, WIDTH)
        erase_c = load_tile(erase, first, length, erase_t, key, KEYS, CHUNK, WIDTH)
        erase_c *= _betas(beta, first, length, beta_t, CHUNK, WRITES) * until_end
        store_tile(decayed, erase_c, 2 * CHUNK, 3 * CHUNK, KEYS, key, KEYS, CHUNK, WIDTH)
        if WRITES:
            write_c = until_end * load_tile(write, first, length, write_t, key, KEYS, CHUNK, WIDTH)
            store_tile(decayed, write_c, 3 * CHUNK, 4 * CHUNK, KEYS, key, KEYS, CHUNK, WIDTH)
        last = (4 if WRITES else 3) * CHUNK
        store_tile(decayed, tl.exp(rest + g_first), last, last + 1, KEYS, key, KEYS, 1, WIDTH)
    tl.store(_matrix(matrices, 0, CHUNK), unit_lower_inverse(inverse, CHUNK))
    tl.store(_matrix(matrices, 1, CHUNK), q_erase)
    if WRITES:
        tl.store(_matrix(matrices, 2, CHUNK), q_write)
        tl.store(_matrix(matrices, 3, CHUNK), read_write)


@triton.jit(do_not_specialize=["batch", "length"])
def _outputs(
    v, matrices, decayed, y, corrections, states, batch, length, v_k, v_b, v_t, v_h,
    HEADS: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    CHUNK: tl.constexpr, WRITES: tl.constexpr, DOT: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """The outputs and U of every chunk and the states between chunks, of a block of the values' channels.

    The state (WIDTH, BLOCK) stays in registers from chunk to chunk. The program of every block reads the
    matrices and decayed keys that `_chunks` wrote.
    """
    chunks, program, value = tl.cdiv(length, CHUNK), tl.program_id(0), tl.program_id(1) * BLOCK
    v = head_of(v, program, HEADS, batch, v_k, v_b, v_h, 1)
    token = ((program // HEADS).to(tl.int64) * length * HEADS + program % HEADS) * VALUES
    y += token
    corrections += token
    matrices += program.to(tl.int64) * chunks * ((4 if WRITES else 2) * CHUNK * CHUNK)
    decayed += program.to(tl.int64) * chunks * (((4 if WRITES else 3) * CHUNK + 1) * KEYS)
    states += program.to(tl.int64) * (chunks - 1) * (KEYS * VALUES)
    state = tl.zeros((WIDTH, BLOCK), y.dtype.element_ty)
    for chunk in range(chunks):
        first = chunk * CHUNK
        v_c = load_tile(v, first, length, v_t, value, VALUES, CHUNK, BLOCK)
        q_c = _decayed_key(decayed, 0, KEYS, CHUNK, WIDTH)
        read_c = _decayed_key(decayed, 1, KEYS, CHUNK, WIDTH)
        erase_c = _decayed_key(decayed, 2, KEYS, CHUNK, WIDTH)
        inverse, q_erase = tl.load(_matrix(matrices, 0, CHUNK)), tl.load(_matrix(matrices, 1, CHUNK))
        gaps = -tl.dot(read_c, state, input_precision=DOT, out_dtype=state.dtype)
        y_c = tl.dot(q_c, state, input_precision=DOT, out_dtype=state.dtype)
        state *= _decay(decayed, KEYS, CHUNK, WIDTH, WRITES)[:, None]
        if WRITES:
            write_c = _decayed_key(decayed, 3, KEYS, CHUNK, WIDTH)
            q_write, read_write = tl.load(_matrix(matrices, 2, CHUNK)), tl.load(_matrix(matrices, 3, CHUNK))
            gaps -= tl.dot(read_write, v_c, input_precision=DOT, out_dtype=state.dtype)
            y_c = tl.dot(q_write, v_c, y_c, input_precision=DOT, out_dtype=state.dtype)
            state = tl.dot(tl.trans(write_c), v_c, state, input_precision=DOT, out_dtype=state.dtype)
        else:
            gaps += v_c
        correction = tl.dot(inverse, gaps, input_precision=EXACT, out_dtype=state.dtype)
        y_c = tl.dot(q_erase, correction, y_c, input_precision=DOT, out_dtype=state.dtype)
        state = tl.dot(tl.trans(erase_c), correction, state, input_precision=DOT, out_dtype=state.dtype)
        store_tile(corrections, correction, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        store_tile(y, y_c, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        # The state after the last chunk is not read: no row of it is written.
        last = tl.where(chunk < chunks - 1, KEYS, 0)
        store_tile(states, state, 0, last, VALUES, value, VALUES, WIDTH, BLOCK)
        states += KEYS * VALUES
        matrices += (4 if WRITES else 2) * CHUNK * CHUNK
        decayed += ((4 if WRITES else 3) * CHUNK + 1) * KEYS


@triton.jit(do_not_specialize=["length"])
def _errors(
    dy, matrices, decayed, errors, dv, d_states, length,
    HEADS: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    CHUNK: tl.constexpr, WRITES: tl.constexpr, DOT: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Z of every chunk and the gradients of the states, of a block of the values' channels.

    Z is the gradient of v too, unless WRITES; then dv is that gradient.
    """
    chunks, program, value = tl.cdiv(length, CHUNK), tl.program_id(0), tl.program_id(1) * BLOCK
    token = ((program // HEADS).to(tl.int64) * length * HEADS + program % HEADS) * VALUES
    dy += token
    errors += token
    dv += token
    end = (program + 1).to(tl.int64) * chunks
    matrices += end * ((4 if WRITES else 2) * CHUNK * CHUNK)
    decayed += end * (((4 if WRITES else 3) * CHUNK + 1) * KEYS)
    d_states += (end - program - 1) * (KEYS * VALUES)
    d_state = tl.zeros((WIDTH, BLOCK), errors.dtype.element_ty)
    for step in range(chunks):
        chunk = chunks - 1 - step
        first = chunk * CHUNK
        matrices -= (4 if WRITES else 2) * CHUNK * CHUNK
        decayed -= ((4 if WRITES else 3) * CHUNK + 1) * KEYS
        d_states -= KEYS * VALUES
        dy_c = load_tile(dy, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        q_c = _decayed_key(decayed, 0, KEYS, CHUNK, WIDTH)
        read_c = _decayed_key(decayed, 1, KEYS, CHUNK, WIDTH)
        erase_c = _decayed_key(decayed, 2, KEYS, CHUNK, WIDTH)
        inverse, q_erase = tl.load(_matrix(matrices, 0, CHUNK)), tl.load(_matrix(matrices, 1, CHUNK))
        d_correction = tl.dot(tl.trans(q_erase), dy_c, input_precision=DOT, out_dtype=d_state.dtype)
        d_correction = tl.dot(erase_c, d_state, d_correction, input_precision=DOT, out_dtype=d_state.dtype)
        error = tl.dot(tl.trans(inverse), d_correction, input_precision=EXACT, out_dtype=d_state.dtype)
        store_tile(errors, error, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        error = -error
        if WRITES:
            write_c = _decayed_key(decayed, 3, KEYS, CHUNK, WIDTH)
            q_write, read_write = tl.load(_matrix(matrices, 2, CHUNK)), tl.load(_matrix(matrices, 3, CHUNK))
            dv_c = tl.dot(write_c, d_state, input_precision=DOT, out_dtype=d_state.dtype)
            dv_c = tl.dot(tl.trans(q_write), dy_c, dv_c, input_precision=DOT, out_dtype=d_state.dtype)
            dv_c = tl.dot(tl.trans(read_write), error, dv_c, input_precision=DOT, out_dtype=d_state.dtype)
            store_tile(dv, dv_c, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        d_state *= _decay(decayed, KEYS, CHUNK, WIDTH, WRITES)[:, None]
        d_state = tl.dot(tl.trans(q_c), dy_c, d_state, input_precision=DOT, out_dtype=d_state.dtype)
        d_state = tl.dot(tl.trans(read_c), error, d_state, input_precision=DOT, out_dtype=d_state.dtype)
        rows = tl.where(chunk > 0, KEYS, 0)
        store_tile(d_states, d_state, 0, rows, VALUES, value, VALUES, WIDTH, BLOCK)


@triton.jit
def _column(values, reaches):
    """The column of a matrix at which the rows `reaches` are, as factors of rows."""
    return tl.sum(tl.where(reaches, values, 0.0), axis=1)[:, None]


@triton.jit(do_not_specialize=["batch", "length"])
def _gradient(
    dy, q, read, erase, write, v, beta, g, states, corrections, errors, d_states,
    dq, d_read, d_erase, d_write, d_beta, dg, batch, length,
    q_k, q_b, q_t, q_h, read_k, read_b, read_t, read_h, erase_k, erase_b, erase_t, erase_h,
    write_k, write_b, write_t, write_h, v_k, v_b, v_t, v_h, beta_k, beta_b, beta_t, beta_h,
    g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    CHUNK: tl.constexpr, WRITES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The gradients of the keys and of g of a chunk, of a block of the keys' channels.

    1. A loop over blocks of the values' channels adds up the gradients of the four products ⟨·,·⟩ and what
       the states pass to the keys.
    2. What the states pass gets the decays from the chunk's start, or until its end.
    3. A loop over the chunk's keys, from the last to the first, adds what the products pass to the keys.
    4. The gradient of g sums over the paths across each token: out of the state before the chunk or within
       the chunk (`out`), into the state after it (`into`), and from one to the other (`through`).

    Unless WRITES, `read` and `erase` are one key. Then d_read is its gradient, and d_beta has the block's
    part of that of β; parts are the last dimension.
    """
    chunks = tl.cdiv(length, CHUNK)
    program, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    first, key = chunk * CHUNK, tl.program_id(1) * WIDTH
    q = head_of(q, program, HEADS, batch, q_k, q_b, q_h, 1)
    read = head_of(read, program, HEADS, batch, read_k, read_b, read_h, 1)
    erase = head_of(erase, program, HEADS, batch, erase_k, erase_b, erase_h, 1)
    write = head_of(write, program, HEADS, batch, write_k, write_b, write_h, 1)
    v = head_of(v, program, HEADS, batch, v_k, v_b, v_h, 1)
    beta = head_of(beta, program, HEADS, batch, beta_k, beta_b, beta_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    token = (program // HEADS).to(tl.int64) * length * HEADS + program % HEADS
    dy += token * VALUES
    corrections += token * VALUES
    errors += token * VALUES
    states += (program.to(tl.int64) * (chunks - 1) + chunk - 1) * (KEYS * VALUES)
    d_states += (program.to(tl.int64) * (chunks - 1) + chunk) * (KEYS * VALUES)
    state_rows, d_state_rows = tl.where(chunk > 0, KEYS, 0), tl.where(chunk < chunks - 1, KEYS, 0)
    i = tl.arange(0, CHUNK)
    # 1. The gradients of ⟨q, erase⟩, ⟨read, erase⟩, ⟨q, write⟩, ⟨read, write⟩; what states pass to keys.
    d_qe = tl.zeros((CHUNK, CHUNK), dq.dtype.element_ty)
    d_re = tl.zeros((CHUNK, CHUNK), dq.dtype.element_ty)
    d_qw = tl.zeros((CHUNK, CHUNK), dq.dtype.element_ty)
    d_rw = tl.zeros((CHUNK, CHUNK), dq.dtype.element_ty)
    dq_c = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    d_read_c = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    d_erase_c = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    d_write_c = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    through = tl.zeros((WIDTH,), dq.dtype.element_ty)
    for value in range(0, VALUES, BLOCK):
        dy_c = load_tile(dy, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        error = -load_tile(errors, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        correction = load_tile(corrections, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        state = load_tile(states, key, state_rows, VALUES, value, VALUES, WIDTH, BLOCK)
        d_state = load_tile(d_states, key, d_state_rows, VALUES, value, VALUES, WIDTH, BLOCK)
        d_qe = tl.dot(dy_c, tl.trans(correction), d_qe, input_precision=DOT, out_dtype=d_qe.dtype)
        d_re = tl.dot(error, tl.trans(correction), d_re, input_precision=DOT, out_dtype=d_qe.dtype)
        dq_c = tl.dot(dy_c, tl.trans(state), dq_c, input_precision=DOT, out_dtype=d_qe.dtype)
        d_read_c = tl.dot(error, tl.trans(state), d_read_c, input_precision=DOT, out_dtype=d_qe.dtype)
        d_erase_c = tl.dot(
            correction, tl.trans(d_state), d_erase_c, input_precision=DOT, out_dtype=d_qe.dtype
        )
        if WRITES:
            v_c = load_tile(v, first, length, v_t, value, VALUES, CHUNK, BLOCK)
            d_qw = tl.dot(dy_c, tl.trans(v_c), d_qw, input_precision=DOT, out_dtype=d_qe.dtype)
            d_rw = tl.dot(error, tl.trans(v_c), d_rw, input_precision=DOT, out_dtype=d_qe.dtype)
            d_write_c = tl.dot(v_c, tl.trans(d_state), d_write_c, input_precision=DOT, out_dtype=d_qe.dtype)
        through += tl.sum(state * d_state, axis=1)
    q_c = load_tile(q, first, length, q_t, key, KEYS, CHUNK, WIDTH)
    read_c = load_tile(read, first, length, read_t, key, KEYS, CHUNK, WIDTH)
    g_c = load_tile(g, first, length, g_t, key, KEYS, CHUNK, WIDTH)
    since_start, until_end = decays_since_start(g_c, CHUNK, True), decays_until_end(g_c, CHUNK, True)
    # 2. The decays between the states and the tokens.
    dq_c *= since_start
    d_read_c *= since_start
    d_erase_c *= until_end
    d_write_c *= until_end
    beta_c = _betas(beta, first, length, beta_t, CHUNK, WRITES)
    # This and `write` are loaded after the loop over values, so that the loop has fewer tiles in registers.
    erase_c = load_tile(erase, first, length, erase_t, key, KEYS, CHUNK, WIDTH)
    erased = erase_c * beta_c
    out = q_c * dq_c + read_c * d_read_c  # out of the state before the chunk
    into = erased * d_erase_c  # into the state after it
    # A token's product with itself has no decay. It is left out of dG, where its two parts would cancel only
    # up to rounding.
    diagonal = i[:, None] == i[None, :]
    own = _column(d_qe, diagonal)
    own_dq, own_d_erase = own * erased, own * q_c
    if WRITES:
        write_c = load_tile(write, first, length, write_t, key, KEYS, CHUNK, WIDTH)
        into += write_c * d_write_c
        own = _column(d_qw, diagonal)
        own_dq += own * write_c
        d_write_c += own * q_c
    # 3. What the products with earlier keys add.
    dq_in = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    d_read_in = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    d_erase_in = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    d_write_in = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    exponents = tl.zeros((CHUNK, WIDTH), dq.dtype.element_ty)
    for back in range(CHUNK):
        j = CHUNK - 1 - back
        g_next = load_row(g, first + j + 1, length, g_t, key, KEYS, WIDTH)
        exponents = tl.where(i[:, None] > j, exponents + g_next, 0.0)
        decays = tl.exp(exponents)
        before, row = (i[:, None] > j) & (i[None, :] == j), i[:, None] == j
        of_q, of_read = _column(d_qe, before) * decays, _column(d_re, before) * decays
        erase_j = load_row(erase, first + j, length, erase_t, key, KEYS, WIDTH)
        erase_j *= _beta(beta, first + j, length, beta_t, WRITES)
        dq_in += of_q * erase_j
        d_read_in += of_read * erase_j
        d_erase_in += tl.where(row, tl.sum(of_q * q_c + of_read * read_c, axis=0)[None, :], 0.0)
        if WRITES:
            of_q, of_read = _column(d_qw, before) * decays, _column(d_rw, before) * decays
            write_j = load_row(write, first + j, length, write_t, key, KEYS, WIDTH)
            dq_in += of_q * write_j
            d_read_in += of_read * write_j
            d_write_in += tl.where(row, tl.sum(of_q * q_c + of_read * read_c, axis=0)[None, :], 0.0)
    # Paths within the chunk cross tokens too.
    out += q_c * dq_in + read_c * d_read_in - erased * d_erase_in
    if WRITES:
        out -= write_c * d_write_in
    dq_c += dq_in + own_dq
    d_read_c += d_read_in
    d_erase_c += d_erase_in + own_d_erase
    place = token * KEYS
    store_tile(dq + place, dq_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
    if WRITES:
        store_tile(d_erase + place, d_erase_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
        d_write_c += d_write_in
        store_tile(d_write + place, d_write_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
    else:
        part = (token + (first + i) * HEADS) * tl.num_programs(1) + tl.program_id(1)
        tl.store(d_beta + part, tl.sum(erase_c * d_erase_c, axis=1), mask=first + i < length)
        d_read_c += beta_c * d_erase_c
    store_tile(d_read + place, d_read_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
    # 4. Over all paths that cross a token.
    dg_c = add_up(i[:, None] <= i[None, :], out, True) + add_up(i[:, None] > i[None, :], into, True)
    dg_c += (through * tl.exp(tl.sum(g_c, axis=0)))[None, :]
    store_tile(dg + place, dg_c, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)


def forward(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """Stacked q, k, g (K, B, L, H, Dk), v (K, B, L, H, Dv), beta (K, B, L, H) → y like v; what is kept."""
    q, k, v, g = (rows(value) for value in (q, k, v, g))
    return _chunked(q, k, k, k, v, beta, g, writes=False)


def backward(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, *kept: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `forward`, in their order."""
    q, k, v, g = (rows(value) for value in (q, k, v, g))
    dq, dk, _, _, dv, d_beta, dg = _differentiated(dy, q, k, k, k, v, beta, g, *kept, writes=False)
    return dq, dk, dv, d_beta, dg


def forward_three(
    q: Tensor, read: Tensor, erase: Tensor, write: Tensor, v: Tensor, g: Tensor
) -> tuple[Tensor, ...]:
    """`forward` with three keys, which have the shape of q."""
    q, read, erase, write, v, g = (rows(value) for value in (q, read, erase, write, v, g))
    return _chunked(q, read, erase, write, v, g, g, writes=True)


def backward_three(
    dy: Tensor, q: Tensor, read: Tensor, erase: Tensor, write: Tensor, v: Tensor, g: Tensor, *kept: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `forward_three`, in their order."""
    q, read, erase, write, v, g = (rows(value) for value in (q, read, erase, write, v, g))
    *gradients, _, dg = _differentiated(dy, q, read, erase, write, v, g, g, *kept, writes=True)
    return *gradients, dg


def _chunked(
    q: Tensor, read: Tensor, erase: Tensor, write: Tensor, v: Tensor, beta: Tensor, g: Tensor, *, writes: bool
) -> tuple[Tensor, ...]:
    """Outputs, and what is kept. `writes` says which of `write` and `beta` is read."""
    K, batch, length, heads, values = v.shape
    keys = q.shape[-1]
    if keys > LARGEST:
        raise ValueError(
            f"the triton delta rule takes keys of at most {LARGEST} channels, not {keys}: use sequential"
        )
    y, states, corrections, matrices, decayed = _shapes(q, v, writes)
    if v.numel():
        sizes = _sizes(q, v, writes)
        _chunks[(K * batch * heads * matrices.shape[3],)](
            q, read, erase, write, beta, g, matrices, decayed, batch, length,
            *_strides(q, read, erase, write, beta, g), **sizes, WIDTH=padded(keys, BLOCK),
            num_warps=WARPS["chunks"],
        )  # fmt: skip
        of_states = launch(keys, values)
        _outputs[(K * batch * heads, triton.cdiv(values, of_states["BLOCK"]))](
            v, matrices, decayed, y, corrections, states, batch, length, *strides(v),
            **sizes, **_of_values(v), **of_states,
        )  # fmt: skip
    return y, states, corrections, matrices, decayed


def _differentiated(
    dy: Tensor, q: Tensor, read: Tensor, erase: Tensor, write: Tensor, v: Tensor, beta: Tensor, g: Tensor,
    *kept: Tensor, writes: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of the inputs of `_chunked`, in their order. Those that it does not read have no gradient.

    Unless `writes`, `read` and `erase` are one key, and its gradient is that of `read`.
    """
    if not v.numel():
        return tuple(value.new_zeros(value.shape) for value in (q, read, erase, write, v, beta, g))
    K, batch, length, heads, values = v.shape
    keys = q.shape[-1]
    dy, states, corrections, matrices, decayed = (value.contiguous() for value in (dy, *kept))
    sizes, of_states = _sizes(q, v, writes), launch(keys, values)
    errors, d_states = v.new_empty(v.shape), states.new_empty(states.shape)
    dv = v.new_empty(v.shape) if writes else errors
    _errors[(K * batch * heads, triton.cdiv(values, of_states["BLOCK"]))](
        dy, matrices, decayed, errors, dv, d_states, length, **sizes, **_of_values(v), **of_states
    )
    width = padded(keys, BLOCK)
    blocks = triton.cdiv(keys, width)
    dq, d_read, dg = (v.new_empty(q.shape) for _ in "qrg")
    d_erase, d_write = (v.new_empty(q.shape) if writes else d_read for _ in "ew")
    d_beta = dg if writes else v.new_empty(*beta.shape, blocks)
    _gradient[(K * batch * heads * matrices.shape[3], blocks)](
        dy, q, read, erase, write, v, beta, g, states, corrections, errors, d_states,
        dq, d_read, d_erase, d_write, d_beta, dg, batch, length,
        *_strides(q, read, erase, write, v, beta, g), **sizes, VALUES=values, DOT=dot_precision(v.dtype),
        WIDTH=width, BLOCK=padded(values, BLOCK), num_warps=WARPS["gradient"],
    )  # fmt: skip
    if not writes:
        d_beta = d_beta.squeeze(-1) if blocks == 1 else d_beta.sum(-1)
    return dq, d_read, d_erase, d_write, dv, d_beta, dg


def _strides(*values: Tensor) -> list[int]:
    return [stride for value in values for stride in strides(value)]


def _sizes(q: Tensor, v: Tensor, writes: bool) -> dict[str, Any]:
    """Compile-time constants of all kernels."""
    return {"HEADS": v.shape[3], "KEYS": q.shape[-1], "CHUNK": decay.CHUNK[True], "WRITES": writes}


def _of_values(v: Tensor) -> dict[str, Any]:
    """Further ones of `_outputs` and `_errors`. No precision of a run rounds T."""
    return {"VALUES": v.shape[-1], "DOT": dot_precision(v.dtype), "EXACT": exact_dot_precision(v.dtype)}


def launch(keys: int, values: int) -> dict[str, int]:
    """A program of `_outputs` and `_errors`: all keys of a block of values. Compiled for sm_90, up to 64 keys
    spill no registers.
    """
    width = padded(keys, LARGEST)
    return {
        "WIDTH": width,
        "BLOCK": padded(values, BLOCK),
        "num_warps": 4 if width <= 64 else 8,
        "num_stages": 2,
    }


def _shapes(q: Tensor, v: Tensor, writes: bool) -> tuple[Tensor, ...]:
    K, batch, length, heads, values = v.shape
    keys, chunk, chunks = q.shape[-1], decay.CHUNK[True], decay.chunks_of(length, True)
    return (
        v.new_empty(v.shape),
        v.new_empty(K, batch, heads, chunks - 1, keys, values),
        v.new_empty(v.shape),
        v.new_empty(K, batch, heads, chunks, 4 if writes else 2, chunk, chunk),
        v.new_empty(K, batch, heads, chunks, (4 if writes else 3) * chunk + 1, keys),
    )


KEPT = "states", "corrections", "matrices", "decayed"
vector_delta_rule = operator(
    "vector_delta_rule_triton", ("q", "k", "v", "beta", "g"), KEPT, forward, backward,
    lambda q, k, v, beta, g: _shapes(q, v, writes=False),
)  # fmt: skip
diagonal_plus_rank_one = operator(
    "diagonal_plus_rank_one_triton", ("q", "read", "erase", "write", "v", "g"), KEPT,
    forward_three, backward_three,
    lambda q, read, erase, write, v, g: _shapes(q, v, writes=True),
)  # fmt: skip
