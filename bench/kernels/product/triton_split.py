"""Splitting fp32 numbers into bf16 parts in Triton, in one launch that reads each number once.

The rounding works on the bits. So it is the same in Triton's interpreter, and numbers that would round up to
infinity can be kept finite.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from bench.kernels.operators import rows as with_rows

LAUNCH = {"ROWS": 8, "BLOCK": 128}
"""Rows and columns of the tile of a program."""


@triton.jit
def _rounded(v):
    """The nearest bf16 number (ties to even) as fp32; finite for every finite v."""
    bits = v.to(tl.int32, bitcast=True)
    # bf16 is the upper half of fp32. Adding 0x7FFF plus the last kept bit and cutting the lower half rounds
    # to nearest, ties to even. From the largest bf16 number on nothing is added, because it would become
    # infinite.
    up = tl.where((bits & 0x7FFFFFFF) < 0x7F7F0000, 0x7FFF + ((bits >> 16) & 1), 0)
    return tl.where(v == v, (bits + up) & -65536, 0x7FC00000).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["rows"])
def _split(
    values, out, values_k, values_row, rows, columns, out_k, out_row, out_part,
    PARTS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the parts. PARTS: number of the part at each place, two bits each, lowest bits first."""
    k = tl.program_id(2).to(tl.int64)
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < columns)
    v = tl.load(values + k * values_k + row * values_row + column, mask=inside, other=0.0)
    first = _rounded(v)
    v -= first
    second = _rounded(v)
    third = _rounded(v - second)
    out += k * out_k + row * out_row + column
    for place in tl.static_range(8):
        part = (PARTS >> (2 * place)) & 3
        if part == 1:
            tl.store(out + place * out_part, _high_half(first), mask=inside)
        if part == 2:
            tl.store(out + place * out_part, _high_half(second), mask=inside)
        if part == 3:
            tl.store(out + place * out_part, _high_half(third), mask=inside)


@triton.jit
def _high_half(v):
    """The upper half of an fp32 number, which is a bf16 number if the lower half is zero."""
    return (v.to(tl.int32, bitcast=True) >> 16).to(tl.int16)


def places(parts: Sequence[int]) -> int:
    """`parts` as a number, the kernel's PARTS."""
    return sum(part << 2 * place for place, part in enumerate(parts))


def split(values: Tensor, parts: Sequence[int], dim: int) -> Tensor:
    """`bench.kernels.product.split.split` for values (K, rows, columns)."""
    K, rows, columns = values.shape
    values = with_rows(values)
    side_by_side = dim == -1
    shape = (K, rows, len(parts) * columns) if side_by_side else (K, len(parts) * rows, columns)
    out = values.new_empty(shape, dtype=torch.bfloat16)
    if out.numel():
        _split[(triton.cdiv(rows, LAUNCH["ROWS"]), triton.cdiv(columns, LAUNCH["BLOCK"]), K)](
            values, out.view(torch.int16), *values.stride()[:2], rows, columns, *out.stride()[:2],
            columns if side_by_side else rows * columns, PARTS=places(parts), **LAUNCH,
        )  # fmt: skip
    return out
