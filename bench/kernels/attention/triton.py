"""Causal attention in Triton: one launch forward, one backward.

Forward: a program has a head of a prompt and a block of queries. It goes through the keys up to the diagonal
block with a running maximum (Dao 2023, FlashAttention-2, Algorithm 1). It keeps the logarithm of the sum of
exponentials of every query. All exponentials and logarithms have base 2.

Backward: the scores are computed again. By default, programs have one of two roles: one computes dk and dv of
a block of keys, the other computes dq of a block of queries. No sum crosses programs, so the result does not
depend on their order. For short prompts there is an alternative: a program per head, which adds up dq in
memory. It needs five products per pair of blocks instead of seven, but has fewer programs to run in parallel.

The softmax's gradient needs Δ_t = Σ_d dy_td y_td, which is computed wherever dy is read. It is the same with
dropout: Δ_t = Σ_s P_ts dP_ts, where dP_ts contains the factor of the dropped weight.

With dropout the same kernels draw the mask of every block of weights where they need it, once forward and
twice backward. No mask or matrix of weights is in memory.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.attention import ARGUMENTS, DROPOUT_ARGUMENTS
from bench.kernels.dropout.triton import is_kept, mask_numbers
from bench.kernels.operators import operator, unwanted
from bench.kernels.product.precision import dot_precision
from bench.kernels.triton_functions import load_tile, store_tile

LOG2_E = 1.4426950408889634
LN_2 = tl.constexpr(1 / LOG2_E)
LARGEST = 128
"""Largest number of channels of a head."""


class Blocks(NamedTuple):
    """The launch of a kernel.

    Attributes:
        own: rows (queries or keys) of a program; a power of two, at least 16.
        step: rows (keys or queries) that a program reads at once; likewise.
        warps: warps of a program.
        stages: pipeline stages of the loop over steps.
    """

    own: int
    step: int
    warps: int
    stages: int


class Launch(NamedTuple):
    """The launches for a size.

    Attributes:
        forward: launch of the forward pass.
        backward: launch of the backward pass.
        whole: whether a program of the backward pass has a whole head, in blocks of `own` keys.
    """

    forward: Blocks
    backward: Blocks
    whole: bool = False


SHORT = {
    16: Launch(Blocks(16, 32, 1, 2), Blocks(32, 16, 2, 2)),
    32: Launch(Blocks(32, 16, 2, 2), Blocks(16, 16, 2, 2)),
    64: Launch(Blocks(32, 16, 4, 2), Blocks(32, 16, 4, 1)),
    128: Launch(Blocks(16, 32, 4, 2), Blocks(16, 16, 4, 1)),
}
"""By largest head, for up to 256 tokens: small blocks, which waste little on the diagonal."""
LONG = SHORT | {
    16: Launch(Blocks(64, 32, 4, 2), Blocks(64, 32, 4, 2)),
    32: Launch(Blocks(64, 32, 4, 2), Blocks(64, 16, 4, 2)),
    64: Launch(Blocks(64, 32, 4, 2), Blocks(64, 16, 4, 1)),
}
"""For longer prompts: larger blocks, which read keys and queries less often and let a warp group multiply
(wgmma). Compiled for sm_90, none of these launches spills registers."""


WHOLE = {
    16: Launch(Blocks(32, 32, 2, 2), Blocks(32, 32, 1, 2), True),
    32: Launch(Blocks(32, 32, 2, 2), Blocks(32, 32, 2, 2), True),
    64: Launch(Blocks(32, 32, 4, 1), Blocks(64, 32, 4, 1), True),
    128: Launch(Blocks(32, 32, 4, 1), Blocks(32, 32, 4, 1), True),
}
"""For up to 128 tokens, if a product is one tensor-core instruction. Backward of 64 prompts with 8 heads on
an H200: with heads of 16 channels 16 µs instead of 20 µs with two roles; with 64 channels 49 µs instead of 85
µs."""
WHOLE_OF_THREE = SHORT | {
    16: Launch(Blocks(32, 32, 2, 2), Blocks(32, 32, 2, 2), True),
    32: Launch(Blocks(32, 16, 2, 2), Blocks(32, 16, 2, 2), True),
}
"""The same for products of three instructions. Wider heads use `SHORT`: they would spill registers here."""


def launch(length: int, head_dim: int, dot: str) -> Launch:
    """The launches for `length` tokens and heads of `head_dim` channels, products computed as `dot`."""
    if length > 256:
        sizes = LONG
    elif length > 128:
        sizes = SHORT
    else:
        sizes = WHOLE if dot == "tf32" else WHOLE_OF_THREE
    return next(size for width, size in sizes.items() if head_dim <= width)


@triton.jit
def _mask_of_head(key, site, head, rows, DROP: tl.constexpr):
    """A head's number among the `rows` heads of its model's prompts, and the numbers of the model's mask."""
    if DROP:
        return (head % rows).to(tl.int64), mask_numbers(key, site, (head // rows).to(tl.int64))
    zero = head.to(tl.int64) * 0
    return zero, (zero, zero, zero, zero, zero.to(tl.float64))


@triton.jit
def _factors(queries, keys, mask, dtype: tl.constexpr):
    """Factors keep / (1 − p) of the weights of some queries and keys, which broadcast to one shape."""
    row, numbers = mask
    keep = is_kept(row, queries.to(tl.int64), keys.to(tl.int64), numbers)
    return tl.where(keep, numbers[4].to(dtype), 0.0)


@triton.jit(do_not_specialize=["rows", "length"])
def _attention_forward(
    qkv, key, site, y, lse, rows, length,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr,
    OWN: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr, DOT: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    """The outputs of OWN queries of a head, and their log-sum-exp.

    Registers hold the queries and, for each of them, the highest score so far (`most`), the sum of the
    weights 2^(score − most) (`total`), and the sum of the values with these weights (`mixed`). For every STEP
    keys, one product gives the scores and another adds to `mixed`. Where the highest score rises, both sums
    shrink by 2^(old − new). A program takes its keys in order, so the order of both sums is fixed.
    """
    D: tl.constexpr = HEADS * HEAD_DIM
    blocks = tl.cdiv(length, OWN)
    head = tl.program_id(0) // blocks
    first = (blocks - 1 - tl.program_id(0) % blocks) * OWN  # blocks with the most keys start first
    row = (head // HEADS).to(tl.int64)
    qkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    y += row * length * D + (head % HEADS) * HEAD_DIM
    lse += head.to(tl.int64) * length
    mask = _mask_of_head(key, site, head, rows, DROP)
    queries = first + tl.arange(0, OWN)
    q = load_tile(qkv, first, length, 3 * D, 0, HEAD_DIM, OWN, WIDTH) * SCALE
    most = tl.full((OWN,), float("-inf"), q.dtype)
    total = tl.zeros((OWN,), q.dtype)
    mixed = tl.zeros((OWN, WIDTH), q.dtype)
    for start in tl.range(0, tl.minimum(first + OWN, length), STEP, num_stages=STAGES):
        k = load_tile(qkv + D, start, length, 3 * D, 0, HEAD_DIM, STEP, WIDTH)
        v = load_tile(qkv + 2 * D, start, length, 3 * D, 0, HEAD_DIM, STEP, WIDTH)
        keys = start + tl.arange(0, STEP)
        scores = tl.dot(q, tl.trans(k), input_precision=DOT)
        scores = tl.where(queries[:, None] >= keys[None, :], scores, float("-inf"))
        # Every query attends to key 0, so `higher` is finite from the first block on.
        higher = tl.maximum(most, tl.max(scores, axis=1))
        p = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(most - higher)
        total = total * shrink + tl.sum(p, axis=1)
        if DROP:
            p *= _factors(queries[:, None], keys[None, :], mask, p.dtype)
        mixed = tl.dot(p, v, mixed * shrink[:, None], input_precision=DOT, out_dtype=mixed.dtype)
        most = higher
    store_tile(y, mixed / total[:, None], first, length, D, 0, HEAD_DIM, OWN, WIDTH)
    tl.store(lse + queries, most + tl.log2(total), mask=queries < length)


@triton.jit
def _of_queries(dy, qkv, y, lse, first, length, D: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr,
                SCALE: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """Values of ROWS queries for the gradient: scaled q, dy, Δ and the log-sum-exp.

    Queries after the last token have q = dy = 0, so they add nothing.
    """
    q = load_tile(qkv, first, length, 3 * D, 0, HEAD_DIM, ROWS, WIDTH) * SCALE
    dy_ = load_tile(dy, first, length, D, 0, HEAD_DIM, ROWS, WIDTH)
    delta = tl.sum(dy_ * load_tile(y, first, length, D, 0, HEAD_DIM, ROWS, WIDTH), axis=1)
    queries = first + tl.arange(0, ROWS)
    return q, dy_, delta, tl.load(lse + queries, mask=queries < length, other=0.0)


@triton.jit
def _for_keys(dy, qkv, mask, y, lse, dqkv, first, length, D: tl.constexpr, HEAD_DIM: tl.constexpr,
              WIDTH: tl.constexpr, SCALE: tl.constexpr, OWN: tl.constexpr, STEP: tl.constexpr,
              STAGES: tl.constexpr, DOT: tl.constexpr, DROP: tl.constexpr, WHOLE: tl.constexpr):  # fmt: skip
    """The gradients of OWN keys and values. If WHOLE, also add their part of the queries' gradient.

    Scores are transposed, (OWN, STEP), so that the products for dk and dv need no transposition.
    """
    keys = first + tl.arange(0, OWN)
    k = load_tile(qkv + D, first, length, 3 * D, 0, HEAD_DIM, OWN, WIDTH)
    v = load_tile(qkv + 2 * D, first, length, 3 * D, 0, HEAD_DIM, OWN, WIDTH)
    dk, dv = tl.zeros((OWN, WIDTH), k.dtype), tl.zeros((OWN, WIDTH), k.dtype)
    for start in tl.range(first // STEP * STEP, length, STEP, num_stages=STAGES):
        q, dy_, delta, sums = _of_queries(dy, qkv, y, lse, start, length, D, HEAD_DIM, WIDTH, SCALE, STEP)
        queries = start + tl.arange(0, STEP)
        scores = tl.dot(k, tl.trans(q), input_precision=DOT)
        seen = queries[None, :] >= keys[:, None]
        p = tl.exp2(tl.where(seen, scores - sums[None, :], float("-inf")))
        dp = tl.dot(v, tl.trans(dy_), input_precision=DOT)
        if DROP:
            factors = _factors(queries[None, :], keys[:, None], mask, p.dtype)
            dv = tl.dot(p * factors, dy_, dv, input_precision=DOT, out_dtype=dv.dtype)
            dp *= factors
        else:
            dv = tl.dot(p, dy_, dv, input_precision=DOT, out_dtype=dv.dtype)
        ds = p * (dp - delta[None, :])
        dk = tl.dot(ds, q, dk, input_precision=DOT, out_dtype=dk.dtype)
        if WHOLE:
            # The first block of keys, which all queries see, starts from zero: `load_tile` with length 0.
            dq = load_tile(dqkv, start, tl.where(first > 0, length, 0), 3 * D, 0, HEAD_DIM, STEP, WIDTH)
            dq += tl.dot(tl.trans(ds), k, input_precision=DOT) * (SCALE * LN_2)
            store_tile(dqkv, dq, start, length, 3 * D, 0, HEAD_DIM, STEP, WIDTH)
    # q includes the scale and log₂ e. ds is the gradient in base e, so log₂ e is divided out.
    store_tile(dqkv + D, dk * LN_2, first, length, 3 * D, 0, HEAD_DIM, OWN, WIDTH)
    store_tile(dqkv + 2 * D, dv, first, length, 3 * D, 0, HEAD_DIM, OWN, WIDTH)


@triton.jit
def _for_queries(dy, qkv, mask, y, lse, dqkv, first, length, D: tl.constexpr, HEAD_DIM: tl.constexpr,
                 WIDTH: tl.constexpr, SCALE: tl.constexpr, OWN: tl.constexpr, STEP: tl.constexpr,
                 STAGES: tl.constexpr, DOT: tl.constexpr, DROP: tl.constexpr):  # fmt: skip
    """The gradient of OWN queries."""
    queries = first + tl.arange(0, OWN)
    q, dy_, delta, sums = _of_queries(dy, qkv, y, lse, first, length, D, HEAD_DIM, WIDTH, SCALE, OWN)
    dq = tl.zeros((OWN, WIDTH), q.dtype)
    for start in tl.range(0, tl.minimum(first + OWN, length), STEP, num_stages=STAGES):
        k = load_tile(qkv + D, start, length, 3 * D, 0, HEAD_DIM, STEP, WIDTH)
        v = load_tile(qkv + 2 * D, start, length, 3 * D, 0, HEAD_DIM, STEP, WIDTH)
        keys = start + tl.arange(0, STEP)
        scores = tl.dot(q, tl.trans(k), input_precision=DOT)
        seen = queries[:, None] >= keys[None, :]
        p = tl.exp2(tl.where(seen, scores - sums[:, None], float("-inf")))
        dp = tl.dot(dy_, tl.trans(v), input_precision=DOT)
        if DROP:
            dp *= _factors(queries[:, None], keys[None, :], mask, p.dtype)
        dq = tl.dot(p * (dp - delta[:, None]), k, dq, input_precision=DOT, out_dtype=dq.dtype)
    store_tile(dqkv, dq * (SCALE * LN_2), first, length, 3 * D, 0, HEAD_DIM, OWN, WIDTH)


@triton.jit(do_not_specialize=["rows", "length"])
def _attention_backward(
    dy, qkv, key, site, y, lse, dqkv, rows, length,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr,
    OWN: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr, DOT: tl.constexpr, DROP: tl.constexpr,
    WHOLE: tl.constexpr,
):  # fmt: skip
    """The gradient of qkv: a program has a block of keys or of queries, or all of a head (WHOLE)."""
    D: tl.constexpr = HEADS * HEAD_DIM
    blocks = tl.cdiv(length, OWN)
    programs = 1 if WHOLE else 2 * blocks  # of a head
    head, block = tl.program_id(0) // programs, tl.program_id(0) % programs
    row = (head // HEADS).to(tl.int64)
    qkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    dqkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    y += row * length * D + (head % HEADS) * HEAD_DIM
    dy += row * length * D + (head % HEADS) * HEAD_DIM
    lse += head.to(tl.int64) * length
    mask = _mask_of_head(key, site, head, rows, DROP)
    if WHOLE:
        for first in tl.range(0, length, OWN, num_stages=1):
            _for_keys(dy, qkv, mask, y, lse, dqkv, first, length,
                      D, HEAD_DIM, WIDTH, SCALE, OWN, STEP, STAGES, DOT, DROP, True)  # fmt: skip
            tl.debug_barrier()  # the next block of keys adds to this dq
    elif block < blocks:  # in both roles, programs with the most work start first
        _for_keys(dy, qkv, mask, y, lse, dqkv, block * OWN, length,
                  D, HEAD_DIM, WIDTH, SCALE, OWN, STEP, STAGES, DOT, DROP, False)  # fmt: skip
    else:
        _for_queries(dy, qkv, mask, y, lse, dqkv, (2 * blocks - 1 - block) * OWN, length,
                     D, HEAD_DIM, WIDTH, SCALE, OWN, STEP, STAGES, DOT, DROP)  # fmt: skip


def forward(qkv: Tensor, *mask: Tensor) -> tuple[Tensor, Tensor]:
    """Stacked qkv (K, B, L, 3, H, Dh) → y (K, B, L, H, Dh), log-sum-exp in base 2 (K, B, H, L).

    `mask` is empty, or the key (K, 3) and site (K, 2) of dropout.
    """
    K, batch, length, _, heads, head_dim = qkv.shape
    if head_dim > LARGEST:
        raise ValueError(
            f"the triton attention takes heads of at most {LARGEST} channels, not {head_dim}: use sequential"
        )
    qkv = qkv.contiguous()
    key, site = _mask(qkv, mask)
    y, lse = qkv.new_empty(K, batch, length, heads, head_dim), qkv.new_empty(K, batch, heads, length)
    if y.numel():
        own, step, warps, stages = launch(length, head_dim, dot_precision(qkv.dtype)).forward
        _attention_forward[(K * batch * heads * triton.cdiv(length, own),)](
            qkv, key, site, y, lse, batch * heads, length, **constants(heads, head_dim, qkv.dtype),
            OWN=own, STEP=step, STAGES=stages, DROP=bool(mask), num_warps=warps,
        )  # fmt: skip
    return y, lse


def backward(dy: Tensor, qkv: Tensor, y: Tensor, lse: Tensor, *mask: Tensor) -> tuple[Tensor]:
    """The gradient of qkv, contiguous. `mask` is that of the forward pass."""
    K, batch, length, _, heads, head_dim = qkv.shape
    dy, qkv, y, lse = (value.contiguous() for value in (dy, qkv, y, lse))
    key, site = _mask(qkv, mask)
    dqkv = torch.empty_like(qkv)
    if not y.numel():
        return (dqkv,)
    (own, step, warps, stages), whole = launch(length, head_dim, dot_precision(qkv.dtype))[1:]
    programs = 1 if whole else 2 * triton.cdiv(length, own)
    _attention_backward[(K * batch * heads * programs,)](
        dy, qkv, key, site, y, lse, dqkv, batch * heads, length, **constants(heads, head_dim, qkv.dtype),
        OWN=own, STEP=step, STAGES=stages, DROP=bool(mask), WHOLE=whole, num_warps=warps,
    )  # fmt: skip
    return (dqkv,)


def _mask(qkv: Tensor, mask: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Key and site for a launch. Without dropout no kernel reads them, and any tensor will do."""
    return tuple(value.contiguous() for value in mask) if mask else (qkv, qkv)


def constants(heads: int, head_dim: int, dtype: torch.dtype) -> dict[str, Any]:
    """Compile-time constants of the kernels, besides those of the launch."""
    return {
        "HEADS": heads,
        "HEAD_DIM": head_dim,
        "WIDTH": max(16, triton.next_power_of_2(head_dim)),
        "SCALE": LOG2_E / math.sqrt(head_dim),
        "DOT": dot_precision(dtype),
    }


def _shapes(qkv: Tensor, *mask: Tensor) -> tuple[Tensor, ...]:
    K, batch, length, _, heads, width = qkv.shape
    return qkv.new_empty(K, batch, length, heads, width), qkv.new_empty(K, batch, heads, length)


def _gradient_shapes(dy: Tensor, qkv: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    return (qkv.new_empty(qkv.shape),)


attention = operator(
    "attention_triton",
    ARGUMENTS,
    ("lse",),
    forward,
    backward,
    _shapes,
    needs=("qkv", "y", "lse"),
    gradient_shapes=_gradient_shapes,
)

attention_dropout = operator(
    "attention_dropout_triton",
    DROPOUT_ARGUMENTS,
    ("lse",),
    forward,
    lambda *values: (*backward(*values), unwanted(values[0]), unwanted(values[0])),
    _shapes,
    needs=("qkv", "y", "lse", "key", "site"),
    gradient_shapes=lambda *values: (
        *_gradient_shapes(*values),
        unwanted(values[0]),
        unwanted(values[0]),
    ),
)
"""The same with dropout of the weights. Integers have no gradient."""
