"""Dropout by its formula. All other backends are compared with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.kernels.draws.words import shift_right, words
from bench.kernels.dropout import PLACES, SITES


def dropout(x: Tensor, key: Tensor, site: Tensor) -> Tensor:
    """All words at once, int64 of the shape of x."""
    *leading, length, columns = x.shape
    row, token, column = (
        torch.arange(size, device=x.device) for size in (math.prod(leading), length, columns)
    )
    index = (((row << PLACES).unsqueeze(1) + token) << PLACES).unsqueeze(2) + column
    drawn = words(index, key[2] * SITES + site[0], key[0], key[1])
    keep = (shift_right(drawn, 32) >= site[1]).view(x.shape)
    scale = (1 / (1 - site[1].double() * 2.0**-32)).to(x.dtype)
    return torch.where(keep, x * scale, 0.0)
