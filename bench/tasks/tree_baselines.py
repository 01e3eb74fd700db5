"""Baselines for decision trees: an oracle, and scikit-learn's trees, alone and boosted.

Each prompt and position needs a fit of scikit-learn's trees, at no more than nine positions. A single tree
takes about one millisecond, so 1,280 prompts of the paper's task take about 10 s. A hundred boosted trees
take about 60 ms; therefore boosting uses only `BOOSTED_PROMPTS` prompts, about 30 s. Without scikit-learn
(the extra `baselines`), these trees are left out.

Shapes: P prompts of N points with d input coordinates.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, few_positions, first_match, summarise

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.tasks.task import Prompts


BOOSTED_PROMPTS = 64
"""Prompts that boosting uses; all of them would take ten minutes."""


def tree_oracle(prompts: Prompts) -> Baseline:
    """An oracle that knows the tree: it recalls the values of earlier leaves and predicts 0 at new ones.

    Zero is the prior mean. No predictor can do better on average. Leaf values are continuous, so two inputs
    are in the same leaf exactly if their values have the same bits. The computation therefore does not need
    the tree. The score at position i is the probability of a new leaf times the variance of its value.
    """
    started = time.perf_counter()
    _, targets = examples(prompts)
    new_leaf = first_match(targets.unsqueeze(-1)) < 0
    scores = torch.where(new_leaf, targets**2, 0.0)
    return summarise("oracle that knows the tree", "floor", scores, started)


def greedy_tree(prompts: Prompts, depth: int | None, signs: bool) -> Baseline | None:
    """A regression tree, grown greedily (CART), on all prompts.

    Args:
        prompts: the prompts to predict.
        depth: largest depth of the tree; with None it grows until all examples of a leaf have equal values.
        signs: whether to fit it to the signs of x, on which alone the values depend, instead of x.

    Returns:
        None when scikit-learn is not installed.
    """
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ModuleNotFoundError:
        return None
    name = "CART of full depth" if depth is None else f"CART of depth {depth}"
    return _fitted(
        name, lambda: DecisionTreeRegressor(max_depth=depth, random_state=0), prompts, signs, limit=None
    )


def boosted_trees(prompts: Prompts, signs: bool) -> Baseline | None:
    """Gradient boosting with scikit-learn's defaults: 100 trees of depth 3, learning rate 0.1.

    Args:
        prompts: the first `BOOSTED_PROMPTS` are used.
        signs: as for `greedy_tree`.

    Returns:
        None when scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import GradientBoostingRegressor
    except ModuleNotFoundError:
        return None
    name, model = "gradient boosting", lambda: GradientBoostingRegressor(random_state=0)
    return _fitted(name, model, prompts, signs, BOOSTED_PROMPTS)


def _fitted(
    name: str, model: Callable[[], Any], prompts: Prompts, signs: bool, limit: int | None
) -> Baseline:
    """Fit a new `model` to the examples before each of a few positions. Without examples it predicts zero."""
    started = time.perf_counter()
    inputs, targets = examples(prompts, limit)
    features = (torch.sign(inputs) if signs else inputs).numpy()
    values, positions = targets.numpy(), few_positions(targets.shape[1])
    predictions = torch.zeros(len(values), len(positions), dtype=torch.float64)
    for column, seen in enumerate(positions):
        for row in range(len(values) if seen > 0 else 0):
            regressor = model().fit(features[row, :seen], values[row, :seen])
            predictions[row, column] = float(regressor.predict(features[row, seen : seen + 1])[0])
    scores = (predictions - targets[:, positions]) ** 2
    return summarise(f"{name} on {'signs of x' if signs else 'x'}", "baseline", scores, started, positions)
