"""Clipping and Adam in PyTorch operations. It is the specification, and the update on CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.kernels.adam import AdamSettings, Buffers


class Reference:
    """The update by its formulas, parameter by parameter."""

    def __init__(self, buffers: Buffers, settings: AdamSettings) -> None:
        self.buffers, self.settings = buffers, settings
        flat = (buffers.values, buffers.first_moment, buffers.second_moment)
        members = len(buffers.rates)
        self.parts = [
            [buffer[offset : offset + members * count].view(members, count) for buffer in flat]
            for offset, count in zip(buffers.offsets, buffers.counts, strict=True)
        ]

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], losses: Tensor) -> None:
        buffers, settings = self.buffers, self.settings
        rows = [gradient.reshape(len(buffers.rates), -1) for gradient in gradients]
        norms = torch.stack([row.norm(dim=1) for row in rows]).norm(dim=0)
        factors = (buffers.clips / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1)
        # 1 − βᵗ cancels for small t: in float64, as `torch.optim.Adam` does on the host.
        t = (buffers.step + 1).double()
        step_sizes = (buffers.rates / (1 - settings.beta1**t)).float().unsqueeze(1)
        correction = (1 - settings.beta2**t).sqrt().float()
        shrink = (1 - buffers.rates * settings.decay).unsqueeze(1)
        for row, (value, first, second) in zip(rows, self.parts, strict=True):
            clipped = row * factors
            first.lerp_(clipped, 1 - settings.beta1)
            second.mul_(settings.beta2).addcmul_(clipped, clipped, value=1 - settings.beta2)
            if settings.decay:
                value.mul_(shrink)
            value.sub_(step_sizes * (first / (second.sqrt() / correction + settings.epsilon)))
        buffers.loss_sum.add_(losses)
        buffers.gradient_norm_max.copy_(torch.maximum(buffers.gradient_norm_max, norms))
        bad = ~(torch.isfinite(losses) & torch.isfinite(norms)) & (buffers.first_bad_step < 0)
        buffers.first_bad_step.copy_(torch.where(bad, buffers.step, buffers.first_bad_step))
        buffers.step.add_(1)

    def bind(self) -> None:
        """Do nothing: a captured operation of PyTorch contains the addresses of its tensors."""
