"""The comparisons that a claims file states: which numbers are lower than which others.

A relative claim says that one number is lower than another: each pair of an order, of a trend or of a
count, a ratio with a bound, a difference.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bench.check.claim import Sides
from bench.check.claims import Claims
from bench.check.quantity import PLAIN, runs_of
from bench.run import Run, value_of

if TYPE_CHECKING:
    from bench.suite import Suite

Values = Mapping[str, Hashable]
"""What distinguishes one number of a run from other numbers: its settings, checkpoint and evaluation."""
Level = tuple[Hashable, ...]
"""Values of the compared fields."""
FIELDS = ("task", "architecture", "size", "optimizer", *PLAIN, "step", "evaluation")
"""Fields in which the sides of a comparison may differ."""


class ComparedSide(NamedTuple):
    """One side of a comparison.

    Attributes:
        sign: +1 where the error is stated to be the lower, otherwise −1.
        runs: the runs of the quantity.
        step: the checkpoint at which it is read; None for the last one.
        evaluation: the evaluation of which it is a score.
    """

    sign: int
    runs: tuple[Run, ...]
    step: int | None
    evaluation: str

    def values_of(self, run: Run) -> dict[str, Hashable]:
        """The value of each of `FIELDS` for the number of one of the runs."""
        return values_of(run, self.step or run.steps, self.evaluation)


@dataclass(frozen=True)
class StatedComparison:
    """Numbers of which a claim states that some are lower than others.

    Attributes:
        claim: id of the claim.
        fields: the fields in which the sides differ and that are ranked.
        ranked: whether two plain numbers are compared, rather than two ratios or differences.
        sides: two sides, or four if two ratios or differences are compared.
    """

    claim: str
    fields: tuple[str, ...]
    ranked: bool
    sides: tuple[ComparedSide, ...]

    @property
    def values(self) -> Iterator[tuple[int, Values]]:
        """The sign and the values of every run of every side."""
        for side in self.sides:
            for run in side.runs:
                yield side.sign, side.values_of(run)

    @property
    def levels(self) -> list[tuple[int, Level]]:
        """The sign and the values of the compared fields, side by side; one value may be on two sides."""
        return [
            (side.sign, level)
            for side in self.sides
            for level in dict.fromkeys(level_of(side.values_of(run), self.fields) for run in side.runs)
        ]


def values_of(run: Run, step: int, evaluation: str) -> dict[str, Hashable]:
    """The value of each of `FIELDS` for one number of a run."""
    return {
        "task": run.task_id,
        "architecture": run.architecture,
        "size": (run.size.layers, run.size.width),
        "optimizer": run.optimizer,
        **{name: value_of(run, name) for name in PLAIN},
        "step": step,
        "evaluation": evaluation,
    }


def comparisons(claims: Claims, suite: Suite) -> list[StatedComparison]:
    """All comparisons that the claims about a suite state, in the order of the file."""
    return [
        comparison
        for name, claim in claims.claims.items()
        if name not in claims.awaiting
        for low, high in claim.lower_pairs()
        if (comparison := _comparison(name, low, high, suite)) is not None
    ]


def _comparison(claim: str, low: Sides, high: Sides, suite: Suite) -> StatedComparison | None:
    """The comparison of two sides; None if it states nothing about errors, or compares no two models."""
    if low[1:] == high[1:]:  # one reference for both sides decides nothing
        low, high = low[:1], high[:1]
    signed = [
        *zip((1, -1), low, strict=False),
        *zip((-1, 1), high, strict=False),
    ]
    quantities = [quantity for _, quantity in signed]
    differing = tuple(
        name for name in FIELDS if len({repr(getattr(quantity, name)) for quantity in quantities}) > 1
    )
    sides = tuple(
        ComparedSide(sign, tuple(runs_of(quantity, suite)), quantity.step, quantity.evaluation)
        for sign, quantity in signed
    )
    counts_flops = any(quantity.of == "training_flops" for quantity in quantities)
    if not differing or counts_flops or not all(side.runs for side in sides):
        return None
    is_accuracy = quantities[0].of == "score" and sides[0].runs[0].task.metric == "accuracy"
    if is_accuracy or quantities[0].of == "horizon":  # the higher one is better
        sides = tuple(side._replace(sign=-side.sign) for side in sides)
    ranked = len(quantities) == 2
    # Two plain numbers of different architectures are about the architectures, whatever else differs.
    fields = ("architecture",) if ranked and "architecture" in differing else differing
    return StatedComparison(claim, fields, ranked, sides)


def level_of(values: Values, fields: tuple[str, ...]) -> Level:
    """The values of the compared fields."""
    return tuple(values[name] for name in fields)
