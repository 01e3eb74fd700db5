"""Sums over rows in Triton, and the reverse: repeat a row.

For a sum, many programs write partial sums, then a second launch adds them in a fixed order. Gradients of
weights and biases that all rows share are such sums. Atomic additions would need only one launch, but their
order changes from run to run. The division of rows among programs depends on the number of
rows, not on the number of stacked models, so a model has the same bits in every stack.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 528
"""Largest number of programs per model that write partial sums: four per multiprocessor of an H100."""
SUMS = {"PARTS": 128, "CHANNELS": 16}
"""Partial sums that a program of `add_up` adds at once, and its channels."""
LAUNCH = {"ROWS": 16, "BLOCK": 128}
"""Rows that a program of `column_sums` reads at once, or one of `repeat_rows` writes, and its columns."""


@triton.jit(do_not_specialize=["parts"])
def _add_up(
    partial, first, second, parts, channels,
    LINES: tl.constexpr, PARTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The sum over all parts of one line, for CHANNELS channels of a model.

    Part p is added to row p mod PARTS of a tile, whose rows are added up at the end: always in the same
    order.
    """
    k = tl.program_id(0).to(tl.int64)
    line = tl.program_id(1)
    e = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = e < channels
    part = tl.arange(0, PARTS)
    place = partial + ((k * parts + part[:, None]) * LINES + line) * channels + e[None, :]
    sums = tl.zeros((PARTS, CHANNELS), dtype=partial.dtype.element_ty)
    for since in range(0, parts, PARTS):
        valid = (since + part < parts)[:, None] & inside[None, :]
        sums += tl.load(place + since * LINES * channels, mask=valid, other=0.0)
    total = tl.sum(sums, axis=0)
    tl.store(first + k * channels + e, total, mask=inside & (line == 0))
    if LINES == 2:
        tl.store(second + k * channels + e, total, mask=inside & (line == 1))


@triton.jit(do_not_specialize=["rounds", "rows"])
def _column_sums(
    values, partial, stride_k, stride_row, rounds, rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """A program's partial sum, of `rounds` tiles of ROWS rows that are added up as in `_add_up`."""
    part, k = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = e < channels
    row = tl.arange(0, ROWS)
    values += k * stride_k + e[None, :]
    sums = tl.zeros((ROWS, BLOCK), dtype=values.dtype.element_ty)
    for i in range(rounds):
        r = (part * rounds + i) * ROWS + row
        valid = (r < rows)[:, None] & inside[None, :]
        sums += tl.load(values + r.to(tl.int64)[:, None] * stride_row, mask=valid, other=0.0)
    partial += (k * tl.num_programs(0) + part) * channels + e
    tl.store(partial, tl.sum(sums, axis=0), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _repeat_rows(values, out, rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Write a tile of rows that are all equal: the model's row of `values`."""
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (e < channels)[None, :]
    repeated = tl.load(values + k * channels + e, mask=e < channels, other=0.0)[None, :]
    place = out + (k * rows + row)[:, None] * channels + e[None, :]
    tl.store(place, tl.broadcast_to(repeated, (ROWS, BLOCK)), mask=inside)


def add_up(partial: Tensor, first: Tensor, second: Tensor | None = None) -> None:
    """Sum over the parts and write line 0 into `first` and line 1 into `second`.

    Args:
        partial: (K, parts, lines, channels), contiguous.
        first: (K, channels).
        second: (K, channels), if there are two lines.
    """
    K, parts, lines, channels = partial.shape
    _add_up[(K, lines, triton.cdiv(channels, SUMS["CHANNELS"]))](
        partial, first, first if second is None else second, parts, channels, LINES=lines, **SUMS
    )


def column_sums(values: Tensor) -> Tensor:
    """Sum over rows, (K, rows, channels) → (K, channels). The last dimension must be contiguous."""
    K, rows, channels = values.shape
    sums = values.new_empty(K, channels)
    if not values.numel():
        return sums.zero_()
    blocks = triton.cdiv(channels, LAUNCH["BLOCK"])
    programs, rounds = division(rows, LAUNCH["ROWS"], blocks)
    partial = values.new_empty(K, programs, 1, channels)
    _column_sums[(programs, blocks, K)](
        values, partial, values.stride(0), values.stride(1), rounds, rows, channels, **LAUNCH
    )
    add_up(partial, sums)
    return sums


def repeat_rows(values: Tensor, rows: int) -> Tensor:
    """(K, channels) → (K, rows, channels), contiguous."""
    K, channels = values.shape
    out = values.new_empty(K, rows, channels)
    if out.numel():
        grid = triton.cdiv(rows, LAUNCH["ROWS"]), triton.cdiv(channels, LAUNCH["BLOCK"]), K
        _repeat_rows[grid](values.contiguous(), out, rows, channels, **LAUNCH)
    return out


def division(rows: int, tile: int, blocks: int = 1) -> tuple[int, int]:
    """Divide rows among programs: (number of programs, tiles per program).

    Args:
        rows: number of rows.
        tile: rows of a tile, which a program reads at once.
        blocks: number of blocks of columns; each has as many programs.
    """
    tiles = triton.cdiv(rows, tile)
    # Fewer programs may suffice for this number of rounds, so that every program has a tile.
    rounds = triton.cdiv(tiles, max(1, PROGRAMS // blocks))
    return triton.cdiv(tiles, rounds), rounds
