"""Measured numbers, with draws of them on other prompts and after other trainings; ratios and differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from bench.check.quantity import Quantity
from bench.digits import plus_minus
from bench.models.sizes import Size
from bench.selection import Candidate
from bench.uncertainty import DRAWS, Floats, SeedErrors

Source = Literal["prompts", "trainings", "steps between checks", "positions left out"]
SOURCES: tuple[Source, ...] = ("prompts", "trainings", "steps between checks", "positions left out")
"""What draws of a number vary over, in the order in which it is named."""


class Alternative(NamedTuple):
    """A size and a candidate that might as well have been chosen.

    Attributes:
        is_equal: the validation prompts cannot tell it from the chosen one. Otherwise it is the choice
            without one of the seeds.
    """

    size: Size
    candidate: Candidate
    is_equal: bool


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measured number.

    Attributes:
        value: the mean, or the lowest, over the seeds that finished; NaN if a seed's number is NaN.
        draws: what the value might have been on other prompts, after other trainings, (DRAWS,). A step of
            convergence that was never reached is infinite.
        draws_of_runs: the same for these very models: on other prompts, and at both ends of what a step or a
            horizon is known up to.
        chosen: the candidate and how it was chosen, in words.
        run_ids: the runs from which the value was read.
        standard_error: of the value, over prompts and, with several seeds, over training; None if unknown.
        prompt_error: the same, of these very models.
        over: what `draws` vary over.
        over_of_runs: what `draws_of_runs` vary over.
        seeds: number of seeds of the chosen candidate that finished.
        independent_prompts: number of prompts that the value rests on, those that share a function counted
            once; infinite if it does not vary over prompts.
        by_seed: the value of each seed that finished; empty if several candidates were combined.
        unit, answer: as in `SeedErrors`.
        diverged: number of seeds of the chosen candidate that diverged.
        unlearned: number of seeds that never learned the task, of a step of convergence.
        not_learned: the mean error over seeds, as a share of the trivial predictor's; of two combined
            measurements, the lower one. For a step of convergence: 0 if every seed converged, else 1. None
            for a number that does not depend on learning (FLOPs).
        at_best: whether none of the models can be better on its prompts: none makes an error, or each has a
            horizon of all positions.
        alternatives: sizes and candidates that might as well have been chosen, for all seeds, or for a seed
            at the candidate that the other seeds choose.
        infinite: a word for an infinite value: a step that was never reached, or a ratio to 0.
        undefined: why two numbers have no ratio or no difference; None if they have one.
    """

    value: float
    draws: Floats
    draws_of_runs: Floats
    chosen: str
    run_ids: tuple[str, ...]
    standard_error: float | None = None
    prompt_error: float | None = None
    over: frozenset[Source] = frozenset({"prompts"})
    over_of_runs: frozenset[Source] = frozenset({"prompts"})
    seeds: int = 1
    independent_prompts: float = math.inf
    by_seed: Mapping[int, float] = field(default_factory=dict)
    unit: float = 0.0
    answer: float = 0.0
    diverged: int = 0
    unlearned: int = 0
    not_learned: float | None = None
    at_best: bool = False
    alternatives: tuple[Alternative, ...] = ()
    infinite: str = "never"
    undefined: str | None = None

    @property
    def about_runs(self) -> Measurement:
        """The same, without other trainings."""
        return replace(
            self, draws=self.draws_of_runs, standard_error=self.prompt_error, over=self.over_of_runs
        )

    def text(self, name: str = "") -> str:
        """The value, its standard error and its candidate in words, after a name if there is one."""
        error = math.nan if self.standard_error is None else self.standard_error
        number = plus_minus(self.value, error) if math.isfinite(self.value) else self.infinite
        value = f"{number} {self.chosen}"
        return f"{name}: {value}" if name else value


def combine(quantity: Quantity, operands: Sequence[Measurement]) -> Measurement:
    """A measurement divided by its reference, or minus its reference.

    Numbers of the same models are combined seed by seed. Others share their prompts at most.

    Args:
        quantity: states the operation, by `relative_to` or `minus`.
        operands: the measurements of its `operands`. A single one has no reference and is returned.
    """
    if len(operands) == 1:
        return operands[0]
    subject, reference = operands
    operation = _difference if quantity.minus else ratios
    value = float(operation(np.array(subject.value), np.array(reference.value)))
    draws = operation(subject.draws, reference.draws)
    draws_of_runs = operation(subject.draws_of_runs, reference.draws_of_runs)
    if subject.run_ids == reference.run_ids and subject.by_seed.keys() == reference.by_seed.keys():
        sides = (np.array([side.by_seed[seed] for seed in subject.by_seed]) for side in operands)
        values = operation(*sides)
        if np.isfinite(values).all():
            has_value = np.isfinite(draws_of_runs)
            errors = np.full(len(values), np.std(draws_of_runs[has_value]))
            unit = _combined_unit(operation, subject, reference)
            draws = drawn(SeedErrors(" ".join(subject.run_ids), values, errors, unit=unit), training=True)
            # Prompts on which these models have no ratio give none after other trainings either.
            draws = np.where(has_value, draws - values.mean() + value, draws_of_runs)
    word = "less" if quantity.minus else "over"
    shares = [side.not_learned for side in operands if side.not_learned is not None]
    return Measurement(
        value=value,
        draws=draws,
        draws_of_runs=draws_of_runs,
        chosen=f"({subject.text()} {word} {reference.text()})",
        run_ids=tuple(dict.fromkeys((*subject.run_ids, *reference.run_ids))),
        standard_error=spread(draws),
        prompt_error=spread(draws_of_runs),
        over=subject.over | reference.over,
        over_of_runs=subject.over_of_runs | reference.over_of_runs,
        seeds=min(subject.seeds, reference.seeds),
        independent_prompts=min(subject.independent_prompts, reference.independent_prompts),
        diverged=subject.diverged + reference.diverged,
        unlearned=subject.unlearned + reference.unlearned,
        not_learned=min(shares, default=None),
        at_best=all(side.at_best for side in operands),
        alternatives=tuple(dict.fromkeys((*subject.alternatives, *reference.alternatives))),
        infinite="never" if quantity.minus or reference.value else "infinite",
        undefined=_undefined(value, subject, reference, "difference" if quantity.minus else "ratio"),
    )


def _combined_unit(
    operation: Callable[[Floats, Floats], Floats], subject: Measurement, reference: Measurement
) -> float:
    """How far the combined value moves if one of the two moves by its unit, whichever is more."""
    values = np.array([subject.value, subject.value + subject.unit, subject.value])
    references = np.array([reference.value, reference.value, reference.value + reference.unit])
    value, *moved = operation(values, references)
    return float(np.abs(moved - value).max())


def _undefined(value: float, subject: Measurement, reference: Measurement, name: str) -> str | None:
    """`Measurement.undefined` of a combined value."""
    if not math.isnan(value) or math.isnan(subject.value) or math.isnan(reference.value):
        return None
    return f"{subject.text()} and {reference.text()} have no {name}"


def _difference(subject: Floats, reference: Floats) -> Floats:
    return np.asarray(subject - reference)


def ratios(subject: Floats, reference: Floats) -> Floats:
    """Subject / reference: infinite where the reference alone is 0.

    NaN where both are 0, where both are infinite, and where the reference is below 0.
    """
    has_ratio = (reference > 0) | ((reference == 0) & (subject > 0))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(has_ratio, subject / np.abs(reference), math.nan))


def ratio_of(subject: Measurement, reference: Measurement) -> tuple[float, float | None]:
    """The ratio of two measurements and its standard error.

    The error is None if a drawn ratio is not finite, and if the reference is infinite (never reached).
    """
    value = float(ratios(np.array(subject.value), np.array(reference.value)))
    if not math.isfinite(reference.value):
        return value, None
    return value, spread(ratios(subject.draws, reference.draws))


def spread(draws: Floats) -> float | None:
    """Half of the range of the middle 68 % of draws, a robust standard deviation; None if one is infinite."""
    if not np.isfinite(draws).all():
        return None
    low, high = np.quantile(draws, [0.1587, 0.8413])
    return float(high - low) / 2


def drawn(model: SeedErrors, training: bool) -> Floats:
    """The draws of a model, (DRAWS,); of a step that was never reached, and of NaN, this value alone."""
    if not np.isfinite(model.means).all():
        return np.full(DRAWS, model.mean)
    return model.draws(training)


def finite(value: float | None) -> float | None:
    """The value; None if it is infinite or no number, or if there is none."""
    return value if value is not None and math.isfinite(value) else None
