"""Recall of tokens: layouts of the prompts, updates, and reference predictors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from bench.tasks.draws import Draws
from bench.tasks.token_recall import UPDATED, TokenMQAR
from bench.tasks.tokens import CROSS_ENTROPY

UNLIKELY = 1e-4


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


@given(
    pairs=st.integers(1, 12),
    updates=st.integers(0, 12),
    spare=st.integers(0, 9),
    fillers=st.sampled_from(["random", "zero"]),
)
@settings(max_examples=25)
def test_every_query_is_a_key_and_its_target_is_the_last_value(
    pairs: int, updates: int, spare: int, fillers: str
) -> None:
    updates = min(updates, pairs)
    bindings = pairs + updates
    task = TokenMQAR.model_validate(
        {
            "symbols": 64,
            "pairs": pairs,
            "updates": updates,
            "prompt_length": 2 * (bindings + pairs) + spare,
            "fillers": fillers,
        }
    )
    prompts = task.sample(draws(), 4)
    assert prompts.tokens.shape == (4, task.length(pairs))
    for row in range(4):
        tokens, place = prompts.tokens[row].tolist(), prompts.more["place"][row].tolist()
        keys, values = tokens[0 : 2 * bindings : 2], tokens[1 : 2 * bindings : 2]
        assert len(set(keys[:pairs])) == pairs
        assert set(keys[pairs:]) <= set(keys[:pairs])
        assert len(set(keys[pairs:])) == updates
        assert len(set(values)) == bindings
        assert 1 <= min(keys) <= max(keys) < 32 <= min(values) <= max(values) < 64
        assert place == sorted(set(place))
        assert sorted(tokens[at] for at in place) == sorted(keys[:pairs])
        assert all((at - 2 * bindings) % 2 == 0 for at in place)
        last = dict(zip(keys, values, strict=True))
        assert prompts.targets[row].tolist() == [last[tokens[at]] for at in place]
        assert prompts.more["updated"][row].tolist() == [tokens[at] in keys[pairs:] for at in place]
        if fillers == "zero":
            assert not any(tokens[at] for at in {*range(2 * bindings, len(tokens))} - {*place})


@pytest.mark.parametrize(("length", "pairs"), [(64, 4), (128, 8), (256, 16), (256, 64)])
def test_the_published_sets_are_possible_with_their_vocabulary(length: int, pairs: int) -> None:
    task = TokenMQAR(symbols=8192, pairs=pairs, prompt_length=length)
    prompts = task.sample(draws(), 2)
    assert prompts.tokens.shape == (2, length)
    assert task.evaluations()[CROSS_ENTROPY].error_scale == pytest.approx(math.log(4096))
    assert task.trivial == 1 / 4096


def test_the_slot_of_the_first_key_follows_the_power_law() -> None:
    prompts = TokenMQAR(pairs=2, prompt_length=68).sample(draws(), 6000)
    first = (prompts.inputs[:, :, 0] == prompts.tokens[:, :1]).to(torch.int64).argmax(dim=1)
    slot = (prompts.more["place"].gather(1, first.unsqueeze(1)).squeeze(1) - 4) // 2
    law = np.arange(1, 33) ** (0.01 - 1)
    counts = torch.bincount(slot, minlength=32).numpy()
    assert stats.chisquare(counts, 6000 * law / law.sum()).pvalue > UNLIKELY


def test_fillers_are_uniform_over_all_symbols() -> None:
    task = TokenMQAR(symbols=32, pairs=1, prompt_length=64)
    prompts = task.sample(draws(), 600)
    is_filler = torch.ones_like(prompts.tokens).scatter(1, prompts.more["place"], 0).bool()
    counts = torch.bincount(prompts.tokens[:, 2:][is_filler[:, 2:]], minlength=32).numpy()
    assert stats.chisquare(counts).pvalue > UNLIKELY


def test_only_logits_at_queries_count() -> None:
    task = TokenMQAR(symbols=32, pairs=4, updates=2, prompt_length=24)
    prompts = task.sample(draws(), 5)
    outputs = torch.randn(5, 24, 32, generator=torch.Generator().manual_seed(0))
    place = prompts.more["place"].unsqueeze(-1).expand(-1, -1, 32)
    right = 20.0 * torch.nn.functional.one_hot(prompts.targets, 32).float()
    scores = task.measure(lambda _: outputs.scatter(1, place, right), prompts, "report")
    assert bool((scores["report"] == 1).all())
    assert scores[CROSS_ENTROPY].max() < 1e-6
    assert scores[UPDATED].tolist() == [[1.0]] * 5
    right[0, int(prompts.more["updated"][0].to(torch.int64).argmax())] = 0.0
    scores = task.measure(lambda _: outputs.scatter(1, place, right), prompts, "report")
    assert scores["report"].sum(dim=1).tolist() == [3, 4, 4, 4, 4]
    assert scores[UPDATED][0].tolist() == [0.5]


def test_a_lookup_of_the_first_value_fails_at_updated_keys_only() -> None:
    task = TokenMQAR(pairs=8, updates=4, prompt_length=64)
    rows = {(row.name, row.evaluation): row for row in task.baselines(task.sample(draws(), 400))}
    floor = {at: row.mean for (_, at), row in rows.items() if row.kind == "floor"}
    assert floor == {"report": [1.0] * 8, CROSS_ENTROPY: [0.0] * 8, UPDATED: [1.0]}
    first = rows["lookup of the first value", "report"]
    assert np.mean(first.mean) == pytest.approx(0.5)  # 4 of 8 keys in every prompt
    assert rows["lookup of the first value", UPDATED].mean == [0.0]
    guess = rows["random value of the prompt", CROSS_ENTROPY]
    assert guess.mean == pytest.approx([math.log(12)] * 8, rel=1e-4)
    assert rows["random value", "report"].mean == pytest.approx([1 / 128] * 8, rel=1e-4)


def test_without_updates_there_is_one_value_for_each_key() -> None:
    task = TokenMQAR(pairs=4, prompt_length=32)
    assert UPDATED not in task.evaluations()
    assert not task.sample(draws(), 3).more["updated"].any()
    assert {row.name for row in task.baselines(task.sample(draws(), 3)) if row.kind == "baseline"} == {
        "random value of the prompt"
    }


def test_errors_state_what_would_fit() -> None:
    with pytest.raises(ValidationError, match="prompt_length must be at least 64"):
        TokenMQAR(prompt_length=40)
    with pytest.raises(ValidationError, match="need symbols 34"):
        TokenMQAR(symbols=32)
