"""What RWKV-7 computes per channel before and after its recurrence (Peng et al. 2025).

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
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bench.kernels.registry import load

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
    return load("RWKV-7 keys", name)


def rwkv7_outputs(name: str) -> Outputs:
    """(y, r, k, v, gate, norm_weight, norm_bias, direct) → outputs, as the backend `name` computes them."""
    return load("RWKV-7 outputs", name)
