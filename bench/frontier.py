"""The lowest error at a budget of FLOPs, and the fewest FLOPs for an error: on plain numbers.

An architecture's frontier is the lower envelope of its points (training FLOPs, error). Between two of its
points it is a straight line in log–log. A log–log line cannot end at an error of 0, so before a point with
error 0 the frontier is flat at the last positive error. After its last improvement the frontier is flat up to
the largest budget of a training, because trainings at larger budgets did not reach a lower error. Beyond that
budget the frontier is unknown, and functions return None.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Point = tuple[float, float]
"""Training FLOPs and an error."""


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points with a lower error than all points at fewer or equal FLOPs, by rising FLOPs.

    If the largest budget improves nothing, a last point repeats the lowest error at that budget. Points are
    left out if their FLOPs are not finite and above 0, or if their error is not finite or is below 0.
    """
    # Filtered before sorting: a list with NaN has no order.
    valid = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and x > 0 and y >= 0]
    best: list[Point] = []
    largest = 0.0
    for flops, error in sorted(valid):
        largest = flops
        if not best or error < best[-1][1]:
            best.append((flops, error))
    if best and largest > best[-1][0]:
        best.append((largest, best[-1][1]))
    return best


def error_at(line: Sequence[Point], flops: float) -> float | None:
    """The frontier's error at a budget of FLOPs; None outside of the frontier's FLOPs."""
    if not line or not line[0][0] <= flops <= line[-1][0]:
        return None
    for (left, before), (right, after) in itertools.pairwise(line):
        if flops < right:
            return before if after in (0, before) else _interpolated(left, before, right, after, flops)
    return line[-1][1]


def flops_at(line: Sequence[Point], error: float) -> float | None:
    """The fewest FLOPs at which the frontier reaches an error; None if it never does, or starts below it."""
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
    return min(max(y, min(before, after)), max(before, after))  # exp and log round, so y may lie outside


@dataclass(frozen=True, eq=False)
class DrawnFrontiers:
    """The frontiers of D draws of the errors of the same K models: `frontier` for all draws at once.

    Attributes:
        flops: training FLOPs of each model, (K,), K ≥ 1, finite and above 0.
        errors: error of each model in each draw, (D, K), finite and at least 0.
    """

    flops: Floats
    errors: Floats

    @cached_property
    def _budgets(self) -> Floats:
        """The different FLOPs in ascending order, (B,)."""
        return np.unique(self.flops)

    @cached_property
    def _lowest(self) -> Floats:
        """The lowest error at no more than each budget, (D, B)."""
        places = np.searchsorted(self._budgets, self.flops)
        best = np.full((len(self.errors), len(self._budgets)), np.inf)
        for place, errors in zip(places, self.errors.T, strict=True):
            best[:, place] = np.minimum(best[:, place], errors)
        return np.asarray(np.minimum.accumulate(best, axis=1))

    @cached_property
    def _improves(self) -> npt.NDArray[np.bool_]:
        """Whether the frontier has a point at each budget, (D, B). It always has one at the first."""
        first = np.ones((len(self.errors), 1), dtype=bool)
        return np.concatenate([first, self._lowest[:, 1:] < self._lowest[:, :-1]], axis=1)

    @cached_property
    def _last(self) -> npt.NDArray[np.intp]:
        """The place of the frontier's last point at no more than each budget, (D, B)."""
        places = np.where(self._improves, np.arange(len(self._budgets)), 0)
        return np.asarray(np.maximum.accumulate(places, axis=1))

    @property
    def best(self) -> Floats:
        """The lowest error of each draw, (D,)."""
        return self._lowest[:, -1]

    def error_at(self, flops: float) -> Floats:
        """`error_at` in every draw, (D,); NaN for None."""
        draws = np.arange(len(self.errors))
        if not self._budgets[0] <= flops <= self._budgets[-1]:
            return np.full(len(draws), np.nan)
        place = int(np.searchsorted(self._budgets, flops, side="right")) - 1
        before, left = self._lowest[:, place], self._budgets[self._last[:, place]]
        later = self._improves[:, place + 1 :]
        if not later.any():
            return before
        right = place + 1 + later.argmax(axis=1)
        after = np.where(later.any(axis=1), self._lowest[draws, right], before)
        flat = (after == before) | (after == 0)
        # Where the frontier is flat, errors may be 0, which has no logarithm. They are replaced by 1.
        start, end = np.where(flat, 1.0, before), np.where(flat, 1.0, after)
        between = all_interpolated(left, start, self._budgets[right], end, np.full(len(draws), flops))
        return np.where(flat, before, between)

    def flops_at(self, errors: Floats) -> Floats:
        """`flops_at` of an error per draw, (D,); NaN for None."""
        draws = np.arange(len(self.errors))
        place = (self._lowest <= errors[:, None]).argmax(axis=1)
        left = np.maximum(place - 1, 0)
        before, after = self._lowest[draws, left], self._lowest[draws, place]
        exact = (place == 0) | (after == 0) | (after == errors)
        fewer, more = self._budgets[self._last[draws, left]], self._budgets[place]
        # Where no line is needed, errors may be 0, which has no logarithm. They are replaced by 1.
        start, end, targets = (np.where(exact, 1.0, values) for values in (before, after, errors))
        between = all_interpolated(start, fewer, end, more, targets)
        reached = np.where(exact, more, between)
        return np.where((self.best <= errors) & (errors <= self._lowest[:, 0]), reached, np.nan)


def all_interpolated(
    left: Floats | float, before: Floats, right: Floats | float, after: Floats, x: Floats | float
) -> Floats:
    """`_interpolated`, element by element."""
    apart = np.log(right) - np.log(left)
    share = np.divide(np.log(x) - np.log(left), apart, out=np.ones_like(apart), where=apart != 0)
    y = np.exp((1 - share) * np.log(before) + share * np.log(after))
    return np.asarray(np.clip(y, np.minimum(before, after), np.maximum(before, after)))
