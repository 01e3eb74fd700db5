"""The fixed prompts of evaluations. All models, machines and checkpoints of a task have the same bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch

from bench.tasks.draws import Draws
from bench.tasks.task import MAIN, SELECTION, LongerEvaluation, Prompts, Task

EVALUATION_SEED = 20_240_206
PURPOSES = (SELECTION, MAIN)
"""Learning rates are chosen on the validation prompts. All reported numbers are measured on the test
prompts."""


@dataclass(frozen=True)
class EvaluationSet:
    """Prompts of an evaluation, on the CPU.

    Attributes:
        purpose: one of `PURPOSES`, or one of the task's other evaluations.
        prompts: the prompts.
        sha256: digest of the bits of their tokens and targets.
    """

    purpose: str
    prompts: Prompts
    sha256: str

    @property
    def evaluation(self) -> str:
        """Name of the task's evaluation that scores the prompts."""
        return MAIN if self.purpose in PURPOSES else self.purpose

    @property
    def count(self) -> int:
        return len(self.prompts.targets)


@lru_cache(maxsize=8)
def evaluation_set(task: Task, purpose: str, count: int) -> EvaluationSet:
    """Draw `count` prompts of a task at full size.

    The purpose is part of the random generator's key, so no prompt is drawn from the stream of training.
    The cache holds the last sets, because the next run of a worker often has the same task.

    Args:
        task: the task.
        purpose: one of `PURPOSES`, or one of the task's other evaluations.
        count: number of prompts.
    """
    draws = Draws(EVALUATION_SEED, purpose, torch.zeros((), dtype=torch.int64))
    prompts = task.sample_evaluation(draws, count, MAIN if purpose in PURPOSES else purpose)
    return EvaluationSet(purpose, prompts, hashlib.sha256(_bits(prompts)).hexdigest())


def evaluation_sets(task: Task, count: int) -> dict[str, EvaluationSet]:
    """All sets on which a run of `task` is evaluated, by purpose."""
    return {purpose: evaluation_set(task, purpose, count) for purpose in (*PURPOSES, *task.other_evaluations)}


class LongerPrompts:
    """The prompts of an evaluation on longer prompts, drawn in parts: all at once could need gigabytes.

    A part has about as many tokens as the training prompts that are evaluated together. After an iteration,
    `sha256` is the digest of the bits of all tokens and targets.

    Args:
        task: the task in training.
        name: name of the evaluation.
        longer: the evaluation.
        count: number of prompts.
    """

    def __init__(self, task: Task, name: str, longer: LongerEvaluation, count: int) -> None:
        self.name, self.longer, self.count = name, longer, count
        trained, tokens = task.full_length, longer.task.full_length
        self.together = max(1, task.evaluated_together * trained // tokens)
        self.sha256 = ""

    def __iter__(self) -> Iterator[Prompts]:
        digest = hashlib.sha256()
        for part, begin in enumerate(range(0, self.count, self.together)):
            draws = Draws(EVALUATION_SEED, self.name, torch.tensor(part))
            prompts = self.longer.task.sample_evaluation(draws, min(self.together, self.count - begin))
            digest.update(_bits(prompts))
            yield prompts
        self.sha256 = digest.hexdigest()


def _bits(prompts: Prompts) -> bytes:
    return prompts.tokens.numpy().tobytes() + prompts.targets.numpy().tobytes()
