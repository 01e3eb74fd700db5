"""The quantity a claim is about: runs of an experiment, and one number of these runs.

A claims file writes it under `measure`. It need not fix learning rates, clips and sizes, which
`bench.selection` then chooses, nor seeds, whose mean or lowest value is then the number. It must fix
everything else: runs of two tasks or two optimizers are an error in the file (`bench.check.decidable`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from bench.digits import short
from bench.errors import UserError, did_you_mean
from bench.frozen import Frozen, with_fields
from bench.models.sizes import as_fields, size_key
from bench.paper.exhibits import named
from bench.paper.protocol import departure
from bench.paper.sizes import SIZE_GROUPS
from bench.run import SETTINGS, Run, text_of

if TYPE_CHECKING:
    from bench.suite import Experiment, Suite


def _with_name(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return value
    raise ValueError("expected a name, or a mapping with 'name' and the fields that tell variants apart")


def _size(value: Any) -> Any:
    if isinstance(value, str) and value not in SIZE_GROUPS:
        size = as_fields(value)
        right = f", expected {size}" if size else did_you_mean(value, SIZE_GROUPS)
        raise ValueError(f"unknown size group '{value}'{right}")
    return value


NAMED_POSITIONS = ("mean", "last", "headline")
"""Values of `at` that every task has. Positions and the task's own marks are valid too."""
_MARK = re.compile(r"[a-z0-9_]*[0-9][a-z0-9_]*")


def _position(value: Any) -> Any:
    is_name = isinstance(value, str) and (value in NAMED_POSITIONS or _MARK.fullmatch(value))
    if is_name or (type(value) is int and value >= 0):
        return value
    raise ValueError(f"expected mean, last, headline, a mark's name or a position from 0, not {value!r}")


Named = Annotated[dict[str, Any], BeforeValidator(_with_name, json_schema_input_type=str | dict[str, Any])]
"""A task, architecture or optimizer: its name, or name and fields: `{name: decision_tree, depth: 3}`."""


class LayersAndWidth(Frozen):
    """One size, as layers and nominal width, with any number of heads."""

    layers: PositiveInt
    width: PositiveInt


WITHOUT: dict[str, tuple[tuple[str, ...], str]] = {
    "horizon": (("at",), "a horizon is read over all positions"),
    "convergence_step": (
        ("at", "evaluation", "step"),
        "a step of convergence is read over all checkpoints of the main evaluation",
    ),
    "training_flops": (("at", "evaluation"), "training FLOPs do not depend on what is scored"),
}
"""By value of `of`: the fields that select nothing there, and why."""


NOT_SCORED = {"convergence_step", "training_flops"}
"""Values of `of` that do not vary over the test prompts, as far as results say."""


PLAIN = tuple(name for name in SETTINGS if name != "optimizer")
"""Settings of training that a quantity fixes by their value."""


FREE = ("learning_rate", "clip", "seed")
"""Settings that a quantity need not fix: rates and clips are chosen, and seeds are averaged."""


def _setting_type(name: str) -> Any:
    """The type of a setting in a claim.

    Values beyond the bounds of runs are accepted. No run has them, and the complaint about that lists the
    values that runs have.
    """
    field = Run.model_fields[name]
    kind: Any = field.annotation if field.annotation in (int, float) else str
    is_positive = any(getattr(bound, "gt", None) == 0 for bound in field.metadata)
    return Annotated[kind, Field(gt=0)] if is_positive else kind


@with_fields({name: (_setting_type(name) | None, None) for name in PLAIN})
class _Runs(Frozen):
    """The fields of a quantity that name its runs."""

    experiment: str | None = None
    rebuilds: str | None = None
    task: Named | None = None
    architecture: Named | None = None
    size: Annotated[str | LayersAndWidth, BeforeValidator(_size)] | None = None
    optimizer: Named | None = None


class Quantity(_Runs):
    """Runs and one number of them. `experiment` or `rebuilds` names the runs; other fields narrow them.

    Attributes:
        experiment: the experiment that plans the runs.
        rebuilds: instead, a figure or table of the paper: the runs of all experiments that rebuild it.
        at: the mean over positions, the last position, a position counted from 0 (the number of examples
            before it), a mark of the task ("50th_clean"), or "headline": the task's headline number.
        evaluation: "report", or another evaluation of the task ("clean_prompts").
        of: "error" (normalised: the trivial predictor scores 1; 1 − accuracy), "excess" (the part of what can
            be learned that was not: 0 at the task's floor, 1 for the trivial predictor), "score" (raw),
            "perplexity" (of a score that is a cross-entropy), "convergence_step" (the step at which the task
            is learned; infinite if it never is), "horizon" (the number of positions up to the last one with
            an accuracy of at least 0.9) or "training_flops".
        step: the checkpoint at which the number is read; the last one by default.
        at_flops: a budget. The number is then read there, on the frontier over all sizes and checkpoints.
        steps: the training budget of the runs, where an experiment has several.
        protocol: the paper's text or its released code, for tasks in which the two differ.
        relative_to: fields of another quantity, whose number is the divisor.
        minus: fields of another quantity, whose number is subtracted.
        over_seeds: the mean over the seeds that finished, or the lowest value. The lowest is found on the
            prompts on which it is reported, so it is somewhat too low. It is that of one model, and says
            nothing about other trainings.
    """

    protocol: Literal["paper", "released_code"] | None = None

    at: Annotated[int | str, BeforeValidator(_position)] = "mean"
    evaluation: str = "report"
    of: Literal["error", "excess", "score", "perplexity", "convergence_step", "horizon", "training_flops"] = (
        "error"
    )
    step: PositiveInt | None = None
    at_flops: PositiveFloat | None = None
    relative_to: Quantity | None = None
    minus: Quantity | None = None
    over_seeds: Literal["mean", "lowest"] = "mean"

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.relative_to and self.minus:
            raise ValueError("give one of relative_to and minus")
        if self.at_flops and (self.step or self.of not in ("error", "excess")):
            raise ValueError(
                "at_flops reads errors over all checkpoints: leave out step, and of unless excess"
            )
        without, why = WITHOUT.get(self.of, ((), ""))
        if extra := [field for field in without if field in self.model_fields_set]:
            raise ValueError(f"{why}: leave out {' and '.join(extra)}")
        if self.at_flops and self.over_seeds != "mean":
            raise ValueError("at_flops reads means over seeds: leave out over_seeds")
        return self

    def updated(self, other: Quantity) -> Quantity:
        """This quantity with the fields that `other` sets."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})

    @property
    def operands(self) -> tuple[Quantity, ...]:
        """The quantity alone, then its reference (`relative_to` or `minus`), completed from it."""
        reference = self.relative_to or self.minus
        own = self.model_copy(update={"relative_to": None, "minus": None})
        return (own, own.updated(reference)) if reference else (own,)

    @property
    def planned_by(self) -> str:
        """The experiment, or the exhibit of the paper, whose runs are meant, in words."""
        if self.experiment is None and self.rebuilds:
            return self.rebuilds
        return f"experiment '{self.experiment}'"

    def text(self, fields: Iterable[str] | None = None) -> str:
        """The fields that are set (or those named), as a claims file has them: `mamba, x-small, at last`."""
        names = self.model_fields_set if fields is None else set(fields)
        values = {name: getattr(self, name) for name in type(self).model_fields if name in names}
        return ", ".join(field_text(name, value) for name, value in values.items() if value is not None)


def field_text(field: str, value: Any) -> str:
    """A field of a quantity with its keys, for complaints about a claims file."""
    if isinstance(value, LayersAndWidth):
        return size_key(value)
    if isinstance(value, dict):
        options = ", ".join(f"{key} {option}" for key, option in value.items() if key != "name")
        return f"{value['name']} ({options})" if options else str(value["name"])
    if isinstance(value, Quantity):
        return f"{field.replace('_', ' ')} {value.text()}"
    text = short(value) if isinstance(value, float) else str(value)
    return text if field in ("experiment", "rebuilds", "size") else f"{field.replace('_', ' ')} {text}"


def _fields_fit(field: str) -> Callable[[Run, Any], bool]:
    def fits(run: Run, options: Any) -> bool:
        fields = getattr(run, field).model_dump(mode="json")
        return all(key in fields and fields[key] == value for key, value in options.items())

    return fits


def _architecture_fits(run: Run, value: Any) -> bool:
    options = {key: option for key, option in value.items() if key != "name"}
    if value["name"] not in (run.architecture.name, run.architecture.base_name):
        return False
    try:
        return run.architecture.with_options(options) == run.architecture
    except (UserError, ValueError):  # no block of this architecture has such a field, or no such value
        return False


def _size_fits(run: Run, value: Any) -> bool:
    sizes = SIZE_GROUPS[value] if isinstance(value, str) else (value,)
    return any((size.layers, size.width) == (run.size.layers, run.size.width) for size in sizes)


def follows(run: Run, protocol: str) -> bool:
    """Whether the run's task follows a protocol, "paper" or "released_code", wherever the two differ."""
    return departure(run.task, protocol) is None


def _equal(field: str) -> tuple[Callable[[Run, Any], bool], Callable[[Run], str]]:
    return (lambda run, value: bool(getattr(run, field) == value)), partial(text_of, name=field)


FILTERS: dict[str, tuple[Callable[[Run, Any], bool], Callable[[Run], str]]] = {
    "task": (_fields_fit("task"), lambda run: run.task.name),
    "architecture": (_architecture_fits, lambda run: run.architecture.name),
    "size": (_size_fits, lambda run: run.size_group or size_key(run.size)),
    "optimizer": (_fields_fit("optimizer"), lambda run: run.optimizer.name),
    "protocol": (follows, lambda run: "paper" if follows(run, "paper") else "released_code"),
    **{field: _equal(field) for field in PLAIN},
}
"""By field of a quantity: whether a run fits a value of the field, and the run's own value in words."""


def runs_of(quantity: Quantity, suite: Suite) -> list[Run]:
    """The planned runs of a quantity, in the suite's order; none if its experiment is unknown."""
    experiments = [experiment for experiment in suite.experiments if _is_meant(quantity, experiment)]
    runs = [run for experiment in experiments for run in experiment.runs]
    for field in FILTERS:
        if (value := getattr(quantity, field)) is not None:
            runs = fitting(runs, field, value)
    return list(dict.fromkeys(runs))


def fitting(runs: Iterable[Run], field: str, value: Any) -> list[Run]:
    """The runs that fit a value of a field.

    Runs of a grid share their tasks and architectures, and each of these is compared once.
    """
    fits, _ = FILTERS[field]
    name = "task" if field == "protocol" else field
    answers: dict[int, bool] = {}  # by the identity of a value, which its run keeps alive
    chosen = []
    for run in runs:
        key = id(getattr(run, name))
        if key not in answers:
            answers[key] = fits(run, value)
        if answers[key]:
            chosen.append(run)
    return chosen


def _is_meant(quantity: Quantity, experiment: Experiment) -> bool:
    if quantity.experiment is not None:
        return experiment.name == quantity.experiment
    return quantity.rebuilds is not None and quantity.rebuilds in named(experiment.rebuilds)
