"""Epochs over a fixed set of training prompts: which prompts are in the batch of a step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.draws import Draws

if TYPE_CHECKING:
    from torch import Tensor


def shuffled_rows(draws: Draws, size: int, count: int) -> Tensor:
    """Numbers of the prompts, out of `count`, in the batch of step `draws.step`: (size,) int64.

    Prompts come in the order of an affine shuffle i ↦ (a·i + b) mod count, whose a and b are drawn for each
    epoch. It visits every prompt once: a − 1 is a multiple of every prime factor of `count`, so a and `count`
    have no common factor.
    """
    place = draws.step * size + torch.arange(size, device=draws.step.device)
    epoch, radical = place // count, math.prod(_prime_factors(count))
    shuffles = replace(draws, rows=epoch, step=torch.zeros_like(draws.step))
    a = 1 + radical * shuffles.integers("multiplier", count // radical, size)
    b = shuffles.integers("offset", count, size)
    rows: Tensor = (a * (place % count) + b) % count
    return rows


def _prime_factors(number: int) -> set[int]:
    factors, divisor = set(), 2
    while number > 1:
        if divisor * divisor > number:
            divisor = number
        if number % divisor == 0:
            factors.add(divisor)
            number //= divisor
        else:
            divisor += 1
    return factors
