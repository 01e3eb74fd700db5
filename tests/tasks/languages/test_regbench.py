"""RegBench: automata as drawn, texts, scores by string, and the reference predictors."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from small_runs import training_loss

from bench.tasks import weighted
from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.epochs import shuffled_rows
from bench.tasks.languages.automata import Sizes, draw_automata, draw_texts
from bench.tasks.languages.regbench import CROSS_ENTROPY, TOTAL_VARIATION, TRAINING, RegBench
from bench.tasks.languages.regbench_baselines import Letters, n_gram
from bench.tasks.task import MAIN, Prompts
from bench.tasks.tokens import token_prompts

SEPARATOR = 19
TINY = RegBench(languages=7, max_states=5, max_letters=6, max_string_length=6)


def draws(step: int = 0, purpose: str = "report") -> Draws:
    return Draws(0, purpose, torch.tensor(step))


@pytest.fixture(scope="module")
def languages() -> Prompts:
    return RegBench(languages=1).sample(draws(), 1000)


@pytest.fixture(scope="module")
def baselines(languages: Prompts) -> dict[tuple[str, str], Baseline]:
    rows = RegBench(languages=1).baselines(languages)
    return {(row.name, row.evaluation): row for row in rows}


def overall(row: Baseline) -> float:
    assert row.overall is not None
    return row.overall[0]


# Automata and texts.


def test_numbers_of_a_language_have_the_ranges_of_the_released_code() -> None:
    automata = draw_automata(draws(), 2000, Sizes())
    assert set(automata.letters.tolist()) == set(range(4, 19))
    assert set(automata.edges.flatten().tolist()) == {1, 2, 3}
    assert set(automata.symbols.flatten().tolist()) == set(range(1, 19))
    assert automata.edges.double().mean().item() == pytest.approx(2, abs=0.02)
    assert automata.letters.double().mean().item() == pytest.approx(11, abs=0.4)


def test_the_published_size_in_numbers() -> None:
    """Of 18 letters. At most 19 strings of 49 letters and their separators, of which the last is left out."""
    task = RegBench(languages=1)
    assert (task.vocabulary, task.n_inputs, task.n_outputs) == (20, 20, 20)
    assert task.longest == 19 * 49 + 18
    assert task.n_points == task.length(task.n_points) == task.longest - 1
    assert task.flops_length == 14.5 * (25 + 1) - 2  # 10 to 19 strings of 1 to 49 letters
    assert task.trivial == pytest.approx(2 / 18)  # 1 to 3 edges
    evaluations = task.evaluations()
    scales = {name: evaluation.error_scale for name, evaluation in evaluations.items()}
    entropy = pytest.approx(math.log(20))
    assert scales == {MAIN: 1, CROSS_ENTROPY: entropy, TOTAL_VARIATION: 1, TRAINING: entropy}
    assert evaluations[MAIN].positions == tuple(range(10)), "every text has ten strings"
    assert evaluations[MAIN].marks == {"last": 9}
    prompts = TINY.sample(draws(), 2)
    assert prompts.tokens.shape == prompts.targets.shape == (2, TINY.n_points)


def test_edges_of_a_state_have_different_letters_and_lead_to_different_other_states() -> None:
    automata = draw_automata(draws(), 300, Sizes())
    for language in range(300):
        used: set[int] = set()
        for state in range(4):  # every automaton has at least four states
            count = int(automata.edges[language, state])
            symbols = automata.symbols[language, state, :count].tolist()
            successors = automata.successors[language, state, :count].tolist()
            assert len(set(symbols)) == len(set(successors)) == count
            assert state not in successors
            used |= set(symbols)
        assert len(used) <= automata.letters[language]


def test_every_letter_of_a_text_is_an_edge_of_the_state_before_it() -> None:
    sizes = Sizes()
    automata = draw_automata(draws(), 40, sizes)
    texts = draw_texts(draws(), automata, sizes)
    for language in range(40):
        state, strings, length = 0, 1, 0
        tokens = texts.tokens[language].tolist()
        written = tokens[: len(tokens) if 0 not in tokens else tokens.index(0)]
        assert not any(tokens[len(written) :])
        assert written[-1] != SEPARATOR
        for at, token in enumerate(written):
            assert texts.string[language, at] == strings - 1
            if token == SEPARATOR:
                assert 1 <= length <= 49
                assert texts.allowed[language, at] == 0
                state, strings, length = 0, strings + 1, 0
                continue
            count = int(automata.edges[language, state])
            symbols = automata.symbols[language, state, :count].tolist()
            assert texts.state[language, at] == state
            assert texts.allowed[language, at] == sum(1 << symbol for symbol in symbols)
            state, length = int(automata.successors[language, state, symbols.index(token)]), length + 1
        assert 10 <= strings <= 19


def test_texts_have_the_published_length(languages: Prompts) -> None:
    assert languages.counted is not None
    assert languages.tokens.shape == (1000, 948)
    tokens = (languages.tokens > 0).sum(dim=1).double()
    assert tokens.mean().item() == pytest.approx(376, abs=9)
    assert languages.counted.sum(dim=1).double().mean().item() == pytest.approx(362, abs=9)
    assert RegBench(languages=1).flops_length == 375


def test_targets_are_the_next_tokens_and_separators_do_not_count(languages: Prompts) -> None:
    assert languages.counted is not None
    assert torch.equal(languages.targets[:, :-1], languages.tokens[:, 1:])
    is_letter = (languages.targets > 0) & (languages.targets < SEPARATOR)
    assert torch.equal(languages.counted, is_letter)


def test_an_epoch_is_every_training_language_once() -> None:
    batches = [TINY.batch(draws(step, "train"), 7).tokens for step in (0, 1, 5)]
    texts = [sorted(map(tuple, batch.tolist())) for batch in batches]
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) == 7
    assert not torch.equal(batches[0], batches[1]) or not torch.equal(batches[0], batches[2])


@pytest.mark.parametrize("stored", [0, 1 << 26])
def test_a_batch_has_the_prompts_of_its_languages(stored: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether their texts are kept or drawn anew."""
    monkeypatch.setattr("bench.tasks.languages.regbench.MOST_STORED", stored)
    monkeypatch.setattr("bench.tasks.languages.regbench.LANGUAGES_AT_ONCE", 3)
    for seed, step in ((0, 0), (0, 3), (5, 3)):
        drawn = Draws(seed, "train", torch.tensor(step))
        batch = TINY.batch(drawn, 4)
        rows = shuffled_rows(drawn, 4, TINY.languages)
        languages = Draws(seed, "training set", torch.zeros((), dtype=torch.int64), rows)
        prompts = TINY.sample(languages, 4)
        assert torch.equal(batch.tokens, prompts.tokens)
        assert torch.equal(batch.targets, prompts.targets)
        assert batch.counted is not None
        assert prompts.counted is not None
        assert torch.equal(batch.counted, prompts.counted)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "languages"),
        ({"languages": 5, "max_states": 3}, "min_states"),
        ({"languages": 5, "max_edges": 4}, "max_edges|edges"),
        ({"languages": 5, "max_letters": 61}, "max_letters"),
        ({"languages": 5, "max_letters": 1, "min_letters": 1, "max_edges": 1}, "max_letters"),
        ({"languages": 5, "max_string_length": 1}, "max_string_length"),
        ({"languages": 5, "max_string_length": 5000}, "tokens"),
    ],
)
def test_impossible_languages_are_refused(fields: dict[str, int], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        RegBench(**fields)


# Scores.


def by_hand() -> Prompts:
    """The text of the docstring, `abac|a|acb`, of the automaton 0 –a→ 1, 1 –b→ 0, 1 –c→ 2, 2 –b→ 0; twice.

    Tokens are those of TINY: a, b, c = 1, 2, 3 and the separator 7.
    """
    tokens = torch.tensor([[1, 2, 1, 3, 7, 1, 7, 1, 3, 2]] * 2)
    a, b, bc = 1 << 1, 1 << 2, 1 << 2 | 1 << 3
    allowed = torch.tensor([[bc, a, bc, 0, a, 0, a, bc, b]] * 2)
    more = {
        "allowed": allowed,
        "state": torch.tensor([[1, 0, 1, 0, 0, 0, 0, 1, 2]] * 2),
        "column": torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2, 2]] * 2),
        "letters": torch.tensor([3, 3]),
    }
    return token_prompts(tokens[:, :-1], tokens[:, 1:], allowed > 0, more)


def test_scores_of_the_docstrings_example() -> None:
    prompts = by_hand()
    outputs = torch.zeros(2, 9, TINY.vocabulary)
    outputs[:, :, 2] = 1.0  # always b: allowed where bc or b may follow
    scores = TINY.measure(lambda tokens: outputs, prompts, MAIN)
    assert scores[MAIN][0, :3].tolist() == [2, 0, 2]
    assert TINY.positions_per_column(prompts, MAIN)[0, :3].tolist() == [3, 1, 3]
    p_b, p_other = (x / (math.e + TINY.vocabulary - 1) for x in (math.e, 1))
    nll = -sum(math.log(p_b if token == 2 else p_other) for token in (2, 1, 3, 1, 1, 3, 2))
    assert scores[CROSS_ENTROPY][0].sum().item() == pytest.approx(nll, rel=1e-5)
    wrong = [1 - p_b - p_other, 1 - p_other, 1 - p_b - p_other, 1 - p_other, 1 - p_other]
    half = abs(0.5 - p_b) / 2 + abs(0.5 - p_other) / 2
    distances = [half + wrong[0] / 2, wrong[1], half + wrong[0] / 2, wrong[3], wrong[4]]
    distances += [half + wrong[0] / 2, 1 - p_b]
    assert scores[TOTAL_VARIATION][0].sum().item() == pytest.approx(sum(distances), rel=1e-5)


def test_the_loss_is_the_mean_cross_entropy_of_the_letters() -> None:
    prompts, outputs = by_hand(), torch.randn(2, 9, TINY.vocabulary)
    assert prompts.counted is not None
    targets = torch.where(prompts.counted, prompts.targets, -100)
    expected = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=-100)
    assert training_loss(TINY, outputs, prompts, torch.tensor(0)).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_a_batch_is_cut_behind_its_last_letter_to_one_of_a_few_lengths() -> None:
    task, lengths = RegBench(languages=30, max_string_length=9), set()
    assert 3 <= len(task.padded_lengths(4)) <= 6
    for step in (0, 1, 2, 7, 8, 5000):  # 7 is in the first epoch and the second
        length = task.batch_length(3, step, 4)
        whole = task.batch(Draws(3, "train", torch.tensor(step)), 4)
        short = task.cut(whole, length)
        assert length in task.padded_lengths(4)
        assert whole.counted is not None
        assert short.counted is not None
        assert short.tokens.shape == short.targets.shape == short.counted.shape == (4, length)
        assert not whole.counted[:, length:].any()
        needed = task.trimmed(whole).tokens.shape[1]
        assert not any(needed <= padded < length for padded in task.padded_lengths(4))
        lengths.add(length)
    assert len(lengths) > 1


def test_padding_to_a_few_lengths_saves_a_third_of_the_published_size() -> None:
    task = RegBench(languages=2500)
    lengths = [task.batch_length(0, step, 32) for step in range(300)]
    assert sum(lengths) / len(lengths) < 0.65 * task.n_points


def test_trimming_removes_only_what_is_not_counted() -> None:
    prompts = TINY.sample(draws(), 5)
    short = TINY.trimmed(prompts)
    assert short.tokens.shape[1] < prompts.tokens.shape[1]
    outputs = torch.randn(5, prompts.tokens.shape[1], TINY.vocabulary)
    cut = outputs[:, : short.tokens.shape[1]]
    step = torch.tensor(0)
    assert training_loss(TINY, cut, short, step).item() == pytest.approx(
        training_loss(TINY, outputs, prompts, step).item()
    )
    whole = TINY.measure(lambda tokens: outputs, prompts, MAIN)
    for name, scores in TINY.measure(lambda tokens: cut, short, MAIN).items():
        torch.testing.assert_close(scores, whole[name])


def test_the_mean_of_values_per_prompt_is_the_ratio_of_totals() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 9, (400, 3), generator=generator)
    counts[:, 2] = 0
    sums = counts * torch.rand(400, 3, generator=generator)
    values = weighted.per_prompt(sums, counts)
    torch.testing.assert_close(values.mean(0)[:2], (sums.sum(0) / counts.sum(0))[:2].double())
    assert values[:, 2].tolist() == pytest.approx([(sums.sum() / counts.sum()).item()] * 400)


def test_standard_errors_of_ratios_are_those_of_repeated_samples() -> None:
    """Prompts of very different lengths, whose score depends on the length."""
    generator = torch.Generator().manual_seed(1)
    counts = torch.randint(1, 40, (2000, 100), generator=generator).double()
    sums = counts * (0.3 + 0.01 * counts) + torch.randn(2000, 100, generator=generator)
    ratios = sums.sum(1) / counts.sum(1)
    errors = torch.stack(
        [weighted.per_prompt(s, c).std() / 10 for s, c in zip(sums[:200], counts[:200], strict=True)]
    )
    assert errors.mean().item() == pytest.approx(ratios.std().item(), rel=0.06)


# Reference predictors, on the languages of the paper's size.


def test_floors_are_those_of_the_process(baselines: dict[tuple[str, str], Baseline]) -> None:
    automaton = baselines["automaton", CROSS_ENTROPY]
    learner = baselines["learner told the state", CROSS_ENTROPY]
    assert math.exp(overall(automaton)) == pytest.approx(1.80, abs=0.03)
    assert math.exp(overall(learner)) == pytest.approx(1.95, abs=0.04)
    accuracy = baselines["learner told the state", MAIN]
    assert overall(accuracy) == pytest.approx(0.9874, abs=0.001)
    assert accuracy.mean[0] == pytest.approx(0.845, abs=0.01)
    assert accuracy.mean[:3] == sorted(accuracy.mean[:3])
    assert accuracy.mean[-1] > 0.999


def test_n_grams_have_the_published_accuracies(baselines: dict[tuple[str, str], Baseline]) -> None:
    assert overall(baselines["2-gram in context", MAIN]) == pytest.approx(0.83, abs=0.015)
    assert overall(baselines["3-gram in context", MAIN]) == pytest.approx(0.935, abs=0.008)


def test_no_predictor_beats_the_floor(baselines: dict[tuple[str, str], Baseline]) -> None:
    for name in ("2-gram in context", "3-gram in context", "random letter"):
        assert overall(baselines[name, MAIN]) < overall(baselines["learner told the state", MAIN])
        assert overall(baselines[name, CROSS_ENTROPY]) > overall(
            baselines["learner told the state", CROSS_ENTROPY]
        )


def test_the_mean_of_columns_is_not_the_mean_of_positions(
    baselines: dict[tuple[str, str], Baseline],
) -> None:
    row = baselines["3-gram in context", MAIN]
    assert overall(row) > sum(row.mean) / len(row.mean) + 0.01


def test_n_gram_probabilities_sum_to_one_and_are_those_of_witten_and_bell() -> None:
    prompts = by_hand()
    letters = Letters.of(TINY, prompts)
    predicted = n_gram(TINY, letters, 2)
    # The third letter, a, follows b, which nothing followed yet. So it has the unigram distribution of a, b:
    # a and b have 1 / (2 + 2), and the rest is shared by the four other letters.
    assert predicted.cross_entropy[0, 1].item() == pytest.approx(math.log(4))
    # The fourth, c, follows a, which b followed once: 1/2 is left for the other letters, in proportion to
    # the unigrams after a, b, a: a has 2/5, and c shares 2/5 with three others.
    c = 0.5 * (2 / 5 / 4) / (2 / 5 + 2 / 5)
    assert predicted.cross_entropy[0, 2].item() == pytest.approx(-math.log(c))
    assert predicted.accuracy[0, [1, 2]].tolist() == [1.0, 1.0]  # a by the tie, and b after a
