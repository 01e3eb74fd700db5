"""Baselines for noisy linear regression, with a finite pool of functions or with endless ones.

    y = w·x + ε, ε ~ N(0, σ²)            score: the squared error of w·x

Shapes: P prompts of N points with d input coordinates, M functions of the pool.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, double, examples, squared_errors, summarise
from bench.tasks.linear_baselines import ridge_errors

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

MOST_PREDICTIONS = 1 << 27
"""Predictions of all functions at all points: a bound on time, which with a large pool limits the prompts."""
FEWEST_PROMPTS = 32
"""Prompts that are used with the largest pool too, for a standard error."""
_MOST_ENTRIES = 1 << 20
"""Predictions that exist at once: a bound on memory."""


def zero(prompts: Prompts) -> Baseline:
    """Predict zero. Its expected score is d."""
    started = time.perf_counter()
    return summarise("zero", "trivial", double(prompts.more["clean"]) ** 2, started)


def ridge_regression(prompts: Prompts, noise: float, kind: Kind) -> Baseline:
    """Ridge regression with λ = σ²: the Bayes rule for w ~ N(0, I)."""
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    predictions = targets - ridge_errors(inputs, targets, noise)
    scores = squared_errors(predictions, double(prompts.more["clean"]))
    return summarise(f"ridge (λ = {noise:g})", kind, scores, started)


def pool_mean(prompts: Prompts, pool: Tensor, noise: float, kind: Kind) -> Baseline:
    """The mean of the pool's functions (M, d), weighted by their likelihoods ("dMMSE").

    It is the Bayes rule for prompts of the pool. It has no shrinkage: with one function it is always right.
    """
    started = time.perf_counter()
    limit = max(FEWEST_PROMPTS, MOST_PREDICTIONS // (len(pool) * prompts.inputs.shape[1]))
    inputs, targets = examples(prompts, limit)
    predictions = torch.empty_like(targets)
    chunk = max(1, _MOST_ENTRIES // (len(pool) * targets.shape[1]))
    for first in range(0, len(targets), chunk):
        rows = slice(first, first + chunk)
        values = inputs[rows] @ double(pool).mT  # of every function, (P, N, M)
        misfit = (targets[rows].unsqueeze(2) - values).square().cumsum(dim=1)
        before = torch.nn.functional.pad(misfit[:, :-1], (0, 0, 1, 0))
        predictions[rows] = ((before / (-2 * noise)).softmax(dim=2) * values).sum(dim=2)
    scores = squared_errors(predictions, double(prompts.more["clean"][:limit]))
    return summarise("mean of the pool", kind, scores, started)
