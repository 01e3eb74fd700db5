"""The elementwise operations of RWKV-7 before and after its recurrence (Peng et al. 2025).

`rwkv7_keys`, between projections and recurrence:

    g = −e^{−1/2} σ(decay + decay_bias)              the log-decay
    a = σ(share + share_bias)                        the share of its key that a token erases
    κ = unit(k ⊙ erased_key)                         unit vectors of heads
    read, erase = e^{−g} κ, a ⊙ κ
    write = k ⊙ (1 + (a − 1) ⊙ key_share)

`rwkv7_outputs`, between recurrence and projection:

    (norm_weight ⊙ norm(y) + norm_bias + (r · (direct ⊙ k)) v) ⊙ gate

with mean 0 and variance 1 of each head in norm(y). Shapes: values of tokens (B, L, H, N), parameters (H, N).
`reference` consists of PyTorch's operations, and `sequential` is the same. `triton` has one launch forward
and three backward: one for the gradients, and two that add up those of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.inputs import HEADS, Draw, normal_draws
from bench.kernels.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor

Keys: TypeAlias = "Callable[..., tuple[Tensor, ...]]"
Outputs: TypeAlias = "Callable[..., Tensor]"
STRONGEST = -math.exp(-0.5)
"""Logarithm of the strongest decay."""
EPSILON = 1e-12
"""Smallest length by which a key is divided."""
NORM_EPSILON = 1e-5
"""The ε of the norm is this times the numbers of a head, N."""


def rwkv7_keys(name: str) -> Keys:
    """(decay, share, k, decay_bias, share_bias, erased_key, key_share) → g, read, erase, write.

    As the backend `name` computes them (`bench.kernels.backends.NAMES`).
    """
    return RWKV7_KEYS.load(name)


def rwkv7_outputs(name: str) -> Outputs:
    """(y, r, k, v, gate, norm_weight, norm_bias, direct) → outputs, as the backend `name` computes them."""
    return RWKV7_OUTPUTS.load(name)


def _inputs(tokens: int, starts: Sequence[float]) -> Draw:
    """So many values per token from N(0, 1), and a parameter near each of its `starts`."""

    def draw(length: int, batch: int, channels: int) -> list[Tensor]:
        normal = normal_draws(length)
        values = [normal(batch, length, HEADS, channels // HEADS) for _ in range(tokens)]
        return [*values, *(start + 0.1 * normal(HEADS, channels // HEADS) for start in starts)]

    return draw


RWKV7_KEYS = Kernel(
    "RWKV-7 keys",
    __name__,
    "rwkv7_keys",
    _inputs(3, (-2.0, -0.2, 0.7, 1.0)),  # as at an RWKV-7's start
    floats=17,  # forward: three in, four out; backward: these seven in, three gradients out
)
RWKV7_OUTPUTS = Kernel(
    "RWKV-7 outputs",
    __name__,
    "rwkv7_outputs",
    _inputs(5, (1.0, 0.0, 0.0)),  # as a norm's
    floats=17,  # forward: five in, one out; backward: these five and one in, five gradients out
)
KERNELS = (RWKV7_KEYS, RWKV7_OUTPUTS)
