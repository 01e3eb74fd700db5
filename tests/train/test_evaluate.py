"""Scores on fixed prompts: standard errors where prompts depend on each other, predictions that are NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small_run

from bench.stack import Stack
from bench.tasks import Task
from bench.tasks.chain_of_thought import ChainOfThought
from bench.tasks.parity import SparseParity
from bench.tasks.task import MAIN
from bench.tasks.token_recall import TokenMQAR
from bench.train.evaluate import ModelScores, longer_scores, member_scores
from bench.train.evaluation_prompts import LongerPrompts, evaluation_set
from bench.train.loop import TrainingOptions, train
from bench.train.predictions import StackPredictor
from bench.train.state import initial_state
from bench.train.summaries import summary


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


CPU = torch.device("cpu")


@pytest.mark.parametrize("task", [SparseParity(n_dims=3, n_points=4, sparsity=2), TokenMQAR.example()])
def test_an_accuracy_of_predictions_that_are_nan_is_no_number(task: Task) -> None:
    """NaN equals no target, and argmax takes it for the largest number: both would look like a score."""
    state = initial_state(Stack.of(small_run("mamba", task=task)), CPU, "sequential")
    prompts = evaluation_set(task, MAIN, 8)
    (scores,) = member_scores(StackPredictor(state), [0], state.model, task, prompts, CPU)
    assert scores[MAIN].finite
    for leaf in state.parameters.leaves:
        leaf.detach().fill_(torch.nan)
    (scores,) = member_scores(StackPredictor(state), [0], state.model, task, prompts, CPU)
    assert not scores[MAIN].finite
    for name, longer in task.longer_evaluations().items():
        (beyond,) = longer_scores(
            StackPredictor(state), [0], state.model, LongerPrompts(task, name, longer, 8), CPU
        )
        assert not beyond.finite


def test_a_model_that_the_last_step_destroys_has_diverged(tmp_path: Path) -> None:
    """The loss of the last step precedes its update, so only the evaluation can see it."""
    task = SparseParity(n_dims=3, n_points=4, sparsity=2)
    result = train(small_run("mamba", task=task, steps=1, checkpoints=(1,), learning_rate=1e30), tmp_path,
                   TrainingOptions(CPU))  # fmt: skip
    assert result["outcome"] == "diverged"
    assert result["reason"] == "a score on the evaluation prompts is not finite at step 1"
    assert result["checkpoints"] == []


def test_scores_are_finite_only_if_those_of_every_column_and_all_means_are() -> None:
    number, none = np.array([[1.0, 2.0]]), np.array([[1.0, np.inf]])
    assert ModelScores(number, number[:, 0]).finite
    assert not ModelScores(none, number[:, 0]).finite
    assert not ModelScores(number, none[:, 1]).finite


class NaNLater:
    """Predicts zeros, and NaN from the second pass on."""

    def __init__(self) -> None:
        self.passes = 0

    def share(self, tokens: torch.Tensor) -> None:
        pass

    def predict(self, member: int, tokens: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return torch.full((*tokens.shape[:2], 3), 0.0 if self.passes == 1 else torch.nan)


def test_one_pass_with_nan_spoils_all_scores_of_its_prompts() -> None:
    """Of a chain of thought the first pass alone predicts ŷ after the true s."""
    task = ChainOfThought(n_dims=3, n_points=5, hidden=2)
    model = initial_state(Stack.of(small_run(task=task)), CPU, "sequential").model
    (scores,) = member_scores(NaNLater(), [0], model, task, evaluation_set(task, MAIN, 4), CPU)
    assert set(scores) == set(task.evaluations())
    assert not any(own.finite for own in scores.values())


def test_members_of_one_task_are_evaluated_in_one_pass_per_part() -> None:
    runs = [small_run("mamba", learning_rate=rate, evaluation_prompts=70) for rate in (1e-3, 2e-3, 3e-3)]
    state = initial_state(Stack.of(*runs), CPU, "reference")
    shapes: list[int] = []
    state.model.register_forward_hook(lambda module, inputs, outputs: shapes.append(len(inputs[0])))
    prompts = evaluation_set(runs[0].task, MAIN, 70)
    scores = member_scores(StackPredictor(state), [0, 1, 2], state.model, runs[0].task, prompts, CPU)
    assert shapes == [64, 6], "64 prompts are evaluated together"
    assert [len(own[MAIN].overall) for own in scores] == [70, 70, 70]
