"""Epochs over a fixed set of training prompts: which prompts are in the batch of a step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.draws import Draws

if TYPE_CHECKING:
    from torch import Tensor


MOST_PROMPTS = 10**9
"""Largest training set. A product of two numbers of prompts is then exact in 64 bits."""


def shuffled_rows(draws: Draws, size: int, count: int, steps: int = 1) -> Tensor:
    """Numbers of the prompts, out of `count`, in the batch of step `draws.step`: (size,) int64.

    With several seeds, each has an equal share of the batch, in the order of its own shuffle.

    Prompts come in the order of an affine shuffle i ↦ (a·i + b) mod count, whose a and b are drawn for each
    epoch. It visits every prompt once: a − 1 is a multiple of every prime factor of `count`, so a and `count`
    have no common factor. A `count` without a repeated prime factor, such as 30, leaves only a = 1: the order
    is then rotated, and batches keep their neighbours.

    Args:
        draws: the random numbers of the step.
        size: prompts of a batch, of all seeds together.
        count: prompts of the set, at most `MOST_PROMPTS`.
        steps: number of steps from `draws.step` on whose batches to return, one after the other; 1 for
            several seeds.
    """
    seeds = len(draws.seeds)
    place = draws.step * (size // seeds) + torch.arange(steps * size // seeds, device=draws.step.device)
    if seeds > 1:
        place = place.repeat(seeds)
    epoch, radical = place // count, math.prod(_prime_factors(count))
    shuffles = replace(draws, rows=epoch, step=torch.zeros_like(draws.step))
    a = 1 + radical * shuffles.integers("multiplier", count // radical, steps * size)
    b = shuffles.integers("offset", count, steps * size)
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
