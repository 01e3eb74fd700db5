"""The paper's two optimisers, with a learning rate that is a function of the step, on the device."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bench.run import Adam, AdamW, Run


def build_optimizer(
    run: Run, parameters: Iterable[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """Adam or AdamW over `parameters`; the rate is a tensor, so that a captured graph can change it."""
    spec = run.optimizer
    rate = torch.tensor(run.learning_rate, dtype=torch.float32, device=device)
    betas, on_gpu = (spec.beta1, spec.beta2), device.type == "cuda"
    match spec:
        case Adam():
            return torch.optim.Adam(parameters, rate, betas, spec.epsilon, fused=True, capturable=on_gpu)
        case AdamW():
            return torch.optim.AdamW(
                parameters,
                rate,
                betas,
                spec.epsilon,
                spec.weight_decay,
                fused=True,
                capturable=on_gpu,
            )


def set_learning_rate(optimizer: torch.optim.Optimizer, run: Run, step: Tensor) -> None:
    """Put the rate of optimisation step `step` (from 0) into the optimiser; nothing to do for Adam.

    Appendix C: linear warm-up from `start`·rate to the rate, then a cosine down to `end`·rate.
    """
    spec = run.optimizer
    if isinstance(spec, Adam):
        return
    warmup = spec.warmup_steps
    rising = spec.start + (1 - spec.start) * step / max(1, warmup)
    progress = ((step - warmup) / max(1, run.steps - warmup)).clamp(0, 1)
    falling = spec.end + (1 - spec.end) * 0.5 * (1 + torch.cos(math.pi * progress))
    for group in optimizer.param_groups:
        group["lr"].copy_(run.learning_rate * torch.where(step < warmup, rising, falling))
