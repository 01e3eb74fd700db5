"""Measure a quantity from results.

A number depends on every run that could have been chosen: half of the planned learning rates may give another
choice of the learning rate. So nothing is measured before all runs have finished or diverged.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.check.quantity import Quantity
from bench.frontier import error_at, frontier
from bench.models.sizes import Size
from bench.results import Checkpoint, Pool, RunRecord
from bench.results.evaluations import NOTHING, Number, convergence_step, mean_flops, normalised, number
from bench.run import Run, short
from bench.selection import Setting, choose, selection_error


@dataclass(frozen=True)
class Measurement:
    """A measured number.

    Attributes:
        value: the median, or the lowest, over the seeds that finished; NaN if a seed's number is NaN.
        standard_error: over seeds if three or more finished, else (and for the lowest) over prompts; None if
            unknown.
        chosen: the setting and how it was chosen, in words.
        run_ids: the runs from which the value was read.
        seeds: number of seeds of the chosen setting that finished.
        accuracy: whether the task is scored by accuracy.
        by_seed: the value of each seed that finished; empty if several settings were combined.
        diverged: number of seeds of the chosen setting that diverged.
    """

    value: float
    standard_error: float | None
    chosen: str
    run_ids: tuple[str, ...]
    seeds: int = 1
    accuracy: bool = False
    by_seed: Mapping[int, float] = field(default_factory=dict)
    diverged: int = 0

    def text(self, name: str = "") -> str:
        """The value, its standard error and its setting in words, after a name if there is one."""
        error = f" ± {self.standard_error:.2g}" if self.standard_error is not None else ""
        value = f"{self.value:.4g}{error} {self.chosen}"
        return f"{name}: {value}" if name else value


class NotMeasured(Exception):
    """The results do not contain the number, because they are too old or their task has no such number."""


def missing(
    planned: Iterable[tuple[Quantity, list[Run]]], pool: Pool, states: Mapping[str, str]
) -> str | None:
    """The number of runs without a result by experiment, as text; None if all have one."""
    by_experiment: dict[str, dict[str, str]] = {}
    for quantity, runs in planned:
        if not runs:
            return f"no planned run of {quantity.place} is what it measures"
        run_states = by_experiment.setdefault(quantity.place, {})
        for run in runs:
            state = _state(run, quantity.step, pool, states)
            if run_states.get(run.id, "finished") == "finished":  # two quantities may need two checkpoints
                run_states[run.id] = state
    reasons = []
    for experiment, run_states in by_experiment.items():
        counts = Counter(run_states.values())
        lacking = len(run_states) - counts.pop("finished", 0) - counts["diverged"]
        if lacking:
            listed = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()) if count)
            reasons.append(f"{experiment} lacks {lacking} of {count_of(len(run_states), 'run')} ({listed})")
    return "; ".join(reasons) or None


def _state(run: Run, step: int | None, pool: Pool, states: Mapping[str, str]) -> str:
    result = pool.runs.get(run.id)
    if result is None:
        return "failed" if states.get(run.id) == "failed" else "missing"
    if not result.finished:
        return "diverged"
    if step is not None and result.last_step < min(step, result.run.steps):
        return f"stopped before step {step:,}"
    return "finished" if _checkpoint(result, step) else "without its checkpoint"


def incomparable(results: Sequence[RunRecord], allow_synthetic: bool) -> str | None:
    """Why these results cannot be compared with each other or with a claim; None if they can."""
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


def measure(quantity: Quantity, runs: Sequence[Run], pool: Pool) -> Measurement | str:
    """The measured number, or the reason why no run has one.

    Args:
        quantity: which number. Its reference (`relative_to`, `minus`) is ignored; see `combine`.
        runs: the planned runs of the quantity, each with a result in `pool`.
        pool: the results.

    Raises:
        NotMeasured: when the results do not contain such a number.
    """
    settings: dict[Size, dict[Setting, list[Run]]] = {}
    for run in runs:
        settings.setdefault(run.size, {}).setdefault((run.learning_rate, run.clip), []).append(run)
    results = {run.id: pool.runs[run.id] for run in runs}
    errors = {
        size: {
            setting: [selection_error(results[run.id]) for run in seeds] for setting, seeds in of_size.items()
        }
        for size, of_size in settings.items()
    }
    choice = choose(errors)
    diverged = {run.id for run in runs if not results[run.id].finished}
    if choice is None:
        if len(diverged) == len(runs):
            return "the run diverged" if len(runs) == 1 else f"all {len(runs)} runs diverged"
        return f"no run that finished has a number ({len(diverged)} of {count_of(len(runs), 'run')} diverged)"
    accuracy = results[runs[0].id].facts.metric == "accuracy"
    if quantity.at_flops is not None:
        # A frontier needs every size, so each size has a choice of its own.
        choices = [best for size in settings if (best := choose({size: errors[size]})) is not None]
        chosen = [
            [results[run.id] for run in settings[size][setting] if run.id not in diverged]
            for size, setting in choices
        ]
        return _on_frontier(quantity, chosen, accuracy)
    size, setting = choice
    seeds = settings[size][setting]
    finished = [run for run in seeds if run.id not in diverged]
    values, prompt_errors = zip(*(_number(quantity, results[run.id]) for run in finished), strict=True)
    finite = all(math.isfinite(value) for value in values)
    value, error = _over_seeds(quantity, values, prompt_errors) if finite else (math.nan, None)
    return Measurement(
        value,
        error,
        _choice_text(quantity, size, setting, sum(map(len, settings.values())), len(seeds), len(finished)),
        tuple(run.id for run in finished),
        len(finished),
        accuracy,
        {run.seed: value for run, value in zip(finished, values, strict=True)},
        len(seeds) - len(finished),
    )


def _on_frontier(quantity: Quantity, chosen: Sequence[Sequence[RunRecord]], accuracy: bool) -> Measurement:
    """The frontier's error at a budget, over all checkpoints of each size's chosen runs."""
    assert quantity.at_flops is not None
    standard_errors: dict[tuple[float, float], float] = {}
    for seeds in chosen:
        for checkpoint in seeds[0].checkpoints:
            # The last checkpoints belong together: seeds that stop after convergence end at different steps.
            step = None if checkpoint is seeds[0].last else checkpoint.step
            at_step = quantity.model_copy(update={"step": step})
            values, prompt_errors = zip(*(_number(at_step, result) for result in seeds), strict=True)
            if all(math.isfinite(value) for value in values):
                checkpoints = [_checkpoint(result, step) for result in seeds]
                flops = [reached.training_flops for reached in checkpoints if reached is not None]
                point = (float(mean_flops(flops)), statistics.median(values))
                error = _standard_error(values, prompt_errors)
                standard_errors[point] = math.nan if error is None else error
    line = frontier(standard_errors)
    budget = quantity.at_flops
    value = error_at(line, budget)
    if value is None:
        span = f"{line[0][0]:.2g} to {line[-1][0]:.2g}" if line else "nothing"
        raise NotMeasured(f"the frontier spans {span} FLOPs, {budget:.2g} lies outside")
    # Between two points no run was measured: take the nearest point's standard error, relative to its value.
    nearest = min(line, key=lambda point: abs(math.log(point[0] / budget)))
    standard_error = value * standard_errors[nearest] / nearest[1]
    return Measurement(
        value,
        standard_error if math.isfinite(standard_error) else None,
        f"(frontier of {count_of(len(chosen), 'size')} at {budget:.2g} FLOPs)",
        tuple(result.id for seeds in chosen for result in seeds),
        min(len(seeds) for seeds in chosen),
        accuracy,
    )


def combine(quantity: Quantity, parts: Sequence[Measurement]) -> Measurement:
    """A measurement divided by its reference, or minus its reference.

    Standard errors propagate to first order, as for independent numbers: σ² = σₐ² + σᵦ² for a − b, and
    σ = √(σₐ² + (a/b)²·σᵦ²) / |b| for a / b. Both share their prompts, so this is too wide, never too narrow,
    where prompts that are easy for one are easy for the other.
    """
    if len(parts) == 1:
        return parts[0]
    subject, reference = parts
    if quantity.minus:
        value, error = subject.value - reference.value, None
        if subject.standard_error is not None and reference.standard_error is not None:
            error = math.hypot(subject.standard_error, reference.standard_error)
    else:
        value = subject.value / reference.value if reference.value else math.nan
        error = ratio_error(subject, reference)
    run_ids = tuple(dict.fromkeys((*subject.run_ids, *reference.run_ids)))
    word = "less" if quantity.minus else "over"
    text = f"({subject.value:.4g} {subject.chosen} {word} {reference.value:.4g} {reference.chosen})"
    seeds = min(subject.seeds, reference.seeds)
    return Measurement(value, error, text, run_ids, seeds, subject.accuracy)


def ratio_error(subject: Measurement, reference: Measurement) -> float | None:
    """The standard error of subject / reference, as in `combine`. None: unknown, or the reference is 0."""
    if subject.standard_error is None or reference.standard_error is None or reference.value == 0:
        return None
    ratio = subject.value / reference.value
    return math.hypot(subject.standard_error, ratio * reference.standard_error) / abs(reference.value)


def _over_seeds(
    quantity: Quantity, values: Sequence[float], prompt_errors: Sequence[float]
) -> tuple[float, float | None]:
    """The median or lowest of several seeds, all of them finite, and its standard error."""
    if quantity.over_seeds == "median":
        return statistics.median(values), _standard_error(values, prompt_errors)
    lowest = min(range(len(values)), key=values.__getitem__)
    return values[lowest], prompt_errors[lowest] if math.isfinite(prompt_errors[lowest]) else None


def _choice_text(
    quantity: Quantity, size: Size, setting: Setting, settings: int, seeds: int, finished: int
) -> str:
    rate, clip = setting
    parts = [f"{size.layers}x{size.width}", f"learning rate {short(rate)}", f"clip {short(clip)}"]
    if settings > 1:
        parts.append(f"best of {settings} settings")
    if finished > 1:
        parts.append(f"{quantity.over_seeds} of {finished} seeds")
    if finished < seeds:
        parts.append(f"{seeds - finished} of {count_of(seeds, 'seed')} diverged")
    return f"({', '.join(parts)})"


def _number(quantity: Quantity, result: RunRecord) -> Number:
    """The number of one run and its standard error over prompts; NaN where there is none."""
    checkpoint = _checkpoint(result, quantity.step)
    if checkpoint is None:
        return NOTHING
    if quantity.of == "training_flops":
        return float(checkpoint.training_flops), 0.0
    if quantity.of == "convergence_step":
        if result.facts.metric != "accuracy":
            raise NotMeasured("its task has no step of convergence: it is not scored by accuracy")
        step = convergence_step(result)
        return float(result.run.steps if step is None else step), 0.0
    score = number(result, checkpoint, quantity.evaluation, quantity.at)
    if score is None:
        evaluation = "" if quantity.evaluation == "report" else f"{quantity.evaluation}, "
        raise NotMeasured(f"result {result.id} has no score at '{evaluation}{quantity.at}'")
    return score if quantity.of == "score" else normalised(result, quantity.evaluation, score)


def _checkpoint(result: RunRecord, step: int | None) -> Checkpoint | None:
    """The checkpoint at `step`, or the last one; None when there is no such checkpoint."""
    if step is None:
        return result.last
    return next((checkpoint for checkpoint in result.checkpoints if checkpoint.step == step), None)


def _standard_error(values: Sequence[float], prompt_errors: Sequence[float]) -> float | None:
    """The standard error of the mean over three or more seeds; with fewer, the mean error over prompts.

    Two seeds share their prompts, so the error over prompts does not shrink with their number.
    """
    if len(values) >= 3:
        return statistics.stdev(values) / math.sqrt(len(values))
    error = math.fsum(prompt_errors) / len(prompt_errors)
    return error if math.isfinite(error) else None


def count_of(number: int, noun: str) -> str:
    """A number and a noun, `1 run` or `3 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
