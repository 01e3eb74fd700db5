"""Baselines for recall: given pairs of keys and values, predict the value of a repeated key.

Scores are squared norms, summed over the d coordinates of a value. Positions are the numbers of queries,
from 0. The prompt contains no answers, so all queries are equally hard.

Shapes: P prompts of n pairs and m queries, d coordinates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.tasks.baselines import Baseline, Kind, double, examples, squared_errors, summarise
from bench.tasks.linear_baselines import minimum_norm

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts


def recall_baselines(prompts: Prompts) -> list[Baseline]:
    """Nearest key (the floor), mean of the values, linear memory.

    Args:
        prompts: `inputs` are the queries (P, m, d) and `targets` their values; `more` has the pairs, "keys"
            and "values" (P, n, d).
    """
    queries, targets = examples(prompts)
    keys, values = double(prompts.more["keys"]), double(prompts.more["values"])

    def baseline(name: str, kind: Kind, rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Baseline:
        started = time.perf_counter()
        return summarise(name, kind, squared_errors(rule(keys, values, queries), targets), started)

    return [
        baseline("nearest key", "floor", nearest_key),
        baseline("mean of the values", "baseline", mean_value),
        baseline("linear memory", "baseline", linear_memory),
    ]


def nearest_key(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """The value of the key nearest to each query (P, m, d). It is exact, because queries repeat keys."""
    # Squared distances without the squared norm of the query, which all keys share.
    distances = keys.square().sum(dim=2).unsqueeze(1) - 2 * queries @ keys.mT
    nearest = distances.argmin(dim=2).unsqueeze(-1).expand(-1, -1, values.shape[2])
    return values.gather(1, nearest)


def mean_value(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """The mean of all values for every query. The error for n independent unit vectors is 1 − 1/n."""
    return values.mean(dim=1, keepdim=True).expand_as(queries)


def linear_memory(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """The d×d matrix that best maps keys to values (minimum-norm least squares), times the queries.

    It is the best that a linear state of this size can store. The error is 1 − d/n of the squared norm of the
    values for n > d pairs, and zero for fewer.
    """
    return queries @ minimum_norm(keys, values)
