"""The number of a run that a quantity is, and what results say of its chance, over prompts and over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.check.quantity import Quantity
from bench.results import Pool, RunRecord
from bench.results.evaluations import (
    NOTHING,
    Number,
    answers,
    checkpoint_at,
    convergence_step,
    convergence_unit,
    floor_error,
    independent_prompts,
    metric,
    normalised,
    number,
    perplexity,
    prompt_errors,
    scale,
    trivial_error,
)
from bench.results.flops_axis import axis_flops
from bench.results.horizon import horizon
from bench.results.record import MAIN
from bench.uncertainty import Floats, SeedErrors, Steps


class NotMeasured(Exception):
    """The results do not contain the number, because they are too old or their task has no such number."""


def seed_errors(quantity: Quantity, results: Sequence[RunRecord], pool: Pool) -> SeedErrors:
    """The number of each of several seeds, on each prompt where results keep that."""
    values, prompt_errors = zip(*(number_of(quantity, result, pool) for result in results), strict=True)
    read = (quantity.of, quantity.evaluation, quantity.at, quantity.step)
    steps = _steps(quantity, results)
    return SeedErrors(
        # Two numbers of the same models need not vary together.
        key=" ".join([*(result.id for result in results), *map(str, read)]),
        means=np.array(values),
        prompt_errors=np.array(prompt_errors),
        prompts=results[0].prompts[MAIN].sha256,
        prompt_count=min(independent_prompts(result, quantity.evaluation) for result in results),
        per_prompt=_per_prompt(quantity, results, pool),
        limits=_limits(quantity, results[0]),
        unit=_unit(quantity, results[0]),
        answer=sum(_answer(quantity, result) for result in results) / len(results),
        steps=steps,
        resolution=_resolution(quantity, results, steps),
    )


def _is_accuracy(quantity: Quantity, result: RunRecord) -> bool:
    """Whether the number is a share of right answers, or of wrong ones."""
    return quantity.of in ("error", "score") and metric(result, quantity.evaluation) == "accuracy"


def _limits(quantity: Quantity, result: RunRecord) -> tuple[float, float]:
    """The lowest and the highest number that there can be, as far as that is known."""
    if _is_accuracy(quantity, result):
        return 0.0, 1.0
    if (reached := _horizon(quantity, result)) is not None:
        return 0.0, float(reached.values[-1])
    return -math.inf, math.inf


def _answer(quantity: Quantity, result: RunRecord) -> float:
    """`SeedErrors.answer` of one run."""
    checkpoint = checkpoint_at(result, quantity.step)
    if checkpoint is None or not _is_accuracy(quantity, result):
        return 0.0
    share = 1 / answers(result, checkpoint, quantity.evaluation, quantity.at)
    return share if quantity.of == "error" else -share


def _unit(quantity: Quantity, result: RunRecord) -> float:
    """`SeedErrors.unit` of seeds that have the number of this result."""
    if (reached := _horizon(quantity, result)) is not None:
        return reached.unit
    return float(convergence_unit(result)) if quantity.of == "convergence_step" else 0.0


def _resolution(
    quantity: Quantity, results: Sequence[RunRecord], horizons: Sequence[Steps] | None
) -> tuple[float, float]:
    """`SeedErrors.resolution` of these seeds. `horizons` are their `_steps`."""
    if quantity.of == "convergence_step":
        # Learned at the check after 2,000 steps, and not at the one after 1,000: at 1,001 at the earliest.
        earlier = [max(0, convergence_unit(result) - 1) for result in results]
        return sum(earlier) / len(earlier), 0.0
    # Positions between two that were scored were left out, and may be accurate.
    left_out = [max(0.0, steps.gap - 1) for steps in horizons or ()]
    return 0.0, sum(left_out) / len(left_out) if left_out else 0.0


def _steps(quantity: Quantity, results: Sequence[RunRecord]) -> list[Steps] | None:
    """`SeedErrors.steps` of these seeds."""
    reached = [_horizon(quantity, result) for result in results]
    steps = [horizon_of_seed for horizon_of_seed in reached if horizon_of_seed is not None]
    return steps if len(steps) == len(results) else None


def _horizon(quantity: Quantity, result: RunRecord) -> Steps | None:
    """The horizon of one run; None for other numbers, and where there is none."""
    checkpoint = checkpoint_at(result, quantity.step)
    if quantity.of != "horizon" or checkpoint is None:
        return None
    return horizon(result, checkpoint, quantity.evaluation)


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
    floor, span = learnable(quantity, first, pool)
    return (values - floor) / span


PER_PROMPT = ("error", "excess", "score")
"""Numbers that are means over prompts."""


def number_of(quantity: Quantity, result: RunRecord, pool: Pool) -> Number:
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
        reached = _horizon(quantity, result)
        if reached is None:
            raise NotMeasured(f"result {result.id} has no accuracies of '{quantity.evaluation}'")
        return reached.value, reached.prompt_error
    score = _score(quantity, result)
    if score is None:
        evaluation = "" if quantity.evaluation == MAIN else f"{quantity.evaluation}, "
        raise NotMeasured(f"result {result.id} has no score at '{evaluation}{quantity.at}'")
    if quantity.of != "excess":
        return score
    floor, span = learnable(quantity, result, pool)
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
        value = perplexity(score[0])
        return value, value * score[1]
    return normalised(result, quantity.evaluation, score)


def learnable(quantity: Quantity, result: RunRecord, pool: Pool) -> tuple[float, float]:
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


def not_learned(quantity: Quantity, results: Sequence[RunRecord]) -> float | None:
    """`Measurement.not_learned` of runs of one candidate."""
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
