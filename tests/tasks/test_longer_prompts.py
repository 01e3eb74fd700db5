"""Evaluations on longer prompts than those of training: which tasks have them, and what they score."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.tasks import TASKS, Task
from bench.tasks.chain_of_thought import ChainOfThought
from bench.tasks.draws import Draws
from bench.tasks.in_context import Examples
from bench.tasks.longer import MOST_COLUMNS
from bench.tasks.outliers import ManyOutlierRegression
from bench.tasks.recall import VectorMQAR
from bench.tasks.regression import LinearRegression
from bench.tasks.selective_copying import SelectiveCopying
from bench.tasks.task import LONGER, MAIN
from bench.tasks.token_recall import TokenMQAR

EXAMPLES = [name for name, task in TASKS.items() if LONGER in task.example().longer_evaluations()]


def test_tasks_whose_prompts_contain_shorter_ones_have_longer_prompts() -> None:
    in_context = {name for name, task in TASKS.items() if issubclass(task, Examples)}
    assert {*EXAMPLES} >= {*in_context, "word_problem", "markov_chain", "linear_dynamical_system"}
    for task in (VectorMQAR(), TokenMQAR()):
        assert set(task.longer_evaluations()) == {"2x_pairs", "4x_pairs"}
    assert set(SelectiveCopying().longer_evaluations()) == {"2x_tokens", "4x_tokens"}
    assert not TASKS["ginc"].example().longer_evaluations()


@pytest.mark.parametrize("name", EXAMPLES)
def test_kept_positions_lie_beyond_the_trained_length_and_end_at_twice_and_four_times(name: str) -> None:
    task = TASKS[name].example()
    longer = task.longer_evaluations()[LONGER]
    n, positions = task.n_points, longer.description.positions
    factors = [int(mark.removesuffix("x_length")) for mark in longer.description.marks]
    assert factors[:2] == [2, 4]
    most = factors[-1]
    assert longer.task.n_points == most * n
    assert longer.task.n_inputs == task.n_inputs
    assert n <= positions[0] < positions[-1] < most * n
    assert list(positions) == sorted(set(positions))
    assert len(positions) <= MOST_COLUMNS + len(factors) - 1
    main = longer.task.evaluations()[MAIN].positions
    assert [main[column] for column in longer.columns] == list(positions)
    last = {mark: positions[column] for mark, column in longer.description.marks.items()}
    assert last == {
        f"{factor}x_length": max(position for position in main if position < factor * n) for factor in factors
    }
    assert last[f"{most}x_length"] == main[-1]


def test_outlier_prompts_keep_their_share_of_clean_pairs() -> None:
    positions = ManyOutlierRegression().longer_evaluations()[LONGER].description.positions
    assert all(position % 10 == 9 for position in positions)


def test_a_prompt_with_more_pairs_has_more_queries() -> None:
    evaluations = VectorMQAR(pairs=4, queries=2).longer_evaluations()
    assert [(e.task.pairs, e.task.queries) for e in evaluations.values()] == [(8, 4), (16, 8)]  # type: ignore[attr-defined]
    assert evaluations["4x_pairs"].description.marks == {"last": 7}
    tokens = TokenMQAR(symbols=64, pairs=4, updates=2, prompt_length=32).longer_evaluations()
    sizes = [(e.task.pairs, e.task.updates, e.task.prompt_length) for e in tokens.values()]  # type: ignore[attr-defined]
    assert sizes == [(8, 4, 64), (16, 8, 128)]
    assert set(TokenMQAR(symbols=64, pairs=10).longer_evaluations()) == {"2x_pairs"}  # 32 keys at most


def test_a_task_whose_longer_prompts_are_impossible_has_no_such_evaluation() -> None:
    assert LONGER in LinearRegression(n_points=25_000).longer_evaluations()
    assert not LinearRegression(n_points=25_001).longer_evaluations()  # 100,000 points are the most


@pytest.mark.parametrize("name", [*EXAMPLES, "vector_mqar", "token_mqar", "selective_copying"])
def test_columns_are_scored_as_the_whole_prompt_is(name: str) -> None:
    task = _small(name)
    for longer in task.longer_evaluations().values():
        prompts = longer.task.sample_evaluation(Draws(0, LONGER, torch.tensor(0)), 3)
        whole = longer.task.measure(_mean_so_far(longer.task), prompts, MAIN)[MAIN]
        kept = longer.task.measure_columns(_mean_so_far(longer.task), prompts, longer.columns)
        assert kept.shape == (3, len(longer.description.positions))
        torch.testing.assert_close(kept, whole[:, list(longer.columns)])


def test_the_chain_of_thought_costs_a_pass_per_eight_kept_positions() -> None:
    task = ChainOfThought(n_dims=3, n_points=30, hidden=2)
    longer = task.longer_evaluations()[LONGER]
    prompts = longer.task.sample_evaluation(Draws(0, LONGER, torch.tensor(0)), 2)
    shapes = []

    def predict(tokens: Tensor) -> Tensor:
        shapes.append(tokens.shape)
        return torch.zeros(*tokens.shape[:2], 3)

    longer.task.measure_columns(predict, prompts, longer.columns)
    assert len(longer.columns) == 45  # every other of 90 positions
    assert len(shapes) == 1 + 6


def _small(name: str) -> Task:
    if name == "vector_mqar":
        return VectorMQAR(n_dims=3, pairs=4, queries=2)
    if name == "token_mqar":
        return TokenMQAR(symbols=64, pairs=4, prompt_length=16)
    if name == "selective_copying":
        return SelectiveCopying(n_points=4, prompt_length=20)
    fields = {"n_points": 20}
    if "n_dims" in TASKS[name].model_fields:
        fields |= {"n_dims": 4}
    if name == "chain_of_thought":
        fields |= {"hidden": 2}
    return TASKS[name](**fields)  # type: ignore[arg-type]


def _mean_so_far(task: Task):  # type: ignore[no-untyped-def]
    """A causal predictor: every output is the mean of all tokens so far."""

    def predict(tokens: Tensor) -> Tensor:
        tokens = tokens.view(*tokens.shape[:2], -1)
        count = torch.arange(1, tokens.shape[1] + 1).view(1, -1, 1)
        return (tokens.cumsum(dim=1) / count).mean(dim=-1, keepdim=True).expand(-1, -1, task.n_outputs)

    return predict
