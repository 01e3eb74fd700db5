"""Whether readings, all of them finite, bear a claim out: a function for each kind of claim."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.check.claim import Claim
from bench.check.equivalence import Comparison, Side, compare
from bench.check.reading import Reading, count_of
from bench.paper.symbols import symbol

ROUNDING = 1e-9
"""A difference this much (relative) beyond a tolerance is the rounding of decimals, not a difference."""


@dataclass(frozen=True)
class Finding:
    """Whether readings bear a claim out.

    Attributes:
        holds: None when they do not decide it.
        shown: the value in words where it is no number ("✓").
        comparison: of an equivalence, both sides and their ratio.
    """

    holds: bool | None
    value: float
    standard_error: float | None
    reason: str
    shown: str | None = None
    comparison: Comparison | None = None


def _judge_value(claim: Claim, readings: Sequence[Reading]) -> Finding:
    claimed, (reading,) = claim.value, readings
    assert claimed is not None
    distance, unit = claimed.distance(reading.value)
    holds = distance <= claimed.allowed * (1 + ROUNDING)
    off = f"{distance:.4g}{unit} from {claimed.expected:.4g}"
    return Finding(holds, reading.value, reading.standard_error, f"{measured('', reading)} is {off}")


def _judge_bound(claim: Claim, readings: Sequence[Reading]) -> Finding:
    bound, (reading,) = claim.bound, readings
    assert bound is not None
    value = reading.value
    side = "above" if value > bound.limit else "below" if value < bound.limit else "at"
    reason = f"{measured('', reading)} is {side} {bound.limit:.4g}"
    return Finding(bound.admits(value), value, reading.standard_error, reason)


def _judge_order(claim: Claim, readings: Sequence[Reading]) -> Finding:
    """Every member below every later one, up to the slack; equals are in no order without slack."""
    pairs = [(low, high) for index, low in enumerate(readings) for high in readings[index + 1 :]]
    holds = all(low.value < high.value * (1 + claim.slack) for low, high in pairs)
    worst = max(pairs, key=lambda pair: _ratio(*pair))
    reason = "; ".join(measured(name, each) for name, each in zip(claim.names, readings, strict=True))
    return Finding(holds, _ratio(*worst), _ratio_error(*worst), reason)


def _judge_trend(claim: Claim, readings: Sequence[Reading]) -> Finding:
    """Each step up to the slack, and the last above the first."""
    steps = list(itertools.pairwise(readings))
    holds = all(low.value < high.value * (1 + max(claim.slack, ROUNDING)) for low, high in steps)
    holds = holds and readings[0].value < readings[-1].value
    worst = max(steps, key=lambda pair: _ratio(*pair))
    reason = "; ".join(measured(name, each) for name, each in zip(claim.names, readings, strict=True))
    return Finding(holds, _ratio(*worst), _ratio_error(*worst), reason)


def _judge_symbol(claim: Claim, readings: Sequence[Reading]) -> Finding:
    claimed, (subject, *compared) = claim.symbol, readings
    assert claimed is not None
    found = symbol(subject.value, [each.value for each in compared], accuracy=subject.accuracy)
    others = ", ".join(
        f"{name}: {each.value:.4g}" for name, each in zip(claim.names[1:], compared, strict=True)
    )
    reason = f"{measured('', subject)} is {found} among {others}"
    return Finding(found == claimed.expected, subject.value, subject.standard_error, reason, found)


def _judge_equivalent(claim: Claim, readings: Sequence[Reading]) -> Finding:
    """The interval of the ratio within its range, all of it on one side of that, or neither: undecided."""
    claimed, (subject, reference) = claim.equivalent, readings
    assert claimed is not None
    found = compare(subject.by_seed, reference.by_seed)
    ratio = found.ratio
    sides = "; ".join(
        f"{name}: {_mean_of(side)}"
        for name, side in zip(claim.names, (found.subject, found.reference), strict=True)
    )
    doubts = _doubts(claim, readings, found)
    if ratio is None:
        return Finding(None, math.nan, None, f"{'; '.join(doubts)}; {sides}", None, found)
    low, high = claimed.low * (1 - ROUNDING), claimed.high * (1 + ROUNDING)
    holds: bool | None = None
    if low <= ratio.low and ratio.high <= high:
        holds = True
    elif ratio.high < low or ratio.low > high:
        holds = False
    interval = f"ratio {ratio.value:.4g}, 90 % interval {ratio.low:.4g} to {ratio.high:.4g}"
    resampled = "the same seeds" if ratio.paired else "different seeds"
    reason = "; ".join([*doubts, f"{interval} ({resampled})", sides])
    return Finding(None if doubts else holds, ratio.value, ratio.standard_error, reason, None, found)


def _doubts(claim: Claim, readings: Sequence[Reading], found: Comparison) -> list[str]:
    """Why the ratio decides nothing, whatever it is."""
    claimed = claim.equivalent
    assert claimed is not None
    doubts = []
    for name, reading in zip(claim.names, readings, strict=True):
        if reading.diverged:
            doubts.append(f"{name}: {reading.diverged} of {reading.seeds + reading.diverged} seeds diverged")
        elif reading.seeds < claimed.seeds:
            doubts.append(f"{name}: {reading.seeds} of the {claimed.seeds} seeds it takes finished")
    if found.reference.mean > claimed.learned:
        doubts.append(
            f"nothing was learned: {claim.names[1]} has the mean error {found.reference.mean:.4g}, "
            f"learned is at most {claimed.learned:g}"
        )
    if found.ratio is None and not doubts:
        doubts.append("there is no ratio: the reference's mean error is 0 for some choice of seeds")
    return doubts


def _mean_of(side: Side) -> str:
    error = f" ± {side.standard_error:.2g}" if side.standard_error is not None else ""
    return f"{side.mean:.4g}{error} (mean of {count_of(side.seeds, 'seed')})"


def _judge_count(claim: Claim, readings: Sequence[Reading]) -> Finding:
    """Pairs whose first is below their second, up to the slack."""
    claimed = claim.count
    assert claimed is not None
    pairs = list(zip(readings[::2], readings[1::2], strict=True))
    names = list(zip(claim.names[::2], claim.names[1::2], strict=True))
    held = [low.value < high.value * (1 + claim.slack) for low, high in pairs]
    broken = [
        f"{first} {low.value:.3g} against {second} {high.value:.3g}"
        for (first, second), (low, high), holds in zip(names, pairs, held, strict=True)
        if not holds
    ]
    reason = f"{sum(held)} of {len(held)} hold"
    return Finding(
        sum(held) >= claimed.at_least,
        sum(held),
        None,
        f"{reason}; not: {'; '.join(broken)}" if broken else reason,
    )


JUDGES: dict[str, Callable[[Claim, Sequence[Reading]], Finding]] = {
    "value": _judge_value,
    "bound": _judge_bound,
    "order": _judge_order,
    "trend": _judge_trend,
    "symbol": _judge_symbol,
    "equivalent": _judge_equivalent,
    "count": _judge_count,
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


def measured(name: str, reading: Reading) -> str:
    """A reading in words: its value, its standard error, and which setting it belongs to."""
    error = f" ± {reading.standard_error:.2g}" if reading.standard_error is not None else ""
    value = f"{reading.value:.4g}{error} {reading.chosen}"
    return f"{name}: {value}" if name else value
