"""Standard errors of scores on prompts that depend on each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.tasks.parity import SparseParity
from bench.tasks.task import MAIN
from bench.train.evaluate import ModelScores, summary


def standard_errors(task: SparseParity, values: np.ndarray) -> tuple[float, float]:
    scores = ModelScores.of(task, MAIN, torch.from_numpy(values))
    mean, error = summary(scores, scores.overall, positions=False)["overall"]
    return mean, error


def test_standard_errors_count_prompts_with_one_subset_once() -> None:
    """Scores with an effect of the subset: the error is the spread of means over repeated draws."""
    random, means, errors = np.random.default_rng(0), [], []
    task = SparseParity(n_points=5, subset="per_batch")
    for _ in range(200):
        of_subset = np.repeat(random.normal(0.8, 0.1, 20), 64)[:, None]
        mean, error = standard_errors(task, of_subset + random.normal(0, 0.2, (1280, 5)))
        means.append(mean)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)
    naive = standard_errors(SparseParity(n_points=5), of_subset + random.normal(0, 0.2, (1280, 5)))[1]
    assert naive < np.mean(errors) / 4


def test_a_last_group_may_be_smaller() -> None:
    task = SparseParity(n_points=5, subset="per_batch")
    scores = ModelScores.of(task, MAIN, torch.arange(70.0).double()[:, None].expand(-1, 5))
    assert scores.columns[:, 0].tolist() == [31.5, 66.5]
