"""Reference predictors for linear functions of few coordinates.

Shapes: P prompts of N points with d input coordinates; S supports of k coordinates.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, spread, summarise

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

MOST_SUPPORTS = 20_000
"""With more subsets of coordinates than this, predictors that enumerate them are left out."""


def lasso(prompts: Prompts, alpha: float, limit: int = 256, sweeps: int = 2000) -> Baseline:
    """Lasso: the minimum of ‖y − Xw‖²/(2i) + α‖w‖₁ by cyclic coordinate descent, for all positions at once.

    Args:
        prompts: the first `limit` are used.
        alpha: α.
        limit: prompts used.
        sweeps: largest number of passes over the coordinates. They end when no weight moves by 1e-5.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts, limit)
    positions = spread(targets.shape[1])
    counts = [position for position in positions if position > 0]
    scores = targets[:, positions] ** 2
    if counts:
        grams = torch.stack([inputs[:, :i].mT @ inputs[:, :i] / i for i in counts])
        moments = torch.stack([(inputs[:, :i].mT @ targets[:, :i, None]).squeeze(-1) / i for i in counts])
        weights = _coordinate_descent(grams.flatten(0, 1), moments.flatten(0, 1), alpha, sweeps)
        predictions = (weights.view_as(moments) * inputs[:, counts].transpose(0, 1)).sum(dim=2)
        scores[:, -len(counts) :] = (targets[:, counts] - predictions.T) ** 2
    return summarise(f"lasso (α = {alpha:g})", "baseline", scores, started, positions)


def _coordinate_descent(grams: Tensor, moments: Tensor, alpha: float, sweeps: int) -> Tensor:
    """The minimiser of ½ wᵀGw − w·m + α‖w‖₁ for a batch of G (B, d, d) and m (B, d): (B, d)."""
    batch, d = moments.shape
    weights = torch.zeros_like(moments)
    active = torch.arange(batch)  # the problems whose weights still move
    for _ in range(sweeps):
        gram, moment, current = grams[active], moments[active], weights[active]
        before = current.clone()
        for j in range(d):
            diagonal = gram[:, j, j]
            slope = moment[:, j] - (gram[:, j] * current).sum(dim=1) + diagonal * current[:, j]
            shrunk = torch.sign(slope) * (slope.abs() - alpha).clamp(min=0)
            current[:, j] = torch.where(diagonal > 0, shrunk / diagonal.clamp(min=1e-300), 0.0)
        weights[active] = current
        active = active[(current - before).abs().amax(dim=1) > 1e-5]
        if active.numel() == 0:
            break
    return weights


def sparse_bayes(prompts: Prompts, sparsity: int, limit: int = 1280) -> Baseline | None:
    """The Bayes rule for w with `sparsity` non-zero coordinates N(0, 1): every support is enumerated.

    Given support s, the examples are y ~ N(0, X_s X_sᵀ + σ²I), where σ is the rounding of y to float32.
    This density is the evidence of a support at every position. If i ≤ k, all supports fit and the evidence
    ranks them. If i > k, the evidence of wrong supports is smaller by many orders of magnitude. The
    prediction is the mean of the supports' posterior means, weighted by evidence. From 2k examples on, only
    the 16 likeliest supports are used: the residuals of the others, in k dimensions, are far larger than σ.

    Args:
        prompts: the first `limit` are used, or fewer if so many supports would take minutes.
        sparsity: k.
        limit: prompts used.

    Returns:
        None when there are more than `MOST_SUPPORTS` supports.
    """
    started = time.perf_counter()
    d = prompts.inputs.shape[2]
    if math.comb(d, sparsity) > MOST_SUPPORTS:
        return None
    inputs, targets = examples(prompts, min(limit, 1_500_000 // math.comb(d, sparsity)))
    count, n_points = targets.shape
    all_supports = torch.tensor(list(itertools.combinations(range(d), sparsity)))
    noise = max(2.0**-23 * float(targets.square().mean().sqrt()), 1e-30)
    scores = targets**2
    chunk = max(1, 300_000 // len(all_supports))
    for first in range(0, count, chunk):
        x, y = inputs[first : first + chunk], targets[first : first + chunk]
        supports = all_supports.expand(len(x), -1, -1)
        for i in range(1, n_points):
            evidence, weights = _supported(x[:, :i], y[:, :i], supports, noise)
            mean = (evidence.softmax(dim=1).unsqueeze(1) @ weights).squeeze(1)
            scores[first : first + chunk, i] = (y[:, i] - (mean * x[:, i]).sum(dim=1)) ** 2
            if i == 2 * sparsity and supports.shape[1] > 16:
                likeliest = evidence.topk(16, dim=1).indices.unsqueeze(-1).expand(-1, -1, sparsity)
                supports = supports.gather(1, likeliest)
    return summarise("Bayes rule over supports", "floor", scores, started)


def _supported(x: Tensor, y: Tensor, supports: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Log evidence (P, S), up to a constant, and posterior mean weights (P, S, d) of each support.

    The posterior mean is least squares on the rows of X_s and σI with values y and 0. The QR factorisation
    of those rows is also accurate for i < k, where normal equations are not.

    Args:
        x: (P, i, d) earlier inputs.
        y: (P, i) their values.
        supports: (P, S, k) coordinates.
        noise: σ.
    """
    (count, seen, d), (n_supports, k) = x.shape, supports.shape[1:]
    columns = supports.reshape(count, 1, -1).expand(-1, seen, -1)
    rows = x.gather(2, columns).view(count, seen, n_supports, k).transpose(1, 2)
    prior = (noise * torch.eye(k, dtype=x.dtype)).expand(count, n_supports, k, k)
    matrix = torch.cat((rows, prior), dim=2)
    values = torch.cat((y, torch.zeros(count, k, dtype=x.dtype)), dim=1)[:, None, :, None]
    q, r = torch.linalg.qr(matrix)
    weights = torch.linalg.solve_triangular(r, q.mT @ values, upper=True)
    misfit = (values - matrix @ weights).squeeze(-1).square().sum(dim=2) / noise**2
    log_volume = r.diagonal(dim1=2, dim2=3).abs().log().sum(dim=2)
    full = torch.zeros(count, n_supports, d, dtype=x.dtype)
    return -0.5 * misfit - log_volume, full.scatter_(2, supports, weights.squeeze(-1))
