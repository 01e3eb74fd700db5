"""Scores of models on the prompts of an evaluation (`bench.train.evaluation_prompts`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bench.kernels import product
from bench.models.backbone import Model
from bench.tasks import weighted
from bench.tasks.task import SELECTION, Prompts, Task
from bench.train.evaluation_prompts import EvaluationSet, LongerPrompts

Array: TypeAlias = np.ndarray[Any, Any]
PartScores: TypeAlias = list[dict[str, Tensor]]
"""Scores of a part of the prompts: of each member, by name of the evaluation, (prompts, columns)."""
Keep: TypeAlias = Callable[[int, Callable[[], PartScores]], PartScores]
"""Returns the scores of the part with this number: those that it has kept, else those of the function."""


def _keep_nothing(part: int, measure: Callable[[], PartScores]) -> PartScores:
    return measure()


@dataclass(frozen=True)
class ModelScores:
    """Raw scores of a model on the prompts of one evaluation, float64.

    Prompts that depend on each other (`Task.dependent_prompts`) are averaged and count as one, so that
    standard errors are over independent draws.

    Attributes:
        columns: (prompts, columns). The mean over prompts is the score of a column.
        overall: (prompts,). The mean over prompts is the mean over all scored positions.
    """

    columns: Array
    overall: Array

    @classmethod
    def of(cls, task: Task, name: str, values: Tensor, counts: Tensor | None = None) -> ModelScores:
        """Scores of the evaluation `name` from what `task.measure` and `task.positions_per_column` returned.

        Both are (prompts, columns).
        """
        if counts is None:
            columns = _independent(values.numpy(), task.dependent_prompts)
            in_mean = np.array(task.evaluations()[name].positions) >= task.first_position
            return cls(columns, columns[:, in_mean].mean(axis=1))
        means, overall = weighted.columns_and_overall(values, counts)
        return cls(means.numpy(), overall.numpy())

    @property
    def finite(self) -> bool:
        """Whether all scores are finite."""
        return bool(np.isfinite(self.columns).all() and np.isfinite(self.overall).all())


def _independent(values: Array, group: int) -> Array:
    """Means (groups, columns) of `group` rows in a row. A last group of fewer rows counts as a whole one."""
    if group == 1:
        return values
    begins = np.arange(0, len(values), group)
    return np.asarray(np.add.reduceat(values, begins) / np.diff([*begins, len(values)])[:, None])


class Predictor(Protocol):
    """Predictions of a stack of models."""

    def share(self, tokens: Tensor) -> None:
        """Announce tokens (B, L, n_inputs) that every member will predict, whole or in parts, all at once."""

    def predict(self, member: int, tokens: Tensor) -> Tensor:
        """Outputs (B, L, n_outputs) of a member for tokens (B, L, n_inputs)."""


class _Predictions:
    """The predictions of a member. Scores of predictions that are NaN are NaN.

    An accuracy would count NaN as a wrong answer, and argmax takes it for the largest number.

    Args:
        predictor: predicts for any member.
        member: the member's number.
    """

    def __init__(self, predictor: Predictor, member: int) -> None:
        self._predictor, self._member = predictor, member
        self._nan: list[Tensor] = []

    def __call__(self, tokens: Tensor) -> Tensor:
        """Outputs (B, L, n_outputs) for tokens (B, L, n_inputs)."""
        outputs = self._predictor.predict(self._member, tokens)
        self._nan.append(outputs.isnan().any())
        return outputs

    def checked(self, values: Tensor) -> Tensor:
        """Scores (B, columns) of these predictions as float64 on the CPU."""
        scores = values.double().cpu()
        return torch.full_like(scores, torch.nan) if any(self._nan) else scores


def member_scores(
    predictor: Predictor,
    members: Sequence[int],
    model: Model,
    task: Task,
    prompt_set: EvaluationSet,
    device: torch.device,
    keep: Keep = _keep_nothing,
) -> list[dict[str, ModelScores]]:
    """Raw scores of each member by name of the evaluation.

    Dropout is off. Matrix products are computed in fp32, whatever precision the run trains with, because
    losses go down to 1e-7, below the rounding errors of TF32.

    Args:
        predictor: predicts for any member.
        members: numbers of the members to score.
        model: the module of all members; it is switched to evaluation mode and back.
        task: the task.
        prompt_set: its prompts.
        device: device of the evaluation.
        keep: called for each part of the prompts.
    """

    def measure(predict: _Predictions, prompts: Prompts) -> Mapping[str, Tensor]:
        if prompt_set.purpose == SELECTION:
            return task.measure_selection(predict, prompts)
        return task.measure(predict, prompts, prompt_set.evaluation)

    size, prompts = task.evaluated_together, prompt_set.prompts
    parts = (prompts.part(slice(begin, begin + size), device) for begin in range(0, prompt_set.count, size))
    values = _measured(predictor, members, model, task, parts, measure, keep)
    counts = {name: task.positions_per_column(prompts, name) for name in values[0]} if values else {}
    return [
        {name: ModelScores.of(task, name, scores, counts[name]) for name, scores in by_name.items()}
        for by_name in values
    ]


def longer_scores(
    predictor: Predictor,
    members: Sequence[int],
    model: Model,
    prompts: LongerPrompts,
    device: torch.device,
    keep: Keep = _keep_nothing,
) -> list[ModelScores]:
    """Raw scores of each member on longer prompts; `overall` is the mean over the kept columns.

    The rest is as in `member_scores`.
    """
    task, columns = prompts.longer.task, prompts.longer.columns

    def measure(predict: _Predictions, shown: Prompts) -> Mapping[str, Tensor]:
        return {prompts.name: task.measure_columns(predict, shown, columns)}

    parts = (part.part(slice(None), device) for part in prompts)
    values = _measured(predictor, members, model, task, parts, measure, keep)
    # Prompts of two parts never depend on each other.
    group = min(task.dependent_prompts, prompts.together)
    scores = [_independent(by_name[prompts.name].numpy(), group) for by_name in values]
    return [ModelScores(own, own.mean(axis=1)) for own in scores]


@torch.no_grad()
def _measured(
    predictor: Predictor,
    members: Sequence[int],
    model: Model,
    task: Task,
    parts: Iterable[Prompts],
    measure: Callable[[_Predictions, Prompts], Mapping[str, Tensor]],
    keep: Keep,
) -> PartScores:
    """What `measure` returns for the predictions of each member, by name: (prompts, columns) of all parts."""

    def scores_of(part: Prompts) -> PartScores:
        prompts = task.trimmed(part) if model.causal else part  # other models see the padding
        predictor.share(prompts.tokens)
        scores = []
        for member in members:
            predict = _Predictions(predictor, member)
            values = measure(predict, prompts)
            scores.append({name: predict.checked(columns) for name, columns in values.items()})
        return scores

    measured: list[defaultdict[str, list[Tensor]]] = [defaultdict(list) for _ in members]
    with _evaluation_mode(model):
        for number, part in enumerate(parts):
            for own, scores in zip(measured, keep(number, partial(scores_of, part)), strict=True):
                for name, columns in scores.items():
                    own[name].append(columns)
    return [{name: torch.cat(values) for name, values in own.items()} for own in measured]


@contextmanager
def _evaluation_mode(model: Model) -> Iterator[None]:
    """Without dropout and with fp32 products."""
    training = model.training
    model.eval()
    try:
        with product.precision("fp32"):
            yield
    finally:
        model.train(training)
