"""Why a measure can never be taken from the results of a suite: said when a claims file is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.check.measure import FILTERS, PLACES, Measure, runs_of, said
from bench.errors import did_you_mean
from bench.models.architectures import Architecture
from bench.paper.exhibits import named
from bench.run import Run

if TYPE_CHECKING:
    from bench.suite import Suite


@dataclass(frozen=True)
class Problem:
    """A sentence about one field of a measure (None: about the measure as a whole)."""

    field: str | None
    text: str


def problems_of(measure: Measure, suite: Suite) -> Iterator[Problem]:
    """Why a measure can never be taken from the results of a suite; nothing when it can."""
    names = [experiment.name for experiment in suite.experiments]
    if measure.experiment is None and measure.rebuilds is None:
        yield Problem(None, f"missing key 'experiment'{did_you_mean('', names)}")
        return
    if measure.experiment is not None and measure.experiment not in names:
        near = did_you_mean(measure.experiment, names)
        yield Problem("experiment", f"suite '{suite.name}' has no experiment '{measure.experiment}'{near}")
        return
    runs = runs_of(Measure(experiment=measure.experiment, rebuilds=measure.rebuilds), suite)
    where = measure.place
    if measure.experiment is None and not runs:
        rebuilt = sorted({number for each in suite.experiments for number in named(each.rebuilds)})
        near = did_you_mean(str(measure.rebuilds), rebuilt)
        yield Problem("rebuilds", f"no experiment of suite '{suite.name}' rebuilds {measure.rebuilds}{near}")
        return
    for field, (fits, own) in FILTERS.items():
        if (wanted := getattr(measure, field)) is None:
            continue
        kept = [run for run in runs if fits(run, wanted)]
        if not kept:
            yield Problem(field, f"no run of {where} {_lacks(field, wanted, runs, own)}")
            return
        runs, where = kept, f"{where}, {measure.text([field])}"
    if not runs:
        yield Problem("experiment", f"{where} plans no run")
        return
    yield from _ambiguities(runs)
    yield from _unreadable(measure, runs)


def _lacks(field: str, wanted: Any, runs: list[Run], own: Callable[[Run], str]) -> str:
    """`has task 'x', did you mean 'y'?`, or which of its fields no run has."""
    label = field.replace("_", " ")
    available = list(dict.fromkeys(own(run) for run in runs))
    name = wanted["name"] if isinstance(wanted, dict) else said("size", wanted)
    if not isinstance(wanted, dict) or name not in available:
        return f"has {label} '{name}'{did_you_mean(name, available)}"
    options = ", ".join(f"{key} = {value}" for key, value in wanted.items() if key != "name")
    fields = {key for run in runs if own(run) == name for key in _fields(run, field)}
    unknown = [key for key in wanted if key != "name" and key not in fields]
    hint = f": unknown key '{unknown[0]}'{did_you_mean(unknown[0], sorted(fields))}" if unknown else ""
    return f"has {label} '{name}' with {options}{hint}"


def _fields(run: Run, field: str) -> set[str]:
    value = getattr(run, field)
    if isinstance(value, Architecture):
        blocks = value.first + value.layer
        return {key for block in blocks for key in type(block).model_fields} - {"name"}
    return set(type(value).model_fields) - {"name"}


def _ambiguities(runs: list[Run]) -> Iterator[Problem]:
    """Differences that are neither a choice (rate, clip, size) nor a repetition (seed)."""
    for field in ("task", "architecture", "optimizer"):
        values = list(dict.fromkeys(getattr(run, field) for run in runs))
        if len(values) > 1:
            yield Problem(None, f"this means runs of {len(values)} {field}s ({_contrast(values)}): name one")
    for field in ("batch_size", "steps", "precision", "evaluation_prompts"):
        by_size: dict[Any, dict[Any, None]] = {}
        for run in runs:
            by_size.setdefault(run.size, {})[getattr(run, field)] = None
        clash = next((values for values in by_size.values() if len(values) > 1), None)
        if clash:
            listed = ", ".join(map(str, clash))
            yield Problem(None, f"this means runs with {len(clash)} values of {field} ({listed}): name one")


def _contrast(values: list[Any]) -> str:
    """Names where names differ, else the fields that do."""
    names = list(dict.fromkeys(value.name for value in values))
    if len(names) > 1:
        return ", ".join(names)
    if isinstance(values[0], Architecture):
        return f"{names[0]} with different options"
    dumps = [value.model_dump(mode="json") for value in values]
    differing = [key for key in dumps[0] if len({repr(dump.get(key)) for dump in dumps}) > 1]
    return f"{names[0]} with different {' and '.join(differing)}"


def _unreadable(measure: Measure, runs: list[Run]) -> Iterator[Problem]:
    """Evaluations, positions and checkpoints that some of the runs do not have."""
    for task in dict.fromkeys(run.task for run in runs):
        evaluations = task.evaluations()
        if measure.evaluation not in evaluations:
            near = did_you_mean(measure.evaluation, evaluations)
            yield Problem("evaluation", f"task '{task.name}' has no evaluation '{measure.evaluation}'{near}")
            return
        found = evaluations[measure.evaluation]
        if isinstance(measure.at, int) and measure.at not in found.positions:
            first, last = found.positions[0], found.positions[-1]
            there = f"the task has {len(found.positions)}, {first} to {last}"
            yield Problem("at", f"position {measure.at} does not exist: {there}")
        elif isinstance(measure.at, str) and measure.at not in (*PLACES, *found.marks):
            near = did_you_mean(measure.at, [*PLACES, *found.marks])
            yield Problem("at", f"task '{task.name}' has no mark '{measure.at}'{near}")
    if measure.step is not None:
        lacking = [run for run in runs if measure.step not in run.checkpoints]
        if lacking:
            steps = ", ".join(map(str, lacking[0].checkpoints))
            yield Problem("step", f"no checkpoint at step {measure.step}, expected one of: {steps}")
