"""Dropout in Triton: a launch per direction, which draws the mask where it needs it.

Other kernels that drop entries on the way, such as attention, draw their masks with the same functions.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.draws.triton import random_word
from bench.kernels.dropout import PLACES, SITES
from bench.kernels.operators import like_first, operator, unwanted

LAUNCH = {"ROWS": 8, "BLOCK": 128}
"""Rows (tokens of all prompts) and columns of a tile."""
BITS = tl.constexpr(PLACES)
STEP = tl.constexpr(SITES)


@triton.jit
def mask_numbers(key, site, member):
    """The numbers that all entries of a member's mask have in common.

    These are the step, the two words of the key, the threshold below which an entry is dropped, and the
    factor of the other entries.
    """
    key += 3 * member
    site += 2 * member
    step = tl.load(key + 2) * STEP + tl.load(site)
    threshold = tl.load(site + 1)
    factor = 1.0 / (1.0 - threshold.to(tl.float64) * 2.3283064365386963e-10)  # 2⁻³²
    return step, tl.load(key), tl.load(key + 1), threshold, factor


@triton.jit
def is_kept(row, token, column, numbers):
    """Whether entries are kept. Rows, tokens and columns are int64 and broadcast to the shape of a tile."""
    step, key_1, key_2, threshold, _ = numbers
    index = (row << (2 * BITS)) + (token << BITS) + column
    zeros = tl.zeros_like(index)
    drawn = random_word(index, zeros + step, zeros + key_1, zeros + key_2)
    return (drawn >> 32).to(tl.int64) >= threshold


@triton.jit(do_not_specialize=["rows", "length", "columns"])
def _dropout(x, key, site, y, rows, length, columns, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The entries x · keep / (1 − p) of a tile. A row is a token of a prompt, or of a head."""
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    numbers = mask_numbers(key, site, k)
    keep = is_kept((row // length)[:, None], (row % length)[:, None], column[None, :], numbers)
    scale = numbers[4].to(x.dtype.element_ty)
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
    like_first,
    needs=("key", "site"),
    gradient_shapes=lambda dy, key, site: (dy.new_empty(dy.shape), unwanted(dy), unwanted(dy)),
)
