"""Claims that two mean errors over seeds are equal: `equivalent: {subject: …, reference: …, learned: 0.5}`.

A claim about training is decided by the 90 % interval of the ratio over seeds (`bench.check.equivalence`).
It holds if the interval is within the range of ratios, fails if it is outside on one side, and is
undecided otherwise.

A claim about these runs says that the models that were trained have equal errors on other prompts too. Seeds
are then not resampled. The draws of both errors decide, as in other kinds.

It is not comparable if the reference has learned too little, because all models that have learned nothing
have equal errors. Nor is it if no seed of either side makes an error, because all models that have learned
everything have equal errors too: 0 and 0 have no ratio, and further seeds without an error would not give
one. What such seeds do show is how small the errors are, which a `bound` on each side states.

If only some seeds of the reference are without an error, some of the resampled ratios do not exist. If no
seed of the subject has a wrong answer, all of them are 0. The draws of both errors then decide whether
the claim fails, as in other kinds. In these draws a model without an error may have errors that were not
seen (`bench.uncertainty`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, field_validator, model_validator

from bench.check.claim import ROUNDING, Claim, Holds, Judgement, Member, deciding_interval
from bench.check.equivalence import LEAST_SEEDS, MeanComparison, Ratio, Side, compare
from bench.check.measurement import Measurement, ratio_of, ratios
from bench.check.quantity import Quantity, runs_of
from bench.check.verdict import Operation
from bench.digits import count_of, error_text, plus_minus
from bench.frozen import Frozen
from bench.strict_yaml.complaints import Complaint
from bench.uncertainty import Floats

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
        seeds: number of seeds that have to finish on each side, at least 4. If one diverges, the claim is
            undecided.
    """

    subject: Quantity
    reference: Quantity
    learned: PositiveFloat
    low: PositiveFloat = 0.9
    high: PositiveFloat = 1.1
    seeds: int = Field(default=8, json_schema_extra={"minimum": LEAST_SEEDS})

    @field_validator("seeds")
    @classmethod
    def _enough_seeds(cls, seeds: int) -> int:
        if seeds < LEAST_SEEDS:
            raise ValueError(
                f"expected at least {LEAST_SEEDS} seeds, not {seeds}: the 90 % interval of 2 or 3 covers the "
                "true ratio in 86 to 88 % of simulations, and shows two equal models to be equal in 11 to "
                "18 % (where the errors of a pair of seeds differ by 10 %)"
            )
        return seeds

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

    @property
    def operation(self) -> Operation:
        return "ratio"

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        subject, reference = measurements
        about_runs = self.requires.about == "these runs"
        if about_runs:  # the errors and the interval of `compare` are over other trainings
            comparison = MeanComparison(_over_prompts(subject), _over_prompts(reference), ratio=None)
        else:
            comparison = compare(subject.by_seed, reference.by_seed, subject.answer)
        sides = zip(self.names, (comparison.subject, comparison.reference), strict=True)
        means = "; ".join(f"{name}: {_mean_text(side)}" for name, side in sides)
        incomparable = self._incomparable(measurements, comparison)
        doubts = [*filter(None, [incomparable]), *self._doubts(measurements)]
        if comparison.ratio is not None:
            judgement = self._by_interval(comparison.ratio)
        elif doubts:
            judgement = Judgement(None, math.nan, None, "")
        elif about_runs:
            judgement = self._of_runs(subject, reference)
        else:
            judgement = self._by_draws(measurements, comparison)
        return replace(
            judgement,
            holds=None if doubts else judgement.holds,
            reason="; ".join(filter(None, [*doubts, judgement.reason, means])),
            comparison=comparison,
            comparable=incomparable is None,
        )

    def _by_interval(self, ratio: Ratio) -> Judgement:
        """Whether the interval of the ratio is within the range, or outside of it on one side."""
        low, high = self._ends
        # An interval that crosses an end of the range, or contains the range, decides nothing.
        holds = True if low <= ratio.low and ratio.high <= high else None
        if ratio.high < low or ratio.low > high:
            holds = False
        interval = f"ratio {ratio.value:.4g}, 90 % interval {ratio.low:.4g} to {ratio.high:.4g}"
        reason = f"{interval} ({'the same seeds' if ratio.paired else 'different seeds'})"
        return Judgement(holds, ratio.value, ratio.standard_error, reason, interval=(ratio.low, ratio.high))

    def _of_runs(self, subject: Measurement, reference: Measurement) -> Judgement:
        """Whether the ratio of the trained models is within the range in the draws of other prompts."""
        decision = self.decided([subject, reference])
        value, error = ratio_of(subject, reference)
        drawn_ratios = ratios(subject.draws, reference.draws)
        interval = deciding_interval(drawn_ratios) if np.isfinite(drawn_ratios).all() else None
        return Judgement(
            holds=decision.holds,
            value=value,
            standard_error=error,
            reason=f"ratio {value:.4g}{decision.text}",
            interval=interval,
            share=decision.share,
        )

    def _by_draws(self, measurements: Sequence[Measurement], comparison: MeanComparison) -> Judgement:
        """Whether the claim fails in the draws, where a side makes no error for some choice of seeds.

        It never holds there, because that takes an interval of the ratio.
        """
        decision = self.decided(measurements)
        mean, reference = comparison.subject.mean, comparison.reference.mean
        without_error = self.names[0 if mean == 0 else 1]
        return Judgement(
            holds=None if decision.holds else decision.holds,
            value=mean / reference if reference > 0 else math.inf,
            standard_error=None,
            reason=f"no interval of the ratio: no error in seeds of {without_error}{decision.text}",
            share=decision.share,
        )

    def number_in_words(self, runs: Sequence[Run]) -> str:
        return f"{self._of_members('ratio of means over seeds', runs)}; {' / '.join(self.names)}"

    def parts(self, values: Floats) -> Holds:
        # As products, because drawn errors may be 0.
        subject, reference = values.T
        low, high = self._ends
        return np.stack([subject >= low * reference, subject <= high * reference])

    @property
    def _ends(self) -> tuple[float, float]:
        """The smallest and the largest ratio that counts as equal, widened by the rounding of decimals."""
        return self.equivalent.low * (1 - ROUNDING), self.equivalent.high * (1 + ROUNDING)

    def _incomparable(self, measurements: Sequence[Measurement], comparison: MeanComparison) -> str | None:
        """Why the sides cannot be compared: too little was learned, or everything. None if they can be."""
        mean = comparison.reference.mean
        if comparison.subject.mean == mean == 0 and not any(side.diverged for side in measurements):
            return "no seed of either side makes an error: a harder task or fewer steps may tell them apart"
        if mean <= self.equivalent.learned:
            return None
        return (
            f"too little was learned: {self.names[1]} has the mean error {error_text(mean)}, "
            f"learned is at most {self.equivalent.learned:g}"
        )

    def _doubts(self, measurements: Sequence[Measurement]) -> list[str]:
        """Reasons why the seeds decide nothing, whatever their errors."""
        doubts = []
        for name, measurement in zip(self.names, measurements, strict=True):
            # Seeds that diverged have no error. Without them the mean would be that of the better seeds.
            if measurement.diverged:
                planned = measurement.seeds + measurement.diverged
                doubts.append(f"{name}: {measurement.diverged} of {planned} seeds diverged")
            elif measurement.seeds < self.equivalent.seeds:
                required = self.equivalent.seeds
                doubts.append(f"{name}: {measurement.seeds} of the {required} seeds it takes finished")
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


def _over_prompts(measurement: Measurement) -> Side:
    """The mean error of a measurement, with its standard error over prompts."""
    errors = measurement.by_seed.values()
    return Side(statistics.fmean(errors), measurement.standard_error, len(errors))


def _mean_text(side: Side) -> str:
    error = math.nan if side.standard_error is None else side.standard_error
    return f"{plus_minus(side.mean, error)} (mean of {count_of(side.seeds, 'seed')})"
