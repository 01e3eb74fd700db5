"""Dropout with masks from hashes (`bench.kernels.draws.words`) instead of a random generator.

    y = x · keep / (1 − p)        keep = [word(place, step, site, key) ≥ p · 2³²]

A mask depends on the run's seed, the step, the site in the model, and on the prompt (and head), token and
column of an entry. So it is the same on every device, after a resumption, in a captured step and in a stack,
whatever length a batch is padded to.

Shapes: x (…, L, C), where the leading dimensions are numbered as one; key (3,) int64, two words of the run's
seed and the step; site (2,) int64, the number of the site and p · 2³², which the function `site` returns. A
prompt has fewer than 2²⁰ tokens, x fewer than 2²⁰ columns and 2²³ rows of L tokens.

`reference` is the specification, in PyTorch operations. `triton` is a launch forward and a launch backward,
and keeps no mask in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.kernel import Kernel
from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Dropout: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
SITES = 1 << 16
"""More than the sites of any model."""
PLACES = 20
"""Bits of the numbers of a token and of a column."""


def dropout(name: str) -> Dropout:
    """(x, key, site) → y, as the backend `name` computes it."""
    return DROPOUT.load(name)


def site(number: int, probability: float) -> Tensor:
    """The argument `site` of site `number` < `SITES`, where entries are dropped with a probability < 1."""
    return torch.tensor([number, round(probability * 2**32)])


DROPOUT = Kernel("dropout", __name__, "dropout")
"""Not in the registry. The self-test compares its masks in `attention with dropout`."""
