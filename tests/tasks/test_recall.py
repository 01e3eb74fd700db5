"""Vector associative recall: what is asked, where it stands, and prompts that come again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.tasks import TASKS
from bench.tasks.draws import Draws
from bench.tasks.epochs import MOST_PROMPTS, _prime_factors, shuffled_rows
from bench.tasks.recall import VectorMQAR

UNLIKELY = 1e-4


def draws(step: int = 0, purpose: str = "train") -> Draws:
    return Draws(0, purpose, torch.tensor(step))


@pytest.mark.parametrize("layout", ["compact", "spaced"])
@pytest.mark.parametrize("queries", [1, 4, 16, 32])
def test_every_query_is_a_key_and_its_value_is_the_target(layout: str, queries: int) -> None:
    task = VectorMQAR(queries=queries, layout=layout)
    prompts = task.sample(draws(), 20)
    keys, values = prompts.tokens[:, 0:64:2], prompts.tokens[:, 1:64:2]
    place = prompts.more["place"]
    asked = prompts.tokens.gather(1, place.unsqueeze(-1).expand(-1, -1, 20))
    same = (asked.unsqueeze(2) == keys.unsqueeze(1)).all(-1)
    assert bool((same.sum(-1) == 1).all())  # exactly one key
    which = same.to(torch.int64).argmax(-1)
    assert torch.equal(prompts.targets, values.gather(1, which.unsqueeze(-1).expand(-1, -1, 20)))
    assert all(len(set(row)) == queries for row in which.tolist())  # queries differ
    assert torch.equal(prompts.inputs, asked)


def test_keys_and_values_are_uniform_on_the_unit_sphere() -> None:
    prompts = VectorMQAR().sample(draws(), 400)
    vectors = torch.cat((prompts.more["keys"], prompts.more["values"])).reshape(-1, 20).double()
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(len(vectors)).double(), atol=1e-6)
    share = (vectors[:, :1] ** 2).flatten().numpy()  # of one coordinate: Beta(1/2, (d − 1)/2)
    assert stats.kstest(share, stats.beta(0.5, 9.5).cdf).pvalue > UNLIKELY
    moments = (vectors.T @ vectors / len(vectors)).numpy()
    assert np.abs(moments - np.eye(20) / 20).max() < 5 * (1 / 20) / np.sqrt(len(vectors))
    assert abs(float((prompts.more["keys"] * prompts.more["values"]).sum(-1).mean())) < 5 / np.sqrt(
        20 * 12_800
    )


def test_queries_are_uniform_over_the_keys_in_random_order() -> None:
    prompts = VectorMQAR(queries=4).sample(draws(), 3000)
    keys = prompts.more["keys"]
    chosen = (prompts.inputs.unsqueeze(2) == keys.unsqueeze(1)).all(dim=3).int().argmax(dim=2)
    for column in range(4):
        counts = torch.bincount(chosen[:, column], minlength=32).numpy()
        assert stats.chisquare(counts).pvalue > UNLIKELY
    assert float((chosen[:, 0] < chosen[:, 1]).double().mean()) == pytest.approx(0.5, abs=0.04)


def test_the_compact_layout_is_pairs_then_queries() -> None:
    task = VectorMQAR(queries=4)
    assert task.sample(draws(), 2).tokens.shape == (2, 68, 20)
    assert VectorMQAR(queries=16).length(16) == 80
    assert torch.equal(task.sample(draws(), 2).tokens[:, 64:], task.sample(draws(), 2).inputs)


def test_the_spaced_layout_leaves_even_slots_and_zeros() -> None:
    task = VectorMQAR(queries=4, layout="spaced")
    prompts = task.sample(draws(), 3000)
    assert prompts.tokens.shape == (3000, 128, 20)
    place = prompts.more["place"]
    assert bool((place >= 64).all())
    assert not (place % 2).any()
    assert bool((place[:, 1:] > place[:, :-1]).all())
    filled = prompts.tokens[:, 64:].abs().sum(-1) > 0
    assert bool((filled.sum(1) == 4).all())
    counts = torch.bincount((place.flatten() - 64) // 2, minlength=32)
    assert int(counts[0]) > 2 * int(counts[3]) > 4 * int(counts[31])  # small gaps are likelier, as 1/gap


def test_the_first_of_one_spaced_query_follows_the_power_law() -> None:
    place = VectorMQAR(queries=1, layout="spaced").sample(draws(), 6000).more["place"]
    counts = torch.bincount((place.flatten() - 64) // 2, minlength=32).numpy()
    law = np.arange(1, 33) ** (0.01 - 1)
    assert stats.chisquare(counts, 6000 * law / law.sum()).pvalue > UNLIKELY


@pytest.mark.parametrize("layout", ["compact", "spaced"])
def test_the_score_is_the_squared_norm_at_the_queries(layout: str) -> None:
    task = VectorMQAR(queries=4, layout=layout)
    prompts = task.sample(draws(), 5)
    outputs = torch.zeros(5, task.length(4), 20)
    assert torch.allclose(task.scores(outputs, prompts), torch.ones(5, 4))  # zero predictor: unit vectors
    place = prompts.more["place"].unsqueeze(-1).expand(-1, -1, 20)
    assert not task.scores(outputs.scatter(1, place, prompts.targets), prompts).any()
    elsewhere = torch.full_like(outputs, 9.0).scatter(1, place, prompts.targets)
    assert not task.scores(elsewhere, prompts).any()


def test_losses_down_to_1e_7_are_told_apart() -> None:
    task = VectorMQAR(queries=4)
    prompts = task.sample(draws(), 8)
    outputs = torch.zeros(8, 68, 20)
    for size in (1e-7, 2e-7):
        outputs[:, 64:] = prompts.targets + (size / 20) ** 0.5
        assert float(task.scores(outputs, prompts).mean()) == pytest.approx(size, rel=0.02)


# Prompts that come again.


@pytest.mark.slow
@settings(max_examples=25)
@given(count=st.integers(1, 3000), size=st.integers(1, 70), epoch=st.integers(0, 5))
def test_an_epoch_visits_every_prompt_once(count: int, size: int, epoch: int) -> None:
    first = epoch * count  # place of the epoch's first prompt in the endless sequence
    steps = range(first // size, (first + count - 1) // size + 1)
    rows = torch.cat([shuffled_rows(draws(step), size, count) for step in steps])
    skip = first - steps[0] * size
    assert sorted(rows[skip : skip + count].tolist()) == list(range(count))


def test_epochs_are_shuffled_anew() -> None:
    orders = [shuffled_rows(draws(epoch), 3000, 3000).tolist() for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(order != sorted(order) for order in orders)


@given(number=st.integers(1, 10**6))
def test_prime_factors_multiply_to_a_number_with_the_same_ones(number: int) -> None:
    factors = _prime_factors(number)
    rest = number
    for factor in factors:
        assert number % factor == 0
        assert all(factor % d for d in range(2, int(factor**0.5) + 1))
        while rest % factor == 0:
            rest //= factor
    assert rest == 1


def test_a_fixed_training_set_shows_the_same_prompts_in_every_epoch() -> None:
    task = VectorMQAR(queries=4, training_prompts=40)

    def epoch(number: int) -> dict[bytes, bytes]:
        batches = [task.batch(draws(step), 8) for step in range(5 * number, 5 * number + 5)]
        tokens = torch.cat([batch.tokens for batch in batches])
        targets = torch.cat([batch.targets for batch in batches])
        return {t.numpy().tobytes(): y.numpy().tobytes() for t, y in zip(tokens, targets, strict=True)}

    first, second = epoch(0), epoch(3)
    assert len(first) == 40
    assert first == second
    fresh = VectorMQAR(queries=4)
    assert fresh.batch(draws(0), 8).tokens[0].numpy().tobytes() not in first
    assert not torch.equal(fresh.batch(draws(0), 8).tokens, fresh.batch(draws(5), 8).tokens)


def test_evaluation_prompts_are_not_those_of_training() -> None:
    task = VectorMQAR(training_prompts=40)
    assert torch.equal(
        task.sample_evaluation(draws(purpose="report"), 4).tokens,
        VectorMQAR().sample_evaluation(draws(purpose="report"), 4).tokens,
    )


@pytest.mark.parametrize(
    "too_many",
    [lambda: VectorMQAR(training_prompts=10**9 + 1), lambda: TASKS["regbench"](languages=10**9 + 1)],
)
def test_more_training_prompts_than_a_shuffle_can_number_are_refused(too_many: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="less than or equal to 1000000000"):
        too_many()


def test_the_largest_training_set_is_shuffled_without_overflow() -> None:
    step = MOST_PROMPTS // 64 - 1  # the last prompts of the first epoch
    rows = shuffled_rows(Draws(0, "train", torch.tensor(step)), 64, MOST_PROMPTS).tolist()
    shuffle = Draws(0, "train", torch.tensor(0), torch.zeros(1, dtype=torch.int64))
    a = 1 + 10 * int(shuffle.integers("multiplier", MOST_PROMPTS // 10, 1))
    b = int(shuffle.integers("offset", MOST_PROMPTS, 1))
    assert rows == [(a * (64 * step + i) + b) % MOST_PROMPTS for i in range(64)]
