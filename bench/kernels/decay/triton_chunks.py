"""What the Triton kernels of linear attention with decay compute within a chunk of tokens.

g is (CHUNK,) with a decay per head and (CHUNK, WIDTH) with a decay per channel (VECTOR). The exponents of a
decay per channel are sums over the tokens in between, which are added up directly: no difference of two large
sums cancels. The exponents of all pairs of tokens with a decay per head are differences of sums in float64.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

from bench.kernels.triton_functions import load_tile


@triton.jit
def load_decays(
    g, first, length, stride, column,
    COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The log-decays of a chunk; zero after the last token, which leaves a state as it is."""
    if VECTOR:
        return load_tile(g, first, length, stride, column, COLUMNS, ROWS, WIDTH)
    else:
        t = first + tl.arange(0, ROWS)
        return tl.load(g + t * stride, mask=t < length, other=0.0)


@triton.jit
def add_up(reaches, values, VECTOR: tl.constexpr):
    """Σ_j values_j over the tokens j with reaches_ij. No precision of a run rounds these sums."""
    if VECTOR:
        return tl.dot(reaches.to(values.dtype), values, input_precision="ieee", out_dtype=values.dtype)
    else:
        return tl.sum(tl.where(reaches, values[None, :], 0.0), axis=1)


@triton.jit
def by_row(values, VECTOR: tl.constexpr):
    """Values of tokens, or of keys' channels, as factors of rows of a tile."""
    if VECTOR:
        return values
    else:
        return values[:, None]


@triton.jit
def decays_since_start(g, ROWS: tl.constexpr, VECTOR: tl.constexpr):
    """exp(G_i), the decay of the state before the chunk up to token i."""
    i = tl.arange(0, ROWS)
    return by_row(tl.exp(add_up(i[:, None] >= i[None, :], g, VECTOR)), VECTOR)


@triton.jit
def decays_until_end(g, ROWS: tl.constexpr, VECTOR: tl.constexpr):
    """exp(G_C − G_i), the decay of token i's update up to the chunk's last token."""
    i = tl.arange(0, ROWS)
    return by_row(tl.exp(add_up(i[:, None] < i[None, :], g, VECTOR)), VECTOR)


@triton.jit
def decay_of_chunk(g, VECTOR: tl.constexpr):
    """exp(G_C), the decay of the state over the whole chunk, as a factor of its rows."""
    kept = tl.exp(tl.sum(g, axis=0))
    if VECTOR:
        return kept[:, None]
    else:
        return kept


@triton.jit
def decays_between(g, ROWS: tl.constexpr):
    """exp(G_i − G_j) for j ≤ i, else 0, of a decay per head, (ROWS, ROWS)."""
    i = tl.arange(0, ROWS)
    reaches = i[:, None] >= i[None, :]
    sums = add_up(reaches, g.to(tl.float64), False)
    differences = (sums[:, None] - sums[None, :]).to(g.dtype)
    return tl.exp(tl.where(reaches, differences, float("-inf")))


@triton.jit
def vector_scores(
    q, k, g, first, length, k_t, g_t, column, KEYS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    """A_ij = Σ_d q_id k_jd exp(G_id − G_jd) for j ≤ i, else 0, with a decay per channel, (ROWS, ROWS).

    From the last key to the first, so that the exponents grow by a token's log-decay at a time. `k` and `g`
    are pointers. The sum is over WIDTH channels from `column` on, which are those of q.
    """
    i = tl.arange(0, ROWS)
    scores = tl.zeros((ROWS, ROWS), q.dtype)
    exponents = tl.zeros((ROWS, WIDTH), q.dtype)
    for back in range(ROWS):
        j = ROWS - 1 - back
        g_next = load_row(g, first + j + 1, length, g_t, column, KEYS, WIDTH)
        exponents = tl.where(i[:, None] > j, exponents + g_next, 0.0)
        k_j = load_row(k, first + j, length, k_t, column, KEYS, WIDTH)
        products = tl.sum(q * tl.exp(exponents) * k_j, axis=1)
        scores = tl.where((i[:, None] >= j) & (i[None, :] == j), products[:, None], scores)
    return scores


@triton.jit
def vector_gradients(
    d_scores, q, k, g, first, length, k_t, g_t, column,
    KEYS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """What the scores A_ij of `vector_scores` with j < i add to dq and dk, (ROWS, WIDTH) each."""
    i = tl.arange(0, ROWS)
    dq, dk = tl.zeros((ROWS, WIDTH), q.dtype), tl.zeros((ROWS, WIDTH), q.dtype)
    exponents = tl.zeros((ROWS, WIDTH), q.dtype)
    for back in range(ROWS):
        j = ROWS - 1 - back
        g_next = load_row(g, first + j + 1, length, g_t, column, KEYS, WIDTH)
        exponents = tl.where(i[:, None] > j, exponents + g_next, 0.0)
        k_j = load_row(k, first + j, length, k_t, column, KEYS, WIDTH)
        of_key = tl.sum(tl.where((i[:, None] > j) & (i[None, :] == j), d_scores, 0.0), axis=1)
        weights = of_key[:, None] * tl.exp(exponents)
        dq += weights * k_j
        dk += tl.where(i[:, None] == j, tl.sum(weights * q, axis=0)[None, :], 0.0)
    return dq, dk


@triton.jit
def load_row(values, t, length, stride, column, COLUMNS: tl.constexpr, WIDTH: tl.constexpr):
    """A row of what `load_tile` reads, (1, WIDTH)."""
    d = column + tl.arange(0, WIDTH)
    return tl.load(values + t * stride + d, mask=(d < COLUMNS) & (t < length), other=0.0)[None, :]
