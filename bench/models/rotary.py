"""Angles of rotary positions (Su et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

ROTARY_BASE = 10_000.0


def positional_angles(length: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The angle t · base^(−i/R) of every position t and each of R pairs of coordinates i, (L, R)."""
    places = torch.arange(length, dtype=dtype, device=device)
    rates = ROTARY_BASE ** (-torch.arange(pairs, dtype=dtype, device=device) / pairs)
    return places[:, None] * rates
