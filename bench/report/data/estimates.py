"""Means and 90 % intervals: over seeds when there are three or more, else over prompts.

Errors are normalised as in `bench.results`: squared error by the task's scale, so that the trivial
predictor scores 1; an accuracy is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.results import Pool
from bench.results.evaluations import headline_words, positions
from bench.results.record import MAIN
from bench.tasks import Task

NORMAL_90 = 1.645
# 95th percentile of Student's t for 2 … 30 degrees of freedom: half of a two-sided 90 % interval.
_STUDENT_90 = (
    2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753, 1.746,
    1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697,
)  # fmt: skip
INTERVAL_RULE = (
    "Intervals are 90 %: ±1.645 standard errors over prompts with one or two seeds (they say how well a "
    "model was measured, not how models trained anew would vary), Student's t over seeds with three or more."
)


def interval(means: Any, standard_errors: Any) -> tuple[Any, Any, Any, str]:
    """Mean over seeds, its standard error, half of its 90 % interval, and what that is over.

    Args:
        means: (S,) or (S, N), one a seed.
        standard_errors: the same shape, over prompts.

    Returns:
        mean, standard error and half width, () or (N,), and "seeds" or "prompts". The prompts are the
        same for every seed, so averaging two seeds is not taken to make their standard error smaller.
    """
    means, standard_errors = np.asarray(means, dtype=float), np.asarray(standard_errors, dtype=float)
    mean, seeds = means.mean(axis=0), len(means)
    if seeds < 3:
        error = standard_errors.mean(axis=0)
        return mean, error, NORMAL_90 * error, "prompts"
    error = means.std(axis=0, ddof=1) / np.sqrt(seeds)
    return mean, error, student_90(seeds - 1) * error, "seeds"


def student_90(freedom: int) -> float:
    """Half width, in standard errors, of a two-sided 90 % interval with `freedom` ≥ 2 degrees of freedom."""
    return _STUDENT_90[freedom - 2] if freedom - 2 < len(_STUDENT_90) else NORMAL_90


@dataclass(frozen=True)
class ScoreScale:
    """How a task's scores are shown; known from its definition, before any result is there.

    Attributes:
        metric: "squared_error" or "accuracy".
        scale: what a raw score is divided by before it is shown (1 for an accuracy).
        trivial: what a predictor that has learned nothing would show.
        n_points: points in a prompt.
        headline: the mark at which the task's one number is read; None for the mean over positions.
    """

    metric: str
    scale: float
    trivial: float
    n_points: int
    headline: str | None = None

    @classmethod
    def of(cls, task: Task) -> ScoreScale:
        scale = 1.0 if task.metric == "accuracy" else task.error_scale
        return cls(task.metric, scale, task.trivial / scale, task.n_points, task.headline)

    @property
    def higher_is_better(self) -> bool:
        return self.metric == "accuracy"

    @property
    def label(self) -> str:
        return "accuracy" if self.higher_is_better else "normalised error"

    @property
    def where(self) -> str:
        """Where in the prompt the task's one number is read, in words."""
        return headline_words(self.headline)

    @property
    def best_word(self) -> str:
        """What a bound that no predictor passes is called: a floor of errors, a ceiling of accuracies."""
        return "ceiling" if self.higher_is_better else "floor"


def with_curves(rows: pd.DataFrame, pool: Pool) -> pd.DataFrame:
    """`rows` of finished runs with their scores at every position of the last checkpoint, raw.

    Adds examples (what each column of the scores stands for), curve and curve_se, a list a row.
    """
    results = [pool.runs[key] for key in rows["id"]]
    reports = [result.checkpoints[-1].evaluations[MAIN] for result in results]
    examples: Any = [
        list(positions(result, MAIN, len(report.mean)))
        for result, report in zip(results, reports, strict=True)
    ]
    means: Any = [report.mean for report in reports]
    errors: Any = [report.standard_error for report in reports]
    return rows.assign(
        examples=examples,
        curve=means,
        curve_se=errors,
    )


def curves(selected: pd.DataFrame, measure: ScoreScale) -> pd.DataFrame:
    """Score against in-context examples of every cell in `selected`, at the last checkpoint.

    Args:
        selected: finished runs of the chosen settings, one row per run (`select.chosen` of a plan), with
            the columns of `with_curves`.
        measure: how the task's scores are shown.

    Returns:
        CURVE_COLUMNS. `value` is the normalised error, or the accuracy.
    """
    scale = measure.scale
    parts = []
    keys = ["series", "architecture", "size"]
    for (series, architecture, size), rows in selected.groupby(keys, sort=False):
        mean, error, half, kind = interval(rows["curve"].to_list(), rows["curve_se"].to_list())
        parts.append(
            pd.DataFrame(
                {
                    "series": series,
                    "architecture": architecture,
                    "size": size,
                    "examples": rows["examples"].iloc[0],
                    "value": mean / scale,
                    "standard_error": error / scale,
                    "low": (mean - half) / scale,
                    "high": (mean + half) / scale,
                    "seeds": len(rows),
                    "interval": kind,
                    "run_ids": " ".join(rows["id"]),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CURVE_COLUMNS)


CURVE_COLUMNS = [
    "series", "architecture", "size", "examples", "value", "standard_error", "low", "high", "seeds",
    "interval", "run_ids",
]  # fmt: skip


def points(
    selected: pd.DataFrame, measure: ScoreScale, seeds: Mapping[tuple[str, str], int] | None = None
) -> pd.DataFrame:
    """Score against training FLOPs: one row per series, size and checkpoint, averaged over seeds.

    Args:
        selected: checkpoints of finished runs of the chosen settings (`select.chosen` of scores).
        measure: how the task's scores are shown.
        seeds: how many seeds each (series, size) was planned with.

    Returns:
        POINT_COLUMNS; `error` orders points (lower is better), `value` is what is shown.
    """
    keys = ["series", "architecture", "size", "parameters", "learning_rate", "step", "steps"]
    rows = []
    for key, group in selected.groupby(keys, sort=False):
        mean, error, half, kind = interval(group["error"], group["error_se"])
        value = 1 - mean if measure.higher_is_better else mean
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "training_flops": int(group["training_flops"].iloc[0]),
                "error": mean,
                "value": value,
                "standard_error": error,
                "low": value - half,
                "high": value + half,
                "seeds": len(group),
                "seeds_planned": max(len(group), (seeds or {}).get((str(key[0]), str(key[2])), 0)),
                "interval": kind,
                "run_ids": " ".join(group["id"]),
            }
        )
    return pd.DataFrame(rows, columns=POINT_COLUMNS)


POINT_COLUMNS = [
    "series", "architecture", "size", "parameters", "learning_rate", "step", "steps", "training_flops",
    "error", "value", "standard_error", "low", "high", "seeds", "seeds_planned", "interval", "run_ids",
]  # fmt: skip


def baselines(
    pool: Pool, task_id: str, measure: ScoreScale, evaluation: str | None = "report"
) -> pd.DataFrame:
    """What is known without training, one row a position: BASELINE_COLUMNS, values as they are shown.

    Of one evaluation, or of all when None.
    """
    scale = measure.scale
    result = pool.baselines.get(task_id)
    parts = [
        pd.DataFrame(
            {
                "evaluation": known.evaluation,
                "name": known.name,
                "kind": known.kind,
                "examples": known.positions,
                "value": np.asarray(known.mean, dtype=float) / scale,
                "standard_error": np.asarray(known.standard_error, dtype=float) / scale,
            }
        )
        for known in (result.baselines if result else ())
        if evaluation in (None, known.evaluation)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=BASELINE_COLUMNS)


BASELINE_COLUMNS = ["evaluation", "name", "kind", "examples", "value", "standard_error"]


def level(known: pd.DataFrame, kind: str, position: int | None = None) -> tuple[str, float] | None:
    """Name and value of the first baseline of a kind: at a position, or its mean over positions.

    None when it skipped the position, or some position of a mean.
    """
    if position is not None:
        there = known[(known["kind"] == kind) & (known["examples"] == position)]
        return None if there.empty else (str(there["name"].iloc[0]), float(there["value"].iloc[0]))
    sizes = known.groupby("name", sort=False).size()
    for name, group in known[known["kind"] == kind].groupby("name", sort=False):
        if len(group) == sizes.max():
            return str(name), float(group["value"].mean())
    return None
