"""Reference predictors for recall: given pairs of a key and a value, say the value of a key shown again.

Scores are squared norms, summed over the d coordinates of a value. Positions number the queries
(from 0); no query is answered within the prompt, so all are equally hard.

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
        prompts: `inputs` are the queries (P, m, d) and `targets` what is to be said; `more` has the
            pairs, "keys" and "values" (P, n, d).
    """
    queries, wanted = examples(prompts)
    keys, values = double(prompts.more["keys"]), double(prompts.more["values"])

    def scored(name: str, kind: Kind, rule: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Baseline:
        started = time.perf_counter()
        return summarise(name, kind, squared_errors(rule(keys, values, queries), wanted), started)

    return [
        scored("nearest key", "floor", nearest_key),
        scored("mean of the values", "baseline", mean_value),
        scored("linear memory", "baseline", linear_memory),
    ]


def nearest_key(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """The value of the key nearest to each query (P, m, d): exact, as queries repeat keys."""
    # The squared distance, less the query's own length.
    distances = keys.square().sum(dim=2).unsqueeze(1) - 2 * queries @ keys.mT
    nearest = distances.argmin(dim=2).unsqueeze(-1).expand(-1, -1, values.shape[2])
    return values.gather(1, nearest)


def mean_value(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """The mean of all values, whatever is asked. Of n independent unit vectors it leaves 1 − 1/n."""
    return values.mean(dim=1, keepdim=True).expand_as(queries)


def linear_memory(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """The d×d matrix that maps keys to values best (minimum-norm least squares), applied to the queries.

    What a linear state of that size can hold at most: with n > d pairs it leaves 1 − d/n of the
    values' squared norm, with fewer nothing.
    """
    return queries @ minimum_norm(keys, values)
