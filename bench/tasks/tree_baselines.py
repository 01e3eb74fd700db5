"""What a practitioner would fit to the examples seen: scikit-learn's trees, alone and boosted.

They cost a fit for each prompt and position, so they use some prompts and nine positions at most. They
need scikit-learn (the extra `baselines`); without it they are left out.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.lazy import torch
from bench.tasks.baselines import Baseline, examples, few, summarise

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.tasks.task import Prompts


def greedy_tree(prompts: Prompts, depth: int | None, signs: bool, limit: int = 128) -> Baseline | None:
    """Regression tree grown greedily (CART).

    Args:
        prompts: the first `limit` are used.
        depth: the tree's depth at most; None grows it until each leaf's examples have one value.
        signs: grow it on the signs of x, all that such a task's values depend on, instead of on x.
        limit: prompts used.

    Returns:
        None when scikit-learn is not installed.
    """
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ModuleNotFoundError:
        return None
    name = "CART of full depth" if depth is None else f"CART of depth {depth}"
    return _fitted(
        name, lambda: DecisionTreeRegressor(max_depth=depth, random_state=0), prompts, signs, limit
    )


def boosted_trees(prompts: Prompts, signs: bool, limit: int = 32) -> Baseline | None:
    """Gradient boosting with scikit-learn's defaults: 100 trees of depth 3, learning rate 0.1.

    Args:
        prompts: the first `limit` are used.
        signs: as for `greedy_tree`.
        limit: prompts used.

    Returns:
        None when scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import GradientBoostingRegressor
    except ModuleNotFoundError:
        return None
    return _fitted(
        "gradient boosting", lambda: GradientBoostingRegressor(random_state=0), prompts, signs, limit
    )


def _fitted(name: str, model: Callable[[], Any], prompts: Prompts, signs: bool, limit: int) -> Baseline:
    """Fit a fresh `model` to the examples before each of a few positions; before any it says zero."""
    started = time.perf_counter()
    inputs, targets = examples(prompts, limit)
    features = (torch.sign(inputs) if signs else inputs).numpy()
    values, positions = targets.numpy(), few(targets.shape[1])
    said = torch.zeros(len(values), len(positions), dtype=torch.float64)
    for column, seen in enumerate(positions):
        for row in range(len(values) if seen > 0 else 0):
            fitted = model().fit(features[row, :seen], values[row, :seen])
            said[row, column] = float(fitted.predict(features[row, seen : seen + 1])[0])
    scores = (said - targets[:, positions]) ** 2
    return summarise(f"{name} on {'signs of x' if signs else 'x'}", "baseline", scores, started, positions)
