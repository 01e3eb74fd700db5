"""The numbers that claims are about, read from results: whether they can be, and what they are.

A number rests on every run it could have come from: the choice of a learning rate among half of
the planned ones is another choice. So nothing is read before all of them have finished or diverged.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.check.measure import Measure
from bench.models.sizes import Size
from bench.results import Pool, normalised
from bench.run import Run, short
from bench.selection import Setting, choose, selection_error


@dataclass(frozen=True)
class Reading:
    """One measured number.

    Attributes:
        value: the median over the seeds that finished; NaN when one of them is not a number.
        standard_error: over seeds where three or more finished, else over prompts; None when unknown.
        chosen: which setting it belongs to and how that was found, in words.
        run_ids: the runs it was read from.
    """

    value: float
    standard_error: float | None
    chosen: str
    run_ids: tuple[str, ...]


def missing(
    planned: Iterable[tuple[Measure, list[Run]]], pool: Pool, states: Mapping[str, str]
) -> str | None:
    """Which runs have no result, by experiment and count; None when they all have one."""
    by_experiment: dict[str, dict[str, str]] = {}
    for measure, runs in planned:
        if not runs:
            return f"no planned run of experiment '{measure.experiment}' is what it measures"
        found = by_experiment.setdefault(str(measure.experiment), {})
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
            parts.append(
                f"experiment '{experiment}' lacks {lacking} of {count_of(len(found), 'run')} ({listed})"
            )
    return "; ".join(parts) or None


def _state(run: Run, step: int | None, pool: Pool, states: Mapping[str, str]) -> str:
    result = pool.runs.get(run.id)
    if result is None:
        return "failed" if states.get(run.id) == "failed" else "missing"
    if result["outcome"] == "diverged":
        return "diverged"
    return "finished" if _checkpoint(result, step) else "without its checkpoint"


def incomparable(results: Sequence[Mapping[str, Any]], allow_synthetic: bool) -> str | None:
    """Why numbers of these results cannot stand beside each other, or beside a claim."""
    synthetic = sum(bool(result["provenance"].get("synthetic")) for result in results)
    if synthetic and not allow_synthetic:
        are = "is" if synthetic == 1 else "are"
        return f"{synthetic} of {count_of(len(results), 'result')} {are} synthetic: made up, not measured"
    for kind in ("report", "selection"):
        digests = Counter(result["prompts"].get(kind, {}).get("sha256") for result in results)
        if len(digests) > 1 or (len(results) > 1 and None in digests):
            groups = " and ".join(str(count) for count in digests.values())
            return f"the runs were not scored on the same {kind} prompts (groups of {groups})"
    return None


def read(measure: Measure, runs: Sequence[Run], pool: Pool) -> Reading | str:
    """The measured number, or the reason why no run has one.

    Args:
        measure: which number.
        runs: the planned runs it means, each with a result in `pool`.
        pool: the results.
    """
    cells: dict[Size, dict[Setting, list[Run]]] = {}
    for run in runs:
        cells.setdefault(run.size, {}).setdefault((run.learning_rate, run.clip), []).append(run)
    results = {run.id: pool.runs[run.id] for run in runs}
    choice = choose(
        {
            size: {
                key: [selection_error(results[run.id]) for run in seeds] for key, seeds in settings.items()
            }
            for size, settings in cells.items()
        }
    )
    diverged = {run.id for run in runs if results[run.id]["outcome"] == "diverged"}
    if choice is None:
        if len(diverged) == len(runs):
            return "the run diverged" if len(runs) == 1 else f"all {len(runs)} runs diverged"
        return f"no run that finished has a number ({len(diverged)} of {count_of(len(runs), 'run')} diverged)"
    size, setting = choice
    seeds = cells[size][setting]
    finished = [run for run in seeds if run.id not in diverged]
    values, errors = zip(*(_value(measure, results[run.id]) for run in finished), strict=True)
    numbers = all(math.isfinite(value) for value in values)
    return Reading(
        statistics.median(values) if numbers else math.nan,
        _standard_error(values, errors) if numbers else None,
        _in_words(size, setting, sum(map(len, cells.values())), len(seeds), len(finished)),
        tuple(run.id for run in finished),
    )


def _in_words(size: Size, setting: Setting, settings: int, seeds: int, finished: int) -> str:
    rate, clip = setting
    parts = [f"{size.layers}x{size.width}", f"learning rate {short(rate)}", f"clip {short(clip)}"]
    if settings > 1:
        parts.append(f"best of {settings} settings")
    if finished > 1:
        parts.append(f"median of {finished} seeds")
    if finished < seeds:
        parts.append(f"{seeds - finished} of {count_of(seeds, 'seed')} diverged")
    return f"({', '.join(parts)})"


def _value(measure: Measure, result: Mapping[str, Any]) -> tuple[float, float]:
    """The number of one run and its standard error over prompts; NaN where there is none."""
    checkpoint = _checkpoint(result, measure.step)
    if checkpoint is None:
        return math.nan, math.nan
    report = checkpoint["evaluations"]["report"]
    if measure.at == "mean":
        score, error = report["overall"]
    else:
        position = len(report["mean"]) - 1 if measure.at == "last" else int(measure.at)
        if not 0 <= position < len(report["mean"]):
            return math.nan, math.nan
        score, error = report["mean"][position], report["standard_error"][position]
    score, error = (math.nan if number is None else float(number) for number in (score, error))
    return (score, error) if measure.of == "score" else normalised(result["facts"], score, error)


def _checkpoint(result: Mapping[str, Any], step: int | None) -> Mapping[str, Any] | None:
    """The checkpoint at `step`, or the last one; None when there is no such checkpoint."""
    checkpoints: list[Mapping[str, Any]] = result["checkpoints"]
    if step is None:
        return checkpoints[-1] if checkpoints else None
    return next((each for each in checkpoints if each["step"] == step), None)


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
