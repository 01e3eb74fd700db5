"""Measure a quantity from results.

A number depends on every run that could have been chosen: half of the planned learning rates may give another
choice of the learning rate. So nothing is measured before all runs have finished or diverged.

Several seeds are averaged. The mean is what a researcher who trains once can expect, and a seed that fails
shows in it. `bench.uncertainty` says how certain the number is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bench.check.measurement import Alternative, Measurement, Source, drawn, finite, spread
from bench.check.numbers import NotMeasured, learnable, not_learned, seed_errors
from bench.check.quantity import NOT_SCORED, Quantity
from bench.digits import count_of, error_text, short
from bench.frontier import all_interpolated, error_at, frontier
from bench.models.sizes import Size, size_text
from bench.results import Pool, RunRecord
from bench.results.evaluations import checkpoint_at, trivial_error
from bench.results.flops_axis import axis_flops, mean_flops
from bench.run import Run
from bench.selection import Candidate, Errors, choose, one_seed_less, seeds_to_report, selection_error
from bench.uncertainty import Floats, SeedErrors

MOST_LISTED = 10
"""Seeds whose values a reason lists."""


def measure(
    quantity: Quantity,
    runs: Sequence[Run],
    pool: Pool,
    alternative: Alternative | None = None,
    *,
    learned_next: bool = False,
) -> Measurement | str:
    """The measured number, or the reason why no run has one.

    Args:
        quantity: which number. Its reference (`relative_to`, `minus`) is ignored; see `combine`.
        runs: the planned runs of the quantity, each with a result in `pool`.
        pool: the results.
        alternative: what is read instead of the choice, where it might as well have been chosen.
        learned_next: whether a run that never learned its task counts as one that would have learned it at
            the step after its last. Its step of convergence is infinite otherwise.

    Raises:
        NotMeasured: when the results do not contain such a number.
    """
    candidates = _by_candidate(runs)
    results = {run.id: pool.runs[run.id] for run in runs}
    errors = {
        size: {
            candidate: {run.seed: selection_error(results[run.id]) for run in seeds}
            for candidate, seeds in of_size.items()
        }
        for size, of_size in candidates.items()
    }
    on_frontier = quantity.at_flops is not None
    chosen = _choices(errors, None, on_frontier)
    alternatives = _alternatives(errors, chosen, on_frontier)
    if alternative in alternatives:
        chosen = _choices(errors, alternative, on_frontier)
    diverged = {run.id for run in runs if not results[run.id].finished}
    if not chosen:
        if len(diverged) == len(runs):
            return "the run diverged" if len(runs) == 1 else f"all {len(runs)} runs diverged"
        return f"no run that finished has a number ({len(diverged)} of {count_of(len(runs), 'run')} diverged)"
    reported = [_reported(candidates[choice.size], choice) for choice in chosen]
    finished = [[run for run in seeds if run.id not in diverged] for seeds in reported]
    if on_frontier:
        scored = [[results[run.id] for run in seeds] for seeds in finished]
        lacking = [len(planned) - len(seeds) for planned, seeds in zip(reported, finished, strict=True)]
        measurement = _on_frontier(quantity, scored, lacking, pool)
    else:
        words = _candidate_text(chosen[0].size, chosen[0].candidate, candidates)
        words += _other_candidates_text(finished[0], chosen[0].candidate)
        diverged_seeds = len(reported[0]) - len(finished[0])
        measurement = _of_seeds(quantity, finished[0], diverged_seeds, words, pool, learned_next)
    return replace(measurement, alternatives=alternatives)


_Errors = Mapping[Size, Mapping[Candidate, Errors]]
"""Errors on the validation prompts by size and candidate."""


class _Choice(NamedTuple):
    """The size and the candidate that are chosen.

    Attributes:
        seeds: each reported seed with the candidate at which its run is read (`seeds_to_report`).
    """

    size: Size
    candidate: Candidate
    seeds: tuple[tuple[int, Candidate], ...]


def _choices(errors: _Errors, alternative: Alternative | None, of_each_size: bool) -> tuple[_Choice, ...]:
    """The choice among all sizes, or that of each size, because a frontier needs every size.

    Args:
        errors: of every size and candidate.
        alternative: what is read instead of a choice.
        of_each_size: whether each size has a choice.
    """
    groups = [{size: of_size} for size, of_size in errors.items()] if of_each_size else [errors]
    choices = (_choice(group, alternative) for group in groups)
    return tuple(choice for choice in choices if choice is not None)


def _choice(sizes: _Errors, alternative: Alternative | None) -> _Choice | None:
    """What is read of some sizes; None if no run finished."""
    if alternative and not alternative.is_equal and alternative.size in sizes:
        size, candidate, _ = alternative
        return _Choice(size, candidate, tuple((seed, candidate) for seed in sizes[size][candidate]))
    preferred = alternative[:2] if alternative and alternative.is_equal else None
    chosen = choose(sizes, preferred)
    if chosen is None:
        return None
    size, candidate = chosen
    seeds = seeds_to_report(sizes[size], candidate, preferred and preferred[1])
    return _Choice(size, candidate, tuple(seeds.items()))


def _alternatives(
    errors: _Errors, chosen: tuple[_Choice, ...], of_each_size: bool
) -> tuple[Alternative, ...]:
    """The sizes and candidates that might as well have been chosen, equals first."""
    every = [Alternative(size, candidate, True) for size, of_size in errors.items() for candidate in of_size]
    equals = {_choices(errors, equal, of_each_size): equal for equal in every}
    equals.pop(chosen, None)
    others = [
        Alternative(size, candidate, False)
        for choice in chosen
        for sizes in [{choice.size: errors[choice.size]} if of_each_size else errors]
        for size, candidate in one_seed_less(sizes, (choice.size, choice.candidate))
    ]
    return (*equals.values(), *others)


def _by_candidate(runs: Sequence[Run]) -> dict[Size, dict[Candidate, list[Run]]]:
    """The runs, one per seed, of every candidate of every size."""
    candidates: dict[Size, dict[Candidate, list[Run]]] = {}
    for run in runs:
        candidates.setdefault(run.size, {}).setdefault((run.learning_rate, run.clip), []).append(run)
    return candidates


def _of_seeds(
    quantity: Quantity,
    finished: Sequence[Run],
    diverged: int,
    choice: Sequence[str],
    pool: Pool,
    learned_next: bool,
) -> Measurement:
    """The measurement of one candidate.

    Args:
        quantity: which number.
        finished: the runs that finished, one per seed.
        diverged: number of seeds that diverged.
        choice: the candidate and how it was chosen, in words.
        pool: the results.
        learned_next: as in `measure`.
    """
    scored = [pool.runs[run.id] for run in finished]
    model = _seed_errors(quantity, scored, pool, learned_next)
    by_seed = {run.seed: float(value) for run, value in zip(finished, model.means, strict=True)}
    if quantity.over_seeds == "lowest":
        scored = [scored[model.means.argmin()]]
        model = _seed_errors(quantity, scored, pool, learned_next)
    share = not_learned(quantity, scored)
    draws, draws_of_runs = drawn(model, training=True), drawn(model, training=False)
    return Measurement(
        value=model.mean,
        draws=draws,
        draws_of_runs=draws_of_runs,
        chosen=_choice_text(quantity, choice, by_seed, diverged),
        run_ids=tuple(run.id for run in finished),
        standard_error=_standard_error(model, draws, training=True),
        prompt_error=_standard_error(model, draws_of_runs, training=False),
        over=_drawn_over(quantity, model, training=True),
        over_of_runs=_drawn_over(quantity, model, training=False),
        seeds=len(finished),
        independent_prompts=math.inf if quantity.of in NOT_SCORED else model.independent_prompts,
        by_seed=by_seed,
        unit=model.unit,
        answer=model.answer,
        diverged=diverged,
        unlearned=int(np.isinf(model.means).sum()),
        not_learned=share,
        at_best=_is_best(quantity, model, share),
    )


def _standard_error(model: SeedErrors, draws: Floats, training: bool) -> float | None:
    """The standard error of a mean, of which these are the draws; None if it is infinite or no number."""
    if not math.isfinite(model.mean):
        return None
    if model.is_coarse(training):
        return spread(draws)
    return finite(model.standard_error if training else model.prompt_error)


def _drawn_over(quantity: Quantity, model: SeedErrors, training: bool) -> frozenset[Source]:
    """What draws of one candidate vary over."""
    over: set[Source] = set()
    if quantity.of not in NOT_SCORED:
        over.add("prompts")
    is_exact = quantity.of == "training_flops" and (model.means == model.means[0]).all()
    if training and len(model.means) > 1 and not is_exact:
        over.add("trainings")
    if model.is_coarse(training) and math.isfinite(model.mean):
        over.add("positions left out" if quantity.of == "horizon" else "steps between checks")
    return frozenset(over)


def _seed_errors(
    quantity: Quantity, scored: Sequence[RunRecord], pool: Pool, learned_next: bool
) -> SeedErrors:
    """The number of each seed. The last argument is that of `measure`."""
    model = seed_errors(quantity, scored, pool)
    if not learned_next:
        return model
    next_steps = np.array([float(result.last_step + 1) for result in scored])
    return replace(model, means=np.where(np.isinf(model.means), next_steps, model.means))


def _is_best(quantity: Quantity, model: SeedErrors, not_learned: float | None) -> bool:
    """`Measurement.at_best` of one candidate.

    Args:
        quantity: which number.
        model: the number of each seed.
        not_learned: as in `Measurement`.
    """
    if quantity.of == "horizon":
        return model.mean == model.limits[1]
    return not_learned == 0 and quantity.of != "convergence_step"


def _reported(candidates: Mapping[Candidate, Sequence[Run]], choice: _Choice) -> list[Run]:
    """The reported runs of one size, one per seed."""
    runs = {(candidate, run.seed): run for candidate, seeds in candidates.items() for run in seeds}
    return [runs[candidate, seed] for seed, candidate in choice.seeds]


def _on_frontier(
    quantity: Quantity, chosen: Sequence[Sequence[RunRecord]], diverged: Sequence[int], pool: Pool
) -> Measurement:
    """The frontier's error at a budget, over all checkpoints of each size's chosen runs.

    Args:
        quantity: with `at_flops`, the budget.
        chosen: for each size, the finished runs of its chosen candidate, one per seed.
        diverged: for each size, the number of seeds of this candidate that diverged.
        pool: the results.

    Raises:
        NotMeasured: the budget lies outside the frontier.
    """
    assert quantity.at_flops is not None
    models: dict[tuple[float, float], SeedErrors] = {}
    diverged_by_error: dict[float, int] = {}
    for seeds, count in zip(chosen, diverged, strict=True):
        of_size = _checkpoint_errors(quantity, seeds, pool)
        models |= of_size
        diverged_by_error |= dict.fromkeys((error for _, error in of_size), count)
    line = frontier(models)
    budget = quantity.at_flops
    value = error_at(line, budget)
    if value is None:
        budgets = f"{line[0][0]:.2g} to {line[-1][0]:.2g}" if line else "nothing"
        raise NotMeasured(f"the frontier spans {budgets} FLOPs, {budget:.2g} lies outside")
    # Beyond its last improvement a frontier has the error of that point.
    by_error = {model.mean: model for model in models.values()}
    left = [point for point in line if point[0] <= budget][-1]
    right = next((point for point in line if point[0] >= budget), left)
    ends = [by_error[error] for _, error in (left, right)]
    # Seeds of other sizes that diverged do not matter: without them these sizes are no better than the line.
    diverged_at_ends = max(diverged_by_error[error] for _, error in (left, right))
    draws, draws_of_runs = (
        _between(left[0], drawn(ends[0], training), right[0], drawn(ends[1], training), budget)
        for training in (True, False)
    )
    floor, span = learnable(quantity, chosen[0][0], pool) if quantity.of == "excess" else (0.0, 1.0)
    draws, draws_of_runs = (draws - floor) / span, (draws_of_runs - floor) / span
    return Measurement(
        value=(value - floor) / span,
        draws=draws,
        draws_of_runs=draws_of_runs,
        chosen=f"(frontier of {count_of(len(chosen), 'size')} at {budget:.2g} FLOPs)",
        run_ids=tuple(result.id for seeds in chosen for result in seeds),
        standard_error=spread(draws),
        prompt_error=spread(draws_of_runs),
        over=frozenset(
            {"prompts", "trainings"} if any(len(model.means) > 1 for model in ends) else {"prompts"}
        ),
        seeds=min(len(model.means) for model in ends),
        independent_prompts=min(model.independent_prompts for model in ends),
        diverged=diverged_at_ends,
        not_learned=value / trivial_error(chosen[0][0], quantity.evaluation, quantity.at),
        at_best=value == 0,
    )


def _checkpoint_errors(
    quantity: Quantity, seeds: Sequence[RunRecord], pool: Pool
) -> dict[tuple[float, float], SeedErrors]:
    """The errors of each checkpoint of one size, by FLOPs and mean error; only those that are finite."""
    models: dict[tuple[float, float], SeedErrors] = {}
    for checkpoint in seeds[0].checkpoints:
        # The last checkpoints belong together: seeds that stop after convergence end at different steps.
        step = None if checkpoint is seeds[0].last else checkpoint.step
        model = seed_errors(quantity.model_copy(update={"step": step, "of": "error"}), seeds, pool)
        if math.isfinite(model.mean):
            checkpoints = [checkpoint_at(result, step) for result in seeds]
            flops = [axis_flops(reached) for reached in checkpoints if reached is not None]
            models[float(mean_flops(flops)), model.mean] = model
    return models


def _between(left: float, before: Floats, right: float, after: Floats, budget: float) -> Floats:
    """Drawn errors between two points of a frontier, on the line between them where both are above 0.

    Args:
        left: FLOPs of the first point.
        before: its errors, (DRAWS,).
        right: FLOPs of the second point.
        after: its errors, (DRAWS,).
        budget: FLOPs from left to right.
    """
    has_line = (before > 0) & (after > 0)
    start, end = (np.where(has_line, errors, 1.0) for errors in (before, after))
    line = all_interpolated(left, start, right, end, budget)
    return np.where(has_line, line, before if budget < right else after)


def _candidate_text(
    size: Size, candidate: Candidate, candidates: Mapping[Size, Mapping[Candidate, Sequence[Run]]]
) -> list[str]:
    """A size and a candidate in words; with the number of candidates, and of sizes, if there are several."""
    rate, clip = candidate
    words = [size_text(size), f"learning rate {short(rate)}{_edge_text(rate, candidates[size])}"]
    words.append(f"clip {short(clip)}")
    count = sum(map(len, candidates.values()))
    if count == 1:
        return words
    sizes = f" of {len(candidates)} sizes" if len(candidates) > 1 else ""
    return [*words, f"best of {count_of(count, 'candidate')}{sizes}"]


def _edge_text(rate: float, candidates: Iterable[Candidate]) -> str:
    """Whether a chosen learning rate is at an edge of its grid, in words: a better one may lie beyond."""
    rates = sorted({other for other, _ in candidates})
    if len(rates) == 1 or rate not in (rates[0], rates[-1]):
        return ""
    return f" ({'lowest' if rate == rates[0] else 'highest'} of {len(rates)})"


def _other_candidates_text(reported: Sequence[Run], chosen: Candidate) -> list[str]:
    """The seeds that are read at another candidate than the chosen one (`seeds_to_report`), in words."""
    words = []
    for run in reported:
        rate, clip = run.learning_rate, run.clip
        if (rate, clip) != chosen:
            clip_text = f" and clip {short(clip)}" if clip != chosen[1] else ""
            words.append(f"seed {run.seed} at {short(rate)}{clip_text}, which the other seeds choose")
    return words


def _choice_text(
    quantity: Quantity, choice: Sequence[str], by_seed: Mapping[int, float], diverged: int
) -> str:
    """The candidate in words, and the value of each seed where they are not too many to read."""
    words = list(choice)
    if diverged:
        words.append(f"{diverged} of {count_of(len(by_seed) + diverged, 'seed')} diverged")
    if len(by_seed) > 1:
        listed = f": {', '.join(map(_seed_text, by_seed.values()))}" if len(by_seed) <= MOST_LISTED else ""
        words.append(f"{quantity.over_seeds} of {len(by_seed)} seeds{listed}")
    return f"({', '.join(words)})"


def _seed_text(value: float) -> str:
    """The value of one seed: a whole number, such as a step, in full."""
    if not math.isfinite(value):
        return "never"
    return f"{value:.0f}" if value.is_integer() else error_text(value)
