"""Selective copying: where tokens stand, what is said, and reference predictors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from bench.tasks.draws import Draws
from bench.tasks.selective_copying import SelectiveCopying
from bench.tasks.tokens import CROSS_ENTROPY

UNLIKELY = 1e-4


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


@pytest.mark.parametrize(("n_points", "prompt_length"), [(16, 256), (3, 13), (4, 9), (1, 3)])
def test_targets_are_the_tokens_before_the_mark_in_order(n_points: int, prompt_length: int) -> None:
    task = SelectiveCopying(n_points=n_points, prompt_length=prompt_length)
    prompts = task.sample(draws(), 20)
    assert prompts.tokens.shape == (20, task.length(n_points))
    for tokens, targets in zip(prompts.tokens.tolist(), prompts.targets.tolist(), strict=True):
        mark = tokens.index(15)
        assert tokens[mark + 1 :] == [14] * n_points
        assert [token for token in tokens[:mark] if token != 14] == targets


def test_places_and_tokens_are_uniform() -> None:
    """So the last token does not always stand right before the mark, as it does in MAD."""
    task = SelectiveCopying(symbols=6, n_points=3, prompt_length=16)
    prompts = task.sample(draws(), 4000)
    is_token = prompts.tokens[:, : task.slots] < 4
    assert bool((is_token.sum(dim=1) == 3).all())
    expected = 4000 * 3 / task.slots
    excess = is_token.sum(dim=0).double() - expected
    assert float(excess.abs().max()) < 4.5 * math.sqrt(expected * (1 - 3 / task.slots))
    assert stats.chisquare(torch.bincount(prompts.targets.flatten()).numpy()).pvalue > UNLIKELY


def test_only_logits_after_the_mark_count() -> None:
    task = SelectiveCopying(n_points=4, prompt_length=20)
    prompts = task.sample(draws(), 5)
    outputs = torch.randn(5, 20, 16, generator=torch.Generator().manual_seed(0))
    outputs[:, 16:] = 20.0 * torch.nn.functional.one_hot(prompts.targets, 16)
    outputs[2, 17] = outputs[2, 17].roll(1)
    scores = task.measure(lambda _: outputs, prompts, "report")
    assert scores["report"].sum(dim=1).tolist() == [4, 4, 3, 4, 4]
    assert scores["report"][2].tolist() == [1, 0, 1, 1]
    assert scores[CROSS_ENTROPY][2, 1] == pytest.approx(20, abs=1e-3)


def test_a_copy_is_right_and_guesses_have_their_closed_forms() -> None:
    task = SelectiveCopying()
    rows = {(row.name, row.evaluation): row for row in task.baselines(task.sample(draws(), 1000))}
    assert {row.kind for row in rows.values()} == {"trivial", "baseline", "floor"}
    assert rows["copy", "report"].mean == [1.0] * 16
    assert rows["copy", CROSS_ENTROPY].mean == [0.0] * 16
    assert rows["random token", "report"].mean == pytest.approx([1 / 14] * 16, rel=1e-4)
    assert rows["random token", CROSS_ENTROPY].mean == pytest.approx([math.log(14)] * 16, rel=1e-4)
    row = rows["random token of the prompt", "report"]
    expected = 1 / 16 + 15 / 16 / 14  # the token itself, or another one of the same symbol
    assert np.all(np.abs(np.array(row.mean) - expected) < 4.5 * np.array(row.standard_error))


def test_longer_prompts_have_more_tokens() -> None:
    evaluations = SelectiveCopying().longer_evaluations()
    assert [(e.task.n_points, e.task.prompt_length) for e in evaluations.values()] == [(32, 512), (64, 1024)]  # type: ignore[attr-defined]
