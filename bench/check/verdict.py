"""What a check of claims gives: a verdict on each claim, an exit code, and both as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.check.equivalence import MeanComparison

Word = Literal["reproduced", "contradicted", "undecided", "not comparable", "missing", "unreachable"]
Operation = Literal["ratio", "difference"]
WORDS: tuple[Word, ...] = (
    "reproduced", "contradicted", "undecided", "not comparable", "missing", "unreachable",
)  # fmt: skip

DECIDED: tuple[Word, ...] = ("reproduced", "contradicted")
"""Verdicts that results give. The others leave a claim open, or do not depend on results."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim: the verdict, the measured number, and one sentence why.

    Attributes:
        claim: id in the claims file.
        kind: a key of `bench.check.kinds.KINDS`.
        quantity: what is measured, in words.
        operation: what `value` is of two numbers; None if it is one number, or counts statements.
        value: the measured value; for an order or a trend, the largest ratio of a member to a later one; for
            an equivalence, the ratio of mean errors; for a count, the number of statements that hold.
        shown: text before the value (a symbol).
        standard_error: of `value`, over what the draws are over that decide the claim.
        interval: the 90 % interval of `value`, from the draws that decide the claim
            (`claim.deciding_interval`).
        share: the part of these draws in which the claim holds.
        over: what the standard error, the interval and the share are over, in words: "prompts, 5 seeds", or
            "5 seeds, not prompts" where they leave prompts out.
        seeds: the number of seeds of the measured quantity that has the fewest.
        expected: the claimed result, in words.
        tolerance: the allowed deviation, in words, or "none".
        holds_if: the condition on `value`, in a few characters: "≤ 0.5", "ratio < 1.1".
        why_tolerance: the reason that the claims file gives for the number or the tolerance.
        reason: one sentence.
        run_ids: the runs from which the value was read, in the order of the claim's members; without a value,
            all runs of the claim.
        comparison: both means and their ratio, for a measured equivalence.
        note: differences between the runs in devices, kernels or precisions, in words.
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
    comparison: MeanComparison | None = None
    note: str | None = None
    quantity: str = ""
    holds_if: str = ""
    interval: tuple[float, float] | None = None
    share: float | None = None
    over: str | None = None
    operation: Operation | None = None
    seeds: int | None = None


def counts(verdicts: Sequence[Verdict], without: Collection[Word] = ()) -> str:
    """The number of claims by verdict, in words; empty if there is none."""
    numbers = Counter(verdict.verdict for verdict in verdicts)
    return ", ".join(f"{numbers[word]} {word}" for word in WORDS if numbers[word] and word not in without)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0: every reachable claim is reproduced, at least one. 1: a claim is contradicted. 2: otherwise."""
    words = {verdict.verdict for verdict in verdicts}
    if "contradicted" in words:
        return 1
    return 0 if "reproduced" in words <= {"reproduced", "unreachable"} else 2


def to_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Verdicts as plain data: `{"verdicts": […], "counts": {word: n}, "exit_code": n}`."""
    numbers = Counter(verdict.verdict for verdict in verdicts)
    return {
        "verdicts": [{**asdict(verdict), "run_ids": list(verdict.run_ids)} for verdict in verdicts],
        "counts": {word: numbers[word] for word in WORDS},
        "exit_code": exit_code(verdicts),
    }
