"""What a stack's training steps read and write, and its initial values: models, optimizer, meters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.backbone import Model
from bench.models.mixers.block import StreamModule
from bench.stack import Stack
from bench.train.meters import Meters
from bench.train.model import initial_model
from bench.train.optimizer import StackOptimizer
from bench.train.parameters import Parameters


@dataclass
class State:
    """Everything that a step reads and writes. A checkpoint contains its tensors and the host's notes.

    Attributes:
        stack: the runs in training.
        model: the module of all members. Its own parameters are used only by a stack of one.
        parameters: parameters of all members, with Adam's moments.
        optimizer: updates the parameters.
        step: optimisation steps done, int64 scalar on the device.
        meters: meters of all members.
        carried: states of recurrent blocks that a step leaves to the next; usually none.
        point_losses: sums of the losses of all points that counted since the last reading, and their numbers,
            (2, K) float64, of tasks with a `training_evaluation`; else None.
    """

    stack: Stack
    model: Model
    parameters: Parameters
    optimizer: StackOptimizer
    step: Tensor
    meters: Meters
    carried: list[Tensor]
    point_losses: Tensor | None

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a step overwrites, by name. The names are part of the checkpoint's format."""
        parameters = self.parameters
        return {
            "values": parameters.values,
            "first_moment": parameters.first_moment,
            "second_moment": parameters.second_moment,
            "step": self.step,
            **vars(self.meters),
            **{f"carried_{index}": carried for index, carried in enumerate(self.carried)},
            **({} if self.point_losses is None else {"point_losses": self.point_losses}),
        }

    def of_members(self, places: Sequence[int]) -> State:
        """The state of some members, in this order; this state if they are all.

        A new state takes over the model and the step counter of this one, which is of no further use.
        """
        if list(places) == list(range(len(self.stack))):
            return self
        stack = Stack(tuple(self.stack.members[place] for place in places))
        parameters = self.parameters.of_members(places, self.model)
        meters = self.meters.of_members(places)
        optimizer = StackOptimizer(stack, parameters, meters, self.step, self.optimizer.kernels)
        point_losses = None if self.point_losses is None else self.point_losses[:, list(places)]
        return State(stack, self.model, parameters, optimizer, self.step, meters, self.carried, point_losses)


def initial_state(stack: Stack, device: torch.device, backend: str) -> State:
    """New models and their optimizer.

    Each member's parameters are drawn on the CPU from a generator with the run's seed, so that a run starts
    from the same numbers on every device and in every stack. Torch's random state on the CPU does not change.
    """
    models = [initial_model(run, backend) for run in stack.members]
    model = models[0].to(device).train()
    parameters = Parameters.of(models, device)
    step = torch.zeros((), dtype=torch.int64, device=device)
    meters = Meters.new(len(stack), device)
    optimizer = StackOptimizer(stack, parameters, meters, step, backend)
    run, carried = stack.first, []
    if run.architecture.carries:
        layers = (module for module in model.modules() if isinstance(module, StreamModule))
        carried = [layer.begin_streams(run.batch_size) for layer in layers]
    point_losses = None
    if run.task.training_evaluation is not None:
        point_losses = torch.zeros(2, len(stack), dtype=torch.float64, device=device)
    return State(stack, model, parameters, optimizer, step, meters, carried, point_losses)
