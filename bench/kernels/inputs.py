"""Sizes and normal numbers for the inputs that kernels' declarations draw. Readable without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Draw: TypeAlias = "Callable[[int, int, int], list[Tensor]]"
"""(tokens L, prompts B, channels E) → inputs of a kernel. Equal sizes give equal inputs."""
BATCH, CHANNELS, STATE, TAPS, HEADS = 2, 32, 16, 4, 2
"""Prompts, inner channels, numbers in a channel's state, taps of a convolution, and heads of the inputs."""


def normals(shapes: str) -> Draw:
    """Inputs from N(0, 1): x of shape (B, L, E), c of (E,), t of (E, taps), w of (E, E), in this order."""

    def draw(length: int, batch: int, channels: int) -> list[Tensor]:
        normal = normal_draws(length)
        sizes = {
            "x": (batch, length, channels),
            "c": (channels,),
            "t": (channels, TAPS),
            "w": (channels, channels),
        }
        return [normal(*sizes[shape]) for shape in shapes]

    return draw


def normal_draws(seed: int) -> Callable[..., Tensor]:
    """A function from a shape to a tensor of standard normal numbers, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)
