"""Clipping and Adam in PyTorch operations. It is the specification, and the update on CPUs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import Tensor

from bench.kernels.adam import AdamSettings, Buffers
from bench.kernels.adam.clipped import Clipped, ParameterRows


def update(buffers: Buffers, settings: AdamSettings) -> Clipped:
    """The update by its formulas, parameter by parameter."""
    return Clipped(buffers, partial(_move, settings))


def _move(settings: AdamSettings, parameters: Iterable[ParameterRows], rates: Tensor, step: Tensor) -> None:
    # 1 − βᵗ cancels for small t: in float64, as `torch.optim.Adam` does on the host.
    t = (step + 1).double()
    step_sizes = (rates / (1 - settings.beta1**t)).float()
    correction = (1 - settings.beta2**t).sqrt().float()
    shrink = 1 - rates * settings.decay
    for value, first, second, gradient, decays in parameters:
        first.lerp_(gradient, 1 - settings.beta1)
        second.mul_(settings.beta2).addcmul_(gradient, gradient, value=1 - settings.beta2)
        if settings.decay and decays:
            value.mul_(shrink)
        value.sub_(step_sizes * (first / (second.sqrt() / correction + settings.epsilon)))
