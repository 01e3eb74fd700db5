"""The best error there is for so many FLOPs, and the fewest FLOPs for an error: on plain numbers.

An architecture's frontier is the lower envelope of its points (training FLOPs, error). Between two of
its points it is a straight line in log–log; beyond them nothing is known, and nothing is returned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

Point = tuple[float, float]
"""Training FLOPs and an error."""


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that are better than every point at no more FLOPs, by rising FLOPs and falling error.

    Points that are not finite, or not above 0 (a logarithm cannot show them), are left out.
    """
    best: list[Point] = []
    for flops, error in sorted(points):
        usable = math.isfinite(flops) and math.isfinite(error) and flops > 0 and error > 0
        if usable and (not best or error < best[-1][1]):
            best.append((flops, error))
    return best


def error_at(line: Sequence[Point], flops: float) -> float | None:
    """The frontier's error at a budget; None outside of the FLOPs it spans."""
    return _between(line, flops)


def flops_at(line: Sequence[Point], error: float) -> float | None:
    """The FLOPs at which the frontier reaches an error; None when it never does, or starts below it."""
    return _between([(error, flops) for flops, error in reversed(line)], error)


def _between(line: Sequence[Point], x: float) -> float | None:
    """The y at x of a line through points of rising x, straight in log–log."""
    if not line or not line[0][0] <= x <= line[-1][0]:
        return None
    for (left, low), (right, high) in itertools.pairwise(line):
        if x <= right:
            apart = math.log(right) - math.log(left)
            share = (math.log(x) - math.log(left)) / apart if apart else 1.0
            return math.exp((1 - share) * math.log(low) + share * math.log(high))
    return line[-1][1]
