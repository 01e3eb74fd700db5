"""Beyond the paper: architectures compared at fixed training FLOPs, with bootstrap intervals.

Only models trained to their last step count: an earlier checkpoint is a longer training cut short, and
results keep each prompt's score at the last checkpoint only. Intervals resample the prompts, the same ones
for all models of a task, and the seeds of each model.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.frontier import Point, error_at, flops_at, frontier
from bench.report.data.estimates import TaskResults
from bench.report.data.frame import ScoreScale
from bench.results import Pool, per_prompt
from bench.results.evaluations import mean_flops
from bench.results.record import MAIN

DRAWS = 400
"""Bootstrap samples."""
MOST_BUDGETS = 4
RULE = (
    "Frontiers of models trained to their last step, each size at its chosen learning rate, straight in "
    f"log–log between sizes and nowhere beyond them. Intervals are 90 %, from {DRAWS} bootstrap samples of "
    "prompts (the same for all models: comparisons are paired) and of seeds."
)
Floats = npt.NDArray[np.float64]
Lines = Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class IntervalEstimate:
    """A number with the ends of its 90 % interval; NaN ends where a sample had no number."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FrontierComparison:
    """One task's frontiers, and bootstrap samples of them.

    Attributes:
        series: architecture by series, in the order of the plan.
        lines: the frontier of each series.
        samples: the same, resampled.
        paired: whether prompts could be resampled together.
    """

    task_id: str
    task: str
    series: Mapping[str, str]
    lines: Lines
    samples: Sequence[Lines]
    paired: bool

    @property
    def has_frontiers(self) -> bool:
        """Whether two series have frontiers of at least two sizes, so that they can be compared."""
        return sum(len(line) > 1 for line in self.lines.values()) > 1

    def estimate(self, number: Callable[[Lines], float | None]) -> IntervalEstimate | None:
        """A number of the frontiers with its interval; None if the frontiers do not have it."""
        value = number(self.lines)
        if value is None:
            return None
        samples = np.array([number(lines) for lines in self.samples], dtype=float)  # None becomes NaN
        finite = samples[np.isfinite(samples)]
        if len(finite) < 0.9 * len(samples) or not len(finite):
            return IntervalEstimate(value, math.nan, math.nan)
        low, high = np.quantile(finite, [0.05, 0.95])
        return IntervalEstimate(value, float(low), float(high))

    def budgets(self) -> list[float]:
        """Round budgets (1 or 3 times a power of ten) that at least two frontiers span, a few of them."""
        spans = [(line[0][0], line[-1][0]) for line in self.lines.values() if line]
        if len(spans) < 2:
            return []
        powers = range(math.floor(math.log10(min(low for low, _ in spans))), 25)
        round_budgets = [step * 10.0**power for power in powers for step in (1, 3)]
        shared = [x for x in round_budgets if sum(low <= x <= high for low, high in spans) >= 2]
        if len(shared) <= MOST_BUDGETS:
            return shared
        indices = np.linspace(0, len(shared) - 1, MOST_BUDGETS).round().astype(int)
        return [shared[index] for index in indices]


def comparisons(results: pd.DataFrame, pool: Pool) -> list[FrontierComparison]:
    """The comparison of every task for which at least two series have results."""
    comparisons = []
    for _, rows in results.groupby("task_id", sort=False):
        task = TaskResults(rows)
        ends = task.ends()
        ends = ends[ends["error"].notna()]
        if ends["series"].nunique() > 1:
            comparisons.append(_compared(task, ends, pool))
    return comparisons


def _compared(task: TaskResults, ends: pd.DataFrame, pool: Pool) -> FrontierComparison:
    """Compare one task's models that were trained to their last step: `ends`, a row per run."""
    series = task.series
    cells = [
        (
            str(name),
            float(mean_flops(runs["training_flops"])),
            list(runs["id"]),
            runs["error"].to_numpy(float),
        )
        for (name, _), runs in ends.groupby(["series", "size"], sort=False)
    ]
    lines = _lines(series, [(name, flops, float(errors.mean())) for name, flops, _, errors in cells])
    prompts = _prompt_errors(task.scale, [key for _, _, ids, _ in cells for key in ids], pool)
    if prompts is None:
        return FrontierComparison(task.task_id, task.title, series, lines, [], False)
    random = np.random.default_rng(zlib.crc32(task.task_id.encode()))
    count = len(next(iter(prompts.values())))
    weights = random.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    resampled = [(name, flops, _resampled(ids, prompts, weights, random)) for name, flops, ids, _ in cells]
    samples = [
        _lines(series, [(name, flops, float(errors[draw])) for name, flops, errors in resampled])
        for draw in range(DRAWS)
    ]
    return FrontierComparison(task.task_id, task.title, series, lines, samples, True)


def _lines(series: Iterable[str], points: Sequence[tuple[str, float, float]]) -> Lines:
    return {
        name: frontier((flops, error) for other, flops, error in points if other == name) for name in series
    }


def _prompt_errors(scale: ScoreScale, ids: Sequence[str], pool: Pool) -> dict[str, Floats] | None:
    """Each run's normalised error on every prompt; None when they were not scored on the same ones."""
    results = [pool.runs[key] for key in ids]
    if len({result.prompts[MAIN].sha256 for result in results}) != 1:
        return None
    errors: dict[str, Floats] = {}
    for key, result in zip(ids, results, strict=True):
        scores = per_prompt(result).astype(float) / scale.scale
        errors[key] = 1 - scores if scale.higher_is_better else scores
    lengths = {len(scores) for scores in errors.values()}
    return errors if len(lengths) == 1 and lengths != {0} else None


def _resampled(
    ids: Sequence[str], prompts: Mapping[str, Floats], weights: Floats, random: np.random.Generator
) -> Floats:
    """Mean error of one cell in every sample, (DRAWS,): prompts by `weights`, seeds drawn with repetition."""
    by_seed = np.stack([weights @ prompts[key] for key in ids], axis=1)
    picked = random.integers(len(ids), size=(len(weights), len(ids)))
    mean: Floats = np.take_along_axis(by_seed, picked, axis=1).mean(axis=1)
    return mean


def ranking(comparison: FrontierComparison) -> pd.DataFrame:
    """Error and rank of every series at each budget: series, architecture, budget, error, rank, intervals.

    A series whose frontier does not reach a budget has no number there; ranks are among those that do.
    """
    rows: list[dict[str, Any]] = []
    for budget in comparison.budgets():
        for name, architecture in comparison.series.items():
            error = comparison.estimate(partial(_error, name, budget))
            rank = comparison.estimate(partial(_rank, name, budget))
            rows.append(
                {
                    "task": comparison.task, "series": name, "architecture": architecture, "budget": budget,
                    **_columns("error", error), **_columns("rank", rank),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=RANKING)


RANKING = [
    "task", "series", "architecture", "budget", "error", "error_low", "error_high", "rank", "rank_low",
    "rank_high",
]  # fmt: skip


def _error(name: str, budget: float, lines: Lines) -> float | None:
    return error_at(lines[name], budget)


def _rank(name: str, budget: float, lines: Lines) -> float | None:
    own_error = error_at(lines[name], budget)
    if own_error is None:
        return None
    other_errors = (error_at(line, budget) for other, line in lines.items() if other != name)
    return 1.0 + sum(error is not None and error < own_error for error in other_errors)


def matching(comparison: FrontierComparison) -> pd.DataFrame:
    """How many times the FLOPs of `a` series `b` needs to reach the lowest error that both reach.

    Returns:
        task, a, b, target (that error), factor and its interval, bound ("≤" where even b's cheapest
        model is better than the target, "≥" where a's is, else "") and falls_short (b's best is worse
        than a's: it never matches that within its sizes).
    """
    rows = []
    for a in comparison.series:
        for b in comparison.series:
            if a == b or not comparison.lines[a] or not comparison.lines[b]:
                continue
            best_a, best_b = comparison.lines[a][-1][1], comparison.lines[b][-1][1]
            target = max(best_a, best_b)
            factor = comparison.estimate(partial(_factor_of, a, b))
            _, bound = _factor(comparison.lines[a], comparison.lines[b])
            rows.append(
                {
                    "task": comparison.task, "a": a, "b": b, "target": target, **_columns("factor", factor),
                    "bound": bound, "falls_short": best_b > best_a,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=MATCHING)


MATCHING = [
    "task", "a", "b", "target", "factor", "factor_low", "factor_high", "bound", "falls_short",
]  # fmt: skip


def _factor_of(a: str, b: str, lines: Lines) -> float | None:
    return _factor(lines[a], lines[b])[0]


def _factor(a: Sequence[Point], b: Sequence[Point]) -> tuple[float | None, str]:
    """FLOPs of b over those of a at the lowest error that both reach, and whether that is a bound."""
    if not a or not b:
        return None, ""
    target = max(a[-1][1], b[-1][1])
    of_a, of_b = flops_at(a, target), flops_at(b, target)
    bound = "≤" if of_b is None else "≥" if of_a is None else ""
    return (b[0][0] if of_b is None else of_b) / (a[0][0] if of_a is None else of_a), bound


def _columns(name: str, estimate: IntervalEstimate | None) -> dict[str, float]:
    if estimate is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), math.nan)
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
