"""Measure a quantity from results.

A number depends on every run that could have been chosen: half of the planned learning rates may give another
choice of the learning rate. So nothing is measured before all runs have finished or diverged.

Several seeds are averaged. The mean is what a researcher who trains once can expect, and a seed that fails
shows in it. `bench.uncertainty` says how certain the number is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from bench.check.quantity import Quantity
from bench.check.readiness import count_of
from bench.digits import error_text, plus_minus
from bench.frontier import error_at, frontier
from bench.models.sizes import Size
from bench.results import Pool, RunRecord
from bench.results.evaluations import (
    NOTHING,
    Number,
    answers,
    axis_flops,
    checkpoint_at,
    convergence_step,
    convergence_unit,
    floor_error,
    horizon,
    horizon_unit,
    horizons,
    mean_flops,
    metric,
    normalised,
    number,
    prompt_errors,
    scale,
    trivial_error,
)
from bench.results.record import MAIN
from bench.run import Run, short
from bench.selection import Errors, TunedValues, choose, seeds_to_report, selection_error
from bench.uncertainty import DRAWS, Floats, SeedErrors

Preferred = tuple[Size, TunedValues]
"""A size and a setting that are read where they are among equals (`bench.selection.choose`)."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measured number.

    Attributes:
        value: the mean, or the lowest, over the seeds that finished; NaN if a seed's number is NaN.
        draws: what the value might have been on other prompts, after other trainings, (DRAWS,). A step of
            convergence that was never reached is infinite.
        draws_of_runs: the same for these very models: on other prompts only.
        chosen: the setting and how it was chosen, in words.
        run_ids: the runs from which the value was read.
        standard_error: of the value, over prompts and, with several seeds, over training; None if unknown.
        seeds: number of seeds of the chosen setting that finished.
        by_seed: the value of each seed that finished; empty if several settings were combined.
        unit: as in `SeedErrors`.
        diverged: number of seeds of the chosen setting that diverged.
        not_learned: the mean error over seeds, as a share of the trivial predictor's; of two combined
            measurements, the lower one. For a step of convergence: 0 if every seed converged, else 1. None
            for a number that does not depend on learning (FLOPs).
        without_error: whether none of the models makes an error on its prompts, so that none can be better.
        equals: sizes and settings that the validation prompts cannot tell from those that are read, for the
            choice, or for a seed at the setting that the other seeds choose.
        infinite: a word for an infinite value: a step that was never reached, or a ratio to 0.
        undefined: why two numbers have no ratio or no difference; None if they have one.
    """

    value: float
    draws: Floats
    draws_of_runs: Floats
    chosen: str
    run_ids: tuple[str, ...]
    standard_error: float | None = None
    seeds: int = 1
    by_seed: Mapping[int, float] = field(default_factory=dict)
    unit: float = 0.0
    diverged: int = 0
    not_learned: float | None = None
    without_error: bool = False
    equals: tuple[Preferred, ...] = ()
    infinite: str = "never"
    undefined: str | None = None

    def text(self, name: str = "") -> str:
        """The value, its standard error and its setting in words, after a name if there is one."""
        error = math.nan if self.standard_error is None else self.standard_error
        number = plus_minus(self.value, error) if math.isfinite(self.value) else self.infinite
        value = f"{number} {self.chosen}"
        return f"{name}: {value}" if name else value


MOST_LISTED = 10
"""Seeds whose values a reason lists."""


class NotMeasured(Exception):
    """The results do not contain the number, because they are too old or their task has no such number."""


def measure(
    quantity: Quantity, runs: Sequence[Run], pool: Pool, preferred: Preferred | None = None
) -> Measurement | str:
    """The measured number, or the reason why no run has one.

    Args:
        quantity: which number. Its reference (`relative_to`, `minus`) is ignored; see `combine`.
        runs: the planned runs of the quantity, each with a result in `pool`.
        pool: the results.
        preferred: the size and the setting to choose where they are among equals.

    Raises:
        NotMeasured: when the results do not contain such a number.
    """
    settings = _by_setting(runs)
    results = {run.id: pool.runs[run.id] for run in runs}
    errors = {
        size: {
            setting: {run.seed: selection_error(results[run.id]) for run in seeds}
            for setting, seeds in of_size.items()
        }
        for size, of_size in settings.items()
    }
    on_frontier = quantity.at_flops is not None
    chosen = _choices(errors, preferred, on_frontier)
    diverged = {run.id for run in runs if not results[run.id].finished}
    if not chosen:
        if len(diverged) == len(runs):
            return "the run diverged" if len(runs) == 1 else f"all {len(runs)} runs diverged"
        return f"no run that finished has a number ({len(diverged)} of {count_of(len(runs), 'run')} diverged)"
    reported = [_reported(settings[choice.size], choice) for choice in chosen]
    finished = [[run for run in seeds if run.id not in diverged] for seeds in reported]
    if on_frontier:
        measurement = _on_frontier(quantity, [[results[run.id] for run in seeds] for seeds in finished], pool)
    else:
        words = _setting_text(chosen[0].size, chosen[0].setting, sum(map(len, settings.values())))
        words += _other_settings_text(finished[0], chosen[0].setting)
        measurement = _of_seeds(quantity, finished[0], len(reported[0]) - len(finished[0]), words, pool)
    every = [(size, setting) for size, of_size in errors.items() for setting in of_size]
    others = {_choices(errors, choice, on_frontier): choice for choice in every}
    others.pop(chosen, None)
    return replace(measurement, equals=tuple(others.values()))


class _Choice(NamedTuple):
    """The size and the setting that are chosen.

    Attributes:
        seeds: each reported seed with the setting at which its run is read (`seeds_to_report`).
    """

    size: Size
    setting: TunedValues
    seeds: tuple[tuple[int, TunedValues], ...]


def _choices(
    errors: Mapping[Size, Mapping[TunedValues, Errors]], preferred: Preferred | None, of_each_size: bool
) -> tuple[_Choice, ...]:
    """The choice among all settings; or that of each size, because a frontier needs every size."""
    groups = [{size: of_size} for size, of_size in errors.items()] if of_each_size else [errors]
    chosen = filter(None, (choose(group, preferred) for group in groups))
    among_equals = preferred and preferred[1]
    return tuple(
        _Choice(size, setting, tuple(seeds_to_report(errors[size], setting, among_equals).items()))
        for size, setting in chosen
    )


def _by_setting(runs: Sequence[Run]) -> dict[Size, dict[TunedValues, list[Run]]]:
    """The runs, one per seed, of every setting of every size."""
    settings: dict[Size, dict[TunedValues, list[Run]]] = {}
    for run in runs:
        settings.setdefault(run.size, {}).setdefault((run.learning_rate, run.clip), []).append(run)
    return settings


def _of_seeds(
    quantity: Quantity, finished: Sequence[Run], diverged: int, choice: Sequence[str], pool: Pool
) -> Measurement:
    """The measurement of one setting.

    Args:
        quantity: which number.
        finished: the runs that finished, one per seed.
        diverged: number of seeds that diverged.
        choice: the setting and how it was chosen, in words.
        pool: the results.
    """
    scored = [pool.runs[run.id] for run in finished]
    model = _seed_errors(quantity, scored, pool)
    by_seed = {run.seed: float(value) for run, value in zip(finished, model.means, strict=True)}
    if quantity.over_seeds == "lowest":
        scored = [scored[model.means.argmin()]]
        model = _seed_errors(quantity, scored, pool)
    not_learned = _not_learned(quantity, scored)
    return Measurement(
        value=model.mean,
        draws=_draws(model, training=True),
        draws_of_runs=_draws(model, training=False),
        chosen=_choice_text(quantity, choice, by_seed, diverged),
        run_ids=tuple(run.id for run in finished),
        standard_error=_finite(model.standard_error) if math.isfinite(model.mean) else None,
        seeds=len(finished),
        by_seed=by_seed,
        unit=model.unit,
        diverged=diverged,
        not_learned=not_learned,
        without_error=not_learned == 0 and quantity.of != "convergence_step",
    )


def _reported(settings: Mapping[TunedValues, Sequence[Run]], choice: _Choice) -> list[Run]:
    """The reported runs of one size, one per seed."""
    runs = {(setting, run.seed): run for setting, seeds in settings.items() for run in seeds}
    return [runs[setting, seed] for seed, setting in choice.seeds]


def _seed_errors(quantity: Quantity, results: Sequence[RunRecord], pool: Pool) -> SeedErrors:
    """The number of each of several seeds, on each prompt where results keep that."""
    values, prompt_errors = zip(*(_number(quantity, result, pool) for result in results), strict=True)
    read = (quantity.of, quantity.evaluation, quantity.at, quantity.step)
    return SeedErrors(
        # Two numbers of the same models need not vary together.
        key=" ".join([*(result.id for result in results), *map(str, read)]),
        means=np.array(values),
        prompt_errors=np.array(prompt_errors),
        prompts=results[0].prompts[MAIN].sha256,
        per_prompt=_per_prompt(quantity, results, pool),
        limits=_limits(quantity, results[0]),
        unit=_unit(quantity, results[0]),
        answer=_answer(quantity, results[0]),
    )


def _limits(quantity: Quantity, result: RunRecord) -> tuple[float, float]:
    """The lowest and the highest number that there can be, as far as that is known."""
    if quantity.of in ("error", "score") and metric(result, quantity.evaluation) == "accuracy":
        return 0.0, 1.0
    checkpoint = checkpoint_at(result, quantity.step)
    if quantity.of == "horizon" and checkpoint is not None:
        return 0.0, float(horizons(result, checkpoint, quantity.evaluation)[-1])
    return -math.inf, math.inf


def _answer(quantity: Quantity, result: RunRecord) -> float:
    """`SeedErrors.answer` of seeds that have the number of this result."""
    checkpoint = checkpoint_at(result, quantity.step)
    is_share = quantity.of in ("error", "score") and metric(result, quantity.evaluation) == "accuracy"
    if checkpoint is None or not is_share:
        return 0.0
    one = 1 / answers(result, checkpoint, quantity.evaluation, quantity.at)
    return one if quantity.of == "error" else -one


def _unit(quantity: Quantity, result: RunRecord) -> float:
    """`SeedErrors.unit` of seeds that have the number of this result."""
    checkpoint = checkpoint_at(result, quantity.step)
    if quantity.of == "horizon" and checkpoint is not None:
        return float(horizon_unit(result, checkpoint, quantity.evaluation))
    return float(convergence_unit(result)) if quantity.of == "convergence_step" else 0.0


def _per_prompt(quantity: Quantity, results: Sequence[RunRecord], pool: Pool) -> Floats | None:
    """The number on each prompt, (seeds, prompts); None where results do not keep it."""
    first = results[0]
    is_headline = quantity.at in ("headline", first.facts.headline or "mean")
    at_the_end = all(checkpoint_at(result, quantity.step) is result.last for result in results)
    if not (is_headline and at_the_end and quantity.evaluation == MAIN and quantity.of in PER_PROMPT):
        return None
    errors = [prompt_errors(result) for result in results]
    kept = [values for values in errors if values is not None]
    if len(kept) < len(errors) or len({len(values) for values in kept}) > 1:
        return None
    values: Floats = np.stack(kept)
    if quantity.of == "score":
        return 1.0 - values if first.facts.metric == "accuracy" else values * scale(first)
    if quantity.of == "error":
        return values
    floor, span = _learnable(quantity, first, pool)
    return (values - floor) / span


PER_PROMPT = ("error", "excess", "score")
"""Numbers that are means over prompts."""


def _draws(model: SeedErrors, training: bool) -> Floats:
    if not np.isfinite(model.means).all():  # never converged, or not a number: certain in itself
        return np.full(DRAWS, model.mean)
    return model.draws(training)


def _not_learned(quantity: Quantity, results: Sequence[RunRecord]) -> float | None:
    """`Measurement.not_learned` of runs of one setting."""
    if quantity.of == "training_flops":
        return None
    if quantity.of == "convergence_step":
        return float(any(convergence_step(result) is None for result in results))
    shares = []
    for result in results:
        score = _score(quantity.model_copy(update={"of": "error"}), result)
        if score is not None:
            shares.append(score[0] / trivial_error(result, quantity.evaluation, quantity.at))
    return sum(shares) / len(shares) if shares else None


def _on_frontier(quantity: Quantity, chosen: Sequence[Sequence[RunRecord]], pool: Pool) -> Measurement:
    """The frontier's error at a budget, over all checkpoints of each size's chosen runs.

    Args:
        quantity: with `at_flops`, the budget.
        chosen: for each size, the finished runs of its chosen setting, one per seed.
        pool: the results.

    Raises:
        NotMeasured: the budget lies outside the frontier.
    """
    assert quantity.at_flops is not None
    models = _checkpoint_errors(quantity, chosen, pool)
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
    way = math.log(budget / left[0]) / math.log(right[0] / left[0]) if right[0] > left[0] else 0.0
    draws, draws_of_runs = (
        _between(_draws(ends[0], training), _draws(ends[1], training), way) for training in (True, False)
    )
    floor, span = _learnable(quantity, chosen[0][0], pool) if quantity.of == "excess" else (0.0, 1.0)
    draws, draws_of_runs = (draws - floor) / span, (draws_of_runs - floor) / span
    return Measurement(
        value=(value - floor) / span,
        draws=draws,
        draws_of_runs=draws_of_runs,
        chosen=f"(frontier of {count_of(len(chosen), 'size')} at {budget:.2g} FLOPs)",
        run_ids=tuple(result.id for seeds in chosen for result in seeds),
        standard_error=_finite(_error_between(ends[0], ends[1], way) / span),
        seeds=min(len(model.means) for model in ends),
        not_learned=value / trivial_error(chosen[0][0], quantity.evaluation, quantity.at),
        without_error=value == 0,
    )


def _checkpoint_errors(
    quantity: Quantity, chosen: Sequence[Sequence[RunRecord]], pool: Pool
) -> dict[tuple[float, float], SeedErrors]:
    """The errors of each checkpoint of each size, by FLOPs and mean error; only those that are finite."""
    models: dict[tuple[float, float], SeedErrors] = {}
    for seeds in chosen:
        for checkpoint in seeds[0].checkpoints:
            # The last checkpoints belong together: seeds that stop after convergence end at different steps.
            step = None if checkpoint is seeds[0].last else checkpoint.step
            model = _seed_errors(quantity.model_copy(update={"step": step, "of": "error"}), seeds, pool)
            if math.isfinite(model.mean):
                checkpoints = [checkpoint_at(result, step) for result in seeds]
                flops = [axis_flops(reached) for reached in checkpoints if reached is not None]
                models[float(mean_flops(flops)), model.mean] = model
    return models


def _between(left: Floats, right: Floats, way: float) -> Floats:
    """Drawn errors between two points of a frontier, linear in logarithms where both are above 0.

    Args:
        left: errors of the point with fewer FLOPs, (DRAWS,).
        right: errors of the other point, (DRAWS,).
        way: share of the distance from left to right, 0 to 1, in the logarithm of FLOPs.
    """
    has_line = (left > 0) & (right > 0)
    before, after = (np.log(np.where(has_line, errors, 1.0)) for errors in (left, right))
    return np.where(has_line, np.exp((1 - way) * before + way * after), left if way < 1 else right)


def _error_between(left: SeedErrors, right: SeedErrors, way: float) -> float:
    """The standard error of `_between`, by the derivatives with respect to both ends.

    The drawn errors are no measure of it: an error near 0 has draws far above it, which are rare.
    """
    if left.mean <= 0 or right.mean <= 0:
        return (left if way < 1 else right).standard_error
    value = math.exp((1 - way) * math.log(left.mean) + way * math.log(right.mean))
    shares = (1 - way) * left.standard_error / left.mean, way * right.standard_error / right.mean
    # Two checkpoints of the same runs vary together.
    return value * (sum(shares) if left.key == right.key else math.hypot(*shares))


def combine(quantity: Quantity, parts: Sequence[Measurement]) -> Measurement:
    """A measurement divided by its reference, or minus its reference.

    Numbers of the same models are combined seed by seed. Others share their prompts at most.
    """
    if len(parts) == 1:
        return parts[0]
    subject, reference = parts
    operation = _difference if quantity.minus else ratios
    value = float(operation(np.array(subject.value), np.array(reference.value)))
    draws = operation(subject.draws, reference.draws)
    draws_of_runs = operation(subject.draws_of_runs, reference.draws_of_runs)
    if subject.run_ids == reference.run_ids and subject.by_seed.keys() == reference.by_seed.keys():
        sides = (np.array([side.by_seed[seed] for seed in subject.by_seed]) for side in parts)
        values = operation(*sides)
        if np.isfinite(values).all():
            spread = np.full(len(values), np.std(draws_of_runs))
            unit = _combined_unit(operation, subject, reference)
            draws = _draws(SeedErrors(" ".join(subject.run_ids), values, spread, unit=unit), training=True)
            draws = draws - values.mean() + value
    word = "less" if quantity.minus else "over"
    shares = [part.not_learned for part in parts if part.not_learned is not None]
    return Measurement(
        value=value,
        draws=draws,
        draws_of_runs=draws_of_runs,
        chosen=f"({subject.text()} {word} {reference.text()})",
        run_ids=tuple(dict.fromkeys((*subject.run_ids, *reference.run_ids))),
        standard_error=_spread(draws),
        seeds=min(subject.seeds, reference.seeds),
        diverged=subject.diverged + reference.diverged,
        not_learned=min(shares, default=None),
        without_error=all(part.without_error for part in parts),
        equals=tuple(dict.fromkeys((*subject.equals, *reference.equals))),
        infinite="never" if quantity.minus or reference.value else "infinite",
        undefined=_undefined(value, subject, reference, "difference" if quantity.minus else "ratio"),
    )


def _combined_unit(
    operation: Callable[[Floats, Floats], Floats], subject: Measurement, reference: Measurement
) -> float:
    """How far the combined value moves if one of the two moves by its unit, whichever is more."""
    values = np.array([subject.value, subject.value + subject.unit, subject.value])
    references = np.array([reference.value, reference.value, reference.value + reference.unit])
    value, *moved = operation(values, references)
    return float(np.abs(moved - value).max())


def _undefined(value: float, subject: Measurement, reference: Measurement, name: str) -> str | None:
    """`Measurement.undefined` of a combined value."""
    if not math.isnan(value) or math.isnan(subject.value) or math.isnan(reference.value):
        return None
    return f"{subject.text()} and {reference.text()} have no {name}"


def _difference(subject: Floats, reference: Floats) -> Floats:
    return np.asarray(subject - reference)


def ratios(subject: Floats, reference: Floats) -> Floats:
    """Subject / reference: infinite where the reference alone is 0.

    NaN where both are 0, where both are infinite, and where the reference is below 0.
    """
    has_ratio = (reference > 0) | ((reference == 0) & (subject > 0))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(has_ratio, subject / np.abs(reference), math.nan))


def ratio_of(subject: Measurement, reference: Measurement) -> tuple[float, float | None]:
    """The ratio of two measurements and its standard error.

    The error is None if a drawn ratio is not finite, and if the reference is infinite (never reached).
    """
    value = float(ratios(np.array(subject.value), np.array(reference.value)))
    if not math.isfinite(reference.value):
        return value, None
    return value, _spread(ratios(subject.draws, reference.draws))


def _spread(draws: Floats) -> float | None:
    """Half of the range of the middle 68 % of draws, a robust standard deviation; None if one is infinite."""
    if not np.isfinite(draws).all():
        return None
    low, high = np.quantile(draws, [0.1587, 0.8413])
    return float(high - low) / 2


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _setting_text(size: Size, setting: TunedValues, settings: int) -> list[str]:
    """A setting in words; with its number among several settings."""
    rate, clip = setting
    words = [f"{size.layers}×{size.width}", f"learning rate {short(rate)}", f"clip {short(clip)}"]
    return [*words, *([f"best of {settings} settings"] if settings > 1 else [])]


def _other_settings_text(reported: Sequence[Run], chosen: TunedValues) -> list[str]:
    """The seeds that are read at another setting than the chosen one (`seeds_to_report`), in words."""
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
    """The setting in words, and the value of each seed where they are not too many to read."""
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


def _number(quantity: Quantity, result: RunRecord, pool: Pool) -> Number:
    """The number of one run and its standard error over prompts; NaN where there is none."""
    checkpoint = checkpoint_at(result, quantity.step)
    if checkpoint is None:
        return NOTHING
    if quantity.of == "training_flops":
        return float(axis_flops(checkpoint)), 0.0
    if quantity.of == "convergence_step":
        if result.facts.metric != "accuracy":
            raise NotMeasured("its task has no step of convergence: it is not scored by accuracy")
        step = convergence_step(result)
        return math.inf if step is None else float(step), 0.0
    if quantity.of == "horizon":
        reached = horizon(result, checkpoint, quantity.evaluation)
        if reached is None:
            raise NotMeasured(f"result {result.id} has no accuracies of '{quantity.evaluation}'")
        return float(reached), 0.0
    score = _score(quantity, result)
    if score is None:
        evaluation = "" if quantity.evaluation == "report" else f"{quantity.evaluation}, "
        raise NotMeasured(f"result {result.id} has no score at '{evaluation}{quantity.at}'")
    if quantity.of != "excess":
        return score
    floor, span = _learnable(quantity, result, pool)
    return (score[0] - floor) / span, score[1] / span


def _score(quantity: Quantity, result: RunRecord) -> Number | None:
    """The score, perplexity or error of one run at the quantity's position; None if the result has none."""
    checkpoint = checkpoint_at(result, quantity.step)
    if checkpoint is None:
        return None
    score = number(result, checkpoint, quantity.evaluation, quantity.at)
    if score is None or quantity.of == "score":
        return score
    if quantity.of == "perplexity":
        perplexity = math.exp(score[0])
        return perplexity, perplexity * score[1]
    return normalised(result, quantity.evaluation, score)


def _learnable(quantity: Quantity, result: RunRecord, pool: Pool) -> tuple[float, float]:
    """The floor's error at the quantity's position, and how far the trivial predictor's error is above it.

    Raises:
        NotMeasured: no floor is recorded, or it is not below the trivial predictor's error.
    """
    baselines = pool.baselines.get(result.facts.task_id)
    floor = None if baselines is None else floor_error(result, baselines, quantity.evaluation, quantity.at)
    if floor is None:
        place = "" if quantity.at == "mean" else f" at '{quantity.at}'"
        raise NotMeasured(f"no floor of its task is recorded{place}: bench run computes baselines")
    span = trivial_error(result, quantity.evaluation, quantity.at) - floor
    if span <= 0:
        raise NotMeasured("its task's floor is the trivial predictor's error: nothing can be learned there")
    return floor, span
