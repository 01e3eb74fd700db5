"""What a claim measures: which runs of an experiment, and which number of theirs.

A measure names the runs that matter and no others. What is left open among learning rates, clips
and sizes is a choice, made by `bench.selection`; what is left open among seeds is a median, or the lowest.
Anything else left open (two tasks, two optimizers) is a mistake in the file, said when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, PositiveFloat, PositiveInt, model_validator

from bench.errors import UserError, did_you_mean
from bench.frozen import Frozen
from bench.paper.exhibits import named
from bench.paper.sizes import SIZE_GROUPS
from bench.run import Run, short

if TYPE_CHECKING:
    from bench.suite import Experiment, Suite


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


PLACES = ("mean", "last", "headline")
"""Where a score can be read in every task; positions and the task's own marks are further places."""
_MARK = re.compile(r"[a-z0-9_]*[0-9][a-z0-9_]*")


def _position(value: Any) -> Any:
    named = isinstance(value, str) and (value in PLACES or _MARK.fullmatch(value))
    if named or (type(value) is int and value >= 0):
        return value
    raise ValueError(f"expected mean, last, headline, a mark's name or a position from 0, not {value!r}")


Named = Annotated[dict[str, Any], BeforeValidator(_named)]
"""A task, architecture or optimizer: its name, or name and fields: `{name: decision_tree, depth: 3}`."""


class Shape(Frozen):
    """One size: layers and nominal width."""

    layers: PositiveInt
    width: PositiveInt


class Measure(Frozen):
    """Runs and a number. `experiment` or `rebuilds` says where runs are; other fields narrow them.

    Attributes:
        experiment: the experiment that plans the runs.
        rebuilds: instead, a figure or table of the paper: the runs of all experiments that rebuild it.
        at: the mean over positions, the last one, one counted from 0 (so many examples were seen), a
            mark of the task ("50th_clean"), or "headline": the number that the task is judged by.
        evaluation: which one; "report", or another that the task has ("clean_prompts").
        of: "error" (normalised: the trivial predictor scores 1; 1 − accuracy), "score" (raw),
            "convergence_step" (the step by which a task is learned, the whole budget when it never is)
            or "training_flops".
        step: the checkpoint the number is read at; the last one when absent.
        at_flops: a budget; the number is then the frontier's over all sizes and checkpoints there.
        steps: the training budget of the runs, where an experiment has several.
        protocol: whose side the task takes where the paper's text and the released code differ.
        relative_to: fields of another measure by which this one is divided.
        minus: fields of another measure that is taken off this one.
        over_seeds: the median over the seeds that finished, or the lowest of them: what can be reached.
    """

    experiment: str | None = None
    rebuilds: str | None = None
    task: Named | None = None
    architecture: Named | None = None
    size: Annotated[str | Shape, BeforeValidator(_size)] | None = None
    optimizer: Named | None = None
    learning_rate: PositiveFloat | None = None
    clip: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    steps: PositiveInt | None = None
    precision: str | None = None
    protocol: Literal["paper", "released_code"] | None = None
    seed: int | None = None

    at: Annotated[int | str, BeforeValidator(_position)] = "mean"
    evaluation: str = "report"
    of: Literal["error", "score", "convergence_step", "training_flops"] = "error"
    step: PositiveInt | None = None
    at_flops: PositiveFloat | None = None
    relative_to: Measure | None = None
    minus: Measure | None = None
    over_seeds: Literal["median", "lowest"] = "median"

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if self.relative_to and self.minus:
            raise ValueError("give one of relative_to and minus")
        if self.at_flops and (self.step or self.of not in ("error", "score")):
            raise ValueError("at_flops reads errors over all checkpoints: leave out step and of")
        if self.at_flops and self.over_seeds != "median":
            raise ValueError("at_flops reads medians over seeds: leave out over_seeds")
        return self

    def updated(self, other: Measure) -> Measure:
        """This measure with the fields that `other` sets."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})

    @property
    def parts(self) -> tuple[Measure, ...]:
        """The measure itself, and what it is divided by or what is taken off it, completed from it."""
        reference = self.relative_to or self.minus
        own = self.model_copy(update={"relative_to": None, "minus": None})
        return (own, own.updated(reference)) if reference else (own,)

    @property
    def place(self) -> str:
        """Where its runs are, in words."""
        if self.experiment is None and self.rebuilds:
            return self.rebuilds
        return f"experiment '{self.experiment}'"

    def text(self, fields: Iterable[str] | None = None) -> str:
        """The fields that are set (or those named), for people: `mamba, x-small, at last`."""
        shown = {name: getattr(self, name) for name in type(self).model_fields}
        wanted = self.model_fields_set if fields is None else fields
        return ", ".join(said(*item) for item in shown.items() if item[0] in wanted and item[1] is not None)


def said(field: str, value: Any) -> str:
    """A field of a measure for people."""
    if isinstance(value, Shape):
        return f"{value.layers}x{value.width}"
    if isinstance(value, dict):
        options = ", ".join(f"{key} {given}" for key, given in value.items() if key != "name")
        return f"{value['name']} ({options})" if options else str(value["name"])
    if isinstance(value, Measure):
        return f"{field.replace('_', ' ')} {value.text()}"
    shown = short(value) if isinstance(value, float) else str(value)
    return shown if field in ("experiment", "rebuilds", "size") else f"{field.replace('_', ' ')} {shown}"


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


def follows(run: Run, protocol: str) -> bool:
    """Whether the run's task takes one side wherever the text and the released code differ."""
    return departure(run, protocol) is None


def departure(run: Run, protocol: str) -> tuple[str, Any, Any] | None:
    """The first field in which a task does not follow a protocol: its name, its value and the protocol's."""
    for field, values in type(run.task).protocol_fields.items():
        if getattr(run.task, field) != values[protocol]:
            return field, getattr(run.task, field), values[protocol]
    return None


def _equal(field: str) -> tuple[Callable[[Run, Any], bool], Callable[[Run], str]]:
    def own(run: Run) -> str:
        value = getattr(run, field)
        return short(value) if isinstance(value, float) else str(value)

    return (lambda run, wanted: bool(getattr(run, field) == wanted)), own


FILTERS: dict[str, tuple[Callable[[Run, Any], bool], Callable[[Run], str]]] = {
    "task": (_fields_fit("task"), lambda run: run.task.name),
    "architecture": (_architecture_fits, lambda run: run.architecture.name),
    "size": (_size_fits, lambda run: run.size_group or f"{run.size.layers}x{run.size.width}"),
    "optimizer": (_fields_fit("optimizer"), lambda run: run.optimizer.name),
    "protocol": (follows, lambda run: "paper" if follows(run, "paper") else "released_code"),
    **{
        field: _equal(field)
        for field in ("learning_rate", "clip", "batch_size", "steps", "precision", "seed")
    },
}
"""By field of a measure: whether a run is meant by a value, and the run's own value in words."""


def runs_of(measure: Measure, suite: Suite) -> list[Run]:
    """The planned runs a measure means, in the suite's order; none when its experiment is unknown."""
    runs = [run for each in suite.experiments if _is_meant(measure, each) for run in each.runs]
    for field, (fits, _) in FILTERS.items():
        if (wanted := getattr(measure, field)) is not None:
            runs = [run for run in runs if fits(run, wanted)]
    return list(dict.fromkeys(runs))


def _is_meant(measure: Measure, experiment: Experiment) -> bool:
    if measure.experiment is not None:
        return experiment.name == measure.experiment
    return measure.rebuilds is not None and measure.rebuilds in named(experiment.rebuilds)
