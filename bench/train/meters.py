"""Losses and gradient norms of training steps, accumulated on the device until the host reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Meters:
    """Device tensors with an entry per member. The parameter update writes them (`bench.kernels.adam`).

    Attributes:
        loss_sum: sum of the training losses since the last reading, (K,) float64.
        gradient_norm_max: largest gradient norm since the last reading, before clipping, (K,).
        first_bad_step: first step with a non-finite loss or gradient norm; −1 if there is none, (K,).
    """

    loss_sum: Tensor
    gradient_norm_max: Tensor
    first_bad_step: Tensor

    @classmethod
    def new(cls, members: int, device: torch.device) -> Meters:
        """Meters before the first step."""
        return cls(
            loss_sum=torch.zeros(members, dtype=torch.float64, device=device),
            gradient_norm_max=torch.zeros(members, device=device),
            first_bad_step=torch.full((members,), -1, dtype=torch.int64, device=device),
        )

    def of_members(self, places: Sequence[int]) -> Meters:
        """Copies of the meters of some members, in this order."""
        return Meters(**{name: values[list(places)] for name, values in vars(self).items()})

    def reset(self) -> None:
        """Begin a new window. The first bad step is kept: it describes the whole training."""
        self.loss_sum.zero_()
        self.gradient_norm_max.zero_()
