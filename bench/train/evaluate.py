"""Scores on fixed prompts: the same bits for every model, machine and checkpoint of a task."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bench.kernels import product
from bench.models.backbone import Model
from bench.tasks.draws import Draws
from bench.tasks.task import MAIN, Prompts, Task

Array: TypeAlias = np.ndarray[Any, Any]

EVALUATION_SEED = 20_240_206
PURPOSES = ("selection", "report")
"""Learning rates are chosen on the selection prompts; everything else is said of the report prompts."""
CHUNK = 64


@dataclass(frozen=True)
class EvaluationSet:
    """Prompts of one evaluation, on the CPU, with a digest of their bits."""

    evaluation: str
    prompts: Prompts
    sha256: str

    @property
    def count(self) -> int:
        return len(self.prompts.targets)


@lru_cache(maxsize=8)
def evaluation_set(task: Task, purpose: str, count: int) -> EvaluationSet:
    """`count` prompts of a task at full size, disjoint from training by their draws' purpose.

    `purpose` is one of `PURPOSES`, or one of the task's other evaluations. A worker's next run is
    often of the same task: the sets last used are kept.
    """
    draws = Draws(EVALUATION_SEED, purpose, torch.zeros((), dtype=torch.int64))
    evaluation = MAIN if purpose in PURPOSES else purpose
    prompts = task.sample_evaluation(draws, count, evaluation)
    data = prompts.tokens.numpy().tobytes() + prompts.targets.numpy().tobytes()
    return EvaluationSet(evaluation, prompts, hashlib.sha256(data).hexdigest())


def evaluation_sets(task: Task, count: int) -> dict[str, EvaluationSet]:
    """All the sets that a run of `task` is evaluated on, by purpose."""
    return {purpose: evaluation_set(task, purpose, count) for purpose in (*PURPOSES, *task.other_evaluations)}


class Predictor(Protocol):
    """What a stack of models predicts."""

    def share(self, tokens: Tensor) -> None:
        """Say that every member will be asked about `tokens`: (B, L, n_inputs)."""

    def predict(self, member: int, tokens: Tensor) -> Tensor:
        """Outputs (B, L, n_outputs) of one member."""


@torch.no_grad()
def member_scores(
    predictor: Predictor,
    members: Sequence[int],
    model: Model,
    task: Task,
    evaluation: EvaluationSet,
    device: torch.device,
) -> list[dict[str, Array]]:
    """Raw score of every prompt at every position, float64 (prompts, columns), by evaluation, of each member.

    Dropout is off, and matrix products are fp32 whatever the run trains with: losses down to 1e-7 are told
    apart.

    Args:
        predictor: predicts for any member.
        members: numbers of the members that are scored.
        model: the module that all of them compute with, for its modes.
        task: what is predicted.
        evaluation: its prompts.
        device: where.
    """
    parts: list[list[dict[str, Tensor]]] = [[] for _ in members]
    with _as_it_is(model):
        for begin in range(0, evaluation.count, CHUNK):
            prompts = evaluation.prompts.part(slice(begin, begin + CHUNK), device)
            predictor.share(prompts.tokens)
            for member, own_parts in zip(members, parts, strict=True):
                predict = functools.partial(predictor.predict, member)
                measured = task.measure(predict, prompts, evaluation.evaluation)
                own_parts.append({name: values.double().cpu() for name, values in measured.items()})
    return [
        {name: torch.cat([part[name] for part in own_parts]).numpy() for name in own_parts[0]}
        for own_parts in parts
    ]


@contextmanager
def _as_it_is(model: Model) -> Iterator[None]:
    """Without dropout and in full precision, whatever it trains with."""
    training = model.training
    model.eval()
    try:
        with product.precision("fp32"):
            yield
    finally:
        model.train(training)


def summary(values: Array, headline: Array, positions: bool) -> dict[str, Any]:
    """Means and standard errors over prompts.

    Args:
        values: scores (prompts, columns).
        headline: each prompt's score that stands for all, (prompts,).
        positions: whether every position is summarised too.
    """
    found: dict[str, Any] = {
        "overall": _mean_and_error(values.mean(axis=1)),
        "headline": _mean_and_error(headline),
    }
    if positions:
        mean, error = _mean_and_error(values)
        found = {"mean": mean, "standard_error": error, **found}
    return found


def headline(task: Task, evaluation: str, values: Array) -> Array:
    """Each prompt's score at the task's headline mark, or its mean over positions: (prompts,)."""
    mark = task.headline
    if mark is None:
        return np.asarray(values.mean(axis=1))
    return np.asarray(values[:, task.evaluations()[evaluation].marks[mark]])


def packed(values: Array) -> str:
    """One number a prompt, as base64 of little-endian float32."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def rounded(values: Any, digits: int = 5) -> Any:
    """Numbers to significant digits, as plain floats (or nested lists of them)."""
    if isinstance(values, list | np.ndarray):
        return [rounded(value, digits) for value in values]
    return float(f"{float(values):.{digits}g}")


def _mean_and_error(values: Array) -> list[Any]:
    count = len(values)
    spread = values.std(axis=0, ddof=1) if count > 1 else np.zeros(values.shape[1:])
    return [rounded(values.mean(axis=0)), rounded(spread / np.sqrt(count))]
