"""Evaluations on prompts longer than those of training, at the end of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small_run
from torch import Tensor, nn

from bench.models.architecture import Architecture
from bench.models.mixers.block import Block, Place
from bench.results import RunRecord, read_run
from bench.results.evaluations import number, positions
from bench.run import Run
from bench.stack import Stack
from bench.tasks import TASKS
from bench.tasks.task import LONGER, MAIN
from bench.train.evaluate import longer_scores
from bench.train.evaluation_prompts import LongerPrompts
from bench.train.loop import TrainingOptions, train, train_stack
from bench.train.predictions import StackPredictor
from bench.train.state import initial_state

CPU = torch.device("cpu")


def run_of(architecture: Architecture | str = "mamba", **fields: Any) -> Run:
    usual = {"steps": 2, "checkpoints": (1, 2), "evaluation_prompts": 70}
    return small_run(architecture, **{**usual, **fields})


def read(result: dict[str, Any]) -> RunRecord:
    return read_run(json.loads(json.dumps(result)))


@pytest.mark.parametrize("name", ["mamba", "s4", "mambaformer", "transformer_no_positions", "lstm"])
def test_the_last_checkpoint_has_scores_on_longer_prompts(name: str, tmp_path: Path) -> None:
    record = read(train(run_of(name), tmp_path, TrainingOptions(CPU)))
    first, last = record.checkpoints
    assert LONGER not in first.evaluations
    scores = last.evaluations[LONGER]
    assert list(positions(record, LONGER, len(scores.mean))) == list(range(5, 20))
    assert number(record, last, LONGER, "2x_length") == (scores.mean[4], scores.standard_error[4])
    assert number(record, last, LONGER, 19) == number(record, last, LONGER, "last")
    assert number(record, last, LONGER, "headline") == tuple(scores.overall)
    assert scores.overall[0] == pytest.approx(sum(scores.mean) / 15, rel=1e-4)
    assert record.prompts[LONGER].count == 70
    assert record.prompts[LONGER].sha256 != record.prompts[MAIN].sha256
    assert not record.not_evaluated


@pytest.mark.parametrize("name", ["transformer", "standard_hybrid"])
def test_a_model_with_learned_positions_is_not_scored_there_and_the_result_says_why(
    name: str, tmp_path: Path
) -> None:
    run = run_of(name)
    record = read(train(run, tmp_path, TrainingOptions(CPU)))
    assert record.last is not None
    assert LONGER not in {
        *record.last.evaluations,
        *record.facts.evaluations,
        *record.prompts,
        *run.evaluations(),
    }
    assert "learned positions" in record.not_evaluated[LONGER]


def test_scores_are_those_of_the_model_on_whole_prompts() -> None:
    run = run_of("mambaformer")
    state = initial_state(Stack.of(run), CPU, "sequential")
    longer = run.task.longer_evaluations()[LONGER]
    prompts = LongerPrompts(run.task, LONGER, longer, 70)
    (scores,) = longer_scores(StackPredictor(state), [0], state.model, prompts, CPU)
    parts = list(prompts)
    assert [len(part.targets) for part in parts] == [16, 16, 16, 16, 6]  # 64 prompts of 10 tokens, 16 of 40
    with torch.no_grad():
        outputs = torch.cat([state.model.eval()(part.tokens) for part in parts])
    targets = torch.cat([part.targets for part in parts])
    errors = ((outputs[:, 0::2, 0] - targets) ** 2).double().numpy()
    np.testing.assert_allclose(scores.columns, errors[:, 5:], rtol=1e-4)
    np.testing.assert_allclose(scores.overall, errors[:, 5:].mean(axis=1), rtol=1e-4)


def test_prompts_are_new_in_every_part_and_the_same_each_time() -> None:
    task = run_of().task
    prompts = LongerPrompts(task, LONGER, task.longer_evaluations()[LONGER], 40)
    parts = list(prompts)
    digest = prompts.sha256
    rows = {tuple(row) for part in parts for row in part.inputs[:, 0].tolist()}
    assert len(rows) == 40
    assert sum(1 for _ in prompts) == 3
    assert prompts.sha256 == digest


def test_standard_errors_count_prompts_with_one_subset_once() -> None:
    task = TASKS["sparse_parity"](n_dims=4, n_points=6, subset="per_batch")
    state = initial_state(Stack.of(run_of(task=task)), CPU, "sequential")
    prompts = LongerPrompts(task, LONGER, task.longer_evaluations()[LONGER], 70)
    (scores,) = longer_scores(StackPredictor(state), [0], state.model, prompts, CPU)
    assert scores.columns.shape == (5, 18)  # four groups of 16 prompts with one subset, and one of 6


@pytest.mark.slow
def test_a_member_of_a_stack_has_the_scores_of_a_run_alone(tmp_path: Path) -> None:
    runs = [run_of(learning_rate=rate) for rate in (1e-3, 2e-3)]
    together = train_stack(Stack(tuple(runs)), tmp_path / "stack", TrainingOptions(CPU))
    for run, member in zip(runs, together, strict=True):
        alone = train(run, tmp_path / run.id, TrainingOptions(CPU))
        means = [result["checkpoints"][-1]["evaluations"][LONGER]["mean"] for result in (member, alone)]
        assert means[0] == pytest.approx(means[1], rel=1e-3)
        assert member["prompts"] == alone["prompts"]


class ShortOnly(nn.Module):
    """A user's module with a table of its own, which ends at the trained length of 10 tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(10, width))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.table[: h.shape[1]]


class Exploding(nn.Module):
    """Its outputs overflow after the trained length."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, h: Tensor) -> Tensor:
        h = h * self.factor
        beyond = (torch.arange(h.shape[1], device=h.device) >= 10).float()
        return h * (1 + beyond * 3e38).unsqueeze(-1) * (1 + beyond * 3e38).unsqueeze(-1)


class UserBlock(Block):
    name: str = "user"
    explodes: bool = False

    def multiplications(self, L: int, D: int) -> int:
        return L * D

    def build(self, place: Place) -> nn.Module:
        return Exploding() if self.explodes else ShortOnly(place.width)


def reasons(explodes: bool, tmp_path: Path) -> Iterator[str]:
    # The residual backbone would normalise what explodes.
    architecture = Architecture(name="user", layer=(UserBlock(explodes=explodes),), residual=False)
    record = read(train(run_of(architecture), tmp_path, TrainingOptions(CPU)))
    assert record.outcome == "finished"
    assert record.last is not None
    assert LONGER not in {*record.last.evaluations, *record.prompts}
    yield from record.not_evaluated.values()


def test_a_users_block_that_does_not_fit_longer_prompts_does_not_fail_the_run(tmp_path: Path) -> None:
    (reason,) = reasons(False, tmp_path)
    assert reason.startswith("RuntimeError: ")


def test_scores_that_are_not_finite_there_are_left_out_and_the_run_has_finished(tmp_path: Path) -> None:
    (reason,) = reasons(True, tmp_path)
    assert reason == "a score is not finite"
