"""Recall among noise: what is drawn, what counts, and reference predictors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from small_runs import training_loss

from bench.tasks import weighted
from bench.tasks.draws import Draws
from bench.tasks.noisy_recall import WINDOW, NoisyRecall
from bench.tasks.task import Prompts
from bench.tasks.tokens import CROSS_ENTROPY

UNLIKELY = 1e-4


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


def counted(prompts: Prompts) -> torch.Tensor:
    assert prompts.counted is not None
    return prompts.counted


@given(
    slots=st.integers(2, 20),
    values=st.integers(2, 9),
    noise_symbols=st.integers(0, 5),
    noise=st.sampled_from([0.0, 0.3, 0.95]),
    step=st.integers(0, 999),
)
@settings(max_examples=40)
def test_what_counts_are_keys_seen_before_and_their_targets_are_the_values(
    slots: int, values: int, noise_symbols: int, noise: float, step: int
) -> None:
    noise = noise if noise_symbols else 0.0
    task = NoisyRecall(
        symbols=2 * values + noise_symbols,
        noise_symbols=noise_symbols,
        noise=noise,
        prompt_length=2 * slots,
    )
    prompts = task.sample(draws(step), 6)
    assert prompts.tokens.shape == (6, 2 * slots)
    for row in range(6):
        tokens = prompts.tokens[row].tolist()
        bound: dict[int, int] = {}
        for slot, (key, value) in enumerate(zip(tokens[0::2], tokens[1::2], strict=True)):
            assert (key < values <= value < 2 * values) or min(key, value) >= 2 * values
            assert bool(counted(prompts)[row, slot]) == (key in bound)
            if key < values:
                assert bound.setdefault(key, value) == value
                assert prompts.targets[row, slot] == value
        assert tokens[-2] < values  # a key that was seen before
        assert bool(counted(prompts)[row, -1])


def test_shares_of_noise_keys_and_values_are_those_stated() -> None:
    task = NoisyRecall(symbols=14, noise_symbols=4, noise=0.4, prompt_length=40)
    slots = task.sample(draws(), 4000).tokens.unflatten(1, (-1, 2))[:, :-1]
    is_noise = slots[:, :, 0] >= 10
    # One of the first 19 slots is kept free of noise.
    assert float(is_noise.double().mean()) == pytest.approx(0.4 * 18 / 19, abs=4.5 * (0.24 / 76_000) ** 0.5)
    keys, noise = slots[:, :, 0][~is_noise], slots[is_noise].flatten()
    assert stats.chisquare(torch.bincount(keys, minlength=5).numpy()).pvalue > UNLIKELY
    assert stats.chisquare(torch.bincount(noise - 10, minlength=4).numpy()).pvalue > UNLIKELY
    first = slots[~is_noise[:, 0], 0, 1] - 5
    assert stats.chisquare(torch.bincount(first, minlength=5).numpy()).pvalue > UNLIKELY


def test_the_last_key_is_uniform_over_those_seen() -> None:
    """A key that was seen often is no likelier, as in MAD."""
    task = NoisyRecall(symbols=4, noise_symbols=0, noise=0.0, prompt_length=12)
    keys = task.sample(draws(), 6000).tokens[:, 0::2]
    ones = keys[:, :-1].sum(dim=1)
    once = keys[:, -1][ones == 1]  # key 1 was seen once, key 0 four times
    assert stats.binomtest(int(once.sum()), len(once)).pvalue > UNLIKELY


def test_without_noise_it_is_recall_of_56_of_64_keys() -> None:
    task = NoisyRecall(symbols=16, noise_symbols=0, noise=0.0)
    counts = counted(task.sample(draws(), 2000)).sum(dim=1)
    # 63 uniform draws of 8 keys see all but 8 (7/8)⁶³ of them, and the last key is a repeated one.
    expected = 64 - 8 * (1 - (7 / 8) ** 63)
    assert float(counts.double().mean()) == pytest.approx(expected, abs=0.01)


def test_only_logits_at_repeated_keys_count() -> None:
    task = NoisyRecall(prompt_length=24)
    prompts = task.sample(draws(), 5)
    outputs = torch.randn(5, 24, 32, generator=torch.Generator().manual_seed(0))
    right = 20.0 * torch.nn.functional.one_hot(prompts.targets, 32).float()
    outputs[:, 0::2] = torch.where(counted(prompts).unsqueeze(2), right, outputs[:, 0::2])
    outputs[3, -2] = outputs[3, -2].roll(1)  # the last slot always counts
    scores = task.measure(lambda _: outputs, prompts, "report")
    counts = task.positions_per_column(prompts, "report")
    assert torch.equal(counts, counted(prompts)[:, 1:].float())
    missed = (counts - scores["report"]).sum(dim=1).tolist()
    assert missed == [0, 0, 0, 1, 0]
    assert scores[CROSS_ENTROPY][3, -1] == pytest.approx(20, abs=1e-3)
    expected = float(scores[CROSS_ENTROPY].sum() / counts.sum())
    assert float(training_loss(task, outputs, prompts, torch.tensor(0))) == pytest.approx(expected, rel=1e-5)


def test_a_lookup_is_right_and_guesses_have_their_closed_forms() -> None:
    task = NoisyRecall(noise=0.0)
    rows = {(row.name, row.evaluation): row for row in task.baselines(task.sample(draws(), 2000))}
    assert all(row.positions == list(range(1, 64)) for row in rows.values())
    assert rows["lookup", "report"].mean == [1.0] * 63
    assert rows["lookup", CROSS_ENTROPY].mean == [0.0] * 63
    assert rows["random value", "report"].mean == pytest.approx([1 / 8] * 63)
    assert rows["random value", CROSS_ENTROPY].overall == pytest.approx([math.log(8), 0], abs=1e-4)
    # A repeated key is among the last 8 of 63 uniform keys with this probability.
    window, late = rows[f"lookup in the last {WINDOW} slots", "report"], slice(40, 62)
    found = 1 - (7 / 8) ** WINDOW
    expected = found + (1 - found) / 8
    assert np.all(
        np.abs(np.array(window.mean[late]) - expected) < 5 * np.array(window.standard_error[late]) + 0.002
    )
    # A pair before has the same key with a probability of about 1/8, otherwise the same value with 1/8.
    guess = rows["random pair before", "report"]
    assert guess.mean[-2] == pytest.approx(1 / 8 + 7 / 64, abs=0.01)


def test_the_random_pair_before_is_a_rule_on_tokens() -> None:
    task = NoisyRecall(symbols=12, noise_symbols=4, noise=0.5, prompt_length=20)
    prompts = task.sample(draws(), 40)
    sums = torch.zeros(40, 9, dtype=torch.float64)
    for row in range(40):
        tokens = prompts.tokens[row].tolist()
        pairs = list(zip(tokens[0::2], tokens[1::2], strict=True))
        for slot in counted(prompts)[row].nonzero().flatten().tolist():
            before = [value for key, value in pairs[:slot] if key < 4]
            sums[row, slot - 1] = before.count(pairs[slot][1]) / len(before)
    columns, overall = weighted.columns_and_overall(sums, task.positions_per_column(prompts, "report"))
    (row_of,) = (
        r for r in task.baselines(prompts) if (r.name, r.evaluation) == ("random pair before", "report")
    )
    assert row_of.mean == pytest.approx(columns.mean(dim=0).tolist(), rel=1e-4)
    assert row_of.overall is not None
    assert row_of.overall[0] == pytest.approx(float(overall.mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt_length": 31}, "must be even"),
        ({"noise_symbols": 0}, "needs noise_symbols"),
        ({"symbols": 33}, "got 17"),
        ({"symbols": 18}, "at least 4"),
    ],
)
def test_errors_state_what_does_not_fit(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NoisyRecall.model_validate(fields)
