"""Baselines, which reports draw beside the models: their record, their scoring, and those of every task.

A baseline reads the very prompts that the models are evaluated on, so comparisons are paired. At
position i (from 0) it has seen the i examples before it and predicts the next value; its score is
the task's raw metric. Expensive baselines use only the first prompts, or only some positions, and their
record states it. Everything runs on the CPU, in float64 unless stated otherwise.

Shapes: P prompts of N points with d input coordinates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts, Task

Kind = Literal["trivial", "floor", "baseline"]


@dataclass(frozen=True)
class Baseline:
    """One predictor's scores by position.

    Attributes:
        name: as reports show it.
        kind: "trivial" has learned nothing; "floor" is the Bayes optimum, or the best predictor
            known, or a bound no predictor can pass (for accuracy, a ceiling); "baseline" is what a
            practitioner would try.
        positions: what each score is at, ascending, counted as the evaluation counts: a point's place
            in the prompt (from 0), which is how many pairs came before it, or a query's number. Not
            necessarily every position.
        mean: raw score of the task's metric at each position, mean over prompts.
        standard_error: of `mean`.
        prompts: how many of the evaluation prompts were used: the first ones.
        seconds: what computing it cost.
        evaluation: which of the task's evaluations its scores belong beside; "report" is the main one.
            Records made before there were several lack it.
    """

    name: str
    kind: Kind
    positions: list[int]
    mean: list[float]
    standard_error: list[float]
    prompts: int
    seconds: float
    evaluation: str = "report"


def summarise(
    name: str,
    kind: Kind,
    scores: Tensor,
    started: float,
    positions: Sequence[int] | None = None,
    evaluation: str = "report",
) -> Baseline:
    """The record of scores (P, positions); numbers keep five significant digits.

    Args:
        name: see `Baseline`.
        kind: see `Baseline`.
        scores: one column for each of `positions`.
        started: `time.perf_counter()` before the work.
        positions: of the columns; 0, 1, 2, … when None.
        evaluation: see `Baseline`.

    Raises:
        ValueError: fewer than two prompts (no standard error), other positions than columns, or a
            score that is not finite.
    """
    columns = list(range(scores.shape[1])) if positions is None else list(positions)
    if len(columns) != scores.shape[1]:
        raise ValueError(f"baseline '{name}' has {scores.shape[1]} columns for {len(columns)} positions")
    count = scores.shape[0]
    if count < 2:
        raise ValueError(f"baseline '{name}' needs at least two prompts for a standard error, got {count}")
    scores = scores.to(torch.float64)
    mean, error = scores.mean(dim=0), scores.std(dim=0) / math.sqrt(count)
    finite = torch.isfinite(mean) & torch.isfinite(error)
    if not bool(finite.all()):
        where = columns[int(finite.logical_not().nonzero()[0])]
        raise ValueError(f"baseline '{name}' gave a score that is not a finite number at position {where}")
    seconds = round(time.perf_counter() - started, 3)
    return Baseline(name, kind, columns, _rounded(mean), _rounded(error), count, seconds, evaluation)


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]


def examples(prompts: Prompts, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Inputs (P, N, d) and targets, (P, N) or vectors, of the first `limit` prompts, float64 on the CPU."""
    chosen = slice(0, limit)
    return double(prompts.inputs[chosen]), double(prompts.targets[chosen])


def double(values: Tensor) -> Tensor:
    """The values in float64 on the CPU."""
    return values.to("cpu", torch.float64)


def squared_errors(said: Tensor, wanted: Tensor) -> Tensor:
    """Squared errors of numbers (P, M), or squared norms of those of vectors (P, M, d_out): (P, M)."""
    errors = (said - wanted).square()
    return errors.sum(dim=2) if errors.ndim == 3 else errors


def few(n_points: int) -> list[int]:
    """Nine positions or fewer, for predictors that cost a fit for each prompt and position."""
    return sorted({i for i in (0, 2, 5, 10, 20, 40, 60, 80, n_points - 1) if i < n_points})


def spread(n_points: int) -> list[int]:
    """Positions for predictors that cost much: all of a short prompt; of a long one the first twenty,
    then every fifth, and the last.
    """
    if n_points <= 41:
        return list(range(n_points))
    return sorted({*range(20), *range(20, n_points, 5), n_points - 1})


def present(baselines: Iterable[Baseline | None]) -> list[Baseline]:
    """The baselines without None, which stands for a search that is too large or a missing package."""
    return [baseline for baseline in baselines if baseline is not None]


def trivial(task: Task, prompts: Prompts) -> Baseline:
    """Predict zero at the points that count. For accuracy, flip a coin; its expected score is one half."""
    started = time.perf_counter()
    positions = counted_positions(prompts)
    _, targets = examples(prompts)
    wanted = targets[:, positions]
    if task.metric == "accuracy":
        return summarise("coin flip", "trivial", torch.full_like(wanted, 0.5), started, positions)
    return summarise("zero", "trivial", squared_errors(torch.zeros_like(wanted), wanted), started, positions)


def counted_positions(prompts: Prompts) -> list[int]:
    """Places of the points that count, from 0: the same in every evaluation prompt.

    Raises:
        ValueError: they are not the same, or there are none.
    """
    if prompts.counted is None:
        return list(range(prompts.targets.shape[1]))
    if not bool((prompts.counted == prompts.counted[:1]).all()):
        raise ValueError("baselines need prompts whose counted points are at the same places in each")
    positions: list[int] = prompts.counted[0].nonzero().flatten().tolist()
    if not positions:
        raise ValueError("baselines need prompts in which some point counts")
    return positions


def nearest_neighbours(prompts: Prompts, k: int, classify: bool = False) -> Baseline:
    """Mean value of the `k` nearest earlier inputs (Euclidean); of all of them while fewer were seen.

    Among equally distant inputs the earliest count first. Before any example the prediction is zero.

    Args:
        prompts: what is predicted.
        k: neighbours averaged.
        classify: values are ±1 and the majority's is said; a tie counts one half.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    positions = spread(targets.shape[1])
    columns = [
        _nearest(inputs, targets, seen, k) if seen else torch.zeros_like(targets[:, 0]) for seen in positions
    ]
    predictions, wanted = torch.stack(columns, dim=1), targets[:, positions]
    scores = vote_scores(predictions, wanted) if classify else (predictions - wanted) ** 2
    name = "nearest neighbour" if k == 1 else f"{k} nearest neighbours"
    return summarise(name, "baseline", scores, started, positions)


def _nearest(inputs: Tensor, targets: Tensor, seen: int, k: int) -> Tensor:
    """Mean target of the k nearest among the first `seen` inputs to input number `seen`: (P,)."""
    distances = (inputs[:, :seen] - inputs[:, seen : seen + 1]).square().sum(dim=2)
    order = distances.argsort(dim=1, stable=True)[:, :k]
    return targets.gather(1, order).mean(dim=1)


def vote_scores(votes: Tensor, labels: Tensor) -> Tensor:
    """Accuracy of the sign of `votes` against labels ±1: 1 right, 0 wrong, one half for no majority."""
    return (torch.sign(votes) * labels + 1) / 2
