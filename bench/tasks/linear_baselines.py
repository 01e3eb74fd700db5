"""Reference predictors for regression: linear ones and a Gaussian process.

Shapes: P prompts of N points with d input coordinates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, examples, squared_errors, summarise

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

_MOST_ENTRIES = 20_000_000  # of a stack of covariance matrices made at once: bounds memory


def least_squares(prompts: Prompts, kind: Kind = "baseline") -> Baseline:
    """Minimum-norm least squares.

    For noise-free linear functions with weights N(0, I) it is the posterior mean: with i examples
    the risk is max(0, 1 − i/d) of the variance.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    weights = running_least_squares(inputs, targets, range(targets.shape[1]))
    scores = squared_errors((inputs * weights).sum(dim=2), targets)
    return summarise("least squares", kind, scores, started)


def running_least_squares(inputs: Tensor, targets: Tensor, positions: Sequence[int]) -> Tensor:
    """Minimum-norm least-squares weights at each of `positions`, from the examples before it.

    Once there are more examples than weights, the rows [x, y] are replaced by the triangle of their
    QR factorisation: ‖Xw − y‖² is the same function of w, so a fit costs the same however long
    the prompt.

    Args:
        inputs: (P, N, d).
        targets: (P, N).
        positions: ascending, each at most N.

    Returns:
        (P, len(positions), d); zero where no example was seen.
    """
    count, _, d = inputs.shape
    rows = torch.cat((inputs, targets.unsqueeze(-1)), dim=2)
    weights = torch.zeros(count, len(positions), d, dtype=inputs.dtype)
    kept, start = rows[:, :0], 0
    for column, seen in enumerate(positions):
        kept, start = torch.cat((kept, rows[:, start:seen]), dim=1), seen
        if seen > d:
            kept = torch.linalg.qr(kept, mode="r").R
            diagonal = kept.diagonal(dim1=1, dim2=2)[:, :d].abs()
            unique = diagonal.amin(dim=1) > 1e-9 * diagonal.amax(dim=1)
            triangles = kept[unique, :d]
            solved = torch.linalg.solve_triangular(triangles[:, :, :d], triangles[:, :, d:], upper=True)
            weights[unique, column] = solved.squeeze(-1)
        else:
            unique = torch.zeros(count, dtype=torch.bool)
        if seen > 0 and not bool(unique.all()):
            weights[~unique, column] = minimum_norm(kept[~unique, :, :d], kept[~unique, :, d:]).squeeze(-1)
    return weights


def minimum_norm(inputs: Tensor, values: Tensor) -> Tensor:
    """Of all least-squares solutions the one of least norm: (P, i, d) and (P, i, m) → (P, d, m).

    Directions weaker than 1e-12 of the strongest count as none: the data are float32. By singular values:
    `gelsy`, which is faster, keeps a batch's first pivots in some versions of torch (its issue
    187411) and is then wrong where inputs do not span the space.
    """
    solution: Tensor = torch.linalg.lstsq(inputs, values, rcond=1e-12, driver="gelsd").solution
    return solution


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


def arc_cosine_process(prompts: Prompts, kind: Kind = "floor") -> Baseline:
    """Noise-free Gaussian process with the arc-cosine kernel of degree 1 (Cho & Saul 2009).

    The kernel is the covariance of random ReLU networks without biases, ‖x‖‖x′‖(sin θ + (π − θ) cos θ)/π
    at an angle θ, so this is the Bayes rule for infinitely many hidden units. It does not depend
    on the outputs' scale.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    scores = innovations(inputs, targets, _arc_cosine) ** 2
    return summarise("arc-cosine Gaussian process", kind, scores, started)


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
