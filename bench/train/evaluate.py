"""Scores on fixed prompts: the same bits for every model, machine and checkpoint of a task."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from bench.models.backbone import Model
from bench.tasks.draws import Draws
from bench.tasks.task import Prompts, Task

EVALUATION_SEED = 20_240_206
PURPOSES = ("selection", "report")
"""Learning rates are chosen on the selection prompts; everything else is said of the report prompts."""
CHUNK = 64


@dataclass(frozen=True)
class EvaluationSet:
    """Prompts, on the CPU, with a digest of their bits."""

    purpose: str
    prompts: Prompts
    sha256: str

    @property
    def count(self) -> int:
        return len(self.prompts.targets)


@lru_cache(maxsize=4)
def evaluation_set(task: Task, purpose: str, count: int) -> EvaluationSet:
    """`count` prompts of a task at full size, disjoint from training by their draws' purpose.

    A worker's next run is often of the same task: the sets last used are kept.
    """
    draws = Draws(EVALUATION_SEED, purpose, torch.zeros((), dtype=torch.int64))
    prompts = task.sample(draws, count)
    data = prompts.tokens.numpy().tobytes() + prompts.targets.numpy().tobytes()
    return EvaluationSet(purpose, prompts, hashlib.sha256(data).hexdigest())


@torch.no_grad()
def scores(model: Model, task: Task, evaluation: EvaluationSet, device: torch.device) -> np.ndarray[Any, Any]:
    """Raw score of every prompt at every position, float64 (prompts, N); dropout is off."""
    training = model.training
    model.eval()
    rows = []
    for begin in range(0, evaluation.count, CHUNK):
        part = slice(begin, begin + CHUNK)
        prompts = Prompts(
            **{
                name: getattr(evaluation.prompts, name)[part].to(device)
                for name in ("tokens", "targets", "inputs")
            }
        )
        rows.append(task.scores(model(prompts.tokens), prompts).double().cpu())
    model.train(training)
    return torch.cat(rows).numpy()


def summary(values: np.ndarray[Any, Any], positions: bool) -> dict[str, Any]:
    """Mean and standard error over prompts: of the mean over positions, and of each position if asked."""
    found: dict[str, Any] = {"overall": _mean_and_error(values.mean(axis=1))}
    if positions:
        mean, error = _mean_and_error(values)
        found = {"mean": mean, "standard_error": error, **found}
    return found


def packed(values: np.ndarray[Any, Any]) -> str:
    """Each prompt's mean over positions, as base64 of little-endian float32."""
    return base64.b64encode(values.mean(axis=1).astype("<f4").tobytes()).decode()


def rounded(values: Any, digits: int = 5) -> Any:
    """Numbers to significant digits, as plain floats (or nested lists of them)."""
    if isinstance(values, list | np.ndarray):
        return [rounded(value, digits) for value in values]
    return float(f"{float(values):.{digits}g}")


def _mean_and_error(values: np.ndarray[Any, Any]) -> list[Any]:
    count = len(values)
    spread = values.std(axis=0, ddof=1) if count > 1 else np.zeros(values.shape[1:])
    return [rounded(values.mean(axis=0)), rounded(spread / np.sqrt(count))]
