"""How a learning rate is chosen, and a size: the rule of report and claims, on plain numbers.

Among the settings (learning rate, clip) of one size, those whose runs finished for the most seeds
count; of these the one with the lowest mean error on the selection prompts at the last checkpoint
is chosen. Where sizes are a choice too, it is the one whose chosen setting has the lowest such error.
What is then reported is measured on the report prompts, which played no part.

The best of several trainings is partly luck. A training that helped to choose its own setting therefore makes
the reported error too low. `seeds_to_report` avoids this where there are enough seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeGuard, TypeVar

from bench.results import RunRecord
from bench.results.evaluations import headline, normalised
from bench.results.record import SELECTION

Size = TypeVar("Size")
Setting = tuple[float, ...]
"""The values that are tuned, in the order in which equals are resolved, the lowest first."""
Errors = Mapping[int, float | None]
"""Selection errors by seed; None where a run did not finish. NaN counts as not finished."""
ENOUGH_SEEDS = 3
"""So many seeds can be divided into those that choose and those that are reported."""


def selection_error(result: RunRecord) -> float | None:
    """Normalised headline error of a run on the selection prompts at its end; None unless it finished."""
    if not result.finished or result.last is None:
        return None
    return normalised(result, SELECTION, headline(result, result.last, SELECTION))[0]


def choose(sizes: Mapping[Size, Mapping[Setting, Errors]]) -> tuple[Size, Setting] | None:
    """The size and setting that stand for an architecture on a task.

    Args:
        sizes: the selection errors of each setting by size.

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


def seeds_to_report(settings: Mapping[Setting, Errors], chosen: Setting) -> dict[int, Setting]:
    """The seeds that stand for a cell, each with the setting at which its run is read.

    - Seeds that were trained at the chosen setting only played no part in choosing it. If there are at least
      ENOUGH_SEEDS of them, they are reported alone.
    - Otherwise, if at least ENOUGH_SEEDS seeds were trained at several settings, each of them is reported at
      the setting that the other seeds choose, as in cross-validation.
    - Otherwise all seeds of the chosen setting are reported, and the error is somewhat too low.

    Args:
        settings: the selection errors of each setting of one size.
        chosen: what `choose` has chosen.
    """
    tried = Counter(seed for errors in settings.values() for seed in errors)
    fresh = [seed for seed in settings[chosen] if tried[seed] == 1]
    if len(fresh) >= ENOUGH_SEEDS:
        return dict.fromkeys(fresh, chosen)
    if len(tried) - len(fresh) < ENOUGH_SEEDS:
        return dict.fromkeys(settings[chosen], chosen)
    reported = {}
    for seed in settings[chosen]:
        others = {
            setting: {other: error for other, error in errors.items() if other != seed}
            for setting, errors in settings.items()
            if seed in errors
        }
        choice = choose({None: others})
        reported[seed] = chosen if choice is None else choice[1]
    if not any(_finished(settings[setting][seed]) for seed, setting in reported.items()):
        return dict.fromkeys(settings[chosen], chosen)
    return reported


def _finished(error: float | None) -> TypeGuard[float]:
    return error is not None and math.isfinite(error)


def _rank(setting: Setting, errors: Errors) -> tuple[int, float, Setting]:
    """Sorts the best first: seeds finished (negative), their mean error (infinite without any), values."""
    finished = [error for error in errors.values() if _finished(error)]
    return -len(finished), math.fsum(finished) / len(finished) if finished else math.inf, setting
