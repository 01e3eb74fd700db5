"""The numbers of a verdict in words."""

from __future__ import annotations

import math

from bench.check import Verdict
from bench.digits import interval_end, plus_minus


def value_text(verdict: Verdict) -> str:
    """The number behind a verdict with its standard error, or with its interval if it is a ratio of means.

    `Verdict.shown`, such as a symbol of Table 1, comes before the number. A dash where nothing was measured.
    """
    if verdict.value is None:
        return verdict.shown or "–"
    if verdict.comparison and verdict.comparison.ratio:
        ratio = verdict.comparison.ratio
        return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
    error = math.nan if verdict.standard_error is None else verdict.standard_error
    number = plus_minus(verdict.value, error)
    return f"{verdict.shown} {number}" if verdict.shown else number


def measured_text(verdict: Verdict) -> str:
    """`value_text` with its operation and interval, for a table: "ratio 0.27 ± 0.12 [0.114, 0.652]".

    Of a claim that cannot be compared, the reason.
    """
    if verdict.verdict == "not comparable":
        return verdict.reason.partition("; ")[0]
    text = value_text(verdict)
    if verdict.interval is not None and verdict.comparison is None:
        text += f" [{', '.join(interval_end(end, verdict.standard_error) for end in verdict.interval)}]"
    return f"{verdict.operation} {text}" if verdict.operation and verdict.value is not None else text


def share_text(verdict: Verdict) -> str:
    """The share of draws in which a claim holds; a dash where no draws decide it.

    With four digits, so that a share that does not decide is never rounded to one that does.
    """
    return "–" if verdict.share is None else f"{100 * verdict.share:.4g} %"
