"""What is measured of every training step, on the device, until the host takes a reading."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Meters:
    """One entry per member of a stack. The update of the parameters writes them (`bench.kernels.adam`).

    Attributes:
        loss_sum: sum of the training losses since the last reading, (K,) float64.
        gradient_norm_max: largest gradient norm since the last reading, before the clip, (K,).
        first_bad_step: first step whose loss or gradient norm was not finite, −1 while there is none, (K,).
    """

    loss_sum: Tensor
    gradient_norm_max: Tensor
    first_bad_step: Tensor

    @classmethod
    def new(cls, members: int, device: torch.device) -> Meters:
        """Meters that have seen no step."""
        return cls(
            loss_sum=torch.zeros(members, dtype=torch.float64, device=device),
            gradient_norm_max=torch.zeros(members, device=device),
            first_bad_step=torch.full((members,), -1, dtype=torch.int64, device=device),
        )

    def reset(self) -> None:
        """Begin a new window; the first bad step stays."""
        self.loss_sum.zero_()
        self.gradient_norm_max.zero_()
