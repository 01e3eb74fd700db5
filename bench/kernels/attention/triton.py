"""Causal attention in Triton: one launch forward, and one backward.

The forward pass: a program takes one head of one prompt and a block of queries, and goes through the keys
up to the diagonal block with a running maximum (Dao 2023, FlashAttention-2, Algorithm 1). It keeps the log
of the sum of exponentials for every query, in base 2, as all exponentials here are.

The backward pass computes the scores again. By default its programs have two roles: one owns a block of
keys and computes their dk and dv, one owns a block of queries and computes their dq. Nothing is summed
across programs, so that the result does not depend on their order. The alternative, for short prompts,
is one program a head: five products a pair of blocks instead of seven, and less to run side by side.

Δ_t = Σ_d dy_td y_td, which the softmax's gradient needs, is computed wherever dy is read.
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

from bench.kernels.attention import ARGUMENTS
from bench.kernels.operators import operator

LOG2_E = 1.4426950408889634
LN_2 = tl.constexpr(1 / LOG2_E)
LARGEST = 128
"""Channels a head may have."""


class Blocks(NamedTuple):
    """How one kernel is launched.

    Attributes:
        own: rows (queries or keys) of a program; a power of two, at least 16.
        step: rows it meets them with at a time; likewise.
        warps: of a program.
        stages: steps whose loads are under way.
    """

    own: int
    step: int
    warps: int
    stages: int


class Launch(NamedTuple):
    """How one size is computed.

    Attributes:
        forward: its launch.
        backward: its launch.
        whole: whether a program of the backward pass takes a whole head; `own` then says in which blocks.
    """

    forward: Blocks
    backward: Blocks
    whole: bool = False


def launch(length: int, head_dim: int) -> Launch:
    """The launches for prompts of `length` tokens and heads of `head_dim` channels."""
    rows = 16 if length <= 16 else 32
    if head_dim <= 16:
        return Launch(Blocks(rows, rows, 1, 2), Blocks(rows, rows, 1, 2))
    if head_dim <= 32:
        return Launch(Blocks(rows, rows, 2, 2), Blocks(rows, rows, 2, 2))
    return Launch(Blocks(rows, rows, 4, 2), Blocks(rows, rows, 4, 2))


@triton.jit
def _tile(values, first, length, STRIDE: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr,
          ROWS: tl.constexpr):  # fmt: skip
    """ROWS rows of `values` from row `first` on, (ROWS, WIDTH); zero outside prompt and head."""
    t, d = first + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    inside = (t < length)[:, None] & (d < HEAD_DIM)[None, :]
    return tl.load(values + t[:, None] * STRIDE + d[None, :], mask=inside, other=0.0)


@triton.jit
def _put(values, tile, first, length, STRIDE: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr,
         ROWS: tl.constexpr):  # fmt: skip
    """Write what `_tile` reads."""
    t, d = first + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    inside = (t < length)[:, None] & (d < HEAD_DIM)[None, :]
    tl.store(values + t[:, None] * STRIDE + d[None, :], tile, mask=inside)


@triton.jit(do_not_specialize=["length"])
def _forward(
    qkv, y, lse, length,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr,
    OWN: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    D: tl.constexpr = HEADS * HEAD_DIM
    blocks = tl.cdiv(length, OWN)
    head = tl.program_id(0) // blocks
    first = (blocks - 1 - tl.program_id(0) % blocks) * OWN  # the longest rows of scores first
    row = (head // HEADS).to(tl.int64)
    qkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    y += row * length * D + (head % HEADS) * HEAD_DIM
    lse += head.to(tl.int64) * length
    queries = first + tl.arange(0, OWN)
    q = _tile(qkv, first, length, 3 * D, HEAD_DIM, WIDTH, OWN) * SCALE
    most = tl.full((OWN,), float("-inf"), q.dtype)
    total = tl.zeros((OWN,), q.dtype)
    mixed = tl.zeros((OWN, WIDTH), q.dtype)
    for start in tl.range(0, tl.minimum(first + OWN, length), STEP, num_stages=STAGES):
        k = _tile(qkv + D, start, length, 3 * D, HEAD_DIM, WIDTH, STEP)
        v = _tile(qkv + 2 * D, start, length, 3 * D, HEAD_DIM, WIDTH, STEP)
        keys = start + tl.arange(0, STEP)
        scores = tl.dot(q, tl.trans(k), input_precision=DOT)
        scores = tl.where(queries[:, None] >= keys[None, :], scores, float("-inf"))
        # Every query sees key 0, so that `higher` is finite from the first step on.
        higher = tl.maximum(most, tl.max(scores, axis=1))
        p = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(most - higher)
        total = total * shrink + tl.sum(p, axis=1)
        mixed = tl.dot(p, v, mixed * shrink[:, None], input_precision=DOT, out_dtype=mixed.dtype)
        most = higher
    _put(y, mixed / total[:, None], first, length, D, HEAD_DIM, WIDTH, OWN)
    tl.store(lse + queries, most + tl.log2(total), mask=queries < length)


@triton.jit
def _of_queries(dy, qkv, y, lse, first, length, D: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr,
                SCALE: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """What the gradient needs of ROWS queries: q scaled, dy, Δ and the log-sum-exp.

    Queries behind the last have q = dy = 0, hence add nothing.
    """
    q = _tile(qkv, first, length, 3 * D, HEAD_DIM, WIDTH, ROWS) * SCALE
    dy_ = _tile(dy, first, length, D, HEAD_DIM, WIDTH, ROWS)
    delta = tl.sum(dy_ * _tile(y, first, length, D, HEAD_DIM, WIDTH, ROWS), axis=1)
    queries = first + tl.arange(0, ROWS)
    return q, dy_, delta, tl.load(lse + queries, mask=queries < length, other=0.0)


@triton.jit
def _for_keys(dy, qkv, y, lse, dqkv, first, length, D: tl.constexpr, HEAD_DIM: tl.constexpr,
              WIDTH: tl.constexpr, SCALE: tl.constexpr, OWN: tl.constexpr, STEP: tl.constexpr,
              STAGES: tl.constexpr, DOT: tl.constexpr):  # fmt: skip
    """The gradients of OWN keys and values.

    Scores stand transposed, (OWN, STEP), so that no product transposes them.
    """
    keys = first + tl.arange(0, OWN)
    k = _tile(qkv + D, first, length, 3 * D, HEAD_DIM, WIDTH, OWN)
    v = _tile(qkv + 2 * D, first, length, 3 * D, HEAD_DIM, WIDTH, OWN)
    dk, dv = tl.zeros((OWN, WIDTH), k.dtype), tl.zeros((OWN, WIDTH), k.dtype)
    for start in tl.range(first // STEP * STEP, length, STEP, num_stages=STAGES):
        q, dy_, delta, sums = _of_queries(dy, qkv, y, lse, start, length, D, HEAD_DIM, WIDTH, SCALE, STEP)
        queries = start + tl.arange(0, STEP)
        scores = tl.dot(k, tl.trans(q), input_precision=DOT)
        seen = queries[None, :] >= keys[:, None]
        p = tl.where(seen, tl.exp2(scores - sums[None, :]), 0.0)
        dv = tl.dot(p, dy_, dv, input_precision=DOT, out_dtype=dv.dtype)
        dp = tl.dot(v, tl.trans(dy_), input_precision=DOT)
        dk = tl.dot(p * (dp - delta[None, :]), q, dk, input_precision=DOT, out_dtype=dk.dtype)
    # q came with the scale and log2 e; the latter is not part of the gradient.
    _put(dqkv + D, dk * LN_2, first, length, 3 * D, HEAD_DIM, WIDTH, OWN)
    _put(dqkv + 2 * D, dv, first, length, 3 * D, HEAD_DIM, WIDTH, OWN)


@triton.jit
def _for_queries(dy, qkv, y, lse, dqkv, first, length, D: tl.constexpr, HEAD_DIM: tl.constexpr,
                 WIDTH: tl.constexpr, SCALE: tl.constexpr, OWN: tl.constexpr, STEP: tl.constexpr,
                 STAGES: tl.constexpr, DOT: tl.constexpr):  # fmt: skip
    """The gradient of OWN queries."""
    queries = first + tl.arange(0, OWN)
    q, dy_, delta, sums = _of_queries(dy, qkv, y, lse, first, length, D, HEAD_DIM, WIDTH, SCALE, OWN)
    dq = tl.zeros((OWN, WIDTH), q.dtype)
    for start in tl.range(0, tl.minimum(first + OWN, length), STEP, num_stages=STAGES):
        k = _tile(qkv + D, start, length, 3 * D, HEAD_DIM, WIDTH, STEP)
        v = _tile(qkv + 2 * D, start, length, 3 * D, HEAD_DIM, WIDTH, STEP)
        keys = start + tl.arange(0, STEP)
        scores = tl.dot(q, tl.trans(k), input_precision=DOT)
        seen = queries[:, None] >= keys[None, :]
        p = tl.where(seen, tl.exp2(scores - sums[:, None]), 0.0)
        dp = tl.dot(dy_, tl.trans(v), input_precision=DOT)
        dq = tl.dot(p * (dp - delta[:, None]), k, dq, input_precision=DOT, out_dtype=dq.dtype)
    _put(dqkv, dq * (SCALE * LN_2), first, length, 3 * D, HEAD_DIM, WIDTH, OWN)


@triton.jit(do_not_specialize=["length"])
def _backward(
    dy, qkv, y, lse, dqkv, length,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr,
    OWN: tl.constexpr, STEP: tl.constexpr, STAGES: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    D: tl.constexpr = HEADS * HEAD_DIM
    blocks = tl.cdiv(length, OWN)
    head, block = tl.program_id(0) // (2 * blocks), tl.program_id(0) % (2 * blocks)
    row = (head // HEADS).to(tl.int64)
    qkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    dqkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    y += row * length * D + (head % HEADS) * HEAD_DIM
    dy += row * length * D + (head % HEADS) * HEAD_DIM
    lse += head.to(tl.int64) * length
    # In both roles the programs with most to do come first.
    if block < blocks:
        _for_keys(dy, qkv, y, lse, dqkv, block * OWN, length,
                  D, HEAD_DIM, WIDTH, SCALE, OWN, STEP, STAGES, DOT)  # fmt: skip
    else:
        _for_queries(dy, qkv, y, lse, dqkv, (2 * blocks - 1 - block) * OWN, length,
                     D, HEAD_DIM, WIDTH, SCALE, OWN, STEP, STAGES, DOT)  # fmt: skip


@triton.jit(do_not_specialize=["length"])
def _backward_whole(
    dy, qkv, y, lse, dqkv, length,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr,
    OWN: tl.constexpr, BLOCKS: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """A whole head, of BLOCKS blocks: every pair of them once, and dq held in registers meanwhile."""
    D: tl.constexpr = HEADS * HEAD_DIM
    head = tl.program_id(0)
    row = (head // HEADS).to(tl.int64)
    qkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    dqkv += row * length * (3 * D) + (head % HEADS) * HEAD_DIM
    y += row * length * D + (head % HEADS) * HEAD_DIM
    dy += row * length * D + (head % HEADS) * HEAD_DIM
    lse += head.to(tl.int64) * length
    dqs = ()
    for _ in tl.static_range(BLOCKS):
        dqs += (tl.zeros((OWN, WIDTH), dqkv.dtype.element_ty),)
    for j in tl.static_range(BLOCKS):
        k = _tile(qkv + D, j * OWN, length, 3 * D, HEAD_DIM, WIDTH, OWN)
        v = _tile(qkv + 2 * D, j * OWN, length, 3 * D, HEAD_DIM, WIDTH, OWN)
        dk, dv = tl.zeros((OWN, WIDTH), k.dtype), tl.zeros((OWN, WIDTH), k.dtype)
        after = ()
        for i in tl.static_range(BLOCKS):
            dq = dqs[i]
            if i >= j:
                q, dy_, delta, sums = _of_queries(
                    dy, qkv, y, lse, i * OWN, length, D, HEAD_DIM, WIDTH, SCALE, OWN
                )
                p = tl.exp2(tl.dot(k, tl.trans(q), input_precision=DOT) - sums[None, :])
                if i == j:
                    p = tl.where(tl.arange(0, OWN)[None, :] >= tl.arange(0, OWN)[:, None], p, 0.0)
                dv = tl.dot(p, dy_, dv, input_precision=DOT, out_dtype=dv.dtype)
                dp = tl.dot(v, tl.trans(dy_), input_precision=DOT)
                ds = p * (dp - delta[None, :])
                dk = tl.dot(ds, q, dk, input_precision=DOT, out_dtype=dk.dtype)
                dq = tl.dot(tl.trans(ds), k, dq, input_precision=DOT, out_dtype=dq.dtype)
            after += (dq,)
        dqs = after
        _put(dqkv + D, dk * LN_2, j * OWN, length, 3 * D, HEAD_DIM, WIDTH, OWN)
        _put(dqkv + 2 * D, dv, j * OWN, length, 3 * D, HEAD_DIM, WIDTH, OWN)
    for i in tl.static_range(BLOCKS):
        _put(dqkv, dqs[i] * (SCALE * LN_2), i * OWN, length, 3 * D, HEAD_DIM, WIDTH, OWN)


def forward(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Stacked qkv (K, B, L, 3, H, Dh) → y (K, B, L, H, Dh), log-sum-exp in base 2 (K, B, H, L)."""
    K, batch, length, _, heads, head_dim = qkv.shape
    if head_dim > LARGEST:
        raise ValueError(
            f"the triton attention takes heads of at most {LARGEST} channels, not {head_dim}: use sequential"
        )
    qkv = qkv.contiguous()
    y, lse = qkv.new_empty(K, batch, length, heads, head_dim), qkv.new_empty(K, batch, heads, length)
    if y.numel():
        own, step, warps, stages = launch(length, head_dim).forward
        _forward[(K * batch * heads * triton.cdiv(length, own),)](
            qkv, y, lse, length, **constants(heads, head_dim, qkv.dtype),
            OWN=own, STEP=step, STAGES=stages, num_warps=warps,
        )  # fmt: skip
    return y, lse


def backward(dy: Tensor, qkv: Tensor, y: Tensor, lse: Tensor) -> tuple[Tensor]:
    """The gradient of qkv, contiguous."""
    K, batch, length, _, heads, head_dim = qkv.shape
    dy, qkv, y, lse = (value.contiguous() for value in (dy, qkv, y, lse))
    dqkv = torch.empty_like(qkv)
    if not y.numel():
        return (dqkv,)
    (own, step, warps, stages), whole = launch(length, head_dim)[1:]
    tensors, blocks = (dy, qkv, y, lse, dqkv), triton.cdiv(length, own)
    sizes = constants(heads, head_dim, qkv.dtype)
    if whole:
        _backward_whole[(K * batch * heads,)](
            *tensors, length, **sizes, OWN=own, BLOCKS=blocks, num_warps=warps
        )
    else:
        _backward[(K * batch * heads * 2 * blocks,)](
            *tensors, length, **sizes, OWN=own, STEP=step, STAGES=stages, num_warps=warps
        )
    return (dqkv,)


def constants(heads: int, head_dim: int, dtype: torch.dtype) -> dict[str, Any]:
    """What the kernels are compiled for, beside their launch."""
    return {
        "HEADS": heads,
        "HEAD_DIM": head_dim,
        "WIDTH": max(16, triton.next_power_of_2(head_dim)),
        "SCALE": LOG2_E / math.sqrt(head_dim),
        "DOT": _dot(dtype),
    }


def _dot(dtype: torch.dtype) -> str:
    """How products are computed: to the last bits of a float, unless PyTorch may use less for matrices."""
    if dtype != torch.float32:
        return "ieee"
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def _shapes(qkv: Tensor) -> tuple[Tensor, ...]:
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
