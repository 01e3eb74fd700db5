"""The ratio of two mean errors over seeds, and its bootstrap interval."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

RESAMPLES = 10_000
SEED = 0
"""Of the resampling: the same results always give the same interval."""


@dataclass(frozen=True)
class Side:
    """The mean error over seeds, and its standard error over them (None for a single seed)."""

    mean: float
    standard_error: float | None
    seeds: int


@dataclass(frozen=True)
class Ratio:
    """A ratio of means.

    Attributes:
        value: the subject's mean over the reference's.
        low: the 5 % quantile over resamples of the seeds.
        high: the 95 % quantile: `low` to `high` is the 90 % interval.
        standard_error: the standard deviation over resamples.
        paired: whether the two had the same seeds, which were then resampled together.
    """

    value: float
    low: float
    high: float
    standard_error: float
    paired: bool


@dataclass(frozen=True)
class Comparison:
    """Two sides and their ratio; None with too few seeds, or where the reference's mean is 0."""

    subject: Side
    reference: Side
    ratio: Ratio | None


def compare(subject: Mapping[int, float], reference: Mapping[int, float]) -> Comparison:
    """Compare errors by seed, all of them finite; neither mapping is empty."""
    return Comparison(_side(subject), _side(reference), ratio_of_means(subject, reference))


def ratio_of_means(subject: Mapping[int, float], reference: Mapping[int, float]) -> Ratio | None:
    """The ratio of mean errors with its percentile bootstrap interval over seeds.

    Args:
        subject: error by seed.
        reference: the same of what it is divided by. With the same seeds as `subject`, pairs are resampled;
            with others, each side on its own.

    Returns:
        None with fewer than two seeds on a side, or where a resample has no finite ratio.
    """
    if min(len(subject), len(reference)) < 2:
        return None
    paired = subject.keys() == reference.keys()
    above = [subject[seed] for seed in sorted(subject)]
    below = [reference[seed] for seed in sorted(reference)]
    rows = _resamples(len(above), SEED)
    others = rows if paired else _resamples(len(below), SEED + 1)
    ratios = [_ratio(_mean(above, row), _mean(below, other)) for row, other in zip(rows, others, strict=True)]
    value = _ratio(statistics.fmean(above), statistics.fmean(below))
    if not all(map(math.isfinite, [value, *ratios])):
        return None
    quantiles = statistics.quantiles(ratios, n=20, method="inclusive")
    return Ratio(value, quantiles[0], quantiles[-1], statistics.stdev(ratios), paired)


def _side(errors: Mapping[int, float]) -> Side:
    values = list(errors.values())
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Side(statistics.fmean(values), spread, len(values))


@cache
def _resamples(count: int, seed: int) -> list[list[int]]:
    """RESAMPLES rows of `count` indices below `count`, drawn with replacement."""
    generator = random.Random(seed)
    return [generator.choices(range(count), k=count) for _ in range(RESAMPLES)]


def _mean(values: Sequence[float], row: Sequence[int]) -> float:
    return sum([values[index] for index in row]) / len(row)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan
