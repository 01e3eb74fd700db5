"""Triton functions that kernels of several folders call."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def sigmoid_of(v):
    """1 / (1 + exp(−v))."""
    # exp(v) = 2^(v log₂ e). `tl.exp` would also guard against underflow, which does not matter here.
    return 1 / (1 + tl.exp2(-v * LOG2_E))


@triton.jit
def one_minus_exp(s):
    """1 − exp(−s) for s ≥ 0, by its Taylor series for small s, where the difference would cancel."""
    series = s * (
        1 - s * (1 / 2 - s * (1 / 6 - s * (1 / 24 - s * (1 / 120 - s * (1 / 720 - s * (1 / 5040))))))
    )
    return tl.where(s < 0.0625, series, 1 - tl.exp2(-s * LOG2_E))


@triton.jit
def load_tile(
    values, first, length, stride, column, COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    """Rows `first` … of a matrix with `length` rows, from a column on, (ROWS, WIDTH); zero outside of it."""
    t, d = first + tl.arange(0, ROWS), column + tl.arange(0, WIDTH)
    inside = (t < length)[:, None] & (d < COLUMNS)[None, :]
    return tl.load(values + t[:, None] * stride + d[None, :], mask=inside, other=0.0)


@triton.jit
def store_tile(
    values,
    tile,
    first,
    length,
    stride,
    column,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write `tile` to the entries that `load_tile` reads."""
    t, d = first + tl.arange(0, ROWS), column + tl.arange(0, WIDTH)
    inside = (t < length)[:, None] & (d < COLUMNS)[None, :]
    tl.store(values + t[:, None] * stride + d[None, :], tile, mask=inside)


@triton.jit
def unit_lower_inverse(negated, ROWS: tl.constexpr):
    """(I + M)⁻¹ by substitution, from −M, which is zero on and above its diagonal, (ROWS, ROWS).

    The product (I − M)(I + M²)(I + M⁴) … would lose all digits where keys are repeated.
    """
    i = tl.arange(0, ROWS)
    for row in range(1, ROWS):
        # Row −M_row, times the rows of the inverse − I before it, which are final.
        own = i[:, None] == row
        factors = tl.sum(tl.where(own, negated, 0.0), axis=0)
        before = tl.where(i[:, None] < row, negated, 0.0)
        change = tl.sum(factors[:, None] * before, axis=0)
        negated += tl.where(own, change[None, :], 0.0)
    return negated + tl.where(i[:, None] == i[None, :], 1.0, 0.0)
