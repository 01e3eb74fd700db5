"""Results held against claims: for each claim a verdict, the number behind it, and one sentence why.

A claim is decided on all the runs it is about or not at all: *missing* while one of them has no
result, *not comparable* when results were scored on different prompts or made up for a
demonstration, else *reproduced* or *not reproduced*. A run that diverged never gives a number, and
a value that is not a number reproduces nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.check.claims import Claim, Claims
from bench.check.measure import runs_of
from bench.check.reading import Reading, incomparable, missing, read
from bench.results import Pool

if TYPE_CHECKING:
    from bench.suite import Suite

Word = Literal["reproduced", "not reproduced", "not comparable", "missing"]
WORDS: tuple[Word, ...] = ("reproduced", "not reproduced", "not comparable", "missing")
ROUNDING = 1e-9
"""A difference this much (relative) beyond a tolerance is the rounding of decimals, not a difference."""


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: its id in the claims file.
        value: what was measured; for an order, the largest ratio of a member to a later one.
        standard_error: of `value`: over seeds where there are three or more, else over prompts.
        expected: what the claim says, in words.
        tolerance: how much it allows, in words; "none" where it allows nothing.
        reason: one sentence.
        run_ids: the runs the value was read from; without one, all the runs the claim is about.
    """

    claim: str
    statement: str
    source: str | None
    value: float | None
    standard_error: float | None
    expected: str
    tolerance: str
    verdict: Word
    reason: str
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """Whether readings bear a claim out."""

    holds: bool
    value: float
    standard_error: float | None
    reason: str


def check(
    claims: Claims,
    suite: Suite,
    pool: Pool,
    states: Mapping[str, str] | None = None,
    *,
    allow_synthetic: bool = False,
) -> list[Verdict]:
    """A verdict on each claim, in the order of the file.

    Args:
        claims: what is claimed about `suite`.
        suite: says which runs there should be.
        pool: the results there are.
        states: run id → state, for saying which of the missing runs failed.
        allow_synthetic: take results that are marked as made up for real ones (demonstrations, tests).
    """
    return [
        _verdict(name, claim, suite, pool, states or {}, allow_synthetic)
        for name, claim in claims.claims.items()
    ]


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0: every claim is reproduced; 1: one is not; 2: some are undecided, or there are none."""
    words = {verdict.verdict for verdict in verdicts}
    if "not reproduced" in words:
        return 1
    return 0 if words == {"reproduced"} else 2


def to_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Verdicts as plain data: `{"verdicts": […], "counts": {word: n}, "exit_code": n}`."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    return {
        "verdicts": [{**asdict(verdict), "run_ids": list(verdict.run_ids)} for verdict in verdicts],
        "counts": {word: counts[word] for word in WORDS},
        "exit_code": exit_code(verdicts),
    }


def _verdict(
    name: str, claim: Claim, suite: Suite, pool: Pool, states: Mapping[str, str], allow_synthetic: bool
) -> Verdict:
    planned = [(measure, runs_of(measure, suite)) for measure in claim.measures]
    everything = tuple(dict.fromkeys(run.id for _, runs in planned for run in runs))

    def say(
        word: Word, reason: str, run_ids: tuple[str, ...] = everything, found: Finding | None = None
    ) -> Verdict:
        return Verdict(
            claim=name,
            statement=claim.statement,
            source=claim.source,
            value=_finite(found.value) if found else None,
            standard_error=_finite(found.standard_error) if found else None,
            expected=claim.expected,
            tolerance=claim.tolerance,
            verdict=word,
            reason=reason,
            run_ids=run_ids,
        )

    if reason := missing(planned, pool, states):
        return say("missing", reason)
    if reason := incomparable([pool.runs[run_id] for run_id in everything], allow_synthetic):
        return say("not comparable", reason)
    readings: list[Reading] = []
    for member, (measure, runs) in zip(claim.names, planned, strict=True):
        reading = read(measure, runs, pool)
        if isinstance(reading, str):
            return say("not reproduced", f"{member}: {reading}" if member else reading)
        if not math.isfinite(reading.value):
            return say("not reproduced", f"{_measured(member, reading)}: the value is not a number")
        readings.append(reading)
    finding = JUDGES[claim.kind](claim, readings)
    used = tuple(dict.fromkeys(run_id for reading in readings for run_id in reading.run_ids))
    return say("reproduced" if finding.holds else "not reproduced", finding.reason, used, finding)


def _judge_value(claim: Claim, readings: Sequence[Reading]) -> Finding:
    claimed, (reading,) = claim.value, readings
    assert claimed is not None
    distance, unit = claimed.distance(reading.value)
    holds = distance <= claimed.allowed * (1 + ROUNDING)
    off = f"{distance:.4g}{unit} from {claimed.expected:.4g}"
    return Finding(holds, reading.value, reading.standard_error, f"{_measured('', reading)} is {off}")


def _judge_bound(claim: Claim, readings: Sequence[Reading]) -> Finding:
    bound, (reading,) = claim.bound, readings
    assert bound is not None
    value = reading.value
    side = "above" if value > bound.limit else "below" if value < bound.limit else "at"
    reason = f"{_measured('', reading)} is {side} {bound.limit:.4g}"
    return Finding(bound.admits(value), value, reading.standard_error, reason)


def _judge_order(claim: Claim, readings: Sequence[Reading]) -> Finding:
    """Every member below every later one, up to the slack; equals are in no order without slack."""
    pairs = [(low, high) for index, low in enumerate(readings) for high in readings[index + 1 :]]
    holds = all(low.value < high.value * (1 + claim.slack) for low, high in pairs)
    worst = max(pairs, key=lambda pair: _ratio(*pair))
    reason = "; ".join(_measured(name, each) for name, each in zip(claim.names, readings, strict=True))
    return Finding(holds, _ratio(*worst), _ratio_error(*worst), reason)


JUDGES: dict[str, Callable[[Claim, Sequence[Reading]], Finding]] = {
    "value": _judge_value,
    "bound": _judge_bound,
    "order": _judge_order,
}
"""By kind of claim: whether readings, all of them finite, bear it out."""


def _ratio(low: Reading, high: Reading) -> float:
    if high.value == 0:
        return 1.0 if low.value == 0 else math.inf
    return low.value / high.value


def _ratio_error(low: Reading, high: Reading) -> float | None:
    """First order, the two taken as independent: too wide where good prompts are good for both."""
    if low.standard_error is None or high.standard_error is None or high.value == 0:
        return None
    return math.hypot(low.standard_error, _ratio(low, high) * high.standard_error) / abs(high.value)


def _measured(name: str, reading: Reading) -> str:
    error = f" ± {reading.standard_error:.2g}" if reading.standard_error is not None else ""
    value = f"{reading.value:.4g}{error} {reading.chosen}"
    return f"{name}: {value}" if name else value


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
