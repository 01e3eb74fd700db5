"""Baselines for regression among outliers.

The value of an outlier has entries beyond the first, or its input is all ones. A model can therefore
recognise outliers by their tokens, so a predictor that leaves them out uses nothing that is hidden from a
model. Scores are of clean pairs only. The position of a clean pair counts outliers too.

Shapes: P prompts of N pairs with d input coordinates.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import (
    Baseline,
    Kind,
    counted_positions,
    double,
    examples,
    squared_errors,
    summarise,
)
from bench.tasks.linear_baselines import running_least_squares

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts


def clean_least_squares(prompts: Prompts, kind: Kind = "floor") -> Baseline:
    """Minimum-norm least squares on the earlier clean pairs.

    It is Bayes-optimal if outliers carry no information about w. After c clean pairs the risk is
    max(0, 1 − c/d) of the variance.

    Args:
        prompts: `counted` marks the clean pairs.
        kind: "baseline" if outliers do carry information about w.
    """
    started = time.perf_counter()
    positions = counted_positions(prompts)
    inputs, targets = examples(prompts)
    x, y = inputs[:, positions], targets[:, positions]
    weights = running_least_squares(x, y, range(len(positions)))
    scores = squared_errors((x * weights).sum(dim=2), y)
    return summarise("least squares on clean pairs", kind, scores, started, positions)


def indiscriminate_least_squares(prompts: Prompts) -> Baseline:
    """Minimum-norm least squares on all earlier pairs. The value of an outlier is its first entry.

    A model that ignores outliers beats it; a model that fits them like other pairs does not. It is meant for
    outliers that repeat. With random vectors in a plane it would also fit the rounding of float32.

    Args:
        prompts: `counted` marks the pairs with scores; `targets` has the first entries of outliers too.
    """
    started = time.perf_counter()
    positions = counted_positions(prompts)
    inputs, targets = examples(prompts)
    weights = running_least_squares(inputs, targets, positions)
    scores = squared_errors((inputs[:, positions] * weights).sum(dim=2), targets[:, positions])
    return summarise("least squares on all pairs", "baseline", scores, started, positions)


def orthogonal_least_squares(prompts: Prompts) -> Baseline:
    """Least squares on the earlier clean pairs, with w orthogonal to every earlier outlier.

    In the paper's version both vectors of an outlier lie in one plane orthogonal to w. One outlier shows
    that plane. In the other d − 2 dimensions the distribution of w is symmetric, so the minimum-norm solution
    is the posterior mean. After c clean pairs and at least one outlier the risk is max(0, 1 − c/(d − 2)) of
    the variance.

    Args:
        prompts: `counted` marks the clean pairs, `more["values"]` has the whole values (P, N, d).
    """
    started = time.perf_counter()
    positions = counted_positions(prompts)
    inputs, targets = examples(prompts)
    x, y = inputs[:, positions], targets[:, positions]
    outliers = _unit(inputs), _unit(double(prompts.more["values"]))
    moments = torch.zeros(len(x), x.shape[2], x.shape[2], dtype=x.dtype)
    predictions = torch.zeros_like(y)
    start = 0
    for column, position in enumerate(positions):
        for vectors in outliers:  # the outliers after the previous clean pair
            moments += vectors[:, start:position].mT @ vectors[:, start:position]
        start = position + 1
        lengths, axes = torch.linalg.eigh(moments)
        # Along axes outside the plane, the rounding of outliers to float32 leaves 1e-14 of the longest.
        # Before any outlier all lengths are zero, and no axis is in the plane.
        in_plane = (lengths > 1e-9 * lengths[:, -1:]).unsqueeze(1)
        # w has no coordinate along axes in the plane, so these coordinates of x are set to zero. They come
        # last, and those that are in the plane of every prompt can be left out.
        dimensions = x.shape[2] - int(in_plane.sum(dim=2).amin())
        coordinates = torch.where(in_plane, 0.0, x[:, : column + 1] @ axes)[:, :, :dimensions]
        weights = running_least_squares(coordinates[:, :-1], y[:, :column], [column])
        predictions[:, column] = (coordinates[:, -1] * weights[:, 0]).sum(dim=1)
    name = "least squares orthogonal to the outliers"
    return summarise(name, "floor", squared_errors(predictions, y), started, positions)


def _unit(vectors: Tensor) -> Tensor:
    """The vectors scaled to length one along the last dimension; zeros stay zero."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    unit: Tensor = vectors / lengths.clamp(min=1e-300)
    return unit
