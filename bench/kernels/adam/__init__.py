"""Clip and Adam for a stack of models: one update of all parameters, each member by itself.

With g the gradient of one member, over all of its parameters, and t = step + 1:

    g ← g · min(1, clip / (|g| + 1e-6))
    m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
    p ← (1 − rate · decay) p − rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)

as `torch.nn.utils.clip_grad_norm_` and `torch.optim.Adam` (decay 0) or `AdamW` compute it. Afterwards the
loss and the norm (before the clip) are in the meters, and the step counter has moved on.

A backend is made for one stack: `update(name)(buffers, settings)`, and called once per step with the
gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.kernels.registry import load

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Buffers:
    """What an update reads and writes besides the gradients.

    Attributes:
        offsets: where each parameter begins in the flat buffers; it takes members × count entries from there.
        counts: entries of each parameter of one member.
        values: parameters of all members, flat.
        first_moment: m, flat.
        second_moment: v, flat.
        step: optimisation steps done, int64 scalar.
        rates: learning rate of each member at this step, (K,).
        clips: largest gradient norm of each member, (K,).
        loss_sum: sum of each member's losses since the last reading, (K,) float64.
        gradient_norm_max: largest gradient norm since the last reading, (K,).
        first_bad_step: first step whose loss or norm was not finite, −1 while there is none, (K,) int64.
    """

    offsets: Sequence[int]
    counts: Sequence[int]
    values: Tensor
    first_moment: Tensor
    second_moment: Tensor
    step: Tensor
    rates: Tensor
    clips: Tensor
    loss_sum: Tensor
    gradient_norm_max: Tensor
    first_bad_step: Tensor


@dataclass(frozen=True)
class AdamSettings:
    """Adam's settings, equal for all members; `decay` is AdamW's decoupled weight decay."""

    beta1: float
    beta2: float
    epsilon: float
    decay: float = 0.0


class Update(Protocol):
    """One update of all parameters."""

    def __call__(self, gradients: Sequence[Tensor], losses: Tensor) -> None:
        """Apply gradients, (K, *shape) each in the order of the buffers, of `losses` (K,)."""

    def bind(self) -> None:
        """Called after a CUDA graph captured a call: what the graph reads must be where it looks for it."""


def update(name: str) -> Callable[[Buffers, AdamSettings], Update]:
    """What the backend `name` updates parameters with."""
    return load("clip and Adam", name)
