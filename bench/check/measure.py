"""What a claim measures: which runs of an experiment, and which number of theirs.

A measure names the runs that matter and no others. What is left open among learning rates, clips
and sizes is a choice, made by `bench.selection`; what is left open among seeds is a median.
Anything else left open (two tasks, two optimizers) is a mistake in the file, said when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, PositiveFloat, PositiveInt

from bench.errors import UserError, did_you_mean
from bench.frozen import Frozen
from bench.models.architectures import Architecture
from bench.models.sizes import SIZE_GROUPS
from bench.run import Run, short

if TYPE_CHECKING:
    from bench.suite import Suite


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return value
    raise ValueError("expected a name, or a mapping with 'name' and the fields that tell variants apart")


def _size(value: Any) -> Any:
    if isinstance(value, str) and value not in SIZE_GROUPS:
        raise ValueError(f"unknown group '{value}'{did_you_mean(value, SIZE_GROUPS)}")
    return value


def _position(value: Any) -> Any:
    if value in ("mean", "last") or (type(value) is int and value >= 0):
        return value
    raise ValueError(f"expected mean, last or a position from 0, not {value!r}")


Named = Annotated[dict[str, Any], BeforeValidator(_named)]
"""A task, architecture or optimizer: its name, or name and fields: `{name: decision_tree, depth: 3}`."""


class Shape(Frozen):
    """One size: layers and nominal width."""

    layers: PositiveInt
    width: PositiveInt


class Measure(Frozen):
    """Runs and a number. Every field but `experiment` narrows the runs, or has a default.

    Attributes:
        at: the mean over positions, the last one, or one counted from 0 (so many examples were seen).
        of: "error" (normalised: the trivial predictor scores 1; 1 − accuracy) or "score" (raw).
        step: the checkpoint the number is read at; the last one when absent.
        steps: the training budget of the runs, where an experiment has several.
    """

    experiment: str | None = None
    task: Named | None = None
    architecture: Named | None = None
    size: Annotated[str | Shape, BeforeValidator(_size)] | None = None
    optimizer: Named | None = None
    learning_rate: PositiveFloat | None = None
    clip: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    steps: PositiveInt | None = None
    precision: str | None = None
    seed: int | None = None

    at: Annotated[int | str, BeforeValidator(_position)] = "mean"
    of: Literal["error", "score"] = "error"
    step: PositiveInt | None = None

    def updated(self, other: Measure) -> Measure:
        """This measure with the fields that `other` sets."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})

    def text(self, fields: Iterable[str] | None = None) -> str:
        """The fields that are set (or those named), for people: `mamba, x-small, at last`."""
        shown = {name: getattr(self, name) for name in type(self).model_fields}
        wanted = self.model_fields_set if fields is None else fields
        return ", ".join(_said(*item) for item in shown.items() if item[0] in wanted and item[1] is not None)


def _said(field: str, value: Any) -> str:
    if isinstance(value, Shape):
        return f"{value.layers}x{value.width}"
    if isinstance(value, dict):
        options = ", ".join(f"{key} {given}" for key, given in value.items() if key != "name")
        return f"{value['name']} ({options})" if options else str(value["name"])
    shown = short(value) if isinstance(value, float) else str(value)
    return shown if field in ("experiment", "size") else f"{field.replace('_', ' ')} {shown}"


# --- which runs -------------------------------------------------------------------------------


def _fields_fit(field: str) -> Callable[[Run, Any], bool]:
    def fits(run: Run, wanted: Any) -> bool:
        fields = getattr(run, field).model_dump(mode="json")
        return all(key in fields and fields[key] == value for key, value in wanted.items())

    return fits


def _architecture_fits(run: Run, wanted: Any) -> bool:
    options = {key: value for key, value in wanted.items() if key != "name"}
    if wanted["name"] not in (run.architecture.name, run.architecture.base_name):
        return False
    try:
        return run.architecture.with_options(options) == run.architecture
    except (UserError, ValueError):  # no block of it has such a field, or no such value
        return False


def _size_fits(run: Run, wanted: Any) -> bool:
    sizes = SIZE_GROUPS[wanted] if isinstance(wanted, str) else (wanted,)
    return any((size.layers, size.width) == (run.size.layers, run.size.width) for size in sizes)


def _equal(field: str) -> tuple[Callable[[Run, Any], bool], Callable[[Run], str]]:
    def said(run: Run) -> str:
        value = getattr(run, field)
        return short(value) if isinstance(value, float) else str(value)

    return (lambda run, wanted: bool(getattr(run, field) == wanted)), said


FILTERS: dict[str, tuple[Callable[[Run, Any], bool], Callable[[Run], str]]] = {
    "task": (_fields_fit("task"), lambda run: run.task.name),
    "architecture": (_architecture_fits, lambda run: run.architecture.name),
    "size": (_size_fits, lambda run: run.size_group or f"{run.size.layers}x{run.size.width}"),
    "optimizer": (_fields_fit("optimizer"), lambda run: run.optimizer.name),
    **{
        field: _equal(field)
        for field in ("learning_rate", "clip", "batch_size", "steps", "precision", "seed")
    },
}
"""By field of a measure: whether a run is meant by a value, and the run's own value in words."""


def runs_of(measure: Measure, suite: Suite) -> list[Run]:
    """The planned runs a measure means, in the suite's order; none when its experiment is unknown."""
    runs = [run for each in suite.experiments if each.name == measure.experiment for run in each.runs]
    for field, (fits, _) in FILTERS.items():
        if (wanted := getattr(measure, field)) is not None:
            runs = [run for run in runs if fits(run, wanted)]
    return list(dict.fromkeys(runs))


# --- what is wrong with it --------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A sentence about one field of a measure (None: about the measure as a whole)."""

    field: str | None
    text: str


def problems_of(measure: Measure, suite: Suite) -> Iterator[Problem]:
    """Why a measure can never be taken from the results of a suite; nothing when it can."""
    names = [experiment.name for experiment in suite.experiments]
    if measure.experiment is None:
        yield Problem(None, f"missing key 'experiment'{did_you_mean('', names)}")
        return
    if measure.experiment not in names:
        near = did_you_mean(measure.experiment, names)
        yield Problem("experiment", f"suite '{suite.name}' has no experiment '{measure.experiment}'{near}")
        return
    runs = runs_of(Measure(experiment=measure.experiment), suite)
    where = f"experiment '{measure.experiment}'"
    for field, (fits, said) in FILTERS.items():
        if (wanted := getattr(measure, field)) is None:
            continue
        kept = [run for run in runs if fits(run, wanted)]
        if not kept:
            yield Problem(field, f"no run of {where} {_lacks(field, wanted, runs, said)}")
            return
        runs, where = kept, f"{where}, {measure.text([field])}"
    if not runs:
        yield Problem("experiment", f"{where} plans no run")
        return
    yield from _ambiguities(runs)
    yield from _unreadable(measure, runs)


def _lacks(field: str, wanted: Any, runs: list[Run], said: Callable[[Run], str]) -> str:
    """`has task 'x', did you mean 'y'?`, or which of its fields no run has."""
    label = field.replace("_", " ")
    available = list(dict.fromkeys(said(run) for run in runs))
    name = wanted["name"] if isinstance(wanted, dict) else _said("size", wanted)
    if not isinstance(wanted, dict) or name not in available:
        return f"has {label} '{name}'{did_you_mean(name, available)}"
    options = ", ".join(f"{key} = {value}" for key, value in wanted.items() if key != "name")
    fields = {key for run in runs if said(run) == name for key in _fields(run, field)}
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
    """Positions and checkpoints that some of the runs do not have."""
    points = min(run.task.n_points for run in runs)
    if isinstance(measure.at, int) and measure.at >= points:
        yield Problem("at", f"position {measure.at} does not exist: the task has {points}, 0 to {points - 1}")
    if measure.step is not None:
        lacking = [run for run in runs if measure.step not in run.checkpoints]
        if lacking:
            steps = ", ".join(map(str, lacking[0].checkpoints))
            yield Problem("step", f"no checkpoint at step {measure.step}, expected one of: {steps}")
