"""Scores as results store them: means and standard errors over prompts, and a score of each prompt."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from bench.tasks.task import Task
from bench.train.evaluate import Array, ModelScores


def summary(scores: ModelScores, headline: Array, positions: bool) -> dict[str, Any]:
    """Means and standard errors over prompts, as [mean, standard error].

    Args:
        scores: scores of all prompts, two at least.
        headline: headline score of each prompt, (prompts,).
        positions: whether to add the mean and the standard error at every position.
    """
    statistics: dict[str, Any] = {
        "overall": _mean_and_error(scores.overall),
        "headline": _mean_and_error(headline),
    }
    if positions:
        mean, error = _mean_and_error(scores.columns)
        statistics = {"mean": mean, "standard_error": error, **statistics}
    return statistics


def headline(task: Task, evaluation: str, scores: ModelScores) -> Array:
    """Headline score of each prompt, (prompts,): at the task's headline mark, or the mean over positions."""
    mark, described = task.headline, task.evaluations()[evaluation]
    # A mark is chosen for the task's own metric. Another metric of the same model is shown as a mean.
    if mark is None or described.metric is not None:
        return scores.overall
    return np.asarray(scores.columns[:, described.marks[mark]])


def packed(values: Array) -> str:
    """A number per prompt, as base64 of little-endian float32."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def rounded(values: Any, digits: int = 5) -> Any:
    """Numbers rounded to `digits` significant digits, as a float or nested lists of floats."""
    if isinstance(values, list | np.ndarray):
        return [rounded(value, digits) for value in values]
    return float(f"{float(values):.{digits}g}")


def _mean_and_error(values: Array) -> list[Any]:
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return [rounded(values.mean(axis=0)), rounded(error)]
