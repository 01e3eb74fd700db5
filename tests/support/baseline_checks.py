"""What tests of reference predictors share: prompts, drawn or made by hand, and a comparison with theory."""

from __future__ import annotations

import torch

from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.in_context import interleave
from bench.tasks.task import MAIN, Prompts, Task


def sample(task: Task, count: int, evaluation: str = MAIN) -> Prompts:
    return task.sample_evaluation(Draws(0, evaluation, torch.tensor(0)), count, evaluation)


def by_hand(inputs: list[list[float]], targets: list[float]) -> Prompts:
    """One prompt, twice: a standard error needs two."""
    x, y = torch.tensor([inputs, inputs]), torch.tensor([targets, targets])
    return Prompts(interleave(x, y), y, x)


def at(baseline: Baseline) -> dict[int, float]:
    """Mean score by position."""
    return dict(zip(baseline.positions, baseline.mean, strict=True))


def agrees(baseline: Baseline, expected: dict[int, float], scale: float) -> None:
    """Each expected normalised score lies within four standard errors of what was measured."""
    columns = {position: column for column, position in enumerate(baseline.positions)}
    for position, value in expected.items():
        mean, error = baseline.mean[columns[position]], baseline.standard_error[columns[position]]
        assert abs(mean - value * scale) <= 4 * error + 1e-6 * scale, (position, mean / scale, value)
