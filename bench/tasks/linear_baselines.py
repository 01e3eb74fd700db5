"""Baselines for regression: linear ones and a Gaussian process.

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

_MOST_ENTRIES = 20_000_000
"""Entries of the covariance matrices that exist at once: a bound on memory."""


def least_squares(prompts: Prompts, kind: Kind = "baseline") -> Baseline:
    """Minimum-norm least squares.

    For noise-free linear functions with weights N(0, I) it is the posterior mean. After i examples the risk
    is max(0, 1 − i/d) of the variance.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    weights = running_least_squares(inputs, targets, range(targets.shape[1]))
    scores = squared_errors((inputs * weights).sum(dim=2), targets)
    return summarise("least squares", kind, scores, started)


def running_least_squares(inputs: Tensor, targets: Tensor, positions: Sequence[int]) -> Tensor:
    """Minimum-norm least-squares weights at each of `positions`, from the examples before it.

    Once there are more examples than weights, the triangle of the QR factorisation replaces the rows [x, y].
    It gives the same function ‖Xw − y‖² of w, so the cost of a fit does not grow with the prompt.

    Args:
        inputs: (P, N, d).
        targets: (P, N).
        positions: ascending, each at most N.

    Returns:
        (P, len(positions), d); zero before the first example.
    """
    count, _, d = inputs.shape
    examples_of_prompts = torch.cat((inputs, targets.unsqueeze(-1)), dim=2)
    weights = torch.zeros(count, len(positions), d, dtype=inputs.dtype)
    rows, start = examples_of_prompts[:, :0], 0
    for column, seen in enumerate(positions):
        rows, start = torch.cat((rows, examples_of_prompts[:, start:seen]), dim=1), seen
        if seen > d:
            rows = torch.linalg.qr(rows, mode="r").R
            diagonal = rows.diagonal(dim1=1, dim2=2)[:, :d].abs()
            unique = diagonal.amin(dim=1) > 1e-9 * diagonal.amax(dim=1)
            triangles = rows[unique, :d]
            solution = torch.linalg.solve_triangular(triangles[:, :, :d], triangles[:, :, d:], upper=True)
            weights[unique, column] = solution.squeeze(-1)
        else:
            unique = torch.zeros(count, dtype=torch.bool)
        if seen > 0 and not bool(unique.all()):
            ambiguous = rows[~unique]
            weights[~unique, column] = minimum_norm(ambiguous[:, :, :d], ambiguous[:, :, d:]).squeeze(-1)
    return weights


def minimum_norm(inputs: Tensor, values: Tensor) -> Tensor:
    """The least-squares solution of least norm: (P, i, d) and (P, i, m) → (P, d, m).

    Singular values below 1e-12 of the largest count as zero, because the data are float32. The driver
    `gelsy` would be faster. But in some versions of torch it reuses the pivots of a batch's first matrix
    (issue 187411 of PyTorch) and is then wrong where inputs do not span the space.
    """
    solution: Tensor = torch.linalg.lstsq(inputs, values, rcond=1e-12, driver="gelsd").solution
    return solution


def averaging(prompts: Prompts) -> Baseline:
    """Weights (1/i)·Σ y x over the i examples (Garg et al. 2022, §3).

    The estimate is unbiased for x ~ N(0, I). For linear functions the risk is (d + 1)/i of the variance.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    sums = (inputs * targets.unsqueeze(-1)).cumsum(dim=1)[:, :-1]
    weights = sums / torch.arange(1, targets.shape[1]).unsqueeze(-1)
    scores = targets**2
    scores[:, 1:] = (targets[:, 1:] - (weights * inputs[:, 1:]).sum(dim=2)) ** 2
    return summarise("averaging", "baseline", scores, started)


def ridge(prompts: Prompts, penalty: float) -> Baseline:
    """Ridge regression: the minimum of ‖y − Xw‖² + λ‖w‖², where λ is `penalty`."""
    started = time.perf_counter()
    scores = ridge_errors(*examples(prompts), penalty) ** 2
    return summarise(f"ridge (λ = {penalty:g})", "baseline", scores, started)


def ridge_errors(inputs: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """Errors y − ŷ of ridge regression on the examples before each point, (P, N).

    Its predictions are those of a Gaussian process with the kernel x·x′ and noise of variance λ.

    Args:
        inputs: (P, N, d).
        targets: (P, N).
        penalty: λ.
    """

    def covariance(x: Tensor) -> Tensor:
        return x @ x.mT + penalty * torch.eye(x.shape[1], dtype=x.dtype)

    return innovations(inputs, targets, covariance)


def arc_cosine_process(prompts: Prompts, kind: Kind = "reference") -> Baseline:
    """Noise-free Gaussian process with the arc-cosine kernel of degree 1 (Cho & Saul 2009).

    The kernel ‖x‖‖x′‖(sin θ + (π − θ) cos θ)/π, with θ the angle, is the covariance of random ReLU
    networks without biases. So this is the Bayes rule for infinitely many hidden units. For h of them it is
    the best predictor that is linear in the values, not a bound. It does not depend on the scale of outputs.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    scores = innovations(inputs, targets, _arc_cosine) ** 2
    return summarise("arc-cosine Gaussian process", kind, scores, started)


def _arc_cosine(x: Tensor) -> Tensor:
    """The kernel of all pairs of points, (P, N, N), plus 1e-9 of its mean diagonal for the factorisation."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=2, keepdim=True)
    scales = norms @ norms.mT
    cosines = (x @ x.mT / scales.clamp(min=1e-300)).clamp(-1, 1)
    angles = torch.arccos(cosines)
    kernel: Tensor = scales * (torch.sin(angles) + (math.pi - angles) * cosines) / math.pi
    jitter = 1e-9 * norms.square().mean() * torch.eye(x.shape[1], dtype=x.dtype)
    return kernel + jitter


def innovations(inputs: Tensor, targets: Tensor, covariance: Callable[[Tensor], Tensor]) -> Tensor:
    """Error of each value's conditional mean given the values before it, (P, N).

    With covariance K = L Lᵀ and z = L⁻¹ y, the conditional mean of yᵢ is yᵢ − Lᵢᵢ zᵢ. So one Cholesky factor
    gives the predictions after every number of examples.

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
