"""Baselines, which reports draw next to the models: their record, their scores, and those of every task.

A baseline reads the same prompts that the models are evaluated on, so comparisons are paired. At position i
(from 0) it has read the i examples before it and predicts the next value. Its score is the task's raw
metric. Expensive baselines use only the first prompts, or only some positions; their record states which.
The floor or reference is then also computed on those prompts (`on_first`).
Everything runs on the CPU, in float64 unless stated otherwise.

Shapes: P prompts of N points with d input coordinates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bench.lazy import torch
from bench.tasks.task import MAIN
from bench.tasks.weighted import columns_and_overall

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.task import Prompts, Task

Kind = Literal["trivial", "floor", "reference", "baseline"]


@dataclass(frozen=True)
class Baseline:
    """One predictor's scores by position.

    Attributes:
        name: as reports show it.
        kind: "trivial" has learned nothing. "floor" is the Bayes optimum or a bound that no predictor
            can pass (for accuracy, a ceiling). "reference" is close to the Bayes optimum, but not a bound: a
            predictor can pass it. "baseline" is a method that a practitioner would try.
        positions: position of each score, ascending: the number of pairs before the point, or the number
            of the query. Some positions may be left out.
        mean: raw score of the task's metric at each position, mean over prompts.
        standard_error: of `mean`.
        prompts: number of evaluation prompts used. They are the first ones.
        seconds: duration of the computation.
        evaluation: the evaluation of the task that the scores belong to; "report" is the main one. Old
            records lack the field.
        overall: mean over all scored positions and its standard error, where positions have different
            numbers of scores; None where it is the mean of `mean`.
    """

    name: str
    kind: Kind
    positions: list[int]
    mean: list[float]
    standard_error: list[float]
    prompts: int
    seconds: float
    evaluation: str = MAIN
    overall: list[float] | None = None


def summarise(
    name: str,
    kind: Kind,
    scores: Tensor,
    started: float,
    positions: Sequence[int] | None = None,
    evaluation: str = MAIN,
    overall: Tensor | None = None,
) -> Baseline:
    """The record of scores (P, positions), rounded to five significant digits.

    Args:
        name: see `Baseline`.
        kind: see `Baseline`.
        scores: one column for each of `positions`; rows are independent prompts.
        started: `time.perf_counter()` before the computation.
        positions: of the columns; 0, 1, 2, … when None.
        evaluation: see `Baseline`.
        overall: values (P,) whose mean is the mean over all scored positions (`bench.tasks.weighted`), if
            that is not the mean of the columns.

    Raises:
        ValueError: there are fewer than two prompts, so that there is no standard error; positions and
            columns differ in number; or a score is not finite.
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
        position = columns[int(finite.logical_not().nonzero()[0])]
        raise ValueError(f"baseline '{name}': the score at position {position} is not a finite number")
    seconds = round(time.perf_counter() - started, 3)
    of_all = None
    if overall is not None:
        of_all = _rounded(torch.stack((overall.mean(), overall.std() / math.sqrt(count))))
    return Baseline(name, kind, columns, _rounded(mean), _rounded(error), count, seconds, evaluation, of_all)


def records(name: str, kind: Kind, scores: Mapping[str, Tensor], started: float) -> list[Baseline]:
    """The records of one predictor: `summarise` of its scores (P, columns) on every evaluation."""
    return [
        summarise(name, kind, values, started, evaluation=evaluation) for evaluation, values in scores.items()
    ]


def weighted_records(
    name: str,
    kind: Kind,
    sums: Mapping[str, Tensor],
    counts: Tensor,
    started: float,
    positions: Sequence[int],
) -> list[Baseline]:
    """`records` for columns of several positions, from sums over the scored positions of each column.

    Args:
        name: see `Baseline`.
        kind: see `Baseline`.
        sums: (P, columns) by evaluation.
        counts: numbers of scored positions, (P, columns).
        started: `time.perf_counter()` before the computation.
        positions: of the columns.
    """
    baselines = []
    for evaluation, values in sums.items():
        columns, overall = columns_and_overall(values, counts)
        baselines.append(summarise(name, kind, columns, started, positions, evaluation, overall))
    return baselines


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]


def examples(prompts: Prompts, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Inputs (P, N, d) and targets, (P, N) or vectors, of the first `limit` prompts, float64 on the CPU."""
    rows = slice(0, limit)
    return double(prompts.inputs[rows]), double(prompts.targets[rows])


def double(values: Tensor) -> Tensor:
    """The values in float64 on the CPU."""
    return values.to("cpu", torch.float64)


def squared_errors(predictions: Tensor, targets: Tensor) -> Tensor:
    """Squared errors (P, M) of numbers (P, M), or squared norms of the errors of vectors (P, M, d_out)."""
    errors = (predictions - targets).square()
    return errors.sum(dim=2) if errors.ndim == 3 else errors


def few_positions(n_points: int) -> list[int]:
    """Nine positions or fewer, for predictors that cost a fit for each prompt and position."""
    return sorted({i for i in (0, 2, 5, 10, 20, 40, 60, 80, n_points - 1) if i < n_points})


def spread_positions(n_points: int) -> list[int]:
    """Positions for expensive predictors.

    A short prompt has all of its positions. A long one has the first twenty, every fifth, and the last.
    """
    if n_points <= 41:
        return list(range(n_points))
    return sorted({*range(20), *range(20, n_points, 5), n_points - 1})


def present(baselines: Iterable[Baseline | None]) -> list[Baseline]:
    """The baselines without None, which stands for a search that is too large or a missing package."""
    return [baseline for baseline in baselines if baseline is not None]


def on_first(limit: int, predictor: Callable[[Prompts], Baseline], prompts: Prompts) -> Baseline | None:
    """The predictor on the first `limit` prompts only, to compare with baselines that use only those.

    None when there are no more prompts than that. Its kind is "baseline", its name states the number.
    """
    if len(prompts.targets) <= limit:
        return None
    result = predictor(prompts.part(slice(0, limit)))
    return replace(result, name=f"{result.name}, first {limit} prompts", kind="baseline")


def trivial(task: Task, prompts: Prompts) -> Baseline:
    """Predict zero at the points that count. For accuracy, guess; the expected score is `Task.trivial`."""
    started = time.perf_counter()
    positions = counted_positions(prompts)
    _, targets = examples(prompts)
    targets = targets[:, positions]
    if task.metric == "accuracy":
        name = "coin flip" if task.trivial == 0.5 else "guess"
        return summarise(name, "trivial", torch.full_like(targets, task.trivial), started, positions)
    scores = squared_errors(torch.zeros_like(targets), targets)
    return summarise("zero", "trivial", scores, started, positions)


def counted_positions(prompts: Prompts) -> list[int]:
    """Positions of the points that count, from 0. They are equal in all evaluation prompts.

    Raises:
        ValueError: prompts differ in them, or no point counts.
    """
    if prompts.counted is None:
        return list(range(prompts.targets.shape[1]))
    if not bool((prompts.counted == prompts.counted[:1]).all()):
        raise ValueError("baselines need prompts whose counted points are at the same positions in each")
    positions: list[int] = prompts.counted[0].nonzero().flatten().tolist()
    if not positions:
        raise ValueError("baselines need prompts in which some point counts")
    return positions


def nearest_neighbours(prompts: Prompts, k: int, classify: bool = False) -> Baseline:
    """Mean value of the `k` nearest earlier inputs (Euclidean distance), or of all if there are fewer.

    Among inputs at equal distances the earlier ones come first. The prediction before any example is zero.

    Args:
        prompts: the prompts to predict.
        k: number of neighbours in the mean.
        classify: values are ±1, and the prediction is that of the majority; a tie counts one half.
    """
    started = time.perf_counter()
    inputs, targets = examples(prompts)
    positions = spread_positions(targets.shape[1])
    columns = [
        _nearest(inputs, targets, seen, k) if seen else torch.zeros_like(targets[:, 0]) for seen in positions
    ]
    predictions, targets = torch.stack(columns, dim=1), targets[:, positions]
    scores = vote_scores(predictions, targets) if classify else (predictions - targets) ** 2
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


def first_match(values: Tensor) -> Tensor:
    """The first earlier point that equals each point of (P, N, d): (P, N) int64; −1 for none."""
    count, n_points, _ = values.shape
    match = torch.full((count, n_points), -1)
    for seen in range(1, n_points):
        equal = (values[:, :seen] == values[:, seen : seen + 1]).all(dim=2)
        match[:, seen] = torch.where(equal.any(dim=1), equal.to(torch.uint8).argmax(dim=1), -1)
    return match
