"""Baselines for linear dynamical systems: the next output from those before it.

Shapes: P prompts of N outputs, k coordinates of the state.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, double, examples, squared_errors, summarise

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

PENALTY = 1.0
"""λ of the autoregressions. It keeps them stable while there are few equations."""


def last_output(prompts: Prompts) -> Baseline:
    """Repeat the last output."""
    started = time.perf_counter()
    outputs, targets = examples(prompts)
    return summarise("last output", "baseline", squared_errors(outputs[:, :, 0], targets), started)


def kalman_filter(
    prompts: Prompts, state_variance: float, process_noise: float, output_noise: float
) -> Baseline:
    """The Kalman filter of the prompt's own system, the Bayes rule for a learner that is told the system.

    With mean μ and covariance Σ of the state x_t given the outputs before y_t:

        V = cᵀΣc + r     K = Σc/V     μ ← A(μ + K(y − cᵀμ))     Σ ← A(Σ − K cᵀΣ)Aᵀ + q I

    Args:
        prompts: `more` has A as "transition" (P, k, k), and "c" (P, k).
        state_variance: of each coordinate of the first state.
        process_noise: q.
        output_noise: r.
    """
    started = time.perf_counter()
    outputs, targets = examples(prompts)
    a, c = double(prompts.more["transition"]), double(prompts.more["c"]).unsqueeze(2)
    identity = torch.eye(a.shape[1], dtype=a.dtype)
    mean, covariance = torch.zeros_like(c), (state_variance * identity).expand_as(a)
    predictions = []
    for y in outputs.unbind(dim=1):
        spread = covariance @ c
        gain = spread / (c.mT @ spread + output_noise)
        mean = a @ (mean + gain * (y.unsqueeze(2) - c.mT @ mean))
        covariance = a @ (covariance - gain @ spread.mT) @ a.mT + process_noise * identity
        predictions.append((c.mT @ mean).flatten())
    scores = squared_errors(torch.stack(predictions, dim=1), targets)
    return summarise("Kalman filter that knows the system", "floor", scores, started)


def autoregression(prompts: Prompts, order: int) -> Baseline:
    """Ridge regression of an output on the `order` outputs before it, fitted to the prompt so far.

    Outputs before the prompt count as zero. The inverse of XᵀX + λI is updated by one row at a time (the
    identity of Sherman & Morrison).
    """
    started = time.perf_counter()
    outputs, targets = examples(prompts)
    padded = torch.nn.functional.pad(outputs[:, :, 0], (order - 1, 0))
    lagged = padded.unfold(1, order, 1)  # (P, N, order): the outputs up to each token
    inverse = (torch.eye(order, dtype=padded.dtype) / PENALTY).expand(len(padded), -1, -1)
    weights = torch.zeros(len(padded), order, 1, dtype=padded.dtype)
    predictions: list[Tensor] = []
    for x, y in zip(lagged.unsqueeze(3).unbind(dim=1), targets.unbind(dim=1), strict=True):
        predictions.append((x.mT @ weights).flatten())
        spread = inverse @ x
        gain = spread / (1 + x.mT @ spread)
        weights = weights + gain * (y.view(-1, 1, 1) - x.mT @ weights)
        inverse = inverse - gain @ spread.mT
    scores = squared_errors(torch.stack(predictions, dim=1), targets)
    return summarise(f"ridge on the last {order} outputs", "baseline", scores, started)
