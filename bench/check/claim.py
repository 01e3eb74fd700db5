"""The base class of claims: a statement, the quantities that it compares, and its judgement.

A claim is decided by draws of its quantities: on other prompts and, for a claim about training, after other
trainings. It is reproduced if it holds in at least 95 % of them, contradicted if it fails in at least 95 %,
and undecided otherwise.

A kind of claim is a subclass in `bench.check.kinds`, with its fields in the claims file, its judgement and
its words. The rest of bench uses only what `Claim` declares.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat, PositiveInt

from bench.check.equivalence import MeanComparison
from bench.check.measurement import SOURCES, Measurement, Source
from bench.check.quantity import Quantity
from bench.check.verdict import Operation
from bench.check.wording import in_words, is_of_the_same_runs, number_in_words, runs_in_words
from bench.digits import count_of
from bench.frozen import Frozen
from bench.paper.protocol import departure
from bench.strict_yaml.complaints import Complaint, Loc
from bench.uncertainty import Floats

if TYPE_CHECKING:
    from bench.run import Run
    from bench.suite import Suite

Text = Annotated[str, Field(min_length=1)]
Holds = npt.NDArray[np.bool_]
Interval = tuple[float, float]
Sides = tuple[Quantity, ...]
"""A quantity, and its reference if it has one."""
ROUNDING = 1e-9
"""Relative. A value that exceeds a tolerance by less is within it: decimals are not exact in binary."""
CONFIDENCE = 0.95
"""Share of draws that decides a claim."""
SEEDS = 3
"""Seeds from which a claim about training can be decided. One or two say too little about their spread."""
LEAST_PROMPTS = 10
"""Independent prompts from which a claim can be decided. Intervals of fewer miss the true mean too often (the
table in `bench.uncertainty`)."""
LEARNED = 0.8
"""Share of the trivial predictor's error. Models compare if the best of them is at or below it."""


class Requires(Frozen):
    """What the results of a claim must have.

    Attributes:
        about: "training": what training anew would give, which takes seeds; or "these runs": the models that
            were trained, on other prompts.
        seeds: smallest number of seeds that finished at the chosen learning rate and clip; SEEDS for a claim
            about training, for which 1 is refused.
        learned: the largest share of the trivial predictor's error that the best of the compared models may
            have. If none has learned anything, a comparison says nothing.
        steps: training steps. A claim about runs of other lengths is not comparable.
        protocol: the paper's text or its released code, for tasks in which the two differ.
    """

    about: Literal["training", "these runs"] = "training"
    seeds: PositiveInt | None = None
    learned: PositiveFloat = LEARNED
    steps: PositiveInt | None = None
    protocol: Literal["paper", "released_code"] | None = None

    @property
    def least_seeds(self) -> int:
        """Seeds that it takes to decide."""
        return self.seeds or (SEEDS if self.about == "training" else 1)

    @property
    def suffices(self) -> bool:
        """Whether so many seeds can say what the claim is about."""
        return self.about == "these runs" or self.seeds != 1

    def unmet_by(self, run: Run) -> str | None:
        """How a planned run differs from the requirements; None if it does not."""
        if self.steps is not None and run.steps != self.steps:
            return f"its runs train for {run.steps:,} steps, the claim is about {self.steps:,}"
        if self.protocol is None or (difference := departure(run.task, self.protocol)) is None:
            return None
        field, value, required = difference
        return f"its task has {field} {value}, the {self.protocol.replace('_', ' ')} has {required}"


class Member(NamedTuple):
    """One of the quantities that a claim compares.

    Attributes:
        quantity: the fields that are set for this member; `Claim.measure` gives the others.
        place: where the claims file has these fields; None for the common `measure` itself.
    """

    quantity: Quantity
    place: Loc | None = None


@dataclass(frozen=True)
class Judgement:
    """Whether results agree with a claim.

    Attributes:
        holds: None if the results do not decide the claim.
        value: the measured value; NaN if there is no number.
        reason: one sentence.
        shown: text before the value in reports ("✓").
        comparison: both means and their ratio, for an equivalence.
        interval: of the value (`deciding_interval` of its draws); None if nothing was drawn.
        share: the part of the draws in which the claim holds; None if no draws decide it.
        comparable: False if the compared models have learned too little. `holds` then does not matter.
    """

    holds: bool | None
    value: float
    standard_error: float | None
    reason: str
    shown: str | None = None
    comparison: MeanComparison | None = None
    interval: Interval | None = None
    share: float | None = None
    comparable: bool = True


@dataclass(frozen=True)
class Decision:
    """What draws say about a claim.

    Attributes:
        holds: whether it holds in enough of them (`Claim.decided`); None if they leave both answers open.
        share: the part of the draws in which it holds; None if every draw is the same.
        tied: the largest part of the draws in which two members of a pair are equal.
        over: what draws vary over.
        incomparable: number of pairs that neither hold nor fail (`Claim.incomparable_parts`).
    """

    holds: bool | None
    share: float | None
    over: Sequence[Source]
    tied: float = 0.0
    incomparable: int = 0

    @property
    def text(self) -> str:
        """The end of a reason.

        A share has four digits, so that one that does not decide is never rounded to one that does.
        """
        text = ""
        if self.incomparable:
            pairs = count_of(self.incomparable, "pair")
            text = f"; {pairs} cannot be compared (too little was learned, or no model can be better)"
        if self.share is not None:
            text += f"; the claim holds in {100 * self.share:.4g} % of the draws of {' and '.join(self.over)}"
        if self.holds is None:
            if self.tied >= 1 - CONFIDENCE:
                text += f"; two numbers that are compared are equal in {100 * self.tied:.4g} % of the draws"
            text += "".join(f"; {_COARSE[source]}" for source in self.over if source in _COARSE)
        return text


_COARSE: Mapping[Source, str] = {
    "steps between checks": "a step of convergence may be any since the check before",
    "positions left out": "a horizon may be any up to the next position that was scored",
}
"""Why draws that vary over a source leave a claim open: no result says more."""


def deciding_interval(draws: Floats) -> Interval | None:
    """The 90 % interval of drawn values that agrees with the verdict; None if an end is not finite.

    Its ends are draws, the next ones inwards; those of `bench.uncertainty.interval` are the next ones
    outwards. At least 95 % of the draws are at or below its upper end, and as many are at or above its lower
    end. The claim that a number is at most b is therefore reproduced if the upper end is at most b, and
    contradicted if the lower end is above b.
    """
    low = float(np.quantile(draws, 1 - CONFIDENCE, method="higher"))
    high = float(np.quantile(draws, CONFIDENCE, method="lower"))
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


class Claim(Frozen):
    """A statement and the results that would confirm it. Each kind of claim adds its own fields.

    A kind states `kind`, its fields, `expected` and `judge`; if draws judge it, also `parts`; if it compares
    several quantities, also `members` and `lower_pairs`.

    Attributes:
        statement: the claim in words.
        source: the section, figure or table that makes the claim.
        reason: the reason for this number or this tolerance.
        measure: the measured quantity; for several quantities, their common fields.
        requires: what runs must have in common with the paper's; completed from the file's `requires`.
        awaits: what the suite lacks at present. Until the suite has it, the claim is missing.
        unreachable: why no model can have the claimed number, for instance because it is beyond a floor. The
            claim then has this verdict, whatever the results are.
    """

    kind: ClassVar[str]
    """Name of the kind, and the key under which a claims file states it."""
    relative: ClassVar[bool] = False
    """Whether the claim compares models. A claim with a reference (`relative_to`, `minus`) does so too."""
    without_number: ClassVar[Literal["contradicted", "undecided"]] = "contradicted"
    """The verdict if a quantity is not a number, for example because its runs diverged."""

    statement: Text
    source: Text | None = None
    reason: Text | None = None
    measure: Quantity = Quantity()
    requires: Requires = Requires()
    awaits: Text | None = None
    unreachable: Text | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """The quantities that the claim compares, in the order of the measurements for `judge`."""
        return (Member(Quantity()),)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The complete quantity of each member."""
        return tuple(self.measure.updated(member.quantity) for member in self.members)

    @property
    def names(self) -> tuple[str, ...]:
        """A name per member, made of the fields in which members differ; empty for a single member."""
        if len(self.members) == 1:
            return ("",)
        return tuple(in_words(member.quantity) or in_words(self.measure) for member in self.members)

    @property
    def other_claims(self) -> Mapping[Loc, str]:
        """Ids of other claims of the file, by place, for a claim about claims, which has no members."""
        return {}

    @property
    @abstractmethod
    def expected(self) -> str:
        """The claimed result, in words."""

    @property
    def tolerance(self) -> str:
        """The deviation that is allowed, in words."""
        return "none"

    @property
    def bound_text(self) -> str:
        """The bound on the measured value, in a few characters: `≤ 0.5`, `ratio < 1.1`."""
        return self.expected if self.tolerance == "none" else f"{self.expected}, {self.tolerance}"

    @property
    def condition(self) -> str:
        """All of the condition under which the claim holds. It begins with the bound."""
        return self.bound_text

    def number_in_words(self, runs: Sequence[Run]) -> str:
        """What is measured: the number, then its runs.

        Args:
            runs: of the first member.
        """
        words = f"{self._number(runs)}: {runs_in_words(self.measure)}"
        if reference := self.measure.minus or self.measure.relative_to:
            operation = "less that" if self.measure.minus else "divided by that"
            words += f"; {operation}{'' if is_of_the_same_runs(reference) else ' of'} {in_words(reference)}"
        return words

    def _number(self, runs: Sequence[Run]) -> str:
        """The number that all members are, without their runs."""
        common = self.measure.model_copy(update={"of": self.quantities[0].of})
        return number_in_words(common, runs)

    def _of_members(self, kind: str, runs: Sequence[Run]) -> str:
        """The words for a number of several members: its kind ("ratio"), the common number and runs."""
        common = runs_in_words(self.measure)
        return f"{kind} of {self._number(runs)}" + (f": {common}" if common else "")

    @property
    def compares(self) -> bool:
        """Whether the claim compares models, some of which must have learned something."""
        return self.relative or any(len(quantity.operands) > 1 for quantity in self.quantities)

    @property
    def operation(self) -> Operation | None:
        """What the measured value is of two numbers; None if it is one number, or counts statements."""
        return "ratio" if self.measure.relative_to else "difference" if self.measure.minus else None

    @property
    def favours_subject(self) -> bool | None:
        """Whether a ratio or a difference is claimed to be below that of equals; None if neither way."""
        return None

    def lower_pairs(self) -> Sequence[tuple[Sides, Sides]]:
        """Pairs of numbers of which the first is claimed to be the lower, for results that reverse them."""
        if self.favours_subject is None or not (self.measure.relative_to or self.measure.minus):
            return []
        subject, reference = ((operand,) for operand in self.measure.operands)
        return [(subject, reference) if self.favours_subject else (reference, subject)]

    @abstractmethod
    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        """Compare the claim with a measurement for each member.

        No value is NaN. The draws of the measurements decide, and are on other prompts only for a claim about
        the models that were trained (`Measurement.about_runs`).
        """

    def parts(self, values: Floats) -> Holds:
        """Whether each part of the claim holds, (parts, D), for D draws of its members' values, (D, members).

        A part is what one comparison decides: a number is on one side of a bound, a value is lower than
        another one.
        """
        raise TypeError(f"a claim of kind '{self.kind}' is not judged by draws")

    def ties(self, values: Floats) -> Holds:
        """Whether the two numbers of each part are equal, so that it neither holds nor fails.

        The arguments and the shape are those of `parts`; (1, D) if no part can be a tie. Of two equal models
        none is the lower, but the claim that one of them is has not been refuted.
        """
        return np.zeros((1, len(values)), dtype=bool)

    def incomparable_parts(self, measurements: Sequence[Measurement]) -> Holds:
        """Parts whose two models cannot be compared, (parts,), or (1,) if there are none.

        They neither hold nor fail. Alone, each would be a claim that is not comparable: both models have
        learned too little, or none of them can be better.
        """
        return np.zeros(1, dtype=bool)

    @property
    def dispensable(self) -> int:
        """Number of parts that may fail."""
        return 0

    def decided(self, measurements: Sequence[Measurement]) -> Decision:
        """Whether the claim holds in enough draws of its members, or enough of its parts fail.

        A claim that fails in most draws need not be wrong. Most draws lie outside a tolerance that is
        narrower than their spread. Of four equal models, 23 of 24 draws do not have the claimed order. A tie
        neither holds nor fails.
        """
        values = np.stack([measurement.draws for measurement in measurements], axis=1)
        incomparable = self.incomparable_parts(measurements)[:, np.newaxis]
        parts, numbers = self.parts(values), ~np.isnan(values).any(axis=1)
        ties = self.ties(values) & ~parts & ~incomparable & numbers
        holds = (~parts | incomparable).sum(axis=0) <= self.dispensable
        holding = float((holds & numbers).mean())
        failed = (~parts & ~ties & ~incomparable & numbers).mean(axis=1) >= CONFIDENCE
        return Decision(
            holds=True if holding >= CONFIDENCE else False if failed.sum() > self.dispensable else None,
            # FLOPs and steps that were never reached are the same in every draw.
            share=None if (values == values[0]).all() else holding,
            over=self.drawn_over(measurements),
            tied=float(ties.mean(axis=1).max()),
            incomparable=int(incomparable.sum()),
        )

    def judged(
        self,
        measurements: Sequence[Measurement],
        subject: Measurement,
        comparison: str,
        shown: str | None = None,
    ) -> Judgement:
        """The judgement that draws decide, with the value of one member.

        Args:
            measurements: of all members.
            subject: the member.
            comparison: what its value is compared with, after "it is".
            shown: as in `Judgement`.
        """
        decision = self.decided(measurements)
        return Judgement(
            decision.holds,
            subject.value,
            subject.standard_error,
            f"{subject.text()} is {comparison}{decision.text}",
            shown or (subject.infinite if subject.value == math.inf else None),
            interval=deciding_interval(subject.draws),
            share=decision.share,
        )

    def drawn_over(self, measurements: Sequence[Measurement]) -> list[Source]:
        """What the draws of the members vary over."""
        over = frozenset().union(*(measurement.over for measurement in measurements))
        return [source for source in SOURCES if source in over]

    def judge_claims(self, reproduced: Mapping[str, bool]) -> Judgement:
        """Compare the claim with decided verdicts on `other_claims`, by id."""
        raise TypeError(f"a claim of kind '{self.kind}' is not about other claims")

    def undecidable(self, suite: Suite) -> Iterator[Complaint]:
        """Why no results of the suite could decide the claim, although each quantity can be measured.

        Locations are relative to the claim.
        """
        yield from ()
