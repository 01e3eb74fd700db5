"""Reference predictors for functions of few values: decision trees and parities.

Shapes: P prompts of N points with d input coordinates.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, summarise, vote_scores
from bench.tasks.linear_baselines import MOST_SUPPORTS

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts


def tree_oracle(prompts: Prompts) -> Baseline:
    """Knows the tree, recalls the leaves it has seen, and says zero, the prior mean, at a new one.

    No predictor without that knowledge can do better on average. Leaf values are continuous, so two
    inputs fall into the same leaf exactly when their values are the same bits: the tree itself is
    not needed. At position i the score is the chance of a new leaf times the variance of its value.
    """
    started = time.perf_counter()
    _, targets = examples(prompts)
    new_leaf = first_match(targets.unsqueeze(-1)) < 0
    scores = torch.where(new_leaf, targets**2, 0.0)
    return summarise("oracle that knows the tree", "floor", scores, started)


def scikit_tree(prompts: Prompts, depth: int, signs: bool, limit: int = 128) -> Baseline | None:
    """Regression tree grown greedily (CART) on the examples seen, as scikit-learn does it.

    Args:
        prompts: the first `limit` are used.
        depth: the tree's depth at most.
        signs: grow it on the signs of x, which hold all there is to know, instead of on x.
        limit: prompts used.

    Returns:
        None when scikit-learn (the extra `baselines`) is not installed.
    """
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ModuleNotFoundError:
        return None
    started = time.perf_counter()
    inputs, targets = examples(prompts, limit)
    features = (torch.sign(inputs) if signs else inputs).numpy()
    values, n_points = targets.numpy(), targets.shape[1]
    positions = sorted({i for i in (0, 1, 2, 5, 10, 20, 40, 60, 80, n_points - 1) if i < n_points})
    scores = torch.empty(len(values), len(positions), dtype=torch.float64)
    for column, seen in enumerate(positions):
        for row in range(len(values)):
            said = 0.0
            if seen > 0:
                tree = DecisionTreeRegressor(max_depth=depth, random_state=0)
                tree.fit(features[row, :seen], values[row, :seen])
                said = float(tree.predict(features[row, seen : seen + 1])[0])
            scores[row, column] = (said - float(values[row, seen])) ** 2
    name = f"CART of depth {depth} on {'signs of x' if signs else 'x'}"
    return summarise(name, "baseline", scores, started, positions)


def parity_version_space(prompts: Prompts, sparsity: int) -> Baseline | None:
    """The Bayes rule for parities: all sets consistent with the examples vote; a tie counts one half.

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
    chunk = max(1, 20_000_000 // (n_points * len(sets)))
    for first in range(0, count, chunk):
        rows = slice(first, first + chunk)
        said = signs[rows][:, :, sets[:, 0]]
        for j in range(1, sparsity):
            said = said * signs[rows][:, :, sets[:, j]]
        agrees = (said == labels[rows].unsqueeze(-1)).to(torch.int8)
        alive = agrees.cumprod(dim=1, dtype=torch.int8)
        consistent = torch.cat((torch.ones_like(alive[:, :1]), alive[:, :-1]), dim=1)
        votes[rows] = (consistent * said).sum(dim=2).to(torch.float64)
    return summarise("Bayes rule over sets", "floor", vote_scores(votes, targets), started)


def copying(prompts: Prompts) -> Baseline:
    """Repeats the value of an identical earlier input, and tosses a coin when there is none.

    A lookup table: what it reaches needs no insight into the function. For x uniform on {−1, +1}^d
    the accuracy after i examples is ½ + ½(1 − (1 − 2⁻ᵈ)^i).
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    match = first_match(inputs)
    votes = torch.where(match >= 0, targets.gather(1, match.clamp(min=0)), 0.0)
    return summarise("copying", "baseline", vote_scores(votes, targets), started)


def first_match(values: Tensor) -> Tensor:
    """For each point of (P, N, d) the first earlier point equal to it, (P, N) int64; −1 for none."""
    count, n_points, _ = values.shape
    match = torch.full((count, n_points), -1)
    for seen in range(1, n_points):
        same = (values[:, :seen] == values[:, seen : seen + 1]).all(dim=2)
        match[:, seen] = torch.where(same.any(dim=1), same.to(torch.uint8).argmax(dim=1), -1)
    return match
