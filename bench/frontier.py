"""The best error there is for so many FLOPs, and the fewest FLOPs for an error: on plain numbers.

An architecture's frontier is the lower envelope of its points (training FLOPs, error). Between two of its
points it is a straight line in log–log. A log–log line cannot end at an error of 0: before such a point
nothing better than the last positive error is known. From its last improvement the frontier goes on flat to
the largest budget that was trained to, because a budget that did not help still has an error. Beyond that
budget nothing is known, and nothing is returned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

Point = tuple[float, float]
"""Training FLOPs and an error."""


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that are better than every point at no more FLOPs, by rising FLOPs and falling error.

    Where the largest budget improves nothing, a last point repeats the lowest error at that budget. Points
    whose FLOPs are not finite and above 0, or whose error is not finite or below 0, are left out.
    """
    best: list[Point] = []
    largest = 0.0
    for flops, error in sorted(points):
        if math.isfinite(flops) and math.isfinite(error) and flops > 0 and error >= 0:
            largest = flops
            if not best or error < best[-1][1]:
                best.append((flops, error))
    if best and largest > best[-1][0]:
        best.append((largest, best[-1][1]))
    return best


def error_at(line: Sequence[Point], flops: float) -> float | None:
    """The frontier's error at a budget; None outside of the FLOPs it spans."""
    if not line or not line[0][0] <= flops <= line[-1][0]:
        return None
    for (left, before), (right, after) in itertools.pairwise(line):
        if flops < right:
            return before if after in (0, before) else _interpolated(left, before, right, after, flops)
    return line[-1][1]


def flops_at(line: Sequence[Point], error: float) -> float | None:
    """The fewest FLOPs at which the frontier reaches an error; None if it never does or starts below it."""
    if not line or not line[-1][1] <= error <= line[0][1]:
        return None
    for (left, before), (right, after) in itertools.pairwise(line):
        if error == before:
            return left
        if after <= error:
            return right if after == 0 else _interpolated(before, left, after, right, error)
    return line[-1][0]


def _interpolated(left: float, before: float, right: float, after: float, x: float) -> float:
    """The y at x of the line from (left, before) to (right, after), straight in log–log."""
    apart = math.log(right) - math.log(left)
    share = (math.log(x) - math.log(left)) / apart if apart else 1.0
    y = math.exp((1 - share) * math.log(before) + share * math.log(after))
    return min(max(y, min(before, after)), max(before, after))  # whatever exp and log round
