"""Matrix products whose operands are sums of bf16 numbers.

Of the parts of two numbers, a = a₁ + a₂ + a₃ and b = b₁ + b₂ + b₃, some products are taken
(`bench.precision.Precision.pairs`). The parts lie side by side along the inner dimension, so that one
product of bf16 matrices with fp32 sums computes and adds them all:

    [a₁ a₁ a₂] · [b₁ b₂ b₁] = a₁ b₁ + a₁ b₂ + a₂ b₁
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Split: TypeAlias = "Callable[[Tensor, Sequence[int], int], Tensor]"
"""(values, which parts, dimension) → bf16 parts of the values side by side along a dimension, −1 or −2."""
LARGEST = torch.finfo(torch.bfloat16).max


def split(values: Tensor, parts: Sequence[int], dim: int) -> Tensor:
    """The parts of fp32 `values`, numbered from 1, side by side along `dim`, in bf16."""
    rest, by_number = values, []
    for _ in range(max(parts)):
        # What would round up to infinity becomes the largest number instead; infinity itself stays.
        bounded = torch.where(rest.isinf(), rest, rest.clamp(-LARGEST, LARGEST))
        by_number.append(bounded.bfloat16())
        rest = rest - by_number[-1].float()
    return torch.cat([by_number[part - 1] for part in parts], dim)


def product(a: Tensor, b: Tensor, pairs: Sequence[tuple[int, int]], split_: Split = split) -> Tensor:
    """(K, M, I) times (K, I, N), from the pairs of parts that `pairs` names; fp32 in and out.

    A transposed operand is split as it lies in memory, and one that all models share is split once.
    """
    left, right = (
        _split(a, [pair[0] for pair in pairs], -1, split_),
        _split(b, [pair[1] for pair in pairs], -2, split_),
    )
    if not a.is_cuda:  # what the GPU does: products of bf16 numbers are exact in fp32
        return torch.bmm(left.float(), right.float())
    if len(a) == 1:
        return torch.mm(left[0], right[0], out_dtype=torch.float32).unsqueeze(0)
    return torch.bmm(left, right, out_dtype=torch.float32)


def _split(values: Tensor, parts: list[int], dim: int, split_: Split) -> Tensor:
    K = len(values)
    if K > 1 and values.stride(0) == 0:
        return _split(values[:1], parts, dim, split_).expand(K, -1, -1)
    if values.stride(-1) != 1 and values.stride(-2) == 1:  # a transposed matrix
        return split_(values.mT, parts, -3 - dim).mT
    return split_(values, parts, dim)
