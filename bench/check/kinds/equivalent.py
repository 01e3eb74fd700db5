"""Claims that two mean errors over seeds are equal: `equivalent: {subject: …, reference: …, learned: 0.5}`.

The 90 % interval of their ratio (`bench.check.equivalence`) decides. The claim holds if the interval is
within the range of ratios, fails if it is outside on one side, and is undecided otherwise. It is not
comparable if the reference has learned too little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from bench.check.claim import ROUNDING, Claim, Judgement, Member
from bench.check.equivalence import MeanComparison, Ratio, Side, compare
from bench.check.measurement import Measurement
from bench.check.quantity import Quantity, runs_of
from bench.check.readiness import count_of
from bench.digits import error_text, plus_minus
from bench.frozen import Frozen
from bench.strict_yaml.complaints import Complaint

if TYPE_CHECKING:
    from bench.run import Run
    from bench.suite import Suite

NOT_BY_SEED = ("of", "at_flops", "relative_to", "minus", "over_seeds", "seed")
"""Fields of a quantity that would leave no error for each seed."""
PLACE_FIELDS = ("at", "evaluation", "step")
"""Fields of a quantity that select where the error is read."""


class Equivalence(Frozen):
    """Two quantities and the range of ratios that counts as equal.

    Attributes:
        subject: its mean error is the numerator.
        reference: its mean error is the denominator.
        learned: the largest mean error at which the reference has learned something. Above it the sides are
            not comparable: all models that have learned nothing have equal errors.
        low: the smallest ratio that counts as equal.
        high: the largest one.
        seeds: number of seeds that have to finish on each side. If one diverges, the claim is undecided.
    """

    subject: Quantity
    reference: Quantity
    learned: PositiveFloat
    low: PositiveFloat = 0.9
    high: PositiveFloat = 1.1
    seeds: int = Field(default=8, ge=2)

    @model_validator(mode="after")
    def _around_one(self) -> Self:
        if not self.low < 1 < self.high:
            raise ValueError("equal errors have the ratio 1: give a low below 1 and a high above it")
        return self


class EquivalentClaim(Claim):
    """Two quantities have equal mean errors over seeds, within a range of ratios."""

    kind: ClassVar[str] = "equivalent"
    without_number: ClassVar[Literal["contradicted", "undecided"]] = "undecided"

    equivalent: Equivalence

    @model_validator(mode="after")
    def _errors_by_seed(self) -> Self:
        plain = Quantity()
        for quantity in self.quantities:
            extra = [field for field in NOT_BY_SEED if getattr(quantity, field) != getattr(plain, field)]
            if extra:
                raise ValueError(f"equivalent compares errors over all seeds: leave out {', '.join(extra)}")
        subject, reference = self.quantities
        differing = [field for field in PLACE_FIELDS if getattr(subject, field) != getattr(reference, field)]
        if differing:
            raise ValueError(
                f"equivalent compares one number: its two sides differ in {', '.join(differing)}"
            )
        return self

    @property
    def members(self) -> tuple[Member, ...]:
        return (
            Member(self.equivalent.subject, ("equivalent", "subject")),
            Member(self.equivalent.reference, ("equivalent", "reference")),
        )

    @property
    def expected(self) -> str:
        return " ≈ ".join(self.names)

    @property
    def tolerance(self) -> str:
        return f"ratio {self.equivalent.low:g} to {self.equivalent.high:g}"

    @property
    def bound_text(self) -> str:
        return self.tolerance

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        subject, reference = measurements
        comparison = compare(subject.by_seed, reference.by_seed)
        sides = zip(self.names, (comparison.subject, comparison.reference), strict=True)
        means = "; ".join(f"{name}: {_mean_text(side)}" for name, side in sides)
        too_little = self._too_little_learned(comparison)
        doubts = [*filter(None, [too_little]), *self._doubts(measurements, comparison)]
        comparable = too_little is None
        ratio = comparison.ratio
        if ratio is None:
            reason = "; ".join([*doubts, means])
            return Judgement(None, math.nan, None, reason, None, comparison, comparable=comparable)
        ends = (ratio.low, ratio.high)
        interval = f"ratio {ratio.value:.4g}, 90 % interval {ratio.low:.4g} to {ratio.high:.4g}"
        resampled = "the same seeds" if ratio.paired else "different seeds"
        reason = "; ".join([*doubts, f"{interval} ({resampled})", means])
        holds = None if doubts else self._holds(ratio)
        return Judgement(
            holds, ratio.value, ratio.standard_error, reason, None, comparison, ends, comparable=comparable
        )

    def number_in_words(self, runs: Sequence[Run]) -> str:
        return f"{self._of_members('ratio of means over seeds', runs)}; {' / '.join(self.names)}"

    def _holds(self, ratio: Ratio) -> bool | None:
        low, high = self.equivalent.low * (1 - ROUNDING), self.equivalent.high * (1 + ROUNDING)
        if low <= ratio.low and ratio.high <= high:
            return True
        # The interval crosses an end of the range, or contains the range: more seeds could decide.
        return False if ratio.high < low or ratio.low > high else None

    def _too_little_learned(self, comparison: MeanComparison) -> str | None:
        """Why the sides cannot be compared: how little the reference has learned. None if it is enough."""
        mean = comparison.reference.mean
        if mean <= self.equivalent.learned:
            return None
        return (
            f"too little was learned: {self.names[1]} has the mean error {error_text(mean)}, "
            f"learned is at most {self.equivalent.learned:g}"
        )

    def _doubts(self, measurements: Sequence[Measurement], comparison: MeanComparison) -> list[str]:
        """Reasons why the ratio decides nothing, whatever its value."""
        doubts = []
        for name, measurement in zip(self.names, measurements, strict=True):
            # Seeds that diverged have no error. Without them the mean would be that of the better seeds.
            if measurement.diverged:
                planned = measurement.seeds + measurement.diverged
                doubts.append(f"{name}: {measurement.diverged} of {planned} seeds diverged")
            elif measurement.seeds < self.equivalent.seeds:
                required = self.equivalent.seeds
                doubts.append(f"{name}: {measurement.seeds} of the {required} seeds it takes finished")
        if comparison.ratio is None and not doubts:
            doubts.append("there is no ratio: the reference's mean error is 0 for some choice of seeds")
        return doubts

    def undecidable(self, suite: Suite) -> Iterator[Complaint]:
        subject, reference = (runs_of(quantity, suite) for quantity in self.quantities)
        at_subject, at_reference = ("equivalent", "subject"), ("equivalent", "reference")
        if {run.id for run in subject} & {run.id for run in reference}:
            yield Complaint(at_reference, "this shares runs with the subject: say what tells them apart")
            return
        for place, runs in ((at_subject, subject), (at_reference, reference)):
            if len({run.size for run in runs}) > 1:
                yield Complaint(place, "this means runs of several sizes: name one")
            if (seeds := len({run.seed for run in runs})) < self.equivalent.seeds:
                text = f"this means {seeds} seeds, the claim takes {self.equivalent.seeds}"
                yield Complaint(place, text)
        for field in ("task", "architecture", "size"):
            if getattr(subject[0], field) != getattr(reference[0], field):
                yield Complaint(at_reference, f"its {field} is not that of the subject")


def _mean_text(side: Side) -> str:
    error = math.nan if side.standard_error is None else side.standard_error
    return f"{plus_minus(side.mean, error)} (mean of {count_of(side.seeds, 'seed')})"
