"""An update of a stack in PyTorch operations: clip, move the parameters, fill the meters, count the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.kernels.adam import Buffers


class ParameterRows(NamedTuple):
    """One parameter of all members, as rows (K, count). `gradient` is clipped; the others are views.

    `decays` states whether weight decay acts on it.
    """

    value: Tensor
    first_moment: Tensor
    second_moment: Tensor
    gradient: Tensor
    decays: bool = True


Move = Callable[[Iterable[ParameterRows], Tensor, Tensor], None]
"""Updates parameters and moments in place, with learning rates (K, 1) after so many steps."""


class Clipped:
    """The update of a stack whose parameters `move` updates."""

    def __init__(self, buffers: Buffers, move: Move) -> None:
        self.buffers, self.move = buffers, move
        flat = (buffers.values, buffers.first_moment, buffers.second_moment)
        members = len(buffers.rates)
        self.views = [
            [buffer[offset : offset + members * count].view(members, count) for buffer in flat]
            for offset, count in zip(buffers.offsets, buffers.counts, strict=True)
        ]

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], losses: Tensor) -> None:
        buffers = self.buffers
        rows = [gradient.reshape(len(buffers.rates), -1) for gradient in gradients]
        norms = torch.stack([row.norm(dim=1) for row in rows]).norm(dim=0)
        factors = (buffers.clips / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1)
        self.move(self._clipped(rows, factors), buffers.rates.unsqueeze(1), buffers.step)
        buffers.loss_sum.add_(losses)
        buffers.gradient_norm_max.copy_(torch.maximum(buffers.gradient_norm_max, norms))
        bad = ~(torch.isfinite(losses) & torch.isfinite(norms)) & (buffers.first_bad_step < 0)
        buffers.first_bad_step.copy_(torch.where(bad, buffers.step, buffers.first_bad_step))
        buffers.step.add_(1)

    def _clipped(self, rows: Sequence[Tensor], factors: Tensor) -> Iterator[ParameterRows]:
        """Clip one gradient at a time: clipped copies of all of them would double their memory."""
        for row, (value, first, second), decays in zip(rows, self.views, self.buffers.decays, strict=True):
            yield ParameterRows(value, first, second, row * factors, decays)

    def bind(self) -> None:
        """Do nothing: a captured operation of PyTorch contains the addresses of its tensors."""
