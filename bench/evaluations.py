"""Reading one evaluation of a result: where its columns stand, which of them is meant, how it is scaled.

A result's `facts.evaluations` says of each named evaluation what its columns stand for (positions), which
of them have names (marks) and what a raw score is divided by; `facts.headline` names the mark that is the
task's one number, or nothing where that is the mean over positions. Older results say none of this: their
one evaluation, "report", has a column a position, and the mean is its number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
Number = tuple[float, float]
"""A score and its standard error over prompts; NaN where there is none."""
NOTHING: Number = (math.nan, math.nan)


def described(result: Result, name: str = "report") -> Mapping[str, Any]:
    """What the result says of an evaluation; empty for older results."""
    found: Mapping[str, Any] = (result["facts"].get("evaluations") or {}).get(name) or {}
    return found


def positions(result: Result, name: str, columns: int) -> Sequence[int]:
    """What each column stands for: how many examples were seen before it, unless it is said otherwise."""
    given = described(result, name).get("positions")
    return given if given is not None and len(given) == columns else range(columns)


def scale(result: Result, name: str = "report") -> float:
    """What a raw score of the evaluation is divided by; 1 for an accuracy."""
    facts = result["facts"]
    if facts["metric"] == "accuracy":
        return 1.0
    return float(described(result, name).get("error_scale") or facts["error_scale"])


def column(result: Result, name: str, at: str | int, columns: int) -> int | None:
    """The column of a position (an int), of a mark, or of "last"; None when there is none."""
    if isinstance(at, int):
        where = positions(result, name, columns)
        return list(where).index(at) if at in where else None
    marks = described(result, name).get("marks") or {}
    if at in marks:
        index = int(marks[at])
        return index if 0 <= index < columns else None
    return columns - 1 if at == "last" and columns else None


def number(result: Result, checkpoint: Mapping[str, Any], name: str, at: str | int) -> Number | None:
    """A raw score of one checkpoint.

    Args:
        result: the run's.
        checkpoint: one of its.
        name: which evaluation.
        at: "headline", "mean", "last", a mark's name, or a position.

    Returns:
        The score and its standard error, NaN where a number is absent; None when the result has no
        such evaluation, mark or position.
    """
    scores = checkpoint["evaluations"].get(name)
    if scores is None:
        return None
    if at == "headline":
        return _headline(result, scores, name)
    if at == "mean":
        return _pair(*scores["overall"]) if "overall" in scores else None
    mean = scores.get("mean") or ()
    index = column(result, name, at, len(mean))
    return None if index is None else _pair(mean[index], scores["standard_error"][index])


def _headline(result: Result, scores: Mapping[str, Any], name: str) -> Number | None:
    """The stored one; else, in an evaluation beside the main one, the task's own mark or the last column."""
    if "headline" in scores:
        return _pair(*scores["headline"])
    mark = result["facts"].get("headline")
    mean = scores.get("mean") or ()
    if mark and mean and (index := column(result, name, mark, len(mean))) is not None:
        return _pair(mean[index], scores["standard_error"][index])
    if name not in ("report", "selection") and mean:
        return _pair(mean[-1], scores["standard_error"][-1])
    return _pair(*scores["overall"]) if "overall" in scores else None


def normalised(result: Result, name: str, raw: Number) -> Number:
    """A raw score as an error: squared error / scale, or 1 − accuracy."""
    if result["facts"]["metric"] == "accuracy":
        return 1.0 - raw[0], raw[1]
    by = scale(result, name)
    return raw[0] / by, raw[1] / by


def headline_words(mark: str | None) -> str:
    """Where a headline score is read, for people: "mean over positions", "at the 50th clean example"."""
    if mark is None:
        return "mean over positions"
    plain = mark.replace("_", " ")
    if mark == "last":
        return "at the last position"
    if re.fullmatch(r"\d+(st|nd|rd|th) .*", plain):
        return f"at the {plain} example"
    if re.fullmatch(r"\d+ examples", plain):
        return f"after {plain}"
    return f"{plain} examples" if plain.startswith("after ") else f"at {plain}"


def convergence_step(result: Result, accuracy: float = 0.95) -> int | None:
    """The first checkpoint whose mean accuracy reaches `accuracy`; None when none does.

    Results say it themselves (`convergence_step`, by `facts.convergence_accuracy`); that of older ones is
    found in their checkpoints. Only for accuracies.
    """
    if result["facts"]["metric"] != "accuracy":
        return None
    if "convergence_step" in result and result["facts"].get("convergence_accuracy") == accuracy:
        stored: int | None = result["convergence_step"]
        return stored
    for checkpoint in result["checkpoints"]:
        score = checkpoint["evaluations"]["report"]["overall"][0]
        if score is not None and score >= accuracy:
            return int(checkpoint["step"])
    return None


def _pair(score: Any, error: Any) -> Number:
    return (
        math.nan if score is None else float(score),
        math.nan if error is None else float(error),
    )
