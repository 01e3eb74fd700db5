"""The rule by which reports and claims choose a learning rate, and a size, on plain numbers.

A setting is a learning rate and a clip. Among the settings of one size, those with the most finished seeds
are compared. The one with the lowest mean error on the validation prompts at the last checkpoint is chosen;
of settings with equal errors, the one with the lowest learning rate, then the lowest clip. Where sizes are a
choice too, the size is chosen whose chosen setting has the lowest such error; of equal sizes, the first. A
claim that depends on a choice among equals, or on a choice that is another one without one of the seeds, is
undecided (`bench.check.verdicts`). What is reported is then measured on the test prompts, which have no part
in the choice.

The best of several trainings is partly luck. A training that helped to choose its own setting therefore makes
the reported error too low. `seeds_to_report` avoids this where there are enough seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeGuard, TypeVar

from bench.results import RunRecord
from bench.results.evaluations import error_at
from bench.results.record import SELECTION

Size = TypeVar("Size")
TunedValues = tuple[float, ...]
"""A setting: learning rate and clip."""
Errors = Mapping[int, float | None]
"""Errors on the validation prompts by seed; None where a run did not finish. NaN counts as not finished."""
ENOUGH_SEEDS = 3
"""Smallest number of seeds from which some can choose and others be reported."""


def selection_error(result: RunRecord) -> float | None:
    """Normalised headline error of a run on the validation prompts at its end; None unless it finished."""
    if not result.finished or result.last is None:
        return None
    return error_at(result, result.last, SELECTION)[0]


def choose(
    sizes: Mapping[Size, Mapping[TunedValues, Errors]], preferred: tuple[Size, TunedValues] | None = None
) -> tuple[Size, TunedValues] | None:
    """The size and setting that stand for an architecture on a task.

    Args:
        sizes: the errors of each setting by size.
        preferred: the size to choose if it is one of several equal ones, and the setting likewise; by
            default the first of these sizes, and the lowest of these settings.

    Returns:
        None when no run finished.
    """
    preferred_size, preferred_setting = preferred or (None, None)
    best = {
        size: min(_rank(setting, errors, preferred_setting) for setting, errors in settings.items())
        for size, settings in sizes.items()
        if settings
    }
    if not best:
        return None
    size = min(best, key=lambda size: (best[size].error, size != preferred_size))
    return None if math.isinf(best[size].error) else (size, best[size].setting)


def equals_of(settings: Mapping[TunedValues, Errors], chosen: TunedValues) -> list[TunedValues]:
    """The other settings of one size that the validation prompts cannot tell from the chosen one."""
    best = _rank(chosen, settings[chosen])[:2]
    return [
        setting
        for setting, errors in settings.items()
        if setting != chosen and _rank(setting, errors)[:2] == best
    ]


def seeds_to_report(
    settings: Mapping[TunedValues, Errors], chosen: TunedValues, preferred: TunedValues | None = None
) -> dict[int, TunedValues]:
    """The seeds whose errors are reported for one size, each with the setting of the run that is read.

    - Seeds that were trained at the chosen setting only played no part in choosing it. If there are at least
      ENOUGH_SEEDS of them, they are reported alone.
    - Otherwise, if at least ENOUGH_SEEDS seeds were trained at several settings, each of them is reported at
      the setting that the other seeds choose, as in cross-validation.
    - Otherwise all seeds of the chosen setting are reported, and the error is somewhat too low.

    Args:
        settings: the errors of each setting of one size.
        chosen: what `choose` has chosen.
        preferred: the setting that other seeds choose for a seed if it is one of several equals.
    """
    tried = Counter(seed for errors in settings.values() for seed in errors)
    fresh = [seed for seed in settings[chosen] if tried[seed] == 1]
    if len(fresh) >= ENOUGH_SEEDS:
        return dict.fromkeys(fresh, chosen)
    if len(tried) - len(fresh) < ENOUGH_SEEDS:
        return dict.fromkeys(settings[chosen], chosen)
    reported = {}
    for seed in settings[chosen]:
        others = _without(seed, {setting: errors for setting, errors in settings.items() if seed in errors})
        choice = choose({None: others}, None if preferred is None else (None, preferred))
        reported[seed] = chosen if choice is None else choice[1]
    if not any(_finished(settings[setting][seed]) for seed, setting in reported.items()):
        return dict.fromkeys(settings[chosen], chosen)
    return reported


def one_seed_less(
    sizes: Mapping[Size, Mapping[TunedValues, Errors]], chosen: tuple[Size, TunedValues]
) -> tuple[tuple[Size, TunedValues], ...]:
    """The other sizes and settings that are chosen if one of the seeds is left out.

    Nothing unless at least ENOUGH_SEEDS seeds were trained at every setting of every size.

    Args:
        sizes: the errors of each setting by size.
        chosen: what `choose` has chosen.
    """
    trained = [set(errors) for settings in sizes.values() for errors in settings.values()]
    seeds = set.intersection(*trained)
    if len(seeds) < ENOUGH_SEEDS:
        return ()
    choices = []
    for seed in sorted(seeds):
        rest = {size: _without(seed, settings) for size, settings in sizes.items()}
        choices.append(choose(rest, chosen))
    return tuple(dict.fromkeys(choice for choice in choices if choice is not None and choice != chosen))


def _without(seed: int, settings: Mapping[TunedValues, Errors]) -> dict[TunedValues, Errors]:
    """The errors of each setting, without those of a seed."""
    return {
        setting: {other: error for other, error in errors.items() if other != seed}
        for setting, errors in settings.items()
    }


def _finished(error: float | None) -> TypeGuard[float]:
    return error is not None and math.isfinite(error)


class _Rank(NamedTuple):
    """The rank of a setting; the best is the lowest.

    Attributes:
        minus_finished: the number of seeds that finished, negated.
        error: their mean error; infinite if none finished.
        is_another: whether another setting is preferred among equals.
        setting: the values, which decide between equals.
    """

    minus_finished: int
    error: float
    is_another: bool
    setting: TunedValues


def _rank(setting: TunedValues, errors: Errors, preferred: TunedValues | None = None) -> _Rank:
    finished = [error for error in errors.values() if _finished(error)]
    error = math.fsum(finished) / len(finished) if finished else math.inf
    return _Rank(-len(finished), error, setting != preferred, setting)
