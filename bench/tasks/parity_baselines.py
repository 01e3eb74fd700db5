"""Baselines for sparse parities.

Shapes: P prompts of N points with d input coordinates.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, first_match, summarise, vote_scores
from bench.tasks.linear_baselines import innovations
from bench.tasks.sparse_baselines import MOST_SUPPORTS

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts

_MOST_ENTRIES = 20_000_000
"""Products of coordinates that exist at once: a bound on memory."""


def version_space(prompts: Prompts, sparsity: int) -> Baseline | None:
    """The Bayes rule: all sets of `sparsity` coordinates that agree with the examples vote.

    A tie counts one half.

    Returns:
        None when there are more than `MOST_SUPPORTS` sets.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    count, n_points, d = inputs.shape
    if math.comb(d, sparsity) > MOST_SUPPORTS:
        return None
    sets = torch.tensor(list(itertools.combinations(range(d), sparsity)))
    signs, labels = inputs.to(torch.int8), targets.to(torch.int8)
    votes = torch.empty(count, n_points, dtype=torch.float64)
    chunk = max(1, _MOST_ENTRIES // (n_points * len(sets)))
    for first in range(0, count, chunk):
        rows = slice(first, first + chunk)
        products = signs[rows][:, :, sets[:, 0]]
        for j in range(1, sparsity):
            products = products * signs[rows][:, :, sets[:, j]]
        agreement = (products == labels[rows].unsqueeze(-1)).to(torch.int8)
        agreement = agreement.cumprod(dim=1, dtype=torch.int8)  # with all examples so far
        before = torch.cat((torch.ones_like(agreement[:, :1]), agreement[:, :-1]), dim=1)
        votes[rows] = (before * products).sum(dim=2).to(torch.float64)
    return summarise("Bayes rule over sets", "floor", vote_scores(votes, targets), started)


def product_least_squares(prompts: Prompts, sparsity: int) -> Baseline:
    """The sign of minimum-norm least squares on the products of all sets of `sparsity` coordinates.

    This is a linear learner with the right features. For d = 10 and k = 2 it needs 45 independent examples,
    the Bayes rule only a few. In these features, two inputs of ±1 that differ in m coordinates have the inner
    product K(m), a Krawtchouk polynomial (`krawtchouk`). So the products need not be computed.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    d = inputs.shape[2]
    similarity = torch.tensor(krawtchouk(d, sparsity), dtype=inputs.dtype) / math.comb(d, sparsity)

    def covariance(x: Tensor) -> Tensor:
        distances = ((d - x @ x.mT) / 2).round().to(torch.int64)
        return similarity[distances] + 1e-9 * torch.eye(x.shape[1], dtype=x.dtype)

    predictions = targets - innovations(inputs, targets, covariance)
    # Without a majority the prediction is zero but for rounding.
    votes = torch.where(predictions.abs() < 1e-6, 0.0, predictions)
    name = f"least squares on products of {sparsity}"
    return summarise(name, "baseline", vote_scores(votes, targets), started)


def krawtchouk(d: int, k: int) -> list[int]:
    """Σⱼ (−1)ʲ C(m, j) C(d − m, k − j) for m = 0 … d.

    It is the k-th elementary symmetric polynomial of d signs of which m are −1.
    """
    return [
        sum((-1) ** j * math.comb(m, j) * math.comb(d - m, k - j) for j in range(k + 1)) for m in range(d + 1)
    ]


def input_alone(prompts: Prompts, sparsity: int) -> Baseline:
    """The Bayes rule for a parity of `sparsity` unknown coordinates that sees no examples, only the input.

    All sets vote, so the prediction is the sign of the elementary symmetric polynomial e_k(x); a tie counts
    one half. For k = 2 it is e₂ = ((Σx)² − d)/2: the guess is +1 if |Σx| > √d. The expected accuracy is
    ½ + E|e_k|/(2 C(d, k)), which is 0.5547 for d = 10 and k = 2. A model stays near this accuracy when it
    has learned the distribution of the sets, but nothing from the examples.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    votes = torch.tensor(krawtchouk(inputs.shape[2], sparsity))[(inputs < 0).sum(dim=2)]
    return summarise("input alone", "baseline", vote_scores(votes.to(inputs.dtype), targets), started)


def copying(prompts: Prompts) -> Baseline:
    """Repeat the value of an identical earlier input; if there is none, flip a coin.

    This is a lookup table. It needs no knowledge of the function. For x uniform on {−1, +1}^d
    the accuracy after i examples is ½ + ½(1 − (1 − 2⁻ᵈ)^i).
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    match = first_match(inputs)
    votes = torch.where(match >= 0, targets.gather(1, match.clamp(min=0)), 0.0)
    return summarise("copying", "baseline", vote_scores(votes, targets), started)
