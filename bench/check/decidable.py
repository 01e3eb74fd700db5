"""Whether results of a suite could ever decide a claim, checked when a claims file is read.

A claim that no result could decide is an error in the file. Each complaint is placed at the field that is
wrong: at the member of a list if the member sets this field, otherwise at the common `measure`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.check.claim import LEAST_PROMPTS, Claim, Member
from bench.check.quantity import (
    FILTERS,
    FREE,
    NAMED_POSITIONS,
    NOT_SCORED,
    PLAIN,
    Quantity,
    field_text,
    fitting,
    runs_of,
)
from bench.digits import count_of
from bench.errors import did_you_mean
from bench.models.architecture import Architecture
from bench.paper.exhibits import named
from bench.run import Run
from bench.strict_yaml.complaints import Complaint, Loc

if TYPE_CHECKING:
    from bench.suite import Suite


def undecidable(claim: Claim, suite: Suite) -> Iterator[Complaint]:
    """Why no results of the suite could decide a claim, with locations relative to the claim."""
    measurable = True
    for member, quantity in zip(claim.members, claim.quantities, strict=True):
        own, *references = [list(problems_of(operand, suite)) for operand in quantity.operands]
        complaints = [_placed(member, problem) for problem in own]
        complaints += [
            _placed_in_reference(member, quantity, problem)
            for problems in references
            for problem in problems
            if problem not in own
        ]
        measurable = measurable and not complaints
        yield from complaints
    if measurable:  # else a quantity may have no runs, and the kind's own checks compare runs
        yield from claim.undecidable(suite)


def bad_references(entries: Mapping[str, Any], claims: Mapping[str, Claim]) -> Iterator[Complaint]:
    """Claims about other claims that do not exist, or that are about claims themselves.

    Args:
        entries: every claim of the file as it is written. A claim that exists but is wrong has its own
            complaints.
        claims: those that could be read, by id.
    """
    for name, claim in claims.items():
        for place, other in claim.other_claims.items():
            loc = ("claims", name, *place)
            if other not in entries:
                near = did_you_mean(other, [claim_id for claim_id in claims if claim_id != name])
                yield Complaint(loc, f"there is no claim '{other}'{near}")
            elif other in claims and claims[other].other_claims:
                yield Complaint(loc, f"'{other}' is a {claims[other].kind} itself")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a quantity.

    Attributes:
        field: the field of the quantity that is wrong; None for the quantity as a whole.
        text: one sentence.
    """

    field: str | None
    text: str


def problems_of(quantity: Quantity, suite: Suite) -> Iterator[Problem]:
    """Why a quantity can never be measured from results of a suite; nothing if it can."""
    names = [experiment.name for experiment in suite.experiments]
    if quantity.experiment is None and quantity.rebuilds is None:
        yield Problem(None, f"missing key 'experiment'{did_you_mean('', names)}")
        return
    if quantity.experiment is not None and quantity.experiment not in names:
        near = did_you_mean(quantity.experiment, names)
        yield Problem("experiment", f"suite '{suite.name}' has no experiment '{quantity.experiment}'{near}")
        return
    runs = runs_of(Quantity(experiment=quantity.experiment, rebuilds=quantity.rebuilds), suite)
    place = quantity.planned_by
    if quantity.experiment is None and not runs:
        experiments = suite.experiments
        rebuilt = sorted({number for experiment in experiments for number in named(experiment.rebuilds)})
        near = did_you_mean(str(quantity.rebuilds), rebuilt)
        yield Problem("rebuilds", f"no experiment of suite '{suite.name}' rebuilds {quantity.rebuilds}{near}")
        return
    # Filters are applied one by one, so that the complaint names the first one that leaves no run.
    for field, (_, own) in FILTERS.items():
        if (value := getattr(quantity, field)) is None:
            continue
        kept = fitting(runs, field, value)
        if not kept:
            yield Problem(field, f"no run of {place} {_no_fit(field, value, runs, own)}")
            return
        runs, place = kept, f"{place}, {quantity.text([field])}"
    if not runs:
        yield Problem("experiment", f"{place} plans no run")
        return
    yield from _ambiguities(runs)
    yield from _unreadable(quantity, runs)


def _no_fit(field: str, value: Any, runs: list[Run], own: Callable[[Run], str]) -> str:
    """`has task 'x', did you mean 'y'?`, or which of its fields no run has."""
    label = field.replace("_", " ")
    available = list(dict.fromkeys(own(run) for run in runs))
    name = value["name"] if isinstance(value, dict) else field_text("size", value)
    if not isinstance(value, dict) or name not in available:
        return f"has {label} '{name}'{did_you_mean(name, available)}"
    options = ", ".join(f"{key} = {_as_written(value[key])}" for key in value if key != "name")
    fields = {key for run in runs if own(run) == name for key in _fields(run, field)}
    unknown = [key for key in value if key != "name" and key not in fields]
    hint = f": unknown key '{unknown[0]}'{did_you_mean(unknown[0], sorted(fields))}" if unknown else ""
    return f"has {label} '{name}' with {options}{hint}"


def _as_written(option: Any) -> str:
    return option if isinstance(option, str) else json.dumps(option, ensure_ascii=False)


def _fields(run: Run, field: str) -> set[str]:
    value = getattr(run, field)
    if isinstance(value, Architecture):
        blocks = value.first + value.layer
        return {key for block in blocks for key in type(block).model_fields} - {"name"}
    return set(type(value).model_fields) - {"name"}


def _ambiguities(runs: list[Run]) -> Iterator[Problem]:
    """Differences between runs in fields that are neither chosen (rate, clip, size) nor averaged (seed)."""
    for field in ("task", "architecture", "optimizer"):
        values = list(dict.fromkeys(getattr(run, field) for run in runs))
        if len(values) > 1:
            yield Problem(None, f"this means runs of {len(values)} {field}s ({_contrast(values)}): name one")
    for field in (*(name for name in PLAIN if name not in FREE), "evaluation_prompts"):
        # Within one size: sizes may differ in their budgets, and a size is chosen as a whole.
        by_size: dict[Any, dict[Any, None]] = {}
        for run in runs:
            by_size.setdefault(run.size, {})[getattr(run, field)] = None
        clash = next((values for values in by_size.values() if len(values) > 1), None)
        if clash:
            listed = ", ".join(map(str, clash))
            yield Problem(None, f"this means runs with {len(clash)} values of {field} ({listed}): name one")


def _contrast(values: list[Any]) -> str:
    """The names if they differ, else the fields that differ."""
    names = list(dict.fromkeys(value.name for value in values))
    if len(names) > 1:
        return ", ".join(names)
    if isinstance(values[0], Architecture):
        return f"{names[0]} with different options"
    dumps = [value.model_dump(mode="json") for value in values]
    differing = [key for key in dumps[0] if len({repr(dump.get(key)) for dump in dumps}) > 1]
    return f"{names[0]} with different {' and '.join(differing)}"


def _unreadable(quantity: Quantity, runs: list[Run]) -> Iterator[Problem]:
    """Evaluations, positions and checkpoints that some of the runs do not have."""
    # Models with learned positions lack evaluations on longer prompts.
    for run in {(run.task, run.architecture.length_fault): run for run in runs}.values():
        task, evaluations = run.task, run.evaluations()
        if quantity.evaluation not in evaluations:
            if quantity.evaluation in task.longer_evaluations():
                why = f"architecture '{run.architecture.name}' has no evaluation '{quantity.evaluation}'"
                yield Problem("evaluation", f"{why}: {run.architecture.length_fault}")
                return
            near = did_you_mean(quantity.evaluation, evaluations)
            text = f"task '{task.name}' has no evaluation '{quantity.evaluation}'{near}"
            yield Problem("evaluation", text)
            return
        evaluation = evaluations[quantity.evaluation]
        if quantity.of == "perplexity" and (evaluation.metric or task.metric) != "cross_entropy":
            scored = [name for name, other in evaluations.items() if other.metric == "cross_entropy"]
            fitting = f", only '{scored[0]}' is" if scored else ""
            text = f"evaluation '{quantity.evaluation}' of task '{task.name}' is no cross-entropy{fitting}"
            yield Problem("of", text)
        if quantity.of == "horizon" and (evaluation.metric or task.metric) != "accuracy":
            text = (
                f"evaluation '{quantity.evaluation}' of task '{task.name}' is no accuracy: it has no horizon"
            )
            yield Problem("of", text)
        if quantity.of == "convergence_step" and task.metric != "accuracy":
            yield Problem(
                "of", f"task '{task.name}' is not scored by accuracy: it has no step of convergence"
            )
        if isinstance(quantity.at, int) and quantity.at not in evaluation.positions:
            expected = _positions_in_words(evaluation.positions, quantity.at)
            yield Problem("at", f"position {quantity.at} is not scored, expected {expected}")
        elif isinstance(quantity.at, str) and quantity.at not in (*NAMED_POSITIONS, *evaluation.marks):
            near = did_you_mean(quantity.at, [*NAMED_POSITIONS, *evaluation.marks])
            yield Problem("at", f"task '{task.name}' has no mark '{quantity.at}'{near}")
    yield from _few_prompts(quantity, runs)
    if quantity.step is not None:
        lacking = [run for run in runs if quantity.step not in run.checkpoints]
        if lacking:
            steps = ", ".join(map(str, lacking[0].checkpoints))
            yield Problem("step", f"no checkpoint at step {quantity.step}, expected one of: {steps}")


def _few_prompts(quantity: Quantity, runs: list[Run]) -> Iterator[Problem]:
    """Too few planned prompts for any interval of a score."""
    fewest = min(runs, key=lambda run: run.independent_prompts)
    if quantity.of in NOT_SCORED or fewest.independent_prompts >= LEAST_PROMPTS:
        return
    text = f"its scores rest on {count_of(fewest.independent_prompts, 'independent prompt')}"
    if (together := fewest.task.dependent_prompts) > 1:
        text += f": of {fewest.evaluation_prompts} prompts, {together} at a time share a function"
    least = LEAST_PROMPTS * together
    yield Problem(
        None, f"{text}; a claim takes at least {LEAST_PROMPTS}: set evaluation_prompts to {least} or more"
    )


def _positions_in_words(positions: Sequence[int], near: int) -> str:
    """Positions that are scored: their range, and the nearest ones if some of the range are left out."""
    first, last = positions[0], positions[-1]
    if len(positions) == last - first + 1:
        return f"{first} to {last}"
    nearest = sorted(sorted(positions, key=lambda position: abs(position - near))[:2])
    return f"one of {len(positions)} from {first} to {last}; the nearest: {nearest[0]} and {nearest[1]}"


def _placed_in_reference(member: Member, quantity: Quantity, problem: Problem) -> Complaint:
    """The problem as a complaint, at the reference of a quantity if the reference sets the field."""
    key, reference = ("minus", quantity.minus) if quantity.minus else ("relative_to", quantity.relative_to)
    place = (*_setter(member, key), key)
    if problem.field is None:
        return Complaint(place, problem.text)
    if reference is not None and problem.field in reference.model_fields_set:
        return Complaint((*place, problem.field, "name"), problem.text)
    return _placed(member, problem)


def _placed(member: Member, problem: Problem) -> Complaint:
    """The problem as a complaint, at the member if the member sets the field, else at the common measure."""
    if problem.field is None:
        # A common measure that is incomplete is pointed at by its key: its value may lie lines below.
        return Complaint(
            ("measure",) if member.place is None else member.place, problem.text, key=member.place is None
        )
    place = _setter(member, problem.field)
    # "name" leads to the name within a mapping. Without a mapping, the position is that of the field.
    return Complaint((*place, problem.field, "name"), problem.text)


def _setter(member: Member, field: str) -> Loc:
    """Where a field is set: in the member, or else in the common measure."""
    is_own = field in member.quantity.model_fields_set
    return member.place if is_own and member.place is not None else ("measure",)
