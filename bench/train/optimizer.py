"""The paper's two optimisers for a stack, Adam and AdamW, entirely on the device."""

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
    """Clipping, Adam or AdamW, meters and step counter of a stack.

    Every member has its own learning rate and clip. The other settings are those of the first member.

    Args:
        stack: the runs.
        parameters: parameters to update.
        meters: each update adds losses and gradient norms to them.
        step: optimisation steps done, int64 scalar; each update increments it.
        kernels: name of the kernels' backend.
    """

    def __init__(
        self, stack: Stack, parameters: Parameters, meters: Meters, step: Tensor, kernels: str
    ) -> None:
        self.run, self.step = stack.first, step
        device, members = step.device, stack.members
        # Two tensors: a captured update reads `rates` at a fixed address, so a schedule must write it in
        # place.
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
        """Update all parameters with the gradients, (K, *shape) each, of `losses` (K,)."""
        # Computed on the device from the step counter: the captured graph replays it with the current step.
        if not isinstance(self.run.optimizer, Adam):  # Adam's rates are constant: no kernels for a schedule
            self.rates.copy_(self.base_rates * rate_factor(self.run, self.step))
        self.update(gradients, losses)


def settings(optimizer: Optimizer) -> AdamSettings:
    """The settings of the update for an optimiser. Adam is AdamW without weight decay."""
    decay = 0.0 if isinstance(optimizer, Adam) else optimizer.weight_decay
    return AdamSettings(optimizer.beta1, optimizer.beta2, optimizer.epsilon, decay)


def rate_factor(run: Run, step: Tensor) -> Tensor:
    """Factor of the learning rate at step `step` (int64 scalar, from 0), as a device scalar.

    For Adam the factor is 1. For AdamW it follows Appendix C, with s the start, e the end, W the warm-up
    steps and T the steps of the run:

        t < W:  s + (1 − s) t / W
        t ≥ W:  e + (1 − e) (1 + cos(π (t − W) / (T − W))) / 2
    """
    spec = run.optimizer
    if isinstance(spec, Adam):
        return torch.ones((), device=step.device)
    warmup = spec.warmup_steps
    # Both branches are computed and one is selected, because a branch in Python would read the device.
    rising = spec.start + (1 - spec.start) * step / max(1, warmup)
    progress = ((step - warmup) / max(1, run.steps - warmup)).clamp(0, 1)
    falling = spec.end + (1 - spec.end) * 0.5 * (1 + torch.cos(math.pi * progress))
    return torch.where(step < warmup, rising, falling)
