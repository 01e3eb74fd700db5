"""The numbers that claims are about, read from results: whether they can be, and what they are.

A number rests on every run it could have come from: the choice of a learning rate among half of
the planned ones is another choice. So nothing is read before all of them have finished or diverged.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.check.measure import Measure
from bench.frontier import error_at, frontier
from bench.models.sizes import Size
from bench.results import Checkpoint, Pool, RunRecord
from bench.results.evaluations import NOTHING, Number, convergence_step, normalised, number
from bench.run import Run, short
from bench.selection import Setting, choose, selection_error


@dataclass(frozen=True)
class Reading:
    """One measured number.

    Attributes:
        value: the median, or the lowest, over the seeds that finished; NaN when one is not a number.
        standard_error: over seeds where three or more finished, else (and for the lowest) over prompts;
            None when unknown.
        chosen: which setting it belongs to and how that was found, in words.
        run_ids: the runs it was read from.
        seeds: how many of the chosen setting finished.
        accuracy: whether it is of a task that is scored by accuracy.
        by_seed: the number of each seed that finished, of one setting; empty where numbers were combined.
        diverged: how many seeds of the chosen setting diverged.
    """

    value: float
    standard_error: float | None
    chosen: str
    run_ids: tuple[str, ...]
    seeds: int = 1
    accuracy: bool = False
    by_seed: Mapping[int, float] = field(default_factory=dict)
    diverged: int = 0


class NotThere(Exception):
    """Results that have no such number: made before it was measured, or of another kind of task."""


def missing(
    planned: Iterable[tuple[Measure, list[Run]]], pool: Pool, states: Mapping[str, str]
) -> str | None:
    """Which runs have no result, by experiment and count; None when they all have one."""
    by_experiment: dict[str, dict[str, str]] = {}
    for measure, runs in planned:
        if not runs:
            return f"no planned run of {measure.place} is what it measures"
        found = by_experiment.setdefault(measure.place, {})
        for run in runs:
            state = _state(run, measure.step, pool, states)
            if found.get(run.id, "finished") == "finished":
                found[run.id] = state
    parts = []
    for experiment, found in by_experiment.items():
        counts = Counter(found.values())
        lacking = len(found) - counts.pop("finished", 0) - counts["diverged"]
        if lacking:
            listed = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()) if count)
            parts.append(f"{experiment} lacks {lacking} of {count_of(len(found), 'run')} ({listed})")
    return "; ".join(parts) or None


def _state(run: Run, step: int | None, pool: Pool, states: Mapping[str, str]) -> str:
    result = pool.runs.get(run.id)
    if result is None:
        return "failed" if states.get(run.id) == "failed" else "missing"
    if not result.finished:
        return "diverged"
    return "finished" if _checkpoint(result, step) else "without its checkpoint"


def incomparable(results: Sequence[RunRecord], allow_synthetic: bool) -> str | None:
    """Why numbers of these results cannot stand beside each other, or beside a claim."""
    synthetic = sum(bool(result.provenance.synthetic) for result in results)
    if synthetic and not allow_synthetic:
        are = "is" if synthetic == 1 else "are"
        return f"{synthetic} of {count_of(len(results), 'result')} {are} synthetic: made up, not measured"
    by_task: dict[str, list[RunRecord]] = {}
    for result in results:
        by_task.setdefault(result.facts.task_id, []).append(result)
    for kind in ("report", "selection"):
        for group in by_task.values():
            digests = Counter(result.prompts[kind].sha256 for result in group)
            if len(digests) > 1:
                groups = " and ".join(str(count) for count in digests.values())
                return f"the runs were not scored on the same {kind} prompts (groups of {groups})"
    return None


def read(measure: Measure, runs: Sequence[Run], pool: Pool) -> Reading | str:
    """The measured number, or the reason why no run has one.

    Args:
        measure: which number; what it is relative to is not looked at.
        runs: the planned runs it means, each with a result in `pool`.
        pool: the results.

    Raises:
        NotThere: when the results do not have such a number.
    """
    cells: dict[Size, dict[Setting, list[Run]]] = {}
    for run in runs:
        cells.setdefault(run.size, {}).setdefault((run.learning_rate, run.clip), []).append(run)
    results = {run.id: pool.runs[run.id] for run in runs}
    errors = {
        size: {key: [selection_error(results[run.id]) for run in seeds] for key, seeds in settings.items()}
        for size, settings in cells.items()
    }
    choice = choose(errors)
    diverged = {run.id for run in runs if not results[run.id].finished}
    if choice is None:
        if len(diverged) == len(runs):
            return "the run diverged" if len(runs) == 1 else f"all {len(runs)} runs diverged"
        return f"no run that finished has a number ({len(diverged)} of {count_of(len(runs), 'run')} diverged)"
    size, setting = choice
    accuracy = results[runs[0].id].facts.metric == "accuracy"
    if measure.at_flops is not None:
        each = [best for key in cells if (best := choose({key: errors[key]})) is not None]
        chosen = [
            [results[run.id] for run in cells[key][rate] if run.id not in diverged] for key, rate in each
        ]
        return _on_frontier(measure, chosen, accuracy)
    seeds = cells[size][setting]
    finished = [run for run in seeds if run.id not in diverged]
    values, errors_ = zip(*(_value(measure, results[run.id]) for run in finished), strict=True)
    numbers = all(math.isfinite(value) for value in values)
    value, error = _over_seeds(measure, values, errors_) if numbers else (math.nan, None)
    return Reading(
        value,
        error,
        _in_words(measure, size, setting, sum(map(len, cells.values())), len(seeds), len(finished)),
        tuple(run.id for run in finished),
        len(finished),
        accuracy,
        {run.seed: value for run, value in zip(finished, values, strict=True)},
        len(seeds) - len(finished),
    )


def _on_frontier(measure: Measure, chosen: Sequence[Sequence[RunRecord]], accuracy: bool) -> Reading | str:
    """The frontier's error at a budget, over all checkpoints of each size's chosen runs."""
    assert measure.at_flops is not None
    points: dict[tuple[float, float], float] = {}
    for seeds in chosen:
        for checkpoint in seeds[0].checkpoints:
            here = measure.model_copy(update={"step": checkpoint.step})
            values, errors = zip(*(_value(here, result) for result in seeds), strict=True)
            if all(math.isfinite(value) for value in values):
                point = (float(checkpoint.training_flops), statistics.median(values))
                spread = _standard_error(values, errors)
                points[point] = math.nan if spread is None else spread
    line = frontier(points)
    value = error_at(line, measure.at_flops)
    if value is None:
        spans = f"{line[0][0]:.2g} to {line[-1][0]:.2g}" if line else "nothing"
        raise NotThere(f"the frontier spans {spans} FLOPs, {measure.at_flops:.2g} lies outside")
    budget = measure.at_flops
    nearest = min(line, key=lambda point: abs(math.log(point[0] / budget)))
    error = value * points[nearest] / nearest[1]
    return Reading(
        value,
        error if math.isfinite(error) else None,
        f"(frontier of {count_of(len(chosen), 'size')} at {measure.at_flops:.2g} FLOPs)",
        tuple(result.id for seeds in chosen for result in seeds),
        min(len(seeds) for seeds in chosen),
        accuracy,
    )


def combined(measure: Measure, parts: Sequence[Reading]) -> Reading:
    """A reading divided by, or less, that of its reference; errors add up as those of independent numbers.

    They share their prompts, so this is too wide rather than too narrow where good prompts are good for both.
    """
    if len(parts) == 1:
        return parts[0]
    one, other = parts
    known = one.standard_error is not None and other.standard_error is not None
    a, b = one.standard_error or 0.0, other.standard_error or 0.0
    if measure.minus:
        value, error = one.value - other.value, math.hypot(a, b)
    elif other.value == 0:
        value, error, known = math.nan, math.nan, False
    else:
        value = one.value / other.value
        error = math.hypot(a, value * b) / abs(other.value)
    joined = tuple(dict.fromkeys((*one.run_ids, *other.run_ids)))
    word = "less" if measure.minus else "over"
    said = f"({one.value:.4g} {one.chosen} {word} {other.value:.4g} {other.chosen})"
    return Reading(value, error if known else None, said, joined, min(one.seeds, other.seeds), one.accuracy)


def _over_seeds(
    measure: Measure, values: Sequence[float], errors: Sequence[float]
) -> tuple[float, float | None]:
    """The one number of several seeds, all of them finite, and its standard error."""
    if measure.over_seeds == "median":
        return statistics.median(values), _standard_error(values, errors)
    lowest = min(range(len(values)), key=values.__getitem__)
    return values[lowest], errors[lowest] if math.isfinite(errors[lowest]) else None


def _in_words(
    measure: Measure, size: Size, setting: Setting, settings: int, seeds: int, finished: int
) -> str:
    rate, clip = setting
    parts = [f"{size.layers}x{size.width}", f"learning rate {short(rate)}", f"clip {short(clip)}"]
    if settings > 1:
        parts.append(f"best of {settings} settings")
    if finished > 1:
        parts.append(f"{measure.over_seeds} of {finished} seeds")
    if finished < seeds:
        parts.append(f"{seeds - finished} of {count_of(seeds, 'seed')} diverged")
    return f"({', '.join(parts)})"


def _value(measure: Measure, result: RunRecord) -> Number:
    """The number of one run and its standard error over prompts; NaN where there is none."""
    checkpoint = _checkpoint(result, measure.step)
    if checkpoint is None:
        return NOTHING
    if measure.of == "training_flops":
        return float(checkpoint.training_flops), 0.0
    if measure.of == "convergence_step":
        if result.facts.metric != "accuracy":
            raise NotThere("its task has no step of convergence: it is not scored by accuracy")
        step = convergence_step(result)
        return float(result.run.steps if step is None else step), 0.0
    raw = number(result, checkpoint, measure.evaluation, measure.at)
    if raw is None:
        evaluation = "" if measure.evaluation == "report" else f"{measure.evaluation}, "
        raise NotThere(f"result {result.id} has no score at '{evaluation}{measure.at}'")
    return raw if measure.of == "score" else normalised(result, measure.evaluation, raw)


def _checkpoint(result: RunRecord, step: int | None) -> Checkpoint | None:
    """The checkpoint at `step`, or the last one; None when there is no such checkpoint."""
    if step is None:
        return result.last
    return next((checkpoint for checkpoint in result.checkpoints if checkpoint.step == step), None)


def _standard_error(values: Sequence[float], errors: Sequence[float]) -> float | None:
    """Of the mean over seeds where there are three or more.

    Two seeds share their prompts, so the error over prompts does not shrink with their number.
    """
    if len(values) >= 3:
        return statistics.stdev(values) / math.sqrt(len(values))
    error = math.fsum(errors) / len(errors)
    return error if math.isfinite(error) else None


def count_of(number: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
