"""Means over positions where prompts have different numbers of scored positions.

The mean over all scored positions of all prompts is a ratio of two sums, so it is not the mean of the
prompts' own means. For prompt i with the sum S_i of its scores and the number W_i of its scored positions,

    R = Σ S_i / Σ W_i        v_i = R + (S_i − R W_i) / W̄        mean(v) = R

and the standard deviation of v over √P is the standard error of R to first order (the usual estimate for a
ratio). A record, which contains means over prompts and a number per prompt, therefore needs v only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def columns_and_overall(sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """`per_prompt` of every column, (P, columns), and of all columns together, (P,).

    Args:
        sums: of the scores of each column, (P, columns).
        counts: numbers of these scores, (P, columns).
    """
    return per_prompt(sums, counts), per_prompt(sums.sum(dim=1), counts.sum(dim=1))


def per_prompt(sums: Tensor, counts: Tensor) -> Tensor:
    """Values (P, …) whose mean over prompts is the ratio of the totals of `sums` and `counts`, (P, …) both.

    Where no prompt has a scored position, the value is the ratio over all columns.
    """
    sums, counts = sums.double(), counts.double()
    total = counts.mean(dim=0)
    overall = sums.sum() / counts.sum()
    ratio = torch.where(total > 0, sums.mean(dim=0) / total.clamp(min=1e-300), overall)
    return ratio + (sums - ratio * counts) / torch.where(total > 0, total, 1.0)
