"""The gated delta rule in Triton: chunks in parallel, and the states between them in turn.

Within a chunk, with the state S before it and sums G_i of its log-decays, the corrections r_i, rows of R, are

    R = T diag(β) X    T = (I + M)⁻¹    X = V − diag(e^G) K S    M_ij = β_i e^{G_i − G_j} k_i·k_j for j < i

Given R, outputs and states are those of linear attention with decay, with R in place of the values, and so
are the gradients (`bench.kernels.decay.triton`). What is added here:

    `_inverses`      T of every chunk, by substitution
    `_corrections`   chunk by chunk, R and the states
    `_errors`        in reversed time, Z = Tᵀ dR and the gradients of the states
    `_gradient`      what Z adds to the gradients: dX = diag(β) Z, dM = −Z Rᵀ

A token with n updates is n rows, of which only the first decays the state, and only the last reads it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from bench.kernels.decay import triton as decay
from bench.kernels.decay.triton import head_of, padded, strides
from bench.kernels.decay.triton_chunks import (
    add_up,
    decay_of_chunk,
    decays_between,
    decays_since_start,
    decays_until_end,
    load_decays,
)
from bench.kernels.delta import ARGUMENTS
from bench.kernels.operators import operator, rows
from bench.kernels.product.precision import dot_precision, exact_dot_precision
from bench.kernels.triton_functions import load_tile, store_tile, unit_lower_inverse

BLOCK = 32
"""Largest block of channels that a program reads at once; programs of states have all keys."""
LARGEST = 256
"""Largest number of channels of a key."""


@triton.jit(do_not_specialize=["batch", "length"])
def _inverses(
    k, beta, g, inverses, batch, length,
    k_k, k_b, k_t, k_h, beta_k, beta_b, beta_t, beta_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, KEYS: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """T of a chunk of a head.

    The products k_i·k_j (CHUNK, CHUNK) are sums over blocks of the keys' channels. M and its inverse stay in
    registers.
    """
    chunks = tl.cdiv(length, CHUNK)
    program, first = tl.program_id(0) // chunks, (tl.program_id(0) % chunks) * CHUNK
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, 1)
    beta = head_of(beta, program, HEADS, batch, beta_k, beta_b, beta_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    i = tl.arange(0, CHUNK)
    products = tl.zeros((CHUNK, CHUNK), inverses.dtype.element_ty)
    for key in range(0, KEYS, WIDTH):
        k_c = load_tile(k, first, length, k_t, key, KEYS, CHUNK, WIDTH)
        products = tl.dot(k_c, tl.trans(k_c), products, input_precision=DOT, out_dtype=products.dtype)
    beta_c = tl.load(beta + (first + i) * beta_t, mask=first + i < length, other=0.0)
    g_c = load_decays(g, first, length, g_t, 0, KEYS, CHUNK, WIDTH, False)
    decayed = beta_c[:, None] * decays_between(g_c, CHUNK) * products
    inverse = unit_lower_inverse(tl.where(i[:, None] > i[None, :], -decayed, 0.0), CHUNK)
    inverses += tl.program_id(0).to(tl.int64) * (CHUNK * CHUNK)
    tl.store(inverses + i[:, None] * CHUNK + i[None, :], inverse)


@triton.jit(do_not_specialize=["batch", "length"])
def _corrections(
    k, v, beta, g, inverses, corrections, states, batch, length,
    k_k, k_b, k_t, k_h, v_k, v_b, v_t, v_h, beta_k, beta_b, beta_t, beta_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    CHUNK: tl.constexpr, DOT: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """R of every chunk and the states between chunks, of a block of the values' channels.

    The state (WIDTH, BLOCK) stays in registers from chunk to chunk. Its columns do not depend on each other,
    so a program needs nothing of the others.
    """
    chunks, program, value = tl.cdiv(length, CHUNK), tl.program_id(0), tl.program_id(1) * BLOCK
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, 1)
    v = head_of(v, program, HEADS, batch, v_k, v_b, v_h, 1)
    beta = head_of(beta, program, HEADS, batch, beta_k, beta_b, beta_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    corrections += ((program // HEADS).to(tl.int64) * length * HEADS + program % HEADS) * VALUES
    inverses += program.to(tl.int64) * chunks * (CHUNK * CHUNK)
    states += program.to(tl.int64) * (chunks - 1) * (KEYS * VALUES)
    i = tl.arange(0, CHUNK)
    state = tl.zeros((WIDTH, BLOCK), corrections.dtype.element_ty)
    for chunk in range(chunks):
        first = chunk * CHUNK
        k_c = load_tile(k, first, length, k_t, 0, KEYS, CHUNK, WIDTH)
        v_c = load_tile(v, first, length, v_t, value, VALUES, CHUNK, BLOCK)
        beta_c = tl.load(beta + (first + i) * beta_t, mask=first + i < length, other=0.0)
        g_c = load_decays(g, first, length, g_t, 0, KEYS, CHUNK, WIDTH, False)
        inverse = tl.load(inverses + chunk * (CHUNK * CHUNK) + i[:, None] * CHUNK + i[None, :])
        returned = tl.dot(k_c * decays_since_start(g_c, CHUNK, False), state, input_precision=DOT)
        gaps = beta_c[:, None] * (v_c - returned)
        correction = tl.dot(inverse, gaps, input_precision=EXACT)
        store_tile(corrections, correction, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        k_c *= decays_until_end(g_c, CHUNK, False)
        state = tl.dot(
            tl.trans(k_c), correction, state * decay_of_chunk(g_c, False),
            input_precision=DOT, out_dtype=state.dtype,
        )  # fmt: skip
        # The state after the last chunk is not read: no row of it is written.
        place, last = states + chunk * (KEYS * VALUES), tl.where(chunk < chunks - 1, KEYS, 0)
        store_tile(place, state, 0, last, VALUES, value, VALUES, WIDTH, BLOCK)


@triton.jit(do_not_specialize=["batch", "length"])
def _errors(
    dy, q, k, beta, g, inverses, errors, d_states, batch, length,
    q_k, q_b, q_t, q_h, k_k, k_b, k_t, k_h, beta_k, beta_b, beta_t, beta_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    CHUNK: tl.constexpr, DOT: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Z of every chunk and the gradients of the states, of a block of the values' channels.

    The gradient of the state stays in registers, from the last chunk to the first. `errors` holds the part of
    dR that stays within chunks, and then Z.
    """
    chunks, program, value = tl.cdiv(length, CHUNK), tl.program_id(0), tl.program_id(1) * BLOCK
    q = head_of(q, program, HEADS, batch, q_k, q_b, q_h, 1)
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, 1)
    beta = head_of(beta, program, HEADS, batch, beta_k, beta_b, beta_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    token = (program // HEADS).to(tl.int64) * length * HEADS + program % HEADS
    dy += token * VALUES
    errors += token * VALUES
    inverses += program.to(tl.int64) * chunks * (CHUNK * CHUNK)
    d_states += program.to(tl.int64) * (chunks - 1) * (KEYS * VALUES)
    i = tl.arange(0, CHUNK)
    d_state = tl.zeros((WIDTH, BLOCK), errors.dtype.element_ty)
    for step in range(chunks):
        chunk = chunks - 1 - step
        first = chunk * CHUNK
        q_c = load_tile(q, first, length, q_t, 0, KEYS, CHUNK, WIDTH)
        k_c = load_tile(k, first, length, k_t, 0, KEYS, CHUNK, WIDTH)
        dy_c = load_tile(dy, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        beta_c = tl.load(beta + (first + i) * beta_t, mask=first + i < length, other=0.0)
        g_c = load_decays(g, first, length, g_t, 0, KEYS, CHUNK, WIDTH, False)
        inverse = tl.load(inverses + chunk * (CHUNK * CHUNK) + i[:, None] * CHUNK + i[None, :])
        d_correction = tl.dot(
            k_c * decays_until_end(g_c, CHUNK, False), d_state,
            load_tile(errors, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK),
            input_precision=DOT, out_dtype=d_state.dtype,
        )  # fmt: skip
        error = tl.dot(tl.trans(inverse), d_correction, input_precision=EXACT)
        store_tile(errors, error, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        since_start = decays_since_start(g_c, CHUNK, False)
        d_state *= decay_of_chunk(g_c, False)
        d_state = tl.dot(
            tl.trans(q_c * since_start), dy_c, d_state, input_precision=DOT, out_dtype=d_state.dtype
        )
        d_state = tl.dot(
            tl.trans(k_c * since_start), -beta_c[:, None] * error, d_state,
            input_precision=DOT, out_dtype=d_state.dtype,
        )  # fmt: skip
        place = d_states + (chunk - 1) * (KEYS * VALUES)
        store_tile(place, d_state, 0, tl.where(chunk > 0, KEYS, 0), VALUES, value, VALUES, WIDTH, BLOCK)


@triton.jit(do_not_specialize=["batch", "length"])
def _gradient(
    k, v, beta, g, states, corrections, errors, dk, dv, d_beta, dg, batch, length,
    k_k, k_b, k_t, k_h, v_k, v_b, v_t, v_h, beta_k, beta_b, beta_t, beta_h, g_k, g_b, g_t, g_h,
    HEADS: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    CHUNK: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """The gradients of v and β of a chunk. Those of k and g are added to what is in dk and dg.

    The first loop, over blocks of the values' channels, adds up Z Rᵀ (`overlaps`). The second, over blocks of
    the keys' channels, computes Z Sᵀ (`read`), and from both the gradients of the keys.
    """
    chunks = tl.cdiv(length, CHUNK)
    program, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    first = chunk * CHUNK
    k = head_of(k, program, HEADS, batch, k_k, k_b, k_h, 1)
    v = head_of(v, program, HEADS, batch, v_k, v_b, v_h, 1)
    beta = head_of(beta, program, HEADS, batch, beta_k, beta_b, beta_h, 1)
    g = head_of(g, program, HEADS, batch, g_k, g_b, g_h, 1)
    token = (program // HEADS).to(tl.int64) * length * HEADS + program % HEADS
    corrections += token * VALUES
    errors += token * VALUES
    dv += token * VALUES
    dk += token * KEYS
    states += (program.to(tl.int64) * (chunks - 1) + chunk - 1) * (KEYS * VALUES)
    state_rows = tl.where(chunk > 0, KEYS, 0)
    i = tl.arange(0, CHUNK)
    places = token + (first + i) * HEADS
    beta_c = tl.load(beta + (first + i) * beta_t, mask=first + i < length, other=0.0)
    g_c = load_decays(g, first, length, g_t, 0, KEYS, CHUNK, WIDTH, False)
    since_start, between = decays_since_start(g_c, CHUNK, False), decays_between(g_c, CHUNK)
    overlaps = tl.zeros((CHUNK, CHUNK), dk.dtype.element_ty)  # Z Rᵀ
    d_beta_c = tl.zeros((CHUNK,), dk.dtype.element_ty)
    for value in range(0, VALUES, BLOCK):
        error = load_tile(errors, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        correction = load_tile(corrections, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        overlaps = tl.dot(
            error, tl.trans(correction), overlaps, input_precision=DOT, out_dtype=overlaps.dtype
        )
        store_tile(dv, beta_c[:, None] * error, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
        d_beta_c += tl.sum(error * load_tile(v, first, length, v_t, value, VALUES, CHUNK, BLOCK), axis=1)
    overlaps = tl.where(i[:, None] > i[None, :], overlaps * between, 0.0)
    changes = tl.zeros((CHUNK,), dk.dtype.element_ty)  # dG
    for key in range(0, KEYS, WIDTH):
        k_c = load_tile(k, first, length, k_t, key, KEYS, CHUNK, WIDTH)
        read = tl.zeros((CHUNK, WIDTH), dk.dtype.element_ty)  # Z Sᵀ
        for value in range(0, VALUES, BLOCK):
            error = load_tile(errors, first, length, HEADS * VALUES, value, VALUES, CHUNK, BLOCK)
            state = load_tile(states, key, state_rows, VALUES, value, VALUES, WIDTH, BLOCK)
            read = tl.dot(error, tl.trans(state), read, input_precision=DOT, out_dtype=read.dtype)
        # Of row i: M is read with k_i, and X with the state. Both have the factor −β_i.
        read *= since_start
        inside = tl.dot(overlaps, k_c, input_precision=DOT)
        d_beta_c -= tl.sum(k_c * (read + inside), axis=1)
        own = -beta_c[:, None] * (read + inside)
        # Of row j: the keys i > j that it overlaps with.
        others = tl.dot(tl.trans(overlaps), -beta_c[:, None] * k_c, input_precision=DOT)
        changes += tl.sum(k_c * (own - others), axis=1)
        dk_c = load_tile(dk, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
        store_tile(dk, dk_c + own + others, first, length, HEADS * KEYS, key, KEYS, CHUNK, WIDTH)
    tl.store(d_beta + places, d_beta_c, mask=first + i < length)
    dg_c = tl.load(dg + places, mask=first + i < length, other=0.0)
    dg_c += add_up(i[:, None] <= i[None, :], changes, False)
    tl.store(dg + places, dg_c, mask=first + i < length)


def forward(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """Stacked q, k (K, B, N, H, Dk), v (K, B, N, H, Dv), beta, g (K, B, N, H) → y like v, and what is kept.

    N is the number of updates.
    """
    if k.shape[-1] > LARGEST:
        raise ValueError(
            f"the triton delta rule takes keys of at most {LARGEST} channels, not {k.shape[-1]}: "
            "use sequential"
        )
    q, k, v = rows(q), rows(k), rows(v)
    K, batch, length, heads, values = v.shape
    _, states, corrections, inverses = _shapes(q, k, v, beta, g)
    if v.numel():
        keys = k.shape[-1]
        sizes, of_states = constants(k, v), launch(keys, values)
        _inverses[(K * batch * heads * inverses.shape[3],)](
            k, beta, g, inverses, batch, length, *strides(k), *strides(beta), *strides(g),
            **_without(sizes, "VALUES", "EXACT"), WIDTH=padded(keys, BLOCK), num_warps=1,
        )  # fmt: skip
        _corrections[(K * batch * heads, triton.cdiv(values, of_states["BLOCK"]))](
            k, v, beta, g, inverses, corrections, states, batch, length,
            *strides(k), *strides(v), *strides(beta), *strides(g),
            **sizes, **of_states,
        )  # fmt: skip
    return decay.outputs(q, k, corrections, g, states), states, corrections, inverses


def backward(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, *kept: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `forward`, in their order."""
    q, k, v = rows(q), rows(k), rows(v)
    dy, (states, corrections, inverses) = dy.contiguous(), (value.contiguous() for value in kept)
    K, batch, length, heads, values = v.shape
    errors, dv = decay.outputs(q, k, dy, g, None, reverse=True), v.new_empty(v.shape)
    d_states, d_beta = states.new_empty(states.shape), beta.new_empty(beta.shape)
    if not v.numel():
        return tuple(value.new_zeros(value.shape) for value in (q, k, v, beta, g))
    keys = k.shape[-1]
    sizes, of_states = constants(k, v), launch(keys, values)
    _errors[(K * batch * heads, triton.cdiv(values, of_states["BLOCK"]))](
        dy, q, k, beta, g, inverses, errors, d_states, batch, length,
        *strides(q), *strides(k), *strides(beta), *strides(g),
        **sizes, **of_states,
    )  # fmt: skip
    dq, dk, dg = decay.gradients(dy, q, k, corrections, g, states, d_states)
    _gradient[(K * batch * heads * inverses.shape[3],)](
        k, v, beta, g, states, corrections, errors, dk, dv, d_beta, dg, batch, length,
        *strides(k), *strides(v), *strides(beta), *strides(g),
        **_without(sizes, "EXACT"), WIDTH=padded(keys, BLOCK), BLOCK=padded(values, BLOCK), num_warps=4,
    )  # fmt: skip
    return dq, dk, dv, d_beta, dg


def constants(k: Tensor, v: Tensor) -> dict[str, Any]:
    """Compile-time constants of the kernels. No precision of a run rounds T."""
    return {
        "HEADS": v.shape[3],
        "KEYS": k.shape[-1],
        "VALUES": v.shape[-1],
        "CHUNK": decay.CHUNK[False],
        "DOT": dot_precision(v.dtype),
        "EXACT": exact_dot_precision(v.dtype),
    }


def _without(constants: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in constants.items() if name not in names}


def launch(keys: int, values: int) -> dict[str, int]:
    """A program of `_corrections` and `_errors`: all keys of a block of values; compiled for sm_90, up to 64
    keys spill no registers, and 256 use 172 KiB of shared memory.
    """
    width = padded(keys, LARGEST)
    if width <= 64:
        return {"WIDTH": width, "BLOCK": padded(values, BLOCK), "num_warps": 4, "num_stages": 3}
    return {"WIDTH": width, "BLOCK": 16, "num_warps": 8, "num_stages": 2}


def _shapes(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    K, batch, length, heads, values = v.shape
    chunk = decay.CHUNK[False]
    chunks = decay.chunks_of(length, False)
    return (
        v.new_empty(v.shape),
        v.new_empty(K, batch, heads, chunks - 1, k.shape[-1], values),
        v.new_empty(v.shape),
        v.new_empty(K, batch, heads, chunks, chunk, chunk),
    )


_rule = operator(
    "delta_rule_triton", ARGUMENTS, ("states", "corrections", "inverses"), forward, backward, _shapes
)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
    """The recurrence, with a row per update."""
    length, updates = k.shape[1:3]
    if updates > 1:
        q = functional.pad(q.unsqueeze(2), (0, 0, 0, 0, updates - 1, 0)).flatten(1, 2)
        g = functional.pad(g.unsqueeze(2), (0, 0, 0, updates - 1)).flatten(1, 2)
    y: Tensor = _rule(q, *(value.flatten(1, 2) for value in (k, v, beta)), g)
    return y if updates == 1 else y.unflatten(1, (length, updates))[:, :, -1]
