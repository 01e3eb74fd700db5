"""Results held against claims: for each claim a verdict, the number behind it, and one sentence why.

A claim is decided on all the runs it is about or not at all: *missing* while one of them has no
result (or is not planned yet); *not comparable* when runs are not what the claim requires (steps,
protocol, seeds), were scored on different prompts or are made up for a demonstration; else
*reproduced* or *not reproduced*. A run that diverged never gives a number, and a value that is not a
number reproduces nothing. An equivalence is *undecided* where its interval leaves both open, where
nothing was learned, or where a seed diverged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from bench.check.claim import Claim
from bench.check.claims import Claims
from bench.check.equivalence import Comparison
from bench.check.judges import JUDGES, Finding, measured
from bench.check.measure import runs_of
from bench.check.reading import NotThere, Reading, combined, incomparable, missing, read
from bench.results import Pool
from bench.results.mixtures import mixtures

if TYPE_CHECKING:
    from bench.suite import Suite

Word = Literal["reproduced", "not reproduced", "undecided", "not comparable", "missing"]
WORDS: tuple[Word, ...] = ("reproduced", "not reproduced", "undecided", "not comparable", "missing")


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: its id in the claims file.
        kind: one of `bench.check.claim.KINDS`.
        value: what was measured; for an order or a trend, the largest ratio of a member to a later one;
            for an equivalence, the ratio of mean errors; for a count, how many hold.
        shown: the value in words where it is no number (a symbol).
        standard_error: of `value`: over seeds where there are three or more, else over prompts.
        expected: what the claim says, in words.
        tolerance: how much it allows, in words; "none" where it allows nothing.
        why_tolerance: the reason that the claims file gives for the number or the tolerance.
        reason: one sentence.
        run_ids: the runs the value was read from; without one, all the runs the claim is about. Those of a
            list's members stand in its order.
        comparison: of an equivalence that was measured, both sides and their ratio.
        note: in what those runs differ beside what is claimed (devices, kernels, precisions), in words.
    """

    claim: str
    kind: str
    statement: str
    source: str | None
    value: float | None
    shown: str | None
    standard_error: float | None
    expected: str
    tolerance: str
    why_tolerance: str | None
    verdict: Word
    reason: str
    run_ids: tuple[str, ...]
    comparison: Comparison | None = None
    note: str | None = None


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
    found: dict[str, Verdict] = {}
    of_claims = {name for name, claim in claims.claims.items() if claim.count and claim.count.claims}
    for name, claim in claims.claims.items():
        if name not in of_claims:
            awaits = claims.awaiting.get(name)
            found[name] = _verdict(name, claim, suite, pool, states or {}, allow_synthetic, awaits)
    for name in of_claims:
        found[name] = _count_claims(name, claims.claims[name], found)
    return [found[name] for name in claims.claims]


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
    name: str,
    claim: Claim,
    suite: Suite,
    pool: Pool,
    states: Mapping[str, str],
    allow_synthetic: bool,
    awaits: str | None,
) -> Verdict:
    if awaits:
        return _said(name, claim, "missing", f"not planned yet: {awaits}", ())
    planned = [(part, runs_of(part, suite)) for measure in claim.measures for part in measure.parts]
    everything = tuple(dict.fromkeys(run.id for _, runs in planned for run in runs))
    if reason := missing(planned, pool, states):
        return _said(name, claim, "missing", reason, everything)
    if reason := incomparable([pool.runs[run_id] for run_id in everything], allow_synthetic):
        return _said(name, claim, "not comparable", reason, everything)
    for _, runs in planned:
        if reason := next(filter(None, map(claim.requires.unmet_by, runs)), None):
            return _said(name, claim, "not comparable", reason, everything)
    numberless: Word = "undecided" if claim.equivalent else "not reproduced"
    readings: list[Reading] = []
    for member, measure in zip(claim.names, claim.measures, strict=True):
        prefix = f"{member}: " if member else ""
        try:
            parts = [read(part, runs_of(part, suite), pool) for part in measure.parts]
        except NotThere as error:
            return _said(name, claim, "not comparable", f"{prefix}{error}", everything)
        if failed := next((part for part in parts if isinstance(part, str)), None):
            return _said(name, claim, numberless, f"{prefix}{failed}", everything)
        reading = combined(measure, [part for part in parts if isinstance(part, Reading)])
        if not math.isfinite(reading.value):
            reason = f"{measured(member, reading)}: the value is not a number"
            return _said(name, claim, numberless, reason, everything)
        wanted = claim.requires.seeds or 1
        if reading.seeds < wanted:
            reason = f"{prefix}{reading.seeds} of the {wanted} seeds it takes finished"
            return _said(name, claim, "not comparable", reason, everything)
        readings.append(reading)
    finding = JUDGES[claim.kind](claim, readings)
    used = tuple(dict.fromkeys(run_id for reading in readings for run_id in reading.run_ids))
    verdict = _said(name, claim, _word(finding), finding.reason, used, finding)
    mixed = mixtures(pool.runs[run_id] for run_id in everything)
    return replace(verdict, note=f"read from runs of {', '.join(mixed)}") if mixed else verdict


def _word(finding: Finding) -> Word:
    if finding.holds is None:
        return "undecided"
    return "reproduced" if finding.holds else "not reproduced"


def _said(
    name: str,
    claim: Claim,
    word: Word,
    reason: str,
    run_ids: tuple[str, ...],
    found: Finding | None = None,
) -> Verdict:
    return Verdict(
        claim=name,
        kind=claim.kind,
        statement=claim.statement,
        source=claim.source,
        value=_finite(found.value) if found else None,
        shown=found.shown if found else None,
        standard_error=_finite(found.standard_error) if found else None,
        expected=claim.expected,
        tolerance=claim.tolerance,
        why_tolerance=claim.reason,
        verdict=word,
        reason=reason,
        run_ids=run_ids,
        comparison=found.comparison if found else None,
    )


def _count_claims(name: str, claim: Claim, found: Mapping[str, Verdict]) -> Verdict:
    """A count of other claims: decided when all of them are."""
    count = claim.count
    assert count is not None
    others = [found[other] for other in count.claims or ()]
    run_ids = tuple(dict.fromkeys(run_id for other in others for run_id in other.run_ids))
    undecided: tuple[Word, ...] = ("missing", "not comparable", "undecided")
    for word in undecided:
        some = [other.claim for other in others if other.verdict == word]
        if some:
            listed = ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")
            return _said(name, claim, word, f"{len(some)} of {len(others)} are {word}: {listed}", run_ids)
    holding = sum(other.verdict == "reproduced" for other in others)
    broken = ", ".join(other.claim for other in others if other.verdict != "reproduced")
    reason = f"{holding} of {len(others)} hold" + (f"; not: {broken}" if broken else "")
    finding = Finding(holding >= count.at_least, holding, None, reason)
    return _said(name, claim, _word(finding), reason, run_ids, finding)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
