"""The paper's two optimisers for a stack: a rate and a clip for each member, all of it on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.kernels.adam import AdamSettings, Buffers, Update, update
from bench.run import Adam, Optimizer, Run
from bench.stack import Stack
from bench.train.meters import Meters
from bench.train.parameters import Parameters


class StackOptimizer:
    """Clip, Adam or AdamW, meters and step counter of a stack.

    Args:
        stack: whose members say rate and clip.
        parameters: what is updated.
        meters: what each update adds its loss and gradient norm to.
        step: optimisation steps done, int64 scalar; the update moves it on.
        kernels: the kernels' backend, by name.
    """

    def __init__(
        self, stack: Stack, parameters: Parameters, meters: Meters, step: Tensor, kernels: str
    ) -> None:
        self.run, self.step = stack.first, step
        device, members = step.device, stack.members
        self.base_rates = torch.tensor([run.learning_rate for run in members], device=device)
        self.rates = self.base_rates.clone()
        buffers = Buffers(
            offsets=parameters.offsets,
            counts=parameters.counts,
            values=parameters.values,
            first_moment=parameters.first_moment,
            second_moment=parameters.second_moment,
            step=step,
            rates=self.rates,
            clips=torch.tensor([run.clip for run in members], device=device),
            loss_sum=meters.loss_sum,
            gradient_norm_max=meters.gradient_norm_max,
            first_bad_step=meters.first_bad_step,
        )
        self.update: Update = update(kernels)(buffers, settings(self.run.optimizer))

    def __call__(self, gradients: list[Tensor], losses: Tensor) -> None:
        """One update from the gradients of `losses` (K,)."""
        if not isinstance(self.run.optimizer, Adam):  # Adam's rates never change
            self.rates.copy_(self.base_rates * rate_factor(self.run, self.step))
        self.update(gradients, losses)


def settings(optimizer: Optimizer) -> AdamSettings:
    """What the update needs of an optimiser's settings."""
    decay = 0.0 if isinstance(optimizer, Adam) else optimizer.weight_decay
    return AdamSettings(optimizer.beta1, optimizer.beta2, optimizer.epsilon, decay)


def rate_factor(run: Run, step: Tensor) -> Tensor:
    """What the learning rate is multiplied with at optimisation step `step` (from 0), a device scalar.

    Adam: 1. AdamW, Appendix C: a linear warm-up from `start` to 1, then a cosine down to `end`.
    """
    spec = run.optimizer
    if isinstance(spec, Adam):
        return torch.ones((), device=step.device)
    warmup = spec.warmup_steps
    rising = spec.start + (1 - spec.start) * step / max(1, warmup)
    progress = ((step - warmup) / max(1, run.steps - warmup)).clamp(0, 1)
    falling = spec.end + (1 - spec.end) * 0.5 * (1 + torch.cos(math.pi * progress))
    return torch.where(step < warmup, rising, falling)
