"""The parameters of a stack of models in flat buffers, so that a few kernels update all of them.

A step of a small model takes about as long as its launches, and one launch per parameter would dominate it.
A buffer contains one parameter after the other, each with all members: (K, *shape). The models compute with
views of the buffer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALIGNMENT = 32
"""In entries. Every parameter begins at a multiple of 128 bytes, because vector loads need aligned
addresses."""


@dataclass
class Parameters:
    """All trainable parameters of a stack, with Adam's two moments.

    Attributes:
        names: names of the parameters in the model.
        shapes: shapes of the parameters of a member.
        offsets: first entry of each parameter in the flat buffers.
        values: the parameters, flat.
        first_moment: Adam's m, flat.
        second_moment: Adam's v, flat.
        leaves: views of `values` with respect to which gradients are computed: (K, *shape), or shape for a
            stack of one.
        members: number of members, K.
        decays: whether weight decay acts on each parameter: not if its module lists it as `undecayed`.
    """

    names: list[str]
    shapes: list[torch.Size]
    offsets: list[int]
    values: Tensor
    first_moment: Tensor
    second_moment: Tensor
    leaves: list[Tensor]
    members: int
    decays: list[bool]

    @classmethod
    def of(cls, models: Sequence[nn.Module], device: torch.device) -> Parameters:
        """Copy the trainable parameters of equal models (K of them) into new buffers on `device`.

        A stack of one needs no stack dimension. The parameters of its model become views of the buffer, so
        that the model itself computes with the buffer.
        """
        first = {name: value for name, value in models[0].named_parameters() if value.requires_grad}
        names, shapes = list(first), [value.shape for value in first.values()]
        undecayed = {
            f"{prefix}.{name}".lstrip(".")
            for prefix, module in models[0].named_modules()
            for name in getattr(module, "undecayed", ())
        }
        decays = [name not in undecayed for name in names]
        parameters = cls._empty(names, shapes, decays, len(models), device)
        for k, model in enumerate(models):
            values_by_name = dict(model.named_parameters())
            for name, view in zip(names, parameters.views(parameters.values), strict=True):
                view[k].copy_(values_by_name[name].detach())
        parameters._bind(models[0])
        return parameters

    @classmethod
    def _empty(
        cls,
        names: list[str],
        shapes: list[torch.Size],
        decays: list[bool],
        members: int,
        device: torch.device,
    ) -> Parameters:
        """New buffers of zeros, without leaves."""
        offsets, total = [], 0
        # Each parameter takes K · count entries, rounded up to the alignment. The gaps stay zero.
        for shape in shapes:
            offsets.append(total)
            total += -(-members * math.prod(shape) // ALIGNMENT) * ALIGNMENT
        values, first_moment, second_moment = (torch.zeros(total, device=device) for _ in range(3))
        return cls(names, shapes, offsets, values, first_moment, second_moment, [], members, decays)

    def _bind(self, model: nn.Module) -> None:
        """Make the buffer the memory of the leaves, with respect to which gradients are computed."""
        views = self.views(self.values)
        if self.members == 1:
            by_name = dict(model.named_parameters())
            self.leaves = [by_name[name] for name in self.names]
            # `data` keeps the Parameter object, which the module and autograd know, and replaces its memory.
            for parameter, view in zip(self.leaves, views, strict=True):
                parameter.data = view[0]
        else:
            # `vmap` passes these to the model (`bench.train.predictions`), whose own parameters are not used.
            self.leaves = [view.requires_grad_() for view in views]

    def of_members(self, places: Sequence[int], model: nn.Module) -> Parameters:
        """Copies of the parameters and moments of some members, in this order, in buffers of their own.

        Args:
            places: places of the members in this stack.
            model: the module of the stack. It computes with the buffer if one member remains.
        """
        device = self.values.device
        kept = self._empty(self.names, self.shapes, self.decays, len(places), device)
        for name in ("values", "first_moment", "second_moment"):
            pairs = zip(kept.views(getattr(kept, name)), self.views(getattr(self, name)), strict=True)
            for new, old in pairs:
                new.copy_(old[list(places)])
        kept._bind(model)
        return kept

    @property
    def counts(self) -> list[int]:
        """Number of entries of each parameter of a member."""
        return [math.prod(shape) for shape in self.shapes]

    def views(self, buffer: Tensor) -> list[Tensor]:
        """A view (K, *shape) of a flat buffer for each parameter, without gradients."""
        return [
            buffer.detach()[offset : offset + self.members * count].view(self.members, *shape)
            for offset, count, shape in zip(self.offsets, self.counts, self.shapes, strict=True)
        ]

    def of_member(self, k: int) -> dict[str, Tensor]:
        """The parameters of member `k` by name, as views without gradients."""
        return {name: view[k] for name, view in zip(self.names, self.views(self.values), strict=True)}
