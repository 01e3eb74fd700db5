"""Clipping and Adam for a stack of models: one update of all parameters, with a norm and a rate per member.

With g the gradient of a member with respect to all its parameters, and t = step + 1:

    g ← g · min(1, clip / (|g| + 1e-6))
    m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
    p ← (1 − rate · decay) p − rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)

without decay for parameters that are exempt, like `torch.nn.utils.clip_grad_norm_` with `torch.optim.Adam`
(decay 0) or `AdamW`. The update also adds the loss and the norm before clipping to the meters, and increments
the step counter.

`update(name)(buffers, settings)` creates the update of a stack. It is called once per step with the
gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.kernels.kernel import Kernel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Buffers:
    """Tensors that an update reads and writes, besides the gradients.

    Attributes:
        offsets: first entry of each parameter in the flat buffers; it has members × count entries.
        counts: entries of each parameter of a member.
        decays: whether weight decay acts on each parameter.
        values: parameters of all members, flat.
        first_moment: m, flat.
        second_moment: v, flat.
        step: optimisation steps done, int64 scalar.
        rates: learning rate of each member at this step, (K,).
        clips: largest gradient norm of each member, (K,).
        loss_sum: sum of each member's losses since the last reading, (K,) float64.
        gradient_norm_max: largest gradient norm since the last reading, (K,).
        first_bad_step: first step with a non-finite loss or norm; −1 if there is none; (K,) int64.
    """

    offsets: Sequence[int]
    counts: Sequence[int]
    decays: Sequence[bool]
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
    """Settings of Adam, equal for all members. `decay` is AdamW's decoupled weight decay."""

    beta1: float
    beta2: float
    epsilon: float
    decay: float = 0.0


class Update(Protocol):
    """One update of all parameters."""

    def __call__(self, gradients: Sequence[Tensor], losses: Tensor) -> None:
        """Apply the gradients of `losses` (K,): (K, *shape) each, in the order of the buffers."""

    def bind(self) -> None:
        """Store the addresses of the graph's gradients. Call it after every capture of a call."""


def update(name: str) -> Callable[[Buffers, AdamSettings], Update]:
    """The backend `name`, which creates the update of a stack."""
    return CLIP_AND_ADAM.load(name)


CLIP_AND_ADAM = Kernel(
    "clip and Adam",
    __name__,
    "update",
    places={"triton": f"{__name__}.triton:Fused"},
    trial=f"{__name__}.trial:three_updates",
)
KERNELS = (CLIP_AND_ADAM,)
