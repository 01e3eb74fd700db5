"""Claims files: what a paper states, written so that results can be held against it.

    suite: quick
    claims:
      mamba_beats_s4:
        statement: Selection pays.
        source: Figure 2
        measure: {experiment: regression, task: linear_regression, at: last}
        order: [{architecture: mamba}, {architecture: s4}]
        slack: 0.1

A claim has a measure (`bench.check.measure`) and one of `value`, `bound` and `order`. A file is held
against its suite when it is read: a claim that no result of the suite could ever decide is an error
in the file, not a verdict. `bench.check` gives the verdicts; a further kind of claim is a model
here and a function there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, PositiveFloat, model_validator

from bench.check.measure import Measure, problems_of, runs_of
from bench.errors import InvalidFile
from bench.frozen import Frozen
from bench.strict_yaml.complaints import Complaint
from bench.strict_yaml.document import check, lines, read

if TYPE_CHECKING:
    from bench.suite import Suite

KINDS = ("value", "bound", "order")
Text = Annotated[str, Field(min_length=1)]


class Value(Frozen):
    """A number and how far from it still counts.

    One tolerance: `absolute` (in the value's unit), `relative` (a fraction of what is expected) or
    `log10` (decades: 0.5 is a factor of 3.2 either way).
    """

    expected: float
    absolute: PositiveFloat | None = None
    relative: PositiveFloat | None = None
    log10: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_tolerance(self) -> Self:
        given = [name for name in ("absolute", "relative", "log10") if getattr(self, name) is not None]
        if not given:
            raise ValueError("no tolerance: give one of absolute, relative and log10")
        if len(given) > 1:
            raise ValueError(f"several tolerances ({', '.join(given)}): give one")
        if self.relative is not None and self.expected == 0:
            raise ValueError("a relative tolerance of 0 is none: give an absolute one")
        if self.log10 is not None and self.expected <= 0:
            raise ValueError("log10 needs something above 0 to be expected")
        return self

    @property
    def allowed(self) -> float:
        """The tolerance, in the unit of `distance`."""
        return next(each for each in (self.absolute, self.relative, self.log10) if each is not None)

    @property
    def tolerance(self) -> str:
        if self.absolute is not None:
            return f"± {self.absolute:g}"
        return f"± {100 * self.relative:g} %" if self.relative is not None else f"± {self.log10:g} decades"

    def distance(self, value: float) -> tuple[float, str]:
        """How far a value is from what is expected, and the unit of that."""
        if self.absolute is not None:
            return abs(value - self.expected), ""
        if self.relative is not None:
            return abs(value - self.expected) / abs(self.expected), " of it"
        return abs(math.log10(value) - math.log10(self.expected)) if value > 0 else math.inf, " decades"


class Bound(Frozen):
    """A number the value must not pass; equal to it is within it."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give one of at_most and at_least")
        return self

    @property
    def limit(self) -> float:
        return next(each for each in (self.at_most, self.at_least) if each is not None)

    def admits(self, value: float) -> bool:
        return value <= self.limit if self.at_most is not None else value >= self.limit


class Claim(Frozen):
    """One statement and what would bear it out.

    Attributes:
        statement: the claim in words.
        source: where it is made: section, figure, table.
        reason: why this number or this tolerance.
        measure: what is measured; for an order, what its members have in common.
        value: the number is this one, within a tolerance.
        bound: the number is on this side of a bound.
        order: values rise from the first member to the last.
        slack: with `order`, how much (relative) an earlier member may still exceed a later one;
            negative asks for a margin: −0.5 for less than half of it.
    """

    statement: Text
    source: Text | None = None
    reason: Text | None = None
    measure: Measure
    value: Value | None = None
    bound: Bound | None = None
    order: tuple[Measure, ...] | None = Field(default=None, min_length=2)
    slack: float = Field(default=0.0, gt=-1.0)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            has = f"this one has {' and '.join(given)}" if given else "this one has none"
            raise ValueError(f"a claim states one of {', '.join(KINDS[:-1])} and {KINDS[-1]}; {has}")
        if "slack" in self.model_fields_set and self.order is None:
            raise ValueError("slack belongs to an order")
        return self

    @property
    def kind(self) -> str:
        """Which of `KINDS` it states."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured: one, or one for each member of an order."""
        if self.order is None:
            return (self.measure,)
        return tuple(self.measure.updated(member) for member in self.order)

    @property
    def names(self) -> tuple[str, ...]:
        """For each measure, what tells it from the others, in words; nothing for a single one."""
        if self.order is None:
            return ("",)
        return tuple(member.text() or self.measure.text() for member in self.order)

    @property
    def expected(self) -> str:
        """What is claimed, in words."""
        if self.value:
            return f"{self.value.expected:.4g}"
        if self.bound:
            return f"at {'most' if self.bound.at_most is not None else 'least'} {self.bound.limit:.4g}"
        return " < ".join(self.names)

    @property
    def tolerance(self) -> str:
        """How much is allowed, in words."""
        if self.value:
            return self.value.tolerance
        if self.slack < 0:
            return f"{-100 * self.slack:g} % margin"
        return f"{100 * self.slack:g} % slack" if self.slack else "none"


@dataclass(frozen=True)
class Claims:
    """The claims about one suite, by id, in the order of the file."""

    path: Path
    claims: dict[str, Claim]


class _File(Frozen):
    suite: str
    claims: dict[str, Any]


def path_for(suite_path: Path) -> Path:
    """Where the claims about a suite are written: `quick.yaml` → `quick.claims.yaml`, beside it."""
    return suite_path.with_name(f"{suite_path.stem}.claims.yaml")


def load(path: Path, suite: Suite) -> Claims:
    """Read the claims about `suite`.

    Raises:
        InvalidFile: every problem, each at its line and column.
    """
    document = read(path)
    file = check(document, _File)
    complaints = list(file) if isinstance(file, list) else []
    if isinstance(file, _File) and file.suite != suite.name:
        complaints.append(
            Complaint(("suite",), f"these are claims about '{file.suite}', the suite is named '{suite.name}'")
        )
    entries = document.data.get("claims") if isinstance(document.data, dict) else None
    if entries == {}:
        complaints.append(Complaint(("claims",), "there is no claim here"))
    claims: dict[str, Claim] = {}
    for name in entries if isinstance(entries, dict) else ():
        claim = check(document, Claim, ("claims", name))
        if isinstance(claim, list):
            complaints.extend(claim)
        else:
            claims[name] = claim
            complaints.extend(_undecidable(name, claim, suite))
    if complaints:
        raise InvalidFile(lines(document, complaints))
    return Claims(path, claims)


def _undecidable(name: str, claim: Claim, suite: Suite) -> Iterator[Complaint]:
    """Why no results of the suite could decide a claim; nothing when they could."""
    broken = False
    for index, measure in enumerate(claim.measures):
        for problem in problems_of(measure, suite):
            broken = True
            yield _placed(name, claim, index, problem.field, problem.text)
    if claim.order is None or broken:
        return
    first, *others = claim.measures
    seen = [_subject(first, suite)]
    for index, measure in enumerate(others, start=1):
        subject = _subject(measure, suite)
        place = ("claims", name, "order", index)
        if subject in seen:
            yield Complaint(place, "this measures the same as an earlier member of the order")
        elif measure.of != first.of:
            yield Complaint(
                place, f"an order compares one quantity: this is {measure.of}, the first {first.of}"
            )
        elif runs_of(measure, suite)[0].task_id != runs_of(first, suite)[0].task_id:
            yield Complaint(
                place, "this is evaluated on other prompts than the first member, never comparable"
            )
        seen.append(subject)


def _subject(measure: Measure, suite: Suite) -> tuple[Any, ...]:
    return tuple(run.id for run in runs_of(measure, suite)), measure.at, measure.of, measure.step


def _placed(name: str, claim: Claim, index: int, field: str | None, text: str) -> Complaint:
    """A complaint at the field of the order's member where it is set, else at that of the measure."""
    common, member = ("claims", name, "measure"), ("claims", name, "order", index)
    in_member = claim.order is not None and (field is None or field in claim.order[index].model_fields_set)
    if field is None:
        return Complaint(member, text) if in_member else Complaint(common, text, key=True)
    # The name within a mapping; where there is none, the place is that of the field.
    return Complaint((*(member if in_member else common), field, "name"), text)
