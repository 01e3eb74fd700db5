"""Markov chains: what is drawn, and how far rules are from the best one."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.markov_chain import FROM_BAYES, FROM_CHAIN, FROM_UNIGRAM, MarkovChain
from bench.tasks.task import Prompts

UNLIKELY = 1e-4


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


@cache
def chains(states: int = 3, n_points: int = 100) -> tuple[MarkovChain, Prompts]:
    task = MarkovChain(states=states, n_points=n_points)
    return task, task.sample(draws(), 2000 if states < 8 else 1000)


@cache
def rows(states: int, n_points: int = 100) -> dict[tuple[str, str], Baseline]:
    task, prompts = chains(states, n_points)
    return {(row.name, row.evaluation): row for row in task.baselines(prompts)}


def test_tokens_and_targets_are_one_chain() -> None:
    task, prompts = chains()
    assert torch.equal(prompts.tokens[:, 1:], prompts.targets[:, :-1])
    assert stats.chisquare(torch.bincount(prompts.tokens[:, 0]).numpy()).pvalue > UNLIKELY
    shorter = MarkovChain(n_points=17).sample(draws(), 1)
    assert shorter.tokens.shape == (1, task.length(17))


def test_a_loop_over_the_same_numbers_walks_the_same_chain() -> None:
    task = MarkovChain(states=4, n_points=21)
    prompts = task.sample(draws(), 6)
    cuts, steps = draws().uniform("row", 6, 4, 3), draws().uniform("step", 6, 21)
    first = draws().integers("first", 4, 6, 1)
    for row in range(6):
        state = int(first[row])
        walked = []
        for step in steps[row].tolist():
            state = sum(cut < step for cut in cuts[row, state].tolist())
            walked.append(state)
        assert prompts.targets[row].tolist() == walked


def test_states_follow_each_other_with_the_probabilities_of_the_matrix() -> None:
    task, prompts = chains()
    rows_of_tokens = task.chain(prompts)
    assert torch.allclose(rows_of_tokens.sum(dim=2), torch.ones(2000, 100).double())
    came = torch.nn.functional.one_hot(prompts.targets, 3).double()
    excess = ((came - rows_of_tokens).sum(dim=1) / 100).numpy()  # a martingale's mean: zero
    assert np.all(np.abs(excess.mean(axis=0)) < 4.5 * excess.std(axis=0) / 2000**0.5)
    first = rows_of_tokens[:, 0, 0].numpy()  # Beta(1, k − 1)
    assert stats.kstest(first, stats.beta(1, 2).cdf).pvalue > UNLIKELY


@pytest.mark.parametrize(
    ("states", "length", "chain", "bayes", "bayes_at_end", "counted"),
    [
        (2, 100, 0.481, 0.511, 0.489, 0.580),
        (3, 100, 0.821, 0.888, 0.847, 1.007),
        (8, 200, 1.716, 1.890, 1.813, 2.068),
    ],
)
def test_rules_have_the_known_cross_entropies(
    states: int, length: int, chain: float, bayes: float, bayes_at_end: float, counted: float
) -> None:
    """Values of an independent simulation of 4,000 chains, with standard errors of up to 0.003."""
    _, prompts = chains(states, length)
    task, found = chains(states, length)[0], rows(states, length)
    known = task.chain(prompts).gather(2, prompts.targets.unsqueeze(2)).log().mean()
    assert -float(known) == pytest.approx(chain, abs=0.011)
    floor = found["Bayes rule", "report"]
    assert floor.kind == "floor"
    assert np.mean(floor.mean) == pytest.approx(bayes, abs=0.011)
    error = floor.standard_error[-1] / 10**0.5  # of a mean over ten positions
    assert np.mean(floor.mean[-10:]) == pytest.approx(bayes_at_end, abs=4.5 * error)
    assert np.mean(found["states counted", "report"].mean) == pytest.approx(counted, abs=0.014)
    # Divergences have less noise than the cross-entropies whose differences they are.
    assert np.mean(found["Bayes rule", FROM_CHAIN].mean) == pytest.approx(bayes - chain, abs=0.003)
    assert np.mean(found["states counted", FROM_BAYES].mean) == pytest.approx(counted - bayes, abs=0.006)
    assert np.mean(found["uniform guess", "report"].mean) == pytest.approx(math.log(states), rel=1e-4)
    assert task.error_scale == task.trivial == math.log(states)


def test_the_bayes_rule_counts_transitions_and_the_other_counts_states() -> None:
    task = MarkovChain(states=4, n_points=30)
    prompts = task.sample(draws(), 3)
    bayes, unigram = task.bayes(prompts), task.unigram(prompts)
    for row in range(3):
        tokens = prompts.tokens[row].tolist()
        for at, state in enumerate(tokens):
            followers = [b for a, b in pairwise(tokens[: at + 1]) if a == state]
            expected = [(followers.count(j) + 1) / (len(followers) + 4) for j in range(4)]
            assert bayes[row, at].tolist() == pytest.approx(expected)
            seen = tokens[: at + 1]
            assert unigram[row, at].tolist() == pytest.approx(
                [(seen.count(j) + 1) / (at + 5) for j in range(4)]
            )


def test_the_divergence_from_the_bayes_rule_is_the_cross_entropy_above_it() -> None:
    task, prompts = chains()
    outputs = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))[prompts.tokens]
    scores = task.measure(lambda _: outputs, prompts, "report")
    floor = task.measure(lambda _: task.bayes(prompts).log(), prompts, "report")
    difference = (scores["report"] - floor["report"] - scores[FROM_BAYES]).mean(dim=1)
    assert abs(float(difference.mean())) < 4.5 * float(difference.std()) / 2000**0.5
    assert float(scores[FROM_BAYES].min()) >= 0
    assert float(floor[FROM_BAYES].max()) < 1e-12


def test_each_floor_is_the_lowest_of_its_evaluation() -> None:
    for at in ("report", FROM_BAYES, FROM_UNIGRAM, FROM_CHAIN):
        means = {row.kind: np.mean(row.mean) for row in rows(3).values() if row.evaluation == at}
        assert min(means, key=lambda kind: means[kind]) == "floor"
        assert set(means) == {"trivial", "baseline", "floor"}
    assert np.mean(rows(3)["states counted", FROM_UNIGRAM].mean) == 0
    assert np.mean(rows(3)["Bayes rule", FROM_BAYES].mean) == 0
