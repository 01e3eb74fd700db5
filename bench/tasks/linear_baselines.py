"""Reference predictors for regression: linear ones, sparse ones, and a Gaussian process.

Shapes: P prompts of N points with d input coordinates; S supports of k coordinates.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, examples, spread, summarise

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

MOST_SUPPORTS = 20_000
"""Beyond this many coordinate subsets, predictors that enumerate them are left out."""
_MOST_ENTRIES = 20_000_000  # of a stack of covariance matrices made at once: bounds memory


def least_squares(prompts: Prompts, kind: Kind = "baseline") -> Baseline:
    """Minimum-norm least squares.

    For noise-free linear functions with weights N(0, I) it is the posterior mean: with i examples
    the risk is max(0, 1 − i/d) of the variance.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    scores = targets**2
    for seen in range(1, targets.shape[1]):
        # gelsy (a pivoted QR) gives the minimum-norm solution, also where examples are repeated.
        weights = torch.linalg.lstsq(inputs[:, :seen], targets[:, :seen, None], driver="gelsy").solution
        scores[:, seen] = (targets[:, seen] - (inputs[:, seen] * weights.squeeze(-1)).sum(dim=1)) ** 2
    return summarise("least squares", kind, scores, started)


def averaging(prompts: Prompts) -> Baseline:
    """Weights estimated by (1/i)·Σ y x over the i examples (Garg et al. 2022, §3).

    Unbiased for x ~ N(0, I); for linear functions the risk is (d + 1)/i of the variance.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    sums = (inputs * targets.unsqueeze(-1)).cumsum(dim=1)[:, :-1]
    weights = sums / torch.arange(1, targets.shape[1]).unsqueeze(-1)
    scores = targets**2
    scores[:, 1:] = (targets[:, 1:] - (weights * inputs[:, 1:]).sum(dim=2)) ** 2
    return summarise("averaging", "baseline", scores, started)


def ridge(prompts: Prompts, penalty: float) -> Baseline:
    """Ridge regression: least ‖y − Xw‖² + λ‖w‖², λ being `penalty`.

    The same predictions as a Gaussian process with kernel x·x′ and noise of variance λ.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)

    def covariance(x: Tensor) -> Tensor:
        return x @ x.mT + penalty * torch.eye(x.shape[1], dtype=x.dtype)

    scores = innovations(inputs, targets, covariance) ** 2
    return summarise(f"ridge (λ = {penalty:g})", "baseline", scores, started)


def arc_cosine_process(prompts: Prompts) -> Baseline:
    """Noise-free Gaussian process with the arc-cosine kernel of degree 1 (Cho & Saul 2009).

    The kernel is the covariance of random ReLU networks without biases, ‖x‖‖x′‖(sin θ + (π − θ) cos θ)/π
    at an angle θ, so this is the Bayes rule for infinitely many hidden units. It does not depend
    on the outputs' scale.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    scores = innovations(inputs, targets, _arc_cosine) ** 2
    return summarise("arc-cosine Gaussian process", "floor", scores, started)


def _arc_cosine(x: Tensor) -> Tensor:
    """The kernel between all points, (P, N, N), with 1e-9 of its mean diagonal for the factorisation."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=2, keepdim=True)
    scales = norms @ norms.mT
    cosines = (x @ x.mT / scales.clamp(min=1e-300)).clamp(-1, 1)
    angles = torch.arccos(cosines)
    kernel: Tensor = scales * (torch.sin(angles) + (math.pi - angles) * cosines) / math.pi
    jitter = 1e-9 * norms.square().mean() * torch.eye(x.shape[1], dtype=x.dtype)
    return kernel + jitter


def innovations(inputs: Tensor, targets: Tensor, covariance: Callable[[Tensor], Tensor]) -> Tensor:
    """Error of each value's conditional mean given the values before it, (P, N).

    With covariance K = L Lᵀ and z = L⁻¹ y, the conditional mean of yᵢ is yᵢ − Lᵢᵢ zᵢ: one Cholesky
    factor holds the predictions after every number of examples.

    Args:
        inputs: (P, N, d).
        targets: (P, N).
        covariance: of the values at (P, N, d) inputs, (P, N, N).
    """
    errors = torch.empty_like(targets)
    chunk = max(1, _MOST_ENTRIES // targets.shape[1] ** 2)
    for first in range(0, len(targets), chunk):
        rows = slice(first, first + chunk)
        factor = torch.linalg.cholesky(covariance(inputs[rows]))
        whitened = torch.linalg.solve_triangular(factor, targets[rows].unsqueeze(-1), upper=False)
        errors[rows] = factor.diagonal(dim1=1, dim2=2) * whitened.squeeze(-1)
    return errors


def lasso(prompts: Prompts, alpha: float, limit: int = 256, sweeps: int = 2000) -> Baseline:
    """Lasso: least ‖y − Xw‖²/(2i) + α‖w‖₁ by cyclic coordinate descent, all prompts and positions at once.

    Args:
        prompts: the first `limit` are used.
        alpha: α.
        limit: prompts used.
        sweeps: passes over the coordinates at most; fewer once no weight moves by 1e-5.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts, limit)
    positions = spread(targets.shape[1])
    seen = [position for position in positions if position > 0]
    scores = targets[:, positions] ** 2
    if seen:
        grams = torch.stack([inputs[:, :i].mT @ inputs[:, :i] / i for i in seen])
        moments = torch.stack([(inputs[:, :i].mT @ targets[:, :i, None]).squeeze(-1) / i for i in seen])
        weights = _coordinate_descent(grams.flatten(0, 1), moments.flatten(0, 1), alpha, sweeps)
        predictions = (weights.view_as(moments) * inputs[:, seen].transpose(0, 1)).sum(dim=2)
        scores[:, -len(seen) :] = (targets[:, seen] - predictions.T) ** 2
    return summarise(f"lasso (α = {alpha:g})", "baseline", scores, started, positions)


def _coordinate_descent(grams: Tensor, moments: Tensor, alpha: float, sweeps: int) -> Tensor:
    """Minimiser of ½ wᵀGw − w·m + α‖w‖₁ for a batch of G (B, d, d) and m (B, d): (B, d)."""
    batch, d = moments.shape
    weights = torch.zeros_like(moments)
    active = torch.arange(batch)  # problems whose weights still move
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

    Under support s the examples are y ~ N(0, X_s X_sᵀ + σ²I), where σ is float32's rounding of y.
    That one density serves at every position: it ranks supports that all fit (i ≤ k), and rules out
    by many orders of magnitude those that do not (i > k). The prediction averages the supports'
    posterior means, weighted by their evidence. From 2k examples on, only the 16 likeliest supports
    are kept: the others miss by a residual in k dimensions that is enormous in units of σ.

    Args:
        prompts: the first `limit` are used; fewer when there are so many supports that it would take minutes.
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
    every = torch.tensor(list(itertools.combinations(range(d), sparsity)))
    noise = max(2.0**-23 * float(targets.square().mean().sqrt()), 1e-30)
    scores = targets**2
    chunk = max(1, 300_000 // len(every))
    for first in range(0, count, chunk):
        x, y = inputs[first : first + chunk], targets[first : first + chunk]
        supports = every.expand(len(x), -1, -1)
        for seen in range(1, n_points):
            evidence, weights = _supported(x[:, :seen], y[:, :seen], supports, noise)
            mixed = (evidence.softmax(dim=1).unsqueeze(1) @ weights).squeeze(1)
            scores[first : first + chunk, seen] = (y[:, seen] - (mixed * x[:, seen]).sum(dim=1)) ** 2
            if seen == 2 * sparsity and supports.shape[1] > 16:
                likeliest = evidence.topk(16, dim=1).indices.unsqueeze(-1).expand(-1, -1, sparsity)
                supports = supports.gather(1, likeliest)
    return summarise("Bayes rule over supports", "floor", scores, started)


def _supported(x: Tensor, y: Tensor, supports: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Log evidence (P, S), up to a constant, and posterior mean weights (P, S, d) under each support.

    The posterior mean is least squares on the rows of X_s and σI with values y and 0. A QR
    factorisation of those rows is accurate also when i < k, where normal equations would not be.

    Args:
        x: (P, i, d) inputs seen.
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
