"""Matrix products of fp32 operands that are split into sums of bf16 numbers.

An operand is split into parts, a = a₁ + a₂ + a₃ and b = b₁ + b₂ + b₃, from the largest to the smallest. Only
some pairs of parts are multiplied (`bench.precision.Precision.pairs`); the other products are negligible. The
parts are concatenated along the inner dimension, so that a single product of bf16 matrices with fp32 sums
computes and adds all pairs:

    [a₁ a₁ a₂] · [b₁ b₂ b₁] = a₁ b₁ + a₁ b₂ + a₂ b₁
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Split: TypeAlias = "Callable[[Tensor, Sequence[int], int], Tensor]"
"""(values, part numbers, dimension −1 or −2) → these bf16 parts of the values, concatenated along it."""
LARGEST = torch.finfo(torch.bfloat16).max


def split(values: Tensor, parts: Sequence[int], dim: int) -> Tensor:
    """The `parts` (numbers from 1) of fp32 `values` in bf16, concatenated along `dim`."""
    remainder, by_number = values, []
    for _ in range(max(parts)):
        # Values that would round up to infinity are clamped to the largest bf16 number. Infinity stays
        # infinity.
        bounded = torch.where(remainder.isinf(), remainder, remainder.clamp(-LARGEST, LARGEST))
        by_number.append(bounded.bfloat16())
        remainder = remainder - by_number[-1].float()
    return torch.cat([by_number[part - 1] for part in parts], dim)


def product(a: Tensor, b: Tensor, pairs: Sequence[tuple[int, int]], split_: Split = split) -> Tensor:
    """(K, M, I) times (K, I, N) → (K, M, N), as the sum over `pairs` of parts; fp32 in and out.

    A transposed operand is split in its memory layout. An operand that all models share is split once.
    """
    left = _split(a, [of_a for of_a, _ in pairs], -1, split_)
    right = _split(b, [of_b for _, of_b in pairs], -2, split_)
    if not a.is_cuda:  # as exact as on a GPU, because a product of two bf16 numbers is exact in fp32
        return torch.bmm(left.float(), right.float())
    if len(a) == 1:
        return torch.mm(left[0], right[0], out_dtype=torch.float32).unsqueeze(0)
    return torch.bmm(left, right, out_dtype=torch.float32)


def _split(values: Tensor, parts: list[int], dim: int, split_: Split) -> Tensor:
    K = len(values)
    # Stride 0: all models share the operand.
    if K > 1 and values.stride(0) == 0:
        return _split(values[:1], parts, dim, split_).expand(K, -1, -1)
    if values.stride(-1) != 1 and values.stride(-2) == 1:  # a transposed matrix
        return split_(values.mT, parts, -3 - dim).mT
    return split_(values, parts, dim)
