"""Beyond the paper: architectures compared at fixed training FLOPs, with intervals of joint draws.

Only models trained to their last step count: an earlier checkpoint is a longer training cut short, and
results keep each prompt's score at the last checkpoint only. `bench.uncertainty` draws the mean error of
every model: other prompts, the same ones for all models of a task, and other trainings of each model alone.
Every draw has its own frontiers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.frontier import DrawnFrontiers, Point, error_at, flops_at, frontier
from bench.report.data.estimates import OVER_BOTH, OVER_PROMPTS, seed_errors, tasks_of
from bench.results.flops_axis import AXIS_LABEL, mean_flops
from bench.uncertainty import DRAWS, Floats, SeedErrors, interval

MOST_BUDGETS = 4
RULE = (
    f"FLOPs are {AXIS_LABEL}. Frontiers of models trained to their last step, each size at its chosen "
    "learning rate: straight in log–log between sizes, flat from the last size that improves to the largest "
    f"one trained, and nowhere beyond. Intervals are 90 %, from {DRAWS} draws of prompts (the same for all "
    "models: comparisons are paired) and of trainings (Student's t over seeds). With one seed nothing is "
    "known about other trainings: ranks then have intervals over prompts only, and times the FLOPs have none."
)
Lines = Mapping[str, Sequence[Point]]


class TrainedModel(NamedTuple):
    """One size of a series at its chosen candidate, trained to its last step."""

    series: str
    flops: float
    errors: SeedErrors


class IntervalEstimate(NamedTuple):
    """A number with the ends of its 90 % interval; NaN ends where it has none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FrontierComparison:
    """One task's frontiers, and draws of them.

    Attributes:
        series: architecture by series, in the order of the plan.
        models: those whose errors make the frontiers.
    """

    task_id: str
    task: str
    series: Mapping[str, str]
    models: Sequence[TrainedModel]

    @cached_property
    def lines(self) -> Lines:
        """The frontier of each series."""
        return {
            name: frontier((model.flops, model.errors.mean) for model in models)
            for name, models in self._by_series.items()
        }

    @cached_property
    def drawn(self) -> Mapping[str, DrawnFrontiers]:
        """By series with a model, the frontiers of all draws; empty where models do not share prompts."""
        if not self.paired:
            return {}
        return {
            name: DrawnFrontiers(
                np.array([model.flops for model in models]),
                np.stack([model.errors.draws() for model in models], axis=1),
            )
            for name, models in self._by_series.items() if models
        }  # fmt: skip

    @property
    def _by_series(self) -> dict[str, list[TrainedModel]]:
        return {name: [model for model in self.models if model.series == name] for name in self.series}

    @property
    def paired(self) -> bool:
        """Whether all models were scored on the same prompts, and results keep each prompt's score."""
        prompts = {model.errors.prompts for model in self.models}
        return len(prompts) == 1 and all(model.errors.per_prompt is not None for model in self.models)

    def has_seeds(self, *names: str) -> bool:
        """Whether every model of these series was trained with two or more seeds."""
        return all(len(model.errors.means) > 1 for model in self.models if model.series in names)

    @property
    def one_seed(self) -> list[str]:
        """The series with a model that was trained with one seed."""
        return [name for name in self.series if not self.has_seeds(name)]

    @property
    def has_frontiers(self) -> bool:
        """Whether two series have frontiers of at least two sizes, so that they can be compared."""
        return sum(len(line) > 1 for line in self.lines.values()) > 1

    def errors_at(self, budget: float) -> dict[str, Floats]:
        """By series, the frontier's error at a budget in every draw, (DRAWS,); NaN outside of its sizes.

        Empty arrays where models do not share their prompts.
        """
        # Sizes are the same in every draw, so a series without an error has none in any.
        nothing = np.full(DRAWS if self.paired else 0, np.nan)
        return {
            name: self.drawn[name].error_at(budget) if name in self.drawn else nothing for name in self.series
        }

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


def comparisons(results: pd.DataFrame) -> list[FrontierComparison]:
    """The comparison of every task for which at least two series have results."""
    comparisons = []
    for task in tasks_of(results):
        ends = task.ends()
        ends = ends[ends["error"].notna()]
        if ends["series"].nunique() > 1:
            models = [
                TrainedModel(str(name), float(mean_flops(runs["training_flops"])), seed_errors(runs))
                for (name, _), runs in ends.groupby(["series", "size"], sort=False)
            ]
            comparisons.append(FrontierComparison(task.task_id, task.title, task.series, models))
    return comparisons


def ranking(comparison: FrontierComparison) -> pd.DataFrame:
    """Error and rank of every series at each budget: a row of RANKING each.

    A series whose frontier does not reach a budget has no number there; ranks are among those that do.
    """
    rows: list[dict[str, Any]] = []
    for budget in comparison.budgets():
        drawn = comparison.errors_at(budget)
        errors = {
            name: np.array(error_at(line, budget), dtype=float) for name, line in comparison.lines.items()
        }
        reached = [name for name, error in errors.items() if not np.isnan(error)]
        rank_interval = OVER_BOTH if comparison.has_seeds(*reached) else OVER_PROMPTS
        for name, architecture in comparison.series.items():
            own = OVER_BOTH if comparison.has_seeds(name) else OVER_PROMPTS
            rows.append(
                {
                    "task": comparison.task, "series": name, "architecture": architecture, "budget": budget,
                    **_columns("error", _estimate(errors[name], drawn[name])), "error_interval": own,
                    **_columns("rank", _estimate(_rank(name, errors), _rank(name, drawn))),
                    "rank_interval": rank_interval,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=RANKING)


RANKING = [
    "task", "series", "architecture", "budget", "error", "error_low", "error_high", "error_interval", "rank",
    "rank_low", "rank_high", "rank_interval",
]  # fmt: skip


def _rank(name: str, errors: Mapping[str, Floats]) -> Floats:
    """The place of a series among those with an error, in every draw; NaN where it has none itself."""
    own = errors[name]
    better = sum((other < own).astype(float) for other in errors.values())  # NaN is never lower
    return np.where(np.isnan(own), np.nan, 1.0 + better)


def matching(comparison: FrontierComparison) -> pd.DataFrame:
    """How many times the FLOPs of `a` series `b` needs to reach the lowest error that both reach.

    Returns:
        task, a, b, target (that error), factor and its interval, one_seed (a model of a or b was trained
        with one seed: no interval), bound ("≤" where even b's cheapest model is better than the target,
        "≥" where a's is, else "") and falls_short (b's best is worse than a's: it never matches that within
        its sizes).
    """
    rows = []
    for a in comparison.series:
        for b in comparison.series:
            if a == b or not comparison.lines[a] or not comparison.lines[b]:
                continue
            best_a, best_b = comparison.lines[a][-1][1], comparison.lines[b][-1][1]
            factor, bound = _factor(comparison.lines[a], comparison.lines[b])
            one_seed = not comparison.has_seeds(a, b)
            frontiers = comparison.drawn
            drawn = np.array([])
            if frontiers and not one_seed:
                drawn = _drawn_factors(frontiers[a], frontiers[b])
            rows.append(
                {
                    "task": comparison.task, "a": a, "b": b, "target": max(best_a, best_b),
                    **_columns("factor", _estimate(np.array(factor), drawn)),
                    "one_seed": one_seed, "bound": bound, "falls_short": best_b > best_a,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=MATCHING)


MATCHING = [
    "task", "a", "b", "target", "factor", "factor_low", "factor_high", "one_seed", "bound", "falls_short",
]  # fmt: skip


def _factor(a: Sequence[Point], b: Sequence[Point]) -> tuple[float, str]:
    """FLOPs of b over those of a at the lowest error that both reach, and whether that is a bound."""
    target = max(a[-1][1], b[-1][1])
    of_a, of_b = flops_at(a, target), flops_at(b, target)
    bound = "≤" if of_b is None else "≥" if of_a is None else ""
    return (b[0][0] if of_b is None else of_b) / (a[0][0] if of_a is None else of_a), bound


def _drawn_factors(a: DrawnFrontiers, b: DrawnFrontiers) -> Floats:
    """`_factor` of every draw, (DRAWS,). A draw that has a bound only lies anywhere beyond it."""
    target = np.maximum(a.best, b.best)
    of_a, of_b = a.flops_at(target), b.flops_at(target)
    return np.where(np.isnan(of_b), 0.0, np.where(np.isnan(of_a), np.inf, of_b / of_a))


def _estimate(value: Floats, drawn: Floats) -> IntervalEstimate:
    low, high = interval(drawn) if len(drawn) else (math.nan, math.nan)
    return IntervalEstimate(float(value), low, high)


def _columns(name: str, estimate: IntervalEstimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
