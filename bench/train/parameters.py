"""The parameters of a stack of models in flat buffers, so that one launch updates all of them.

A buffer holds parameter after parameter, and inside each the members side by side: (K, *shape). What a model
computes with are views of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALIGNMENT = 32
"""Entries: every parameter begins at a multiple of 128 bytes, where wide loads may begin."""


@dataclass
class Parameters:
    """All trainable parameters of a stack, with Adam's two moments.

    Attributes:
        names: of the parameters, as the model has them.
        shapes: of one member.
        offsets: where each begins in the flat buffers.
        values: the parameters, flat.
        first_moment: Adam's m, flat.
        second_moment: Adam's v, flat.
        leaves: views of `values` that gradients are taken of: (K, *shape), or of the shape itself for a stack
            of one.
        members: K.
    """

    names: list[str]
    shapes: list[torch.Size]
    offsets: list[int]
    values: Tensor
    first_moment: Tensor
    second_moment: Tensor
    leaves: list[Tensor]
    members: int

    @classmethod
    def of(cls, models: Sequence[nn.Module], device: torch.device) -> Parameters:
        """Copy the parameters of models of one kind; the first of them, if alone, computes with the copy.

        A stack of one needs no stack dimension: its model's parameters become views of the buffer.
        """
        first = {name: value for name, value in models[0].named_parameters() if value.requires_grad}
        names, shapes = list(first), [value.shape for value in first.values()]
        offsets, total = [], 0
        for shape in shapes:
            offsets.append(total)
            total += -(-len(models) * math.prod(shape) // ALIGNMENT) * ALIGNMENT
        values, first_moment, second_moment = (torch.zeros(total, device=device) for _ in range(3))
        parameters = cls(names, shapes, offsets, values, first_moment, second_moment, [], len(models))
        views = parameters.views(values)
        for k, model in enumerate(models):
            own = dict(model.named_parameters())
            for name, view in zip(names, views, strict=True):
                view[k].copy_(own[name].detach())
        if len(models) == 1:
            for parameter, view in zip(first.values(), views, strict=True):
                parameter.data = view[0]
            parameters.leaves = list(first.values())
        else:
            parameters.leaves = [view.requires_grad_() for view in views]
        return parameters

    @property
    def counts(self) -> list[int]:
        """Entries of each parameter of one member."""
        return [math.prod(shape) for shape in self.shapes]

    def views(self, buffer: Tensor) -> list[Tensor]:
        """Every parameter's part of a flat buffer, (K, *shape)."""
        return [
            buffer.detach()[offset : offset + self.members * count].view(self.members, *shape)
            for offset, count, shape in zip(self.offsets, self.counts, self.shapes, strict=True)
        ]

    def of_member(self, k: int) -> dict[str, Tensor]:
        """One member's parameters by name, as views that need no gradient."""
        return {name: view[k] for name, view in zip(self.names, self.views(self.values), strict=True)}
