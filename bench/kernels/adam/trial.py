"""Updates of a small stack, to compare the backends: an update changes parameters and has no gradient."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.kernels.adam import AdamSettings, Buffers, Update
from bench.kernels.inputs import normal_draws


def three_updates(
    create: Callable[[Buffers, AdamSettings], Update], device: torch.device
) -> tuple[Tensor, tuple[Tensor, ...], float]:
    """Update two members three times: parameters; moments and largest norms; seconds of the last update."""
    buffers = _buffers(device)
    update, seconds = create(buffers, AdamSettings(0.9, 0.999, 1e-8, 0.1)), 0.0
    for step in range(3):
        normal = normal_draws(step)
        gradients = [normal(2, count).to(device) for count in buffers.counts]
        began = time.perf_counter()
        update(gradients, torch.ones(2, device=device))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    return buffers.values, (buffers.first_moment, buffers.second_moment, buffers.gradient_norm_max), seconds


def _buffers(device: torch.device) -> Buffers:
    counts = (40, 3000)
    values = normal_draws(0)(2 * sum(counts)).to(device)
    return Buffers(
        offsets=(0, 2 * counts[0]),
        counts=counts,
        decays=(True, False),
        values=values,
        first_moment=torch.zeros_like(values),
        second_moment=torch.zeros_like(values),
        step=torch.zeros((), dtype=torch.int64, device=device),
        rates=torch.tensor([1e-3, 1e-2], device=device),
        clips=torch.tensor([1.0, 1e3], device=device),
        loss_sum=torch.zeros(2, dtype=torch.float64, device=device),
        gradient_norm_max=torch.zeros(2, device=device),
        first_bad_step=torch.full((2,), -1, dtype=torch.int64, device=device),
    )
