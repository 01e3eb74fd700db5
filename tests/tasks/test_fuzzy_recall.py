"""Recall of motifs: how prompts are built, what counts, and reference predictors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from small_runs import training_loss

from bench.tasks.draws import Draws
from bench.tasks.fuzzy_recall import FuzzyRecall, different, last_followers
from bench.tasks.task import Prompts
from bench.tasks.tokens import CROSS_ENTROPY

UNLIKELY = 1e-4
Motif = tuple[int, ...]


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


def pairs_of(task: FuzzyRecall, prompts: Prompts, row: int) -> tuple[int, list[tuple[Motif, Motif]]]:
    """The padding of a prompt, and its pairs of key and value."""
    ids = [*prompts.tokens[row].tolist(), int(prompts.targets[row, -1])]
    padding = ids.count(task.symbols - 1)
    assert ids[:padding] == [task.symbols - 1] * padding
    runs = [
        tuple(run) for _, run in itertools.groupby(ids[padding:], key=lambda token: token < task.key_symbols)
    ]
    assert runs[0][0] < task.key_symbols
    return padding, list(zip(runs[0::2], runs[1::2], strict=True))


@given(
    key_tokens=st.integers(1, 4),
    value_tokens=st.integers(1, 4),
    more_symbols=st.integers(0, 9),
    more_tokens=st.integers(0, 40),
    step=st.integers(0, 999),
)
@settings(max_examples=60)
def test_what_counts_are_values_of_keys_seen_before(
    key_tokens: int, value_tokens: int, more_symbols: int, more_tokens: int, step: int
) -> None:
    longest = key_tokens + value_tokens
    task = FuzzyRecall(
        symbols=2 * max(key_tokens, value_tokens, 2) + 1 + more_symbols,
        key_tokens=key_tokens,
        value_tokens=value_tokens,
        prompt_length=2 * longest - 1 + more_tokens,
    )
    prompts = task.sample(draws(step), 6)
    assert prompts.counted is not None
    for row in range(6):
        padding, pairs = pairs_of(task, prompts, row)
        assert padding < longest
        assert pairs[-1][0] in dict(pairs[:-1])
        bound: dict[Motif, Motif] = {}
        expected = [0] * padding
        for key, value in pairs:
            assert 1 <= len(key) <= key_tokens
            assert 1 <= len(value) <= value_tokens
            assert len(set(key)) == len(key)
            assert len(set(value)) == len(value)
            expected += [0] * len(key) + [len(key) if key in bound else 0] * len(value)
            assert bound.setdefault(key, value) == value
        assert prompts.more["key_size"][row].tolist() == expected[1:]
        assert prompts.counted[row].tolist() == [size > 0 for size in expected[1:]]


def test_sizes_and_motifs_are_uniform() -> None:
    task = FuzzyRecall(symbols=7, prompt_length=60)
    prompts = task.sample(draws(), 3000)
    # Not the first, which is longer than average if it fits barely, and not the last, which repeats a key.
    middle = [pairs_of(task, prompts, row)[1][-3] for row in range(3000)]
    for motifs, low in ((0, 0), (1, 3)):
        sizes = torch.tensor([len(pair[motifs]) for pair in middle])
        assert stats.chisquare(torch.bincount(sizes)[1:].numpy()).pvalue > UNLIKELY
        for size in (1, 2, 3):
            possible = list(itertools.permutations(range(low, low + 3), size))
            drawn = [pair[motifs] for pair in middle if len(pair[motifs]) == size]
            counts = [drawn.count(motif) for motif in possible]
            assert sum(counts) == len(drawn)
            assert stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize(("symbols", "most"), [(3, 1), (4, 2), (5, 3), (5, 4)])
def test_ranks_stand_for_every_row_of_different_tokens_once(symbols: int, most: int) -> None:
    ranks = itertools.product(*(range(symbols - place) for place in range(most)))
    rows = [tuple(row) for row in different(torch.tensor(list(ranks))).tolist()]
    assert sorted(rows) == sorted(itertools.permutations(range(symbols), most))


def test_the_last_pair_repeats_any_pair_before() -> None:
    """The repeated pair is uniform over those that surely fit, so no distance tells it."""
    task = FuzzyRecall(symbols=64, key_tokens=1, value_tokens=1, prompt_length=19)
    prompts = task.sample(draws(), 5000)
    keys = torch.cat((prompts.tokens, prompts.targets[:, -1:]), dim=1)[:, 0::2]
    assert bool((keys[:, 1:] < 31).all())
    found = keys[:, :-1] == keys[:, -1:]
    alone = found.sum(dim=1) == 1
    counts = found[alone].sum(dim=0)
    assert stats.chisquare(counts.numpy()).pvalue > UNLIKELY


def test_only_logits_before_counted_tokens_count() -> None:
    task = FuzzyRecall(prompt_length=40)
    prompts = task.sample(draws(), 5)
    assert prompts.counted is not None
    outputs = torch.randn(5, 40, 16, generator=torch.Generator().manual_seed(0))
    right = 20.0 * torch.nn.functional.one_hot(prompts.targets, 16).float()
    outputs = torch.where(prompts.counted.unsqueeze(2), right, outputs)
    outputs[1, -1] = outputs[1, -1].roll(1)
    scores, counts = (
        task.measure(lambda _: outputs, prompts, "report"),
        task.positions_per_column(prompts, "report"),
    )
    assert counts.sum() == prompts.counted.sum()
    assert (counts - scores["report"]).sum(dim=1).tolist() == [0, 1, 0, 0, 0]
    size = int(prompts.more["key_size"][1, -1])
    assert (counts - scores["report"])[1, size - 1] == 1
    expected = float(scores[CROSS_ENTROPY].sum() / counts.sum())
    assert float(training_loss(task, outputs, prompts, torch.tensor(0))) == pytest.approx(expected, rel=1e-4)


def test_a_lookup_of_the_whole_key_is_right_and_one_of_its_last_token_is_not() -> None:
    task = FuzzyRecall()
    rows = {(row.name, row.evaluation): row for row in task.baselines(task.sample(draws(), 400))}
    assert all(row.positions == [1, 2, 3] for row in rows.values())
    assert rows["lookup of the key", "report"].mean == [1.0] * 3
    assert rows["lookup of the key", CROSS_ENTROPY].mean == [0.0] * 3
    assert rows["random token", "report"].mean == pytest.approx([1 / 8] * 3)
    assert rows["random token", CROSS_ENTROPY].mean == pytest.approx([math.log(8)] * 3, rel=1e-4)
    overall = rows["lookup of the last token", "report"].overall
    assert overall is not None
    assert 0.2 < overall[0] < 0.5


@given(data=st.data())
@settings(max_examples=30)
def test_last_followers_are_those_of_a_search(data: st.DataObject) -> None:
    length, count = data.draw(st.integers(2, 14)), data.draw(st.integers(1, 3))
    tokens = data.draw(st.lists(st.integers(0, 2), min_size=length, max_size=length))
    expected = [-1] * length
    for place in range(count - 1, length):
        context = tokens[place - count + 1 : place + 1]
        for earlier in range(count - 1, place):
            if tokens[earlier - count + 1 : earlier + 1] == context:
                expected[place] = tokens[earlier + 1]
    assert last_followers(torch.tensor([tokens]), count)[0].tolist() == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"symbols": 6}, "need symbols 7"),
        ({"prompt_length": 10}, "at least 11"),
        ({"key_tokens": 5}, "less than"),
    ],
)
def test_errors_state_what_would_fit(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FuzzyRecall.model_validate(fields)
