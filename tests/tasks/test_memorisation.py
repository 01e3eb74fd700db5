"""Memorisation: one map for every prompt, seed and purpose."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from bench.tasks.draws import Draws
from bench.tasks.memorisation import Memorisation
from bench.tasks.tokens import CROSS_ENTROPY

UNLIKELY = 1e-4


def draws(step: int = 0, purpose: str = "report", seed: int = 0) -> Draws:
    return Draws(seed, purpose, torch.tensor(step))


def map_of(task: Memorisation, source: Draws, count: int) -> dict[int, int]:
    prompts = task.sample(source, count)
    return dict(
        zip(prompts.tokens[:, 0::2].flatten().tolist(), prompts.targets.flatten().tolist(), strict=True)
    )


@given(symbols=st.integers(4, 60), keys=st.integers(1, 9), step=st.integers(0, 99))
@settings(max_examples=30)
def test_a_mark_follows_every_key_and_different_keys_have_different_values(
    symbols: int, keys: int, step: int
) -> None:
    task = Memorisation(symbols=symbols, prompt_length=2 * keys)
    prompts = task.sample(draws(step), 50)
    assert prompts.tokens.shape == (50, 2 * keys)
    assert bool((prompts.tokens[:, 1::2] == symbols - 1).all())
    learned = map_of(task, draws(step), 50)
    assert len(set(learned.values())) == len(learned)
    assert max(learned) < task.keys <= min(learned.values()) <= max(learned.values()) < symbols - 1
    pairs = zip(prompts.tokens[:, 0::2].flatten().tolist(), prompts.targets.flatten().tolist(), strict=True)
    assert all(learned[key] == value for key, value in pairs)


def test_training_of_every_seed_and_evaluation_have_one_map() -> None:
    task = Memorisation()
    learned = map_of(task, draws(purpose="train"), 300)
    assert learned.keys() == set(range(127))
    assert map_of(task, draws(purpose="train", seed=7), 300) == learned
    assert map_of(task, draws(step=5), 300) == learned
    assert Memorisation(symbols=258).answers == 129
    assert map_of(Memorisation(symbols=258), draws(), 300) != learned


def test_keys_are_uniform() -> None:
    counts = torch.bincount(Memorisation().sample(draws(), 800).tokens[:, 0::2].flatten(), minlength=127)
    assert stats.chisquare(counts.numpy()).pvalue > UNLIKELY


def test_only_logits_at_marks_count() -> None:
    task = Memorisation(prompt_length=8)
    prompts = task.sample(draws(), 5)
    outputs = torch.randn(5, 8, 256, generator=torch.Generator().manual_seed(0))
    outputs[:, 1::2] = 20.0 * torch.nn.functional.one_hot(prompts.targets, 256)
    outputs[2, 3] = outputs[2, 3].roll(1)
    scores = task.measure(lambda _: outputs, prompts, "report")
    assert scores["report"].sum(dim=1).tolist() == [4, 4, 3, 4, 4]
    assert scores["report"][2].tolist() == [1, 0, 1, 1]
    assert scores[CROSS_ENTROPY][2, 1] == pytest.approx(20, abs=1e-3)


def test_the_map_is_right_and_a_guess_has_its_closed_form() -> None:
    task = Memorisation()
    rows = {(row.kind, row.evaluation): row for row in task.baselines(task.sample(draws(), 20))}
    assert rows["floor", "report"].mean == [1.0] * 16
    assert rows["floor", CROSS_ENTROPY].mean == [0.0] * 16
    assert rows["trivial", "report"].mean == pytest.approx([1 / 128] * 16, rel=1e-4)
    assert rows["trivial", CROSS_ENTROPY].mean == pytest.approx([math.log(128)] * 16, rel=1e-4)
    assert task.trivial == 1 / 128


def test_an_odd_length_is_refused() -> None:
    with pytest.raises(ValidationError, match="a mark follows every key"):
        Memorisation(prompt_length=31)
