"""Judge claims: results compared with each claim of a file. The outcomes are those of `bench.check.verdict`.

A claim is decided from all of its runs or not at all:

* *unreachable*: the claims file states that no model can have the number. Results do not matter.
* *missing*: a run has no result, or is not planned yet.
* *not comparable*: runs are not what the claim requires (steps, protocol), were scored on different prompts,
  or are synthetic; or models are compared of which none has learned enough, none can be better on these
  prompts, or none finished; or two numbers have no ratio (0 and 0).
* *undecided*: one of these is true.
  - Fewer seeds finished than the claim takes.
  - A number rests on fewer than LEAST_PROMPTS independent prompts, so that no interval of it is honest.
  - A seed diverged, and the claim is about training.
  - The draws leave both answers open. Two equal numbers do so, and steps of convergence that are known only
    up to the check before.
  - The validation prompts cannot tell several learning rates or sizes apart, and the answer depends on which
    of them is read.
  - Without one of the seeds, another learning rate or size would be chosen, and the answer would change.
  - Some runs never learned their task, and the answer depends on when they would have learned it in a longer
    training.
* *reproduced* or *contradicted*: otherwise. If all runs of a quantity diverged, the model has no such number,
  and a claim that states one is contradicted. An equivalence is then undecided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from bench.check.claim import LEAST_PROMPTS, Claim, Judgement
from bench.check.claims import Claims
from bench.check.measure import measure
from bench.check.measurement import Alternative, Measurement, combine, finite
from bench.check.numbers import NotMeasured
from bench.check.quantity import Quantity, runs_of
from bench.check.readiness import incomparable, missing
from bench.check.verdict import Verdict, Word
from bench.digits import count_of
from bench.results import Pool
from bench.results.mixtures import mixtures

if TYPE_CHECKING:
    from bench.run import Run
    from bench.suite import Suite


def check(
    claims: Claims,
    suite: Suite,
    pool: Pool,
    states: Mapping[str, str] | None = None,
    *,
    allow_synthetic: bool = False,
) -> list[Verdict]:
    """Judge each claim, in the order of the file.

    Args:
        claims: the claims about `suite`.
        suite: the suite, which plans the runs.
        pool: the results.
        states: run id → state, which distinguishes failed runs from missing ones.
        allow_synthetic: treat synthetic results as measured (demonstrations, tests).
    """
    results = _Results(suite, pool, states or {}, allow_synthetic)
    verdicts: dict[str, Verdict] = {}
    # Claims about other claims come last: they need the verdicts on these.
    for name, claim in claims.claims.items():
        if not claim.other_claims:
            verdicts[name] = _verdict(name, claim, results, claims.awaiting.get(name))
    for name, claim in claims.claims.items():
        if claim.other_claims:
            verdicts[name] = _verdict_on_claims(name, claim, verdicts)
    return [verdicts[name] for name in claims.claims]


@dataclass(frozen=True)
class _Results:
    """The arguments of `check`."""

    suite: Suite
    pool: Pool
    states: Mapping[str, str]
    allow_synthetic: bool


class _Obstacle(NamedTuple):
    """The verdict on a claim that cannot be judged, and one sentence why."""

    verdict: Word
    reason: str


def _verdict(name: str, claim: Claim, results: _Results, awaits: str | None) -> Verdict:
    """The verdict on a claim about runs. `awaits` states what the suite lacks to decide it, if anything."""
    if claim.unreachable:
        return _unjudged(name, claim, "unreachable", claim.unreachable, ())
    if awaits:
        return _unjudged(name, claim, "missing", f"not planned yet: {awaits}", ())
    verdict = _verdict_on_runs(name, claim, results)
    runs = runs_of(claim.quantities[0].operands[0], results.suite)
    return replace(verdict, quantity=claim.number_in_words(runs), operation=claim.operation)


def _verdict_on_runs(name: str, claim: Claim, results: _Results) -> Verdict:
    """The verdict on a claim whose runs are planned."""
    planned = [
        (operand, runs_of(operand, results.suite))
        for quantity in claim.quantities
        for operand in quantity.operands
    ]
    run_ids = tuple(dict.fromkeys(run.id for _, runs in planned for run in runs))
    if obstacle := _unmeasurable(claim, planned, results):
        return _unjudged(name, claim, *obstacle, run_ids)
    measurements = _measurements(claim, results)
    if isinstance(measurements, _Obstacle):
        return _unjudged(name, claim, *measurements, run_ids)
    if reason := _beyond_comparison(claim, measurements):
        return _unjudged(name, claim, "not comparable", reason, run_ids)
    if obstacle := _insufficient(claim, measurements):
        return _unjudged(name, claim, *obstacle, run_ids)
    used = tuple(dict.fromkeys(run_id for measurement in measurements for run_id in measurement.run_ids))
    seeds = min(measurement.seeds for measurement in measurements)
    judgement, why = claim.judge(measurements), None
    if any(side.unlearned for side in measurements):
        judgement, why = _of_unlearned(claim, measurements, judgement, results)
    if not why and judgement.holds is not None and judgement.comparable:
        why = _depends_on_choice(claim, measurements, judgement, results)
    verdict = replace(
        _judged(name, claim, judgement, used), seeds=seeds, over=_over(claim, measurements, judgement)
    )
    if why:
        verdict = replace(verdict, verdict="undecided", reason=f"{why}; {verdict.reason}")
    mixed = mixtures(results.pool.runs[run_id] for run_id in run_ids)
    return replace(verdict, note=f"read from runs of {', '.join(mixed)}") if mixed else verdict


def _unmeasurable(
    claim: Claim, planned: Sequence[tuple[Quantity, list[Run]]], results: _Results
) -> _Obstacle | None:
    """Why the results of the planned runs are not measured; None if they can be.

    Args:
        claim: the claim.
        planned: its quantities and their references, each with its planned runs.
        results: the results.
    """
    if reason := missing(planned, results.pool, results.states):
        return _Obstacle("missing", reason)
    runs = list(dict.fromkeys(run for _, of_quantity in planned for run in of_quantity))
    records = [results.pool.runs[run.id] for run in runs]
    if reason := incomparable(records, results.allow_synthetic):
        return _Obstacle("not comparable", reason)
    if reason := next(filter(None, map(claim.requires.unmet_by, runs)), None):
        return _Obstacle("not comparable", reason)
    if claim.compares and not any(record.finished for record in records):
        return _Obstacle("not comparable", f"there is nothing to compare: all {len(runs)} runs diverged")
    return None


def _measurements(claim: Claim, results: _Results) -> list[Measurement] | _Obstacle:
    """A measurement for each member; or the obstacle of the first member that has none."""
    measurements: list[Measurement] = []
    for member, quantity in zip(claim.names, claim.quantities, strict=True):
        prefix = f"{member}: " if member else ""
        try:
            measurement = _measured(claim, quantity, results)
        except NotMeasured as error:
            return _Obstacle("not comparable", f"{prefix}{error}")
        if isinstance(measurement, str):
            return _Obstacle(claim.without_number, f"{prefix}{measurement}")
        measurements.append(measurement)
    return measurements


def _insufficient(claim: Claim, measurements: Sequence[Measurement]) -> _Obstacle | None:
    """The verdict and the reason if a measurement is no number or has too few seeds or prompts; else None."""
    least = claim.requires.least_seeds
    for member, measurement in zip(claim.names, measurements, strict=True):
        if math.isnan(measurement.value):
            return _Obstacle(claim.without_number, f"{measurement.text(member)}: the value is not a number")
        if measurement.not_learned is None:  # training FLOPs are the same for every seed
            continue
        prefix = f"{member}: " if member else ""
        if measurement.seeds < least:
            reason = f"{prefix}{measurement.seeds} of the {least} seeds that the claim takes finished"
            return _Obstacle("undecided", reason)
        if measurement.independent_prompts < LEAST_PROMPTS:
            count = count_of(int(measurement.independent_prompts), "independent prompt")
            reason = f"{prefix}its number rests on {count}, a claim takes at least {LEAST_PROMPTS}"
            return _Obstacle("undecided", reason)
        if measurement.diverged and claim.requires.about == "training":
            # A mean over the others would be that of the seeds that went well.
            planned = count_of(measurement.seeds + measurement.diverged, "seed")
            return _Obstacle("undecided", f"{prefix}{measurement.diverged} of {planned} diverged")
    return None


def _depends_on_choice(
    claim: Claim, measurements: Sequence[Measurement], judgement: Judgement, results: _Results
) -> str | None:
    """Why the verdict depends on a choice of size or candidate that might as well have been another one.

    None if each alternative, read in place of the chosen one, decides the claim alike.
    """
    members = list(zip(claim.names, claim.quantities, strict=True))
    for place, (member, quantity) in enumerate(members):
        for alternative in sorted(
            measurements[place].alternatives,
            key=lambda alternative: (not alternative.is_equal, alternative.candidate),
        ):
            try:
                other = _measured(claim, quantity, results, alternative)
            except NotMeasured as error:  # its frontier may span other FLOPs
                other = str(error)
            if isinstance(other, Measurement) and not math.isnan(other.value):
                readings = [other]
                if other.unlearned:
                    learned = _measured(claim, quantity, results, alternative, learned_next=True)
                    readings += [learned] if isinstance(learned, Measurement) else []
                before, after = measurements[:place], measurements[place + 1 :]
                holds = {claim.judge([*before, reading, *after]).holds for reading in readings}
                if holds == {judgement.holds}:
                    continue
            why = (
                "the validation prompts cannot tell several learning rates or sizes apart"
                if alternative.is_equal
                else "without one of the seeds, another learning rate or size is chosen"
            )
            read = other if isinstance(other, str) else other.text(member)
            return f"{why}, and the claim depends on which of them is read: {read}"
    return None


def _beyond_comparison(claim: Claim, measurements: Sequence[Measurement]) -> str | None:
    """Why models cannot be compared: none has learned enough, none can be better, or there is no ratio.

    None if they can be, or if the claim compares no models.
    """
    if not claim.compares:
        return None
    if all(measurement.at_best for measurement in measurements):
        if all(quantity.of == "horizon" for quantity in claim.quantities):
            return "all compared models reach the last position: longer prompts may tell them apart"
        return "no compared model makes an error: a harder task or fewer steps may tell them apart"
    shares = [side.not_learned for side in measurements if side.not_learned is not None]
    if not shares or (best := min(shares)) <= claim.requires.learned:
        return next((side.undefined for side in measurements if side.undefined), None)
    if all(quantity.of == "convergence_step" for quantity in claim.quantities):
        return "too little was learned: in no compared model did every seed converge"
    return (
        f"too little was learned: the best model has {best:.3g} of the trivial predictor's error, "
        f"learned is at most {claim.requires.learned:g}"
    )


def _measured(
    claim: Claim,
    quantity: Quantity,
    results: _Results,
    alternative: Alternative | None = None,
    *,
    learned_next: bool = False,
) -> Measurement | str:
    """The measurement of a quantity with its reference, or why there is no number.

    An alternative is read on the side of which it is one; on both, where both are of the same runs.
    `learned_next` is that of `measure`.
    """
    measured = [
        measure(
            operand, runs_of(operand, results.suite), results.pool, alternative, learned_next=learned_next
        )
        for operand in quantity.operands
    ]
    reason = next((outcome for outcome in measured if isinstance(outcome, str)), None)
    if reason:
        return reason
    sides = [outcome for outcome in measured if isinstance(outcome, Measurement)]
    if claim.requires.about == "training":
        return combine(quantity, sides)
    return combine(quantity, [side.about_runs for side in sides]).about_runs


def _of_unlearned(
    claim: Claim, measurements: Sequence[Measurement], judgement: Judgement, results: _Results
) -> tuple[Judgement, str | None]:
    """The judgement of a claim whose number is infinite because runs never learned their task.

    In a longer training they might have learned it at the next step, or never. A claim is decided if both
    decide it alike.

    Returns:
        The judgement with a bound as its value, where some seeds have a number; why nothing is decided, or
        None.
    """
    measured = [_measured(claim, quantity, results, learned_next=True) for quantity in claim.quantities]
    next_step = claim.judge([side for side in measured if isinstance(side, Measurement)])
    why = None
    if next_step.holds is not judgement.holds:
        why = "some runs never learned their task, and the claim depends on when they would have learned it"
    no_number = judgement.shown == "never" and all(side.unlearned >= side.seeds for side in measurements)
    if no_number or math.isnan(judgement.value) or next_step.standard_error is None:
        return judgement, why
    sign, reason = "≥" if judgement.value > next_step.value else "≤", judgement.reason
    if next_step.share != judgement.share and next_step.share is not None:
        reason += (
            f", and in {100 * next_step.share:.4g} % if these runs had learned at the step after their last"
        )
    return replace(next_step, holds=judgement.holds, reason=reason, shown=sign), why


def _over(claim: Claim, measurements: Sequence[Measurement], judgement: Judgement) -> str | None:
    """`Verdict.over` of a measured claim; None if its number is exact."""
    sources = claim.drawn_over(measurements)
    if judgement.comparison and judgement.comparison.ratio:  # its interval resamples seeds alone
        sources = ["trainings"]
    seeds = count_of(min(side.seeds for side in measurements), "seed")
    parts = [seeds if source == "trainings" else source for source in sources]
    if parts and "prompts" not in parts and any(side.not_learned is not None for side in measurements):
        parts.append("not prompts")
    return ", ".join(parts) or None


def _verdict_on_claims(name: str, claim: Claim, verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdict on a claim about other claims. It is decided if all of them are."""
    claim_verdicts = [verdicts[claim_id] for claim_id in claim.other_claims.values()]
    run_ids = tuple(dict.fromkeys(run_id for verdict in claim_verdicts for run_id in verdict.run_ids))
    open_words: tuple[Word, ...] = ("missing", "not comparable", "undecided")
    for word in open_words:
        still_open = [verdict.claim for verdict in claim_verdicts if verdict.verdict == word]
        if still_open:
            more = f" and {len(still_open) - 3} more" if len(still_open) > 3 else ""
            listed = ", ".join(still_open[:3]) + more
            reason = f"{len(still_open)} of {len(claim_verdicts)} are {word}: {listed}"
            return _unjudged(name, claim, word, reason, run_ids)
    reproduced = {verdict.claim: verdict.verdict == "reproduced" for verdict in claim_verdicts}
    verdict = _judged(name, claim, claim.judge_claims(reproduced), run_ids)
    return replace(verdict, quantity=claim.number_in_words([]))


def _unjudged(name: str, claim: Claim, word: Word, reason: str, run_ids: tuple[str, ...]) -> Verdict:
    """A verdict without a measured value."""
    return Verdict(
        claim=name,
        kind=claim.kind,
        statement=claim.statement,
        source=claim.source,
        value=None,
        shown=None,
        standard_error=None,
        expected=claim.expected,
        tolerance=claim.tolerance,
        why_tolerance=claim.reason,
        verdict=word,
        reason=reason,
        run_ids=run_ids,
        holds_if=claim.condition,
    )


def _judged(name: str, claim: Claim, judgement: Judgement, run_ids: tuple[str, ...]) -> Verdict:
    word: Word = "reproduced" if judgement.holds else "contradicted"
    if not judgement.comparable:
        word = "not comparable"
    elif judgement.holds is None:
        word = "undecided"
    return replace(
        _unjudged(name, claim, word, judgement.reason, run_ids),
        value=finite(judgement.value),
        shown=judgement.shown or ("infinite" if judgement.value == math.inf else None),
        standard_error=finite(judgement.standard_error),
        comparison=judgement.comparison,
        interval=judgement.interval,
        share=judgement.share,
    )
