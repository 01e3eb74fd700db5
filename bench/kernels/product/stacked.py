"""Matrix products of a stack of models with their weights, with a hand-written gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.kernels.branches import Branch
from bench.kernels.operators import operator, rows, unwanted
from bench.kernels.product.precision import current
from bench.kernels.product.split import Split, product

Tensors = tuple[Tensor, ...]

TILE = (128, 64)
"""Rows and columns of the outputs that a multiprocessor computes at a time."""
TILES = 256
"""Tiles that fill a GPU."""
SHORTEST = 256
"""Fewest terms in the sum of a part."""


def operators(
    suffix: str,
    split: Split,
    column_sums: Callable[[Tensor], Tensor],
    repeat_rows: Callable[[Tensor, int], Tensor] | None = None,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The product without and with a bias, as operators.

    Args:
        suffix: suffix of the operators' names.
        split: splits an operand into parts, for precisions that are split forms.
        column_sums: sums over rows, (K, rows, channels) → (K, channels), for the bias's gradient.
        repeat_rows: (K, channels), rows → (K, rows, channels), to start batched products from the bias; by
            default PyTorch's copy.
    """

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensors:
        y = multiply(_flat(x), rows(weight).mT, split, bias, repeat_rows)
        return (y.view(*x.shape[:-1], weight.shape[1]),)

    def backward(dy: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> Tensors:
        """Those of dx = dy W, dW = dyᵀ x and dbias = Σ dy that are needed, beside each other."""
        dy, x_rows = _flat(dy), _flat(x)
        of_weight, of_bias = Branch(dy, 0), Branch(dy, 1)
        dx, dweight, dbias = (unwanted(dy) for _ in range(3))
        if wanted[1]:
            with of_weight:
                dweight = sum_of_parts(dy.mT, x_rows, split)
        if wanted[2:] == [True]:
            with of_bias:
                dbias = column_sums(dy)
        if wanted[0]:
            dx = multiply(dy, rows(weight), split).view(x.shape)
        of_weight.leave(dy, x_rows)
        of_bias.leave(dy)
        return (dx, dweight, dbias)[: len(wanted)]  # two if there is no bias

    def gradient_shapes(dy: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> Tensors:
        shapes = (x.shape, weight.shape, weight.shape[:2])
        pairs = zip(shapes, wanted, strict=False)
        return tuple(dy.new_empty(shape) if want else unwanted(dy) for shape, want in pairs)

    def shapes(x: Tensor, weight: Tensor, *bias: Tensor) -> Tensors:
        return (x.new_empty(*x.shape[:-1], weight.shape[1]),)

    without_bias, with_bias = (
        operator(
            f"{name}_{suffix}",
            ("x", "weight", *bias),
            (),
            forward,
            backward,
            shapes,
            needs=("x", "weight"),
            gradient_shapes=gradient_shapes,
            selective=True,
            parameters=("weight", *bias),
        )
        for name, bias in (("linear", ()), ("linear_bias", ("bias",)))
    )
    return without_bias, with_bias


def multiply(
    a: Tensor,
    b: Tensor,
    split: Split,
    bias: Tensor | None = None,
    repeat_rows: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """(K, M, I) times (K, I, N) plus a bias (K, N) → (K, M, N), in the precision of the process.

    Operands may be transposed, slices of wider rows, or shared by all models; they are not copied.
    """
    pairs = current().pairs if a.dtype == torch.float32 else ()
    if pairs:
        y = product(a, b, pairs, split)
        return y if bias is None else y.add_(bias.unsqueeze(1))
    if len(a) == 1:  # a plain product instead of a batch of one
        y = torch.mm(a[0], b[0]) if bias is None else torch.addmm(bias[0], a[0], b[0])
        return y.unsqueeze(0)
    if bias is None:
        return torch.bmm(a, b)
    if repeat_rows is None:
        return torch.baddbmm(bias.unsqueeze(1), a, b)
    # PyTorch would write the bias into all rows one number at a time. That took 296 of the 3,971 µs of a step
    # of 16 Transformers 2×128 on an H200; writing as many bytes takes 113 µs.
    return repeat_rows(bias, a.shape[1]).baddbmm_(a, b)


def multiply_into(out: Tensor, a: Tensor, b: Tensor, split: Split, *, add: bool) -> None:
    """Write the product of `multiply` into `out` (K, M, N), or add it. Rows of `out` are contiguous."""
    pairs = current().pairs if a.dtype == torch.float32 else ()
    if pairs:
        y = product(a, b, pairs, split)
        out.add_(y) if add else out.copy_(y)
    elif len(a) == 1:
        out[0].addmm_(a[0], b[0], beta=int(add))  # with beta = 0, `out` is not read
    else:
        out.baddbmm_(a, b, beta=int(add))


def sum_of_parts(a: Tensor, b: Tensor, split: Split) -> Tensor:
    """(K, M, I) times (K, I, N) → (K, M, N) for a long I, as the sum of products over parts of I.

    A weight's gradient is a sum over all tokens, with few outputs. cuBLAS cuts such a sum into parts that run
    in parallel, but not in a batched product, where a few multiprocessors would add all tokens. On an H200, 4
    gradients of 512 × 128 weights over 5248 tokens take 180 µs in fp32 without parts, 69 µs with them.
    """
    (K, M, inner), N = a.shape, b.shape[-1]
    parts = parts_of(K, M, inner, N)
    # Stride 0: all models share the operand. Its parts could not be batched without a copy.
    if parts == 1 or a.stride(0) == 0 or b.stride(0) == 0:
        return multiply(a, b, split)
    left, right = (torch.unflatten(value, 1, (parts, -1)).flatten(0, 1) for value in (a.mT, b))
    return torch.unflatten(multiply(left.mT, right, split), 0, (K, parts)).sum(1)


def parts_of(K: int, M: int, inner: int, N: int) -> int:
    """Parts of the inner dimension of a batched product, a power of two that divides it."""
    tiles = K * -(-M // TILE[0]) * -(-N // TILE[1])
    parts = 1
    while K > 1 and parts * tiles < TILES and inner % (2 * parts) == 0 and inner // (2 * parts) >= SHORTEST:
        parts *= 2
    return parts


def _flat(value: Tensor) -> Tensor:
    """(K, ..., I) → (K, rows, I), a view if the rows are equally far apart."""
    return rows(value.reshape(value.shape[0], -1, value.shape[-1]))
