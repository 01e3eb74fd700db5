"""How a learning rate is chosen, and a size: the report's rule, on plain numbers.

Among the settings (learning rate, clip) of one size, those whose runs finished for the most seeds
count; of these the one with the lowest mean error on the selection prompts at the last checkpoint
is chosen. Where sizes are a choice too, it is the one whose chosen setting has the lowest such error.
What is then reported is measured on the report prompts, which played no part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from bench.results import RunRecord
from bench.results.evaluations import headline, normalised
from bench.results.record import SELECTION

Size = TypeVar("Size")
Setting = tuple[float, ...]
"""The values that are tuned, in the order in which equals are resolved, the lowest first."""
Errors = Sequence[float | None]


def selection_error(result: RunRecord) -> float | None:
    """Normalised headline error of a run on the selection prompts at its end; None unless it finished."""
    if not result.finished or result.last is None:
        return None
    return normalised(result, SELECTION, headline(result, result.last, SELECTION))[0]


def choose(sizes: Mapping[Size, Mapping[Setting, Errors]]) -> tuple[Size, Setting] | None:
    """The size and setting that stand for an architecture on a task.

    Args:
        sizes: by size and setting, the selection errors of the setting's seeds; None where a run
            did not finish. An error that is not a number counts as not finished.

    Returns:
        None when no run finished.
    """
    ranks = {
        (size, setting): _rank(setting, errors)
        for size, settings in sizes.items()
        if (setting := min(settings, key=lambda key: _rank(key, settings[key]), default=None)) is not None
        for errors in (settings[setting],)
    }
    chosen = min(ranks, key=lambda key: ranks[key][1], default=None)
    return None if chosen is None or math.isinf(ranks[chosen][1]) else chosen


def _rank(setting: Setting, errors: Errors) -> tuple[int, float, Setting]:
    """Sorts the best first: seeds finished (negative), their mean error (infinite without any), values."""
    finished = [error for error in errors if error is not None and math.isfinite(error)]
    return -len(finished), math.fsum(finished) / len(finished) if finished else math.inf, setting
