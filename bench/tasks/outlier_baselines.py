"""Reference predictors for regression among outliers, which all of them can tell from clean pairs.

An outlier's value has entries beyond the first, or its input is all ones: what a pair is can be read
from its tokens, so a predictor that leaves outliers out knows nothing that a model does not. Scores are
of clean pairs only; a clean pair's position is its place in the prompt, outliers counted.

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
    """Minimum-norm least squares on the clean pairs seen.

    Bayes-optimal where outliers say nothing of w: after c clean pairs the risk is max(0, 1 − c/d) of
    the variance.

    Args:
        prompts: `counted` says which pairs are clean.
        kind: "baseline" where outliers do say something.
    """
    started = time.perf_counter()
    positions = counted_positions(prompts)
    inputs, targets = examples(prompts)
    x, y = inputs[:, positions], targets[:, positions]
    weights = running_least_squares(x, y, range(len(positions)))
    scores = squared_errors((x * weights).sum(dim=2), y)
    return summarise("least squares on clean pairs", kind, scores, started, positions)


def indiscriminate_least_squares(prompts: Prompts) -> Baseline:
    """Minimum-norm least squares on all pairs seen; an outlier's value is its first entry.

    It separates a model that leaves outliers out from one that fits them like any other pair. Meant for
    outliers that repeat: of random vectors in a plane it would fit the float32 rounding as well.

    Args:
        prompts: `counted` says which pairs are scored; `targets` has the outliers' first entries too.
    """
    started = time.perf_counter()
    positions = counted_positions(prompts)
    inputs, targets = examples(prompts)
    weights = running_least_squares(inputs, targets, positions)
    scores = squared_errors((inputs[:, positions] * weights).sum(dim=2), targets[:, positions])
    return summarise("least squares on all pairs", "baseline", scores, started, positions)


def orthogonal_least_squares(prompts: Prompts) -> Baseline:
    """Least squares on the clean pairs seen, among the w orthogonal to every outlier seen.

    In the paper's version both vectors of an outlier lie in one plane orthogonal to w. One outlier
    pair shows that plane: d − 2 dimensions are left, in which w's distribution is symmetric, so the
    minimum-norm solution there is the posterior mean. After c clean pairs and at least one outlier the
    risk is max(0, 1 − c/(d − 2)) of the variance.

    Args:
        prompts: `counted` says which pairs are clean, `more["values"]` holds whole values (P, N, d).
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
        # Along axes outside the plane float32's rounding of the outliers leaves 1e-14 of the longest.
        # Before any outlier all are zero, and nothing is ruled out.
        ruled_out = (lengths > 1e-9 * lengths[:, -1:]).unsqueeze(1)
        # In these axes the coordinates ruled out are exactly zero, and so are their weights. They come
        # last; those ruled out in every prompt are left away.
        free = x.shape[2] - int(ruled_out.sum(dim=2).amin())
        turned = torch.where(ruled_out, 0.0, x[:, : column + 1] @ axes)[:, :, :free]
        weights = running_least_squares(turned[:, :-1], y[:, :column], [column])
        predictions[:, column] = (turned[:, -1] * weights[:, 0]).sum(dim=1)
    name = "least squares orthogonal to the outliers"
    return summarise(name, "floor", squared_errors(predictions, y), started, positions)


def _unit(vectors: Tensor) -> Tensor:
    """Scaled to length one along the last dimension; zeros stay."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    unit: Tensor = vectors / lengths.clamp(min=1e-300)
    return unit
