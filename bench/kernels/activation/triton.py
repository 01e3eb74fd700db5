"""The elementwise functions in Triton: a launch per direction, and one that adds up gradients of biases.

A program has a tile of rows and columns; if it sums over rows, several tiles in turn.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="assignment, no-any-return, var-annotated"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from bench.kernels import activation
from bench.kernels.branches import aside
from bench.kernels.operators import like_first, operator
from bench.kernels.operators import rows as with_rows
from bench.kernels.triton_functions import sigmoid_of
from bench.kernels.triton_sums import add_up, division

LAUNCH = {"ROWS": 8, "BLOCK": 128}
"""Rows and columns of a tile."""
FLAT = {"BLOCK": 1024}
"""Numbers of a program in kernels for which rows do not matter."""
CUBIC = tl.constexpr(activation.CUBIC)
SLOPE = tl.constexpr(1.5957691216057308)  # 2 √(2/π): (1 + tanh t) / 2 is sigmoid(2 t)
ROOT_HALF = tl.constexpr(0.7071067811865476)
DENSITY = tl.constexpr(0.3989422804014327)  # 1/√(2π)


@triton.jit(do_not_specialize=["rows"])
def _bias_gelu(u, bias, y, rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The GELU of u + bias, tanh approximation. A program has a tile of rows and columns."""
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (e < channels)[None, :]
    place = (k * rows + row)[:, None] * channels + e[None, :]
    v = tl.load(u + place, mask=inside, other=0.0)
    v += tl.load(bias + k * channels + e, mask=e < channels, other=0.0)[None, :]
    tl.store(y + place, v * sigmoid_of(v * SLOPE * (1 + v * v * CUBIC)), mask=inside)


@triton.jit(do_not_specialize=["rounds", "rows"])
def _bias_gelu_gradient(
    dy, u, bias, du, partial, rounds, rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """The gradient of u, and a program's part of that of the bias: the sum of du over its rows.

    A program has several tiles of rows, one below the other. With σ = sigmoid(SLOPE (v + CUBIC v³)),

        gelu(v) = v σ          gelu′(v) = σ + v σ (1 − σ) SLOPE (1 + 3 CUBIC v²)
    """
    part, k = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    biases = tl.load(bias + k * channels + e, mask=e < channels, other=0.0)[None, :]
    sums = tl.zeros((ROWS, BLOCK), dtype=u.dtype.element_ty)
    for i in range(rounds):
        row = (part * rounds + i) * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (e < channels)[None, :]
        place = (k * rows + row)[:, None] * channels + e[None, :]
        v = tl.load(u + place, mask=inside, other=0.0) + biases
        square = v * v
        sigmoid = sigmoid_of(v * SLOPE * (1 + square * CUBIC))
        # The last factor grows like v² where 1 − sigmoid is 0, so v (1 − sigmoid) is multiplied first.
        slope = sigmoid + sigmoid * (v * (1 - sigmoid)) * ((1 + square * (3 * CUBIC)) * SLOPE)
        d = tl.load(dy + place, mask=inside, other=0.0) * slope
        tl.store(du + place, d, mask=inside)
        sums += d
    partial += (k * tl.num_programs(0) + part) * channels + e
    tl.store(partial, tl.sum(sums, axis=0), mask=e < channels)


@triton.jit(do_not_specialize=["rows"])
def _bias_glu(u, bias, y, rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The product a · sigmoid(b) of the halves of u + bias. `channels` is the width of a half."""
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (e < channels)[None, :]
    u += (k * rows + row)[:, None] * (2 * channels) + e[None, :]
    bias += k * 2 * channels + e
    a = tl.load(u, mask=inside, other=0.0) + tl.load(bias, mask=e < channels, other=0.0)[None, :]
    b = tl.load(u + channels, mask=inside, other=0.0)
    b += tl.load(bias + channels, mask=e < channels, other=0.0)[None, :]
    tl.store(y + (k * rows + row)[:, None] * channels + e[None, :], a * sigmoid_of(b), mask=inside)


@triton.jit(do_not_specialize=["rounds", "rows"])
def _bias_glu_gradient(
    dy, u, bias, du, partial, rounds, rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """The gradient of u, and a program's part of that of the bias.

    The halves of du are da = dy · sigmoid(b) and db = da · a · (1 − sigmoid(b)). A program has the same
    columns of both, and several tiles of rows, one below the other.
    """
    part, k = tl.program_id(0), tl.program_id(2).to(tl.int64)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    bias += k * 2 * channels + e
    bias_a = tl.load(bias, mask=e < channels, other=0.0)[None, :]
    bias_b = tl.load(bias + channels, mask=e < channels, other=0.0)[None, :]
    sums_a = tl.zeros((ROWS, BLOCK), dtype=u.dtype.element_ty)
    sums_b = tl.zeros((ROWS, BLOCK), dtype=u.dtype.element_ty)
    for i in range(rounds):
        row = (part * rounds + i) * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (e < channels)[None, :]
        place = (k * rows + row)[:, None] * (2 * channels) + e[None, :]
        a = tl.load(u + place, mask=inside, other=0.0) + bias_a
        b = tl.load(u + place + channels, mask=inside, other=0.0) + bias_b
        from_y = (k * rows + row)[:, None] * channels + e[None, :]
        sigmoid = sigmoid_of(b)
        d_a = tl.load(dy + from_y, mask=inside, other=0.0) * sigmoid
        d_b = d_a * a * (1 - sigmoid)
        tl.store(du + place, d_a, mask=inside)
        tl.store(du + place + channels, d_b, mask=inside)
        sums_a += d_a
        sums_b += d_b
    partial += (k * tl.num_programs(0) + part) * 2 * channels + e
    tl.store(partial, tl.sum(sums_a, axis=0), mask=e < channels)
    tl.store(partial + channels, tl.sum(sums_b, axis=0), mask=e < channels)


@triton.jit
def _gelu(u, y, size, BLOCK: tl.constexpr):
    """The exact GELU, u Φ(u). A program has BLOCK numbers in a row, wherever their rows end."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(u + place, mask=place < size, other=0.0)
    tl.store(y + place, v * (0.5 + 0.5 * tl.erf(v * ROOT_HALF)), mask=place < size)


@triton.jit
def _gelu_gradient(dy, u, du, size, BLOCK: tl.constexpr):
    """The gradient dy (Φ(u) + u φ(u)), where φ is the density of the normal distribution."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(u + place, mask=place < size, other=0.0)
    d = tl.load(dy + place, mask=place < size, other=0.0)
    slope = 0.5 + 0.5 * tl.erf(v * ROOT_HALF) + v * DENSITY * tl.exp(-0.5 * v * v)
    tl.store(du + place, d * slope, mask=place < size)


@triton.jit(do_not_specialize=["rows"])
def _gate(y, z, out, z_k, z_row, rows, channels, SILU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The product y · z, or y · silu(z) with SILU. Rows of z may be parts of wider rows."""
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (e < channels)[None, :]
    place = (k * rows + row)[:, None] * channels + e[None, :]
    z += k * z_k + row.to(tl.int64)[:, None] * z_row + e[None, :]
    factor = tl.load(z, mask=inside, other=0.0)
    if SILU:
        factor *= sigmoid_of(factor)
    tl.store(out + place, tl.load(y + place, mask=inside, other=0.0) * factor, mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _gate_gradient(
    d_out, y, z, dy, dz, z_k, z_row, rows, channels,
    SILU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradients d_out · f(z) and d_out · y · f′(z), where f is SiLU or the identity."""
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (e < channels)[None, :]
    place = (k * rows + row)[:, None] * channels + e[None, :]
    z += k * z_k + row.to(tl.int64)[:, None] * z_row + e[None, :]
    factor = tl.load(z, mask=inside, other=0.0)
    d = tl.load(d_out + place, mask=inside, other=0.0)
    through_y = d * tl.load(y + place, mask=inside, other=0.0)
    if SILU:
        sigmoid = sigmoid_of(factor)
        through_y *= sigmoid * (1 + factor * (1 - sigmoid))
        factor *= sigmoid
    tl.store(dy + place, d * factor, mask=inside)
    tl.store(dz + place, through_y, mask=inside)


def _with_bias(kernel: Any, halves: int, u: Tensor, bias: Tensor) -> tuple[Tensor]:
    """Stacked inputs: u (K, ..., halves · E), bias (K, halves · E) → (K, ..., E)."""
    y = _shrunk(u, halves)
    K, channels = y.shape[0], y.shape[-1]
    if y.numel():
        rows = y.numel() // (K * channels)
        kernel[_tiles(rows, channels, K)](u.contiguous(), bias.contiguous(), y, rows, channels, **LAUNCH)
    return (y,)


def _with_bias_gradient(
    kernel: Any, halves: int, dy: Tensor, u: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of u and of the bias."""
    K, channels = dy.shape[0], dy.shape[-1]
    du, dbias = u.new_empty(u.shape), bias.new_empty(bias.shape)
    if not du.numel():
        return du, dbias.zero_()
    rows = dy.numel() // (K * channels)
    blocks = triton.cdiv(channels, LAUNCH["BLOCK"])
    programs, rounds = division(rows, LAUNCH["ROWS"], blocks)
    partial = u.new_empty(K, programs, 1, halves * channels)
    kernel[(programs, blocks, K)](
        dy.contiguous(), u.contiguous(), bias.contiguous(), du, partial, rounds, rows, channels, **LAUNCH
    )
    with aside(partial):
        add_up(partial, dbias)
    return du, dbias


def _run_gelu(u: Tensor) -> tuple[Tensor]:
    y = u.new_empty(u.shape)
    if u.numel():
        _gelu[(triton.cdiv(u.numel(), FLAT["BLOCK"]),)](u.contiguous(), y, u.numel(), **FLAT)
    return (y,)


def _differentiate_gelu(dy: Tensor, u: Tensor) -> tuple[Tensor]:
    du = u.new_empty(u.shape)
    if u.numel():
        _gelu_gradient[(triton.cdiv(u.numel(), FLAT["BLOCK"]),)](
            dy.contiguous(), u.contiguous(), du, u.numel(), **FLAT
        )
    return (du,)


def _run_gate(y: Tensor, z: Tensor, silu: bool) -> tuple[Tensor]:
    """Stacked inputs: y and z (K, ..., E) → the same."""
    K, channels = y.shape[0], y.shape[-1]
    out = y.new_empty(y.shape)
    if out.numel():
        z = _flat_rows(z)
        _gate[_tiles(z.shape[1], channels, K)](
            y.contiguous(), z, out, *z.stride()[:2], z.shape[1], channels, SILU=silu, **LAUNCH
        )
    return (out,)


def _differentiate_gate(d_out: Tensor, y: Tensor, z: Tensor, silu: bool) -> tuple[Tensor, Tensor]:
    K, channels = y.shape[0], y.shape[-1]
    dy, dz = y.new_empty(y.shape), y.new_empty(y.shape)
    if y.numel():
        z = _flat_rows(z)
        _gate_gradient[_tiles(z.shape[1], channels, K)](
            d_out.contiguous(), y.contiguous(), z, dy, dz, *z.stride()[:2], z.shape[1], channels,
            SILU=silu, **LAUNCH,
        )  # fmt: skip
    return dy, dz


def _tiles(rows: int, channels: int, K: int) -> tuple[int, int, int]:
    return triton.cdiv(rows, LAUNCH["ROWS"]), triton.cdiv(channels, LAUNCH["BLOCK"]), K


def _flat_rows(value: Tensor) -> Tensor:
    """(K, ..., E) → (K, rows, E), a view where the rows are equally far apart, as those of a slice are."""
    return with_rows(value.reshape(value.shape[0], -1, value.shape[-1]))


def _shrunk(u: Tensor, halves: int) -> Tensor:
    return u.new_empty(*u.shape[:-1], u.shape[-1] // halves)


bias_gelu = operator(
    "bias_gelu_triton",
    ("u", "bias"),
    (),
    lambda u, bias: _with_bias(_bias_gelu, 1, u, bias),
    lambda dy, u, bias: _with_bias_gradient(_bias_gelu_gradient, 1, dy, u, bias),
    like_first,
    parameters=("bias",),
)
gelu = operator("gelu_triton", ("u",), (), _run_gelu, _differentiate_gelu, like_first)
bias_glu = operator(
    "bias_glu_triton",
    ("u", "bias"),
    (),
    lambda u, bias: _with_bias(_bias_glu, 2, u, bias),
    lambda dy, u, bias: _with_bias_gradient(_bias_glu_gradient, 2, dy, u, bias),
    lambda u, bias: (_shrunk(u, 2),),
    parameters=("bias",),
)
gate = operator(
    "gate_triton",
    ("y", "z"),
    (),
    lambda y, z: _run_gate(y, z, False),
    lambda d_out, y, z: _differentiate_gate(d_out, y, z, False),
    like_first,
)
silu_gate = operator(
    "silu_gate_triton",
    ("y", "z"),
    (),
    lambda y, z: _run_gate(y, z, True),
    lambda d_out, y, z: _differentiate_gate(d_out, y, z, True),
    like_first,
)
