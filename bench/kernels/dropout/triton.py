"""Dropout in Triton: a launch per direction, which draws the mask where it needs it."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.draws.triton import random_word
from bench.kernels.dropout import PLACES, SITES
from bench.kernels.operators import operator, unwanted

LAUNCH = {"ROWS": 8, "BLOCK": 128}
"""Rows (tokens of all prompts) and columns of a tile."""
BITS = tl.constexpr(PLACES)
STEP = tl.constexpr(SITES)


@triton.jit(do_not_specialize=["rows", "length", "columns"])
def _dropout(x, key, site, y, rows, length, columns, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    key += 3 * k
    site += 2 * k
    threshold = tl.load(site + 1)
    index = ((row // length << (2 * BITS)) + (row % length << BITS))[:, None] + column[None, :]
    zeros = tl.zeros_like(index)
    step = tl.load(key + 2) * STEP + tl.load(site)
    drawn = random_word(index, zeros + step, zeros + tl.load(key), zeros + tl.load(key + 1))
    keep = (drawn >> 32).to(tl.int64) >= threshold
    scale = (1.0 / (1.0 - threshold.to(tl.float64) * 2.3283064365386963e-10)).to(x.dtype.element_ty)  # 2⁻³²
    place = (k * rows + row)[:, None] * columns + column[None, :]
    value = tl.load(x + place, mask=inside, other=0.0)
    tl.store(y + place, tl.where(keep, value * scale, 0.0), mask=inside)


def _run(x: Tensor, key: Tensor, site: Tensor) -> tuple[Tensor]:
    """Stacked inputs: x (K, …, L, C), key (K, 3), site (K, 2) → y like x."""
    K, length, columns = x.shape[0], x.shape[-2], x.shape[-1]
    y = x.new_empty(x.shape)
    if y.numel():
        rows = y.numel() // (K * columns)
        grid = (triton.cdiv(rows, LAUNCH["ROWS"]), triton.cdiv(columns, LAUNCH["BLOCK"]), K)
        _dropout[grid](
            x.contiguous(), key.contiguous(), site.contiguous(), y, rows, length, columns, **LAUNCH
        )
    return (y,)


def _differentiate(dy: Tensor, key: Tensor, site: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same function of dy. Integers have no gradient."""
    return (*_run(dy, key, site), unwanted(dy), unwanted(dy))


dropout = operator(
    "dropout_triton",
    ("x", "key", "site"),
    (),
    _run,
    _differentiate,
    lambda x, key, site: (x.new_empty(x.shape),),
    needs=("key", "site"),
    gradient_shapes=lambda dy, key, site: (dy.new_empty(dy.shape), unwanted(dy), unwanted(dy)),
)
