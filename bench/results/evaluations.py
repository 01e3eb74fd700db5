"""Numbers of a result: scores by position and mark, headline, error, trivial predictor, floor, convergence.

A result's `facts.evaluations` describes each evaluation: the positions of its columns, the columns that have
names (marks), and the divisor of raw scores. `facts.headline` is the mark whose score is
the task's headline, or null where the headline is the mean over positions. Older results lack these facts.
Their one evaluation, "report", has a column per position, and its mean is the headline.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.results.record import (
    MAIN,
    SELECTION,
    BaselinesRecord,
    Checkpoint,
    EvaluationRecord,
    Record,
    RunRecord,
    Scores,
    per_prompt,
)

if TYPE_CHECKING:
    import numpy as np

Number = tuple[float, float]
"""A score and its standard error over prompts; NaN where there is none."""
Scored = Record | EvaluationRecord
"""A record with scores and the facts that they are read by."""
NOTHING: Number = (math.nan, math.nan)


def positions(result: Scored, name: str, columns: int) -> Sequence[int]:
    """The position of each column: the number of examples before it, unless the result states positions."""
    described = result.facts.evaluations.get(name)
    return described.positions if described and len(described.positions) == columns else range(columns)


def marks(result: Scored, name: str) -> Mapping[str, int]:
    """The columns of an evaluation that have names; none in older results."""
    described = result.facts.evaluations.get(name)
    return described.marks if described else {}


def metric(result: Scored, name: str = MAIN) -> str:
    """The kind of an evaluation's scores: its own, or the task's."""
    described = result.facts.evaluations.get(name)
    return (described and described.metric) or result.facts.metric


def scale(result: Scored, name: str = MAIN) -> float:
    """Divisor of the evaluation's raw scores; 1 for an accuracy."""
    if metric(result, name) == "accuracy":
        return 1.0
    described = result.facts.evaluations.get(name)
    return (described and described.error_scale) or result.facts.error_scale


def column(result: RunRecord, name: str, at: str | int, columns: int) -> int | None:
    """The column of a position (an int), of a mark, or of "last"; None when there is none."""
    if isinstance(at, int):
        where = positions(result, name, columns)
        return list(where).index(at) if at in where else None
    named = marks(result, name)
    if at in named:
        index = named[at]
        return index if 0 <= index < columns else None
    return columns - 1 if at == "last" and columns else None


def number(result: RunRecord, checkpoint: Checkpoint, name: str, at: str | int) -> Number | None:
    """A raw score of one checkpoint.

    Args:
        result: the run's.
        checkpoint: one of the run's checkpoints.
        name: the evaluation's.
        at: "headline", "mean", "last", a mark's name, or a position.

    Returns:
        The score and its standard error; None when the result has no such evaluation, mark or position.
    """
    scores = checkpoint.evaluations.get(name)
    if scores is None:
        return None
    if at == "headline":
        return headline(result, checkpoint, name)
    if at == "mean":
        return _pair(scores.overall)
    index = column(result, name, at, len(scores.mean))
    return None if index is None else _at(scores, index)


def headline(result: RunRecord, checkpoint: Checkpoint, name: str) -> Number:
    """The headline score of an evaluation and its standard error.

    Results store it since headlines exist. In older ones it is the task's mark, the last column of an
    evaluation beside the main one, or the mean over positions.
    """
    scores = checkpoint.evaluations[name]
    if scores.headline is not None:
        return _pair(scores.headline)
    mark, columns = result.facts.headline, len(scores.mean)
    if mark and columns and (index := column(result, name, mark, columns)) is not None:
        return _at(scores, index)
    if name not in (MAIN, SELECTION) and columns:
        return _at(scores, -1)
    return _pair(scores.overall)


def normalised(result: Scored, name: str, raw: Number) -> Number:
    """A raw score as an error: the score / scale, or 1 − accuracy."""
    if metric(result, name) == "accuracy":
        return 1.0 - raw[0], raw[1]
    divisor = scale(result, name)
    return raw[0] / divisor, raw[1] / divisor


def perplexity(cross_entropy: float) -> float:
    """The exponential of a cross-entropy in nats; from 300 nats on, where a model is far off, exp(300).

    A float ends at exp(709), and the error of a perplexity is a multiple of it.
    """
    return math.exp(min(cross_entropy, 300.0))


def error_at(result: RunRecord, checkpoint: Checkpoint, name: str, at: str | int = "headline") -> Number:
    """`number` as an error, with its standard error; NOTHING where there is none."""
    return normalised(result, name, number(result, checkpoint, name, at) or NOTHING)


def prompt_errors(result: RunRecord) -> np.ndarray[Any, Any] | None:
    """Normalised headline error of every test prompt at the last checkpoint, float64 (prompts,).

    None where the result does not keep it.
    """
    scores = per_prompt(result).astype(float)
    if not len(scores):
        return None
    return 1 - scores if metric(result) == "accuracy" else scores / scale(result)


def checkpoint_at(result: RunRecord, step: int | None) -> Checkpoint | None:
    """The checkpoint at `step`, or the last one; None when there is no such checkpoint."""
    if step is None:
        return result.last
    return next((checkpoint for checkpoint in result.checkpoints if checkpoint.step == step), None)


def trivial_error(result: RunRecord, name: str = MAIN, at: str | int = "mean") -> float:
    """Error of the predictor that has learned nothing, normalised: 1, or 1 − its accuracy.

    Args:
        result: of a run of the task.
        name: the evaluation.
        at: as in `number`. It matters where the evaluation has a trivial score for each column.
    """
    if metric(result, name) != "accuracy":
        return 1.0
    described = result.facts.evaluations.get(name)
    if described is None or described.trivial is None:
        return 1.0 - result.facts.trivial
    columns = _columns_at(result, name, at, len(described.trivial))
    scores = [described.trivial[index] for index in columns] or described.trivial
    return 1.0 - math.fsum(scores) / len(scores)


def floor_error(result: RunRecord, baselines: BaselinesRecord, name: str, at: str | int) -> float | None:
    """Error of the task's floor, normalised: the lowest that any predictor can reach.

    Args:
        result: of a run of the task.
        baselines: the task's.
        name: the evaluation.
        at: as in `number`.

    Returns:
        None where the task has no floor, or the floor skips a position that `at` needs.
    """
    floor = next((row for row in baselines.baselines if (row.kind, row.evaluation) == ("floor", name)), None)
    last = result.last
    if floor is None or last is None or name not in last.evaluations:
        return None
    columns = len(last.evaluations[name].mean)
    by_position = dict(zip(floor.positions, floor.mean, strict=True))
    where = positions(result, name, columns)
    at = _read_place(result, name, at)
    places = [where[index] for index in _columns_at(result, name, at, columns)]
    if not places or any(position not in by_position for position in places):
        return None
    mean = math.fsum(by_position[position] for position in places) / len(places)
    if at == "mean" and floor.overall is not None:
        mean = floor.overall[0]
    return normalised(result, name, (mean, 0.0))[0]


def _read_place(result: RunRecord, name: str, at: str | int) -> str | int:
    """The place at which a number is read: that of the headline for "headline", else `at` itself."""
    if at != "headline":
        return at
    # The task's mark is for its own metric. Another metric is shown as a mean.
    return (metric(result, name) == result.facts.metric and result.facts.headline) or "mean"


def _columns_at(result: RunRecord, name: str, at: str | int, columns: int) -> list[int]:
    """The columns whose mean is the number at a place: several for the mean, otherwise one or none."""
    at = _read_place(result, name, at)
    if at == "mean":
        where = positions(result, name, columns)
        return [index for index, position in enumerate(where) if position >= result.facts.first_position]
    index = column(result, name, at, columns)
    return [] if index is None else [index]


def answers(result: RunRecord, checkpoint: Checkpoint, name: str, at: str | int) -> float:
    """Number of independent answers behind an accuracy.

    The mean of n independent answers has the variance a (1 − a) / n, where a is their accuracy. The number
    is the n that gives the variance over P independent prompts (Kish 1965, "Survey Sampling": the effective
    size of a sample of clusters). It is P if a prompt has one answer, or if all answers of a prompt are
    right or wrong together, and P times the number of positions if these are independent.

    Prompts without a wrong answer do not tell how many a prompt with one has. Half a prompt with wrong
    answers alone is therefore added to those that were seen.

    Args:
        result: the run's.
        checkpoint: one of the run's checkpoints.
        name: the evaluation's, whose metric is an accuracy.
        at: as in `number`.
    """
    prompts = independent_prompts(result, name)
    accuracy, error = number(result, checkpoint, name, at) or NOTHING
    share, variance = 1 - accuracy, (prompts - 1) * error**2  # of wrong answers, over prompts
    mean = (prompts * share + 0.5) / (prompts + 0.5)
    square = (prompts * (share**2 + variance) + 0.5) / (prompts + 0.5)
    if not 0 < mean < 1 or square <= mean**2:
        return prompts
    return max(prompts, prompts * mean * (1 - mean) / (square - mean**2))


def independent_prompts(result: RunRecord, name: str) -> int:
    """Number of prompts of an evaluation, where those that share a hidden function count as one.

    A result stores one score for each group of prompts that share a function (`Task.dependent_prompts`), so
    the scores of the main evaluation tell the size of a group. Without them, as in a diverged run, every
    prompt counts.
    """
    main = result.prompts[MAIN].count
    groups = result.per_prompt.count or main
    return math.ceil((result.prompts.get(name) or result.prompts[MAIN]).count / math.ceil(main / groups))


def headline_words(mark: str | None) -> str:
    """Where a headline score is read, for people: "mean over positions", "at the 50th clean example"."""
    if mark is None:
        return "mean over positions"
    plain = mark.replace("_", " ")
    if mark == "last":
        return "at the last position"
    if re.fullmatch(r"\d+(st|nd|rd|th) .*", plain):
        return f"at the {plain} example"
    if re.fullmatch(r"\d+ examples", plain):
        return f"after {plain}"
    if length := re.fullmatch(r"(\d+)x length", plain):
        return f"at {length[1]} times the trained length"
    return f"{plain} examples" if plain.startswith("after ") else f"at {plain}"


CONVERGENCE_ACCURACY = 0.95
"""Mean accuracy at which a task without a `convergence_accuracy` of its own counts as learned."""


def convergence_step(result: RunRecord) -> int | None:
    """The step of the first checkpoint whose mean accuracy is at least the task's `convergence_accuracy`.

    Results of tasks with this accuracy store the step. For other tasks the accuracy is CONVERGENCE_ACCURACY.
    Their steps, and those of results without the field, are read from the checkpoints.

    Returns:
        None where no checkpoint reaches the accuracy, or the metric is no accuracy.
    """
    if result.facts.metric != "accuracy":
        return None
    stated = result.facts.convergence_accuracy
    if stated is not None and "convergence_step" in result.model_fields_set:
        return result.convergence_step
    threshold = CONVERGENCE_ACCURACY if stated is None else stated
    accuracies = ((point.step, point.evaluations[MAIN].overall[0]) for point in result.checkpoints)
    return first_converged(accuracies, threshold)


def first_converged(accuracies: Iterable[tuple[int, float]], threshold: float | None) -> int | None:
    """The first step whose mean accuracy counts as convergence; None without one."""
    return next((step for step, accuracy in accuracies if converged(accuracy, threshold)), None)


def convergence_unit(result: RunRecord) -> int:
    """The steps from the check before `convergence_step` to this step; 0 where there is none."""
    step, rule = convergence_step(result), result.run.stop
    if step is None:
        return 0
    if rule is not None:
        return rule.every
    return step - max((other.step for other in result.checkpoints if other.step < step), default=0)


def converged(accuracy: float, threshold: float | None) -> bool:
    """Whether a mean accuracy over positions counts as convergence; never without a threshold."""
    return threshold is not None and accuracy >= threshold


def _at(scores: Scores, index: int) -> Number:
    return scores.mean[index], scores.standard_error[index]


def _pair(numbers: Sequence[float]) -> Number:
    score, error = numbers
    return score, error
