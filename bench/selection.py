"""The rule by which reports and claims choose a learning rate, a clip and a size, on plain numbers.

A candidate is a learning rate and a clip. For one size, the rule is:

1. Only the candidates with the most finished seeds are compared.
2. The candidate with the lowest mean error on the validation prompts at the last checkpoint is chosen.
3. Of candidates with equal errors, the lowest learning rate is chosen, then the lowest clip.

If a size is to be chosen too, it is the size whose chosen candidate has the lowest error; of equal sizes, the
first. Every reported error is then measured on the test prompts, which do not affect the choice. A claim is
undecided if it depends on a choice among equals, or on a choice that would change without one of the seeds
(`bench.check.verdicts`).

The best of several trainings is partly luck. If a training helped to choose its own candidate, the reported
error is therefore too low. `seeds_to_report` avoids this if there are enough seeds.
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
Candidate = tuple[float, ...]
"""A learning rate and a clip. One pair is chosen for each size."""
Errors = Mapping[int, float | None]
"""Errors on the validation prompts by seed; None where a run did not finish. NaN counts as not finished."""
ENOUGH_SEEDS = 3
"""Smallest number of seeds that are reported without those that chose the candidate."""


def selection_error(result: RunRecord) -> float | None:
    """Normalised headline error of a run on the validation prompts at its end; None if it did not finish."""
    if not result.finished or result.last is None:
        return None
    return error_at(result, result.last, SELECTION)[0]


def choose(
    sizes: Mapping[Size, Mapping[Candidate, Errors]], preferred: tuple[Size, Candidate] | None = None
) -> tuple[Size, Candidate] | None:
    """The size and the candidate that represent an architecture on a task; None if no run finished.

    Args:
        sizes: the errors of each candidate by size.
        preferred: the size to choose if it is one of several equal ones, and the candidate likewise; by
            default the first of these sizes, and the lowest of these candidates.
    """
    preferred_size, preferred_candidate = preferred or (None, None)
    best = {
        size: min(_rank(candidate, errors, preferred_candidate) for candidate, errors in candidates.items())
        for size, candidates in sizes.items()
        if candidates
    }
    if not best:
        return None
    size = min(best, key=lambda size: (best[size].error, size != preferred_size))
    return None if math.isinf(best[size].error) else (size, best[size].candidate)


def equals_of(candidates: Mapping[Candidate, Errors], chosen: Candidate) -> list[Candidate]:
    """The other candidates of one size whose validation error is equal to that of the chosen candidate."""
    best = _rank(chosen, candidates[chosen])[:2]
    return [
        candidate
        for candidate, errors in candidates.items()
        if candidate != chosen and _rank(candidate, errors)[:2] == best
    ]


def seeds_to_report(
    candidates: Mapping[Candidate, Errors], chosen: Candidate, preferred: Candidate | None = None
) -> dict[int, Candidate]:
    """The seeds whose errors are reported for one size, each with the candidate of the run that is read.

    - A seed that was trained only at the chosen candidate did not compare candidates. If there are at least
      ENOUGH_SEEDS such seeds, only these are reported.
    - Otherwise, if at least ENOUGH_SEEDS seeds were trained at several candidates, each seed is reported at
      the candidate that the other seeds choose, as in cross-validation.
    - Otherwise all seeds of the chosen candidate are reported, and the error is somewhat too low.

    Args:
        candidates: the errors of each candidate of one size.
        chosen: what `choose` has chosen.
        preferred: the candidate to choose if it is one of several equals.
    """
    tried = Counter(seed for errors in candidates.values() for seed in errors)
    fresh = [seed for seed in candidates[chosen] if tried[seed] == 1]
    if len(fresh) >= ENOUGH_SEEDS:
        return dict.fromkeys(fresh, chosen)
    if len(tried) - len(fresh) < ENOUGH_SEEDS:
        return dict.fromkeys(candidates[chosen], chosen)
    reported = {}
    for seed in candidates[chosen]:
        others = _without(
            seed, {candidate: errors for candidate, errors in candidates.items() if seed in errors}
        )
        choice = choose({None: others}, None if preferred is None else (None, preferred))
        reported[seed] = chosen if choice is None else choice[1]
    if not any(_finished(candidates[candidate][seed]) for seed, candidate in reported.items()):
        return dict.fromkeys(candidates[chosen], chosen)
    return reported


def one_seed_less(
    sizes: Mapping[Size, Mapping[Candidate, Errors]], chosen: tuple[Size, Candidate]
) -> tuple[tuple[Size, Candidate], ...]:
    """The other sizes and candidates that would be chosen without one of the seeds.

    Empty if fewer than ENOUGH_SEEDS seeds were trained at every candidate of every size.

    Args:
        sizes: the errors of each candidate by size.
        chosen: what `choose` has chosen.
    """
    trained = [set(errors) for candidates in sizes.values() for errors in candidates.values()]
    seeds = set.intersection(*trained)
    if len(seeds) < ENOUGH_SEEDS:
        return ()
    choices = []
    for seed in sorted(seeds):
        rest = {size: _without(seed, candidates) for size, candidates in sizes.items()}
        choices.append(choose(rest, chosen))
    return tuple(dict.fromkeys(choice for choice in choices if choice is not None and choice != chosen))


def _without(seed: int, candidates: Mapping[Candidate, Errors]) -> dict[Candidate, Errors]:
    """The errors of each candidate, without those of a seed."""
    return {
        candidate: {other: error for other, error in errors.items() if other != seed}
        for candidate, errors in candidates.items()
    }


def _finished(error: float | None) -> TypeGuard[float]:
    return error is not None and math.isfinite(error)


class _Rank(NamedTuple):
    """The rank of a candidate; the best is the lowest.

    Attributes:
        minus_finished: the number of seeds that finished, negated.
        error: their mean error; infinite if none finished.
        is_another: whether another candidate is preferred among equals.
        candidate: the learning rate and the clip, which decide between equals.
    """

    minus_finished: int
    error: float
    is_another: bool
    candidate: Candidate


def _rank(candidate: Candidate, errors: Errors, preferred: Candidate | None = None) -> _Rank:
    finished = [error for error in errors.values() if _finished(error)]
    error = math.fsum(finished) / len(finished) if finished else math.inf
    return _Rank(-len(finished), error, candidate != preferred, candidate)
