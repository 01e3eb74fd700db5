"""The optimizer of a stack, on the device: the rates and clips of its members, and their common update."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.kernels.adam import Buffers
from bench.stack import Stack
from bench.train.meters import Meters
from bench.train.parameters import Parameters


class StackOptimizer:
    """Clipping, update of the parameters, meters and step counter of a stack.

    Every member has its own learning rate and clip. The options of the optimizer are those of the first
    member.

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
        self.run, self.members, self.step, self.kernels = stack.first, stack.members, step, kernels
        device, members = step.device, stack.members
        # Two tensors: a captured update reads both at a fixed address, so a schedule writes `rates` in place,
        # and the host writes `base_rates` in place between steps.
        self.base_rates = torch.tensor([run.learning_rate for run in members], device=device)
        self.rates = self.base_rates.clone()
        buffers = Buffers(
            offsets=parameters.offsets,
            counts=parameters.counts,
            decays=parameters.decays,
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
        self.update = self.run.optimizer.update(kernels, buffers)

    def scale_rates(self, factors: list[float]) -> None:
        """Multiply the members' own learning rates by these factors from the next step on."""
        rates = [run.learning_rate * factor for run, factor in zip(self.members, factors, strict=True)]
        self.base_rates.copy_(torch.tensor(rates))

    def __call__(self, gradients: list[Tensor], losses: Tensor) -> None:
        """Update all parameters with the gradients, (K, *shape) each, of `losses` (K,)."""
        # Computed on the device from the step counter, so that a replayed graph uses the current step.
        factor = self.run.optimizer.rate_factor(self.step, self.run.steps)
        if factor is not None:
            self.rates.copy_(self.base_rates * factor)
        self.update(gradients, losses)
