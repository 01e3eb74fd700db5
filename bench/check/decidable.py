"""Whether results of a suite could ever decide a claim, and the place of everything that says they cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bench.check.claim import Claim
from bench.check.measure import Measure, runs_of
from bench.check.problems import problems_of
from bench.errors import did_you_mean
from bench.strict_yaml.complaints import Complaint

if TYPE_CHECKING:
    from bench.suite import Suite


def bad_counts(entries: Any, claims: Mapping[str, Claim]) -> Iterator[Complaint]:
    """Counts of claims that are not there, or that are counts themselves."""
    for name, claim in claims.items():
        for index, other in enumerate(claim.count.claims or () if claim.count else ()):
            place = ("claims", name, "count", "claims", index)
            if other not in entries:
                near = did_you_mean(other, [one for one in claims if one != name])
                yield Complaint(place, f"there is no claim '{other}'{near}")
            elif other in claims and claims[other].count:
                yield Complaint(place, f"'{other}' is a count itself")


def undecidable(name: str, claim: Claim, suite: Suite) -> Iterator[Complaint]:
    """Why no results of the suite could decide a claim; nothing when they could."""
    if claim.count and claim.count.claims:
        return
    broken = False
    for index, measure in enumerate(claim.measures):
        for part in measure.parts:
            for problem in problems_of(part, suite):
                broken = True
                yield _placed(name, claim, index, problem.field, problem.text)
    if claim.equivalent and not broken:
        yield from _unlike(name, claim, suite)
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


def _unlike(name: str, claim: Claim, suite: Suite) -> Iterator[Complaint]:
    """Why the two sides of an equivalence cannot stand beside each other."""
    claimed = claim.equivalent
    assert claimed is not None
    subject, reference = (runs_of(measure, suite) for measure in claim.measures)
    here = ("claims", name, "equivalent")
    if {run.id for run in subject} & {run.id for run in reference}:
        yield Complaint((*here, "reference"), "this shares runs with the subject: say what tells them apart")
        return
    for side, runs in (("subject", subject), ("reference", reference)):
        if len({run.size for run in runs}) > 1:
            yield Complaint((*here, side), "this means runs of several sizes: name one")
        if (seeds := len({run.seed for run in runs})) < claimed.seeds:
            yield Complaint((*here, side), f"this means {seeds} seeds, the claim takes {claimed.seeds}")
    for field in ("task", "architecture", "size"):
        if getattr(subject[0], field) != getattr(reference[0], field):
            yield Complaint((*here, "reference"), f"its {field} is not that of the subject")


def _subject(measure: Measure, suite: Suite) -> tuple[Any, ...]:
    plain = measure.model_dump(exclude={"experiment", "rebuilds", "task", "architecture", "size"})
    parts = tuple(tuple(run.id for run in runs_of(part, suite)) for part in measure.parts)
    return parts, {key: value for key, value in plain.items() if key in READ}


READ = ("at", "of", "step", "at_flops", "evaluation", "relative_to", "minus", "over_seeds")
"""Fields of a measure that say which number is read, and not of which runs."""


def _placed(name: str, claim: Claim, index: int, field: str | None, text: str) -> Complaint:
    """A complaint at the field of the list's member where it is set, else at that of the measure."""
    common, member = ("claims", name, "measure"), _member_place(name, claim, index)
    set_there = claim.members[index].model_fields_set
    in_member = member is not None and (field is None or field in set_there)
    if member is None:
        member = common
    if field is None:
        return Complaint(member, text) if in_member else Complaint(common, text, key=True)
    # The name within a mapping; where there is none, the place is that of the field.
    return Complaint((*(member if in_member else common), field, "name"), text)


def _member_place(name: str, claim: Claim, index: int) -> tuple[str | int, ...] | None:
    """Where a member of a list is written; None for what is not in a list."""
    here: tuple[str | int, ...] = ("claims", name, claim.kind)
    if claim.order:
        return (*here, index)
    if claim.trend:
        return (*here, "rising", index) if claim.trend.rising else (
            *here, "falling", len(claim.trend.members) - 1 - index,
        )  # fmt: skip
    if claim.symbol:
        return (*here, "among", index - 1) if index else None
    if claim.equivalent:
        return (*here, ("subject", "reference")[index])
    return (*here, "orders", *divmod(index, 2)) if claim.count else None
