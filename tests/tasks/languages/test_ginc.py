"""GINC: the published instance, its Bayes rules, blocks, prompts and scores."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bench.tasks.draws import Draws
from bench.tasks.languages import ginc_baselines, hidden_markov
from bench.tasks.languages.ginc import GINC, TRAINING, VALIDATION
from bench.tasks.languages.hidden_markov import documents, mixture, published_prompts
from bench.tasks.task import MAIN

SMALL = GINC(block=64, documents=3)


def draws(step: int = 0, purpose: str = MAIN) -> Draws:
    return Draws(0, purpose, torch.tensor(step))


# The published instance.


@pytest.mark.parametrize(
    ("symbols", "memory", "row", "digest"),
    [
        (50, [0, 38, 18, 13, 35, 25, 23, 21, 12, 15], [0.386489, 0.304647, 0, 0, 0.000203], "6228c195cdbf"),
        (100, [0, 56, 82, 13, 35, 53, 25, 23, 21, 12], [0.068871, 0.238892, 0, 0, 0.335653], "c0ae4abd1231"),
        (
            150,
            [0, 82, 141, 21, 140, 15, 9, 141, 87, 137],
            [0.002023, 0, 0.036480, 0.059134, 0.877027],
            "e4c67c5fcb1b",
        ),
    ],
)
def test_memory_and_chains_are_the_published_ones(
    symbols: int, memory: list[int], row: list[float], digest: str
) -> None:
    model = mixture(symbols)
    assert model.memory[0].tolist() == memory
    assert model.properties[0, 0, :5] == pytest.approx(np.array(row), abs=5e-7)
    assert hashlib.sha1(model.memory.astype("<i8").tobytes()).hexdigest()[:12] == digest
    entities = [0.9, 0.013682, 6.2e-5, 0, 0.084218, 0, 0.000162, 0.001876, 0, 0]
    assert model.entities[0] == pytest.approx(np.array(entities), abs=5e-7)
    for concept in range(5):
        chain = model.properties[concept]
        assert chain.sum(axis=0) == pytest.approx(np.ones(10))
        assert chain.sum(axis=1) == pytest.approx(np.ones(10))


def test_documents_are_the_published_ones() -> None:
    training, validation = documents(100)
    assert training.words.shape == (1000, 10_240)
    assert (training.concepts[0], validation.concepts[0]) == (1, 2)
    assert training.words[0, :10].tolist() == [9, 0, 70, 51, 54, 48, 54, 54, 54, 48]
    assert validation.words[0, :8].tolist() == [64, 43, 36, 43, 3, 64, 22, 23]
    assert np.bincount(training.concepts).tolist() == [197, 189, 193, 221, 200]
    assert np.bincount(validation.concepts).tolist() == [19, 18, 25, 21, 17]
    assert len(np.unique(training.words)) == 63
    assert (validation.words == 0).mean() == pytest.approx(0.1, abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("symbols", "first_training", "first_validation"),
    [
        (50, (1, [6, 0, 22, 46, 34, 3, 34, 34, 34, 1]), (2, [43, 38, 36, 38, 22, 43, 24, 36])),
        (150, (0, [92, 23, 3, 117, 146, 92, 100, 136]), (2, [124, 129, 0, 66, 124, 0, 66, 136])),
    ],
)
def test_documents_of_other_vocabularies(
    symbols: int, first_training: tuple[int, list[int]], first_validation: tuple[int, list[int]]
) -> None:
    for own, (concept, words) in zip(documents(symbols), (first_training, first_validation), strict=True):
        assert own.concepts[0] == concept
        assert own.words[0, : len(words)].tolist() == words


def test_prompts_are_the_published_ones() -> None:
    """The digest is of prompts drawn one after the other, with those of other concepts in between."""
    prompts, digest = published_prompts(100, 300), hashlib.sha1()
    for chosen in (prompts[key] for key in sorted(prompts)):
        for values in (chosen.words, chosen.labels, chosen.concepts, chosen.properties):
            digest.update(values.astype("<i8").tobytes())
    assert digest.hexdigest()[:12] == "6a5ceda00280"
    assert prompts[3, 0].labels[:10].tolist() == [8, 21, 30, 3, 9, 79, 53, 56, 25, 71]
    assert prompts[10, 64].words.shape == (300, 713)
    labels = np.concatenate([prompts[10, n].labels for n in (8, 16, 32, 64)])
    assert np.bincount(labels).max() / 1200 == pytest.approx(0.09, abs=0.025)
    assert (labels == 0).mean() == pytest.approx(0.09, abs=0.025)


def test_integers_and_uniform_numbers_are_those_of_numpy() -> None:
    words, generator = hidden_markov._Words(5), np.random.RandomState(5)
    for high in (5, 9, 10, 5, 9):
        assert [words.below(high) for _ in range(30)] == generator.randint(0, high, size=30).tolist()
        assert (
            hidden_markov._doubles(np.array(words.uniform(7))).tolist() == generator.random_sample(7).tolist()
        )


def test_words_can_be_skipped() -> None:
    straight, skipping = hidden_markov._Words(5), hidden_markov._Words(5)
    numbers = straight.uniform(200_000)
    for place in (2, 10, 70_000, 300_000):  # drawn already, and not yet
        skipping.go_to(place)
        assert skipping.uniform(3) == numbers[place : place + 6]


def test_examples_of_a_prompt_begin_at_one_property_and_end_with_a_delimiter() -> None:
    model, prompts = mixture(100), published_prompts(100, 50)[5, 8]
    for row in range(50):
        line = prompts.words[row].tolist()
        examples = [line[begin : begin + 6] for begin in range(0, len(line), 6)]
        assert [len(example) for example in examples] == [6] * 8 + [4]
        starts = model.memory[:, prompts.properties[row]]
        assert all(example[0] in starts for example in examples)
        assert all(example[5] == 0 for example in examples[:-1])


# Bayes rules.


@pytest.mark.parametrize(
    ("symbols", "cross_entropy"),
    [
        pytest.param(50, 1.3203, marks=pytest.mark.slow),
        (100, 1.4102),
        pytest.param(150, 1.2741, marks=pytest.mark.slow),
    ],
)
def test_the_bayes_rule_has_the_floor_of_the_instance(symbols: int, cross_entropy: float) -> None:
    losses = ginc_baselines.bayes_filter(mixture(symbols), documents(symbols)[1].words)
    assert losses.mean() == pytest.approx(cross_entropy, abs=5e-4)
    if symbols == 100:
        assert math.exp(losses.mean()) == pytest.approx(4.097, abs=5e-4)
        assert math.exp(losses[:, 1:3].mean()) > 5  # the concept is not known yet
        assert math.exp(losses[:, 16:].mean()) == pytest.approx(4.09, abs=0.03)


def test_the_filter_is_the_sum_over_all_paths() -> None:
    model, words = mixture(100), documents(100)[1].words[:2, :4]
    probability = np.zeros((2, 3))
    for concept in range(5):
        moves, emits = model.transitions(concept), model.memory.reshape(-1)
        belief = model.starts[concept] * (emits == words[:, :1])
        for place in range(1, 4):
            belief = (belief @ moves) * (emits == words[:, place, None])
            probability[:, place - 1] += belief.sum(axis=1) / 5
    first = np.stack(
        [(model.starts[:5] * (model.memory.reshape(-1) == word)).sum() / 5 for word in words[:, 0]]
    )
    joint = np.concatenate((first[:, None], probability), axis=1)
    expected = -np.log(joint[:, 1:] / joint[:, :-1])
    assert ginc_baselines.bayes_filter(model, words) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("k", "n", "accuracy", "slack"),
    [
        (3, 0, 0.658, 0.05),
        (3, 1, 0.955, 0.025),
        (3, 4, 0.997, 0.005),
        (5, 0, 0.948, 0.025),
        (10, 0, 0.997, 0.008),
    ],
)
def test_accuracy_of_the_bayes_rule_with_layout(k: int, n: int, accuracy: float, slack: float) -> None:
    prompts = published_prompts(100, 600)[k, n]
    right = ginc_baselines.prompt_bayes(mixture(100), prompts, k) == prompts.labels
    assert right.mean() == pytest.approx(accuracy, abs=slack)


def test_labels_are_the_most_likely_words_of_the_true_concept() -> None:
    """The posterior of one concept and one property is certain, so the Bayes rule gives the label."""
    prompts = published_prompts(100, 20)[3, 0]
    guess = hidden_markov.next_word(mixture(100), prompts.words, prompts.concepts, prompts.properties)
    assert guess.sum(axis=1) == pytest.approx(np.ones(20))
    assert guess.argmax(axis=1).tolist() == prompts.labels.tolist()


# The task.


def test_an_epoch_is_every_block_of_the_documents_once() -> None:
    blocks = SMALL.batch(draws(0, "train"), 480).tokens  # 3 documents of 160 blocks
    words = documents(100)[0].words[:3].reshape(-1, 64) + 1
    assert sorted(map(tuple, blocks.tolist())) == sorted(map(tuple, words.tolist()))
    assert not torch.equal(blocks, SMALL.batch(draws(1, "train"), 480).tokens)


def test_targets_are_the_next_words_of_the_block() -> None:
    prompts = SMALL.batch(draws(0, "train"), 4)
    assert prompts.counted is not None
    assert prompts.counted.sum(dim=1).tolist() == [63] * 4
    assert torch.equal(prompts.targets[:, :-1], prompts.tokens[:, 1:])


def test_validation_documents_are_all_there_whatever_the_number_of_prompts() -> None:
    words = GINC().sample_evaluation(draws(), 2, VALIDATION).tokens
    assert torch.equal(words, torch.from_numpy(documents(100)[1].words.astype(np.int64)) + 1)
    assert SMALL.sample_evaluation(draws(), 2, VALIDATION).tokens.shape == (1600, 64)
    assert SMALL.sample_evaluation(draws(), 2, TRAINING).tokens.shape == (48, 64)


def test_prompts_of_the_report_are_the_first_published_ones_and_others_are_used_for_selection() -> None:
    task = GINC()
    report = task.sample_evaluation(draws(), 6, MAIN)
    (cell,) = (place for place, (_, k, n) in enumerate(task.cells) if (k, n) == (10, 64))
    published = published_prompts(100, 6)[10, 64]
    assert torch.equal(report.tokens[:, cell, :713], torch.from_numpy(published.words) + 1)
    assert report.targets[:, cell].tolist() == (published.labels + 1).tolist()
    selection = task.sample_evaluation(draws(purpose="selection"), 6, MAIN)
    assert selection.tokens.shape == report.tokens.shape
    assert not torch.equal(selection.tokens, report.tokens)


def test_only_prompts_that_fit_into_a_block_are_evaluated() -> None:
    assert SMALL.evaluations()[MAIN].positions == (0, 1, 2, 4)  # 4 · 11 + 9 = 53 words
    assert SMALL.evaluations()["length_3"].positions == (0, 1, 2, 4, 8)
    assert GINC().evaluations()[MAIN].marks["64_examples"] == 7


def test_a_model_that_knows_the_labels_is_right_everywhere() -> None:
    prompts = SMALL.sample_evaluation(draws(), 3, MAIN)
    answers = dict(zip(SMALL.cells, prompts.targets.T, strict=True))
    seen: list[int] = []

    def predict(tokens: torch.Tensor) -> torch.Tensor:
        _, k, n = SMALL.cells[len(seen)]
        assert tokens.shape == (3, n * (k + 1) + k - 1)
        seen.append(k)
        outputs = torch.zeros(*tokens.shape, SMALL.vocabulary)
        outputs[torch.arange(3), -1, answers[SMALL.cells[len(seen) - 1]]] = 1.0
        return outputs

    scores = SMALL.measure(predict, prompts, MAIN)
    assert list(scores) == [MAIN, "length_8", "length_5", "length_3"]
    assert all(bool((values == 1).all()) for values in scores.values())


def test_cross_entropies_of_documents_are_means_over_all_words() -> None:
    prompts = SMALL.sample_evaluation(draws(), 2, TRAINING)
    scores = SMALL.measure(lambda tokens: torch.zeros(*tokens.shape, SMALL.vocabulary), prompts, TRAINING)[
        TRAINING
    ]
    counts = SMALL.positions_per_column(prompts, TRAINING)
    assert counts is not None
    assert counts[0].tolist() == [1, 2, 4, 8, 16, 32]
    assert (scores / counts).flatten().tolist() == pytest.approx([math.log(101)] * scores.numel())


def test_documents_are_compared_with_their_words_alone_and_with_the_bayes_rule() -> None:
    prompts = SMALL.sample_evaluation(draws(), 2, VALIDATION).part(slice(0, 12))
    rows = {row.name: row for row in SMALL.other_baselines(prompts, VALIDATION)}
    kinds = {name: row.kind for name, row in rows.items()}
    assert kinds == {"uniform": "trivial", "Bayes rule": "floor", "word frequencies": "baseline"}
    assert {row.evaluation for row in rows.values()} == {VALIDATION}
    assert {tuple(row.positions) for row in rows.values()} == {(1, 2, 4, 8, 16, 32)}
    means = {name: row.overall[0] for name, row in rows.items() if row.overall is not None}
    assert means["uniform"] == pytest.approx(math.log(101), rel=1e-4)
    assert means["Bayes rule"] < means["word frequencies"] < means["uniform"]


@pytest.mark.parametrize("fields", [{"block": 100}, {"block": 8}, {"documents": 1001}, {"symbols": 60}])
def test_impossible_settings_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        GINC(**fields)
