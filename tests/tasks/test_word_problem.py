"""The word problem: groups, products along the prompt, floors and guesses."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate
from typing import Literal, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_runs import training_loss

import bench
from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.groups import (
    Group,
    Permutation,
    composed,
    derived_subgroup,
    elements,
    generators,
    multiplication_table,
)
from bench.tasks.prefixes import prefix_products
from bench.tasks.task import Prompts
from bench.tasks.word_problem import CROSS_ENTROPY, PREFIX, WINDOW, WordProblem

UNLIKELY = 1e-4
GROUPS: tuple[Group, ...] = get_args(Group)


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


def reflections(element: Permutation) -> int:
    """Transpositions that a permutation is a product of, at the least: points minus cycles."""
    seen: set[int] = set()
    cycles = 0
    for start in range(len(element)):
        cycles += start not in seen
        point = start
        while point not in seen:
            seen.add(point)
            point = element[point]
    return len(element) - cycles


# Groups.


@pytest.mark.parametrize(
    ("group", "order", "derived"),
    [
        ("Z2", 2, 1),
        ("Z5", 5, 1),
        ("S3", 6, 3),
        ("Z60", 60, 1),
        ("A4xZ5", 60, 4),
        ("A5", 60, 60),
        ("S5", 120, 60),
    ],
)
def test_groups_have_their_order_and_derived_subgroup(group: Group, order: int, derived: int) -> None:
    assert len(elements(group)) == order
    assert len(derived_subgroup(group)) == derived


def test_elements_need_the_known_numbers_of_reflections() -> None:
    assert Counter(map(reflections, elements("S3"))) == {0: 1, 1: 3, 2: 2}
    assert Counter(map(reflections, elements("S5"))) == {0: 1, 1: 10, 2: 35, 3: 50, 4: 24}
    assert Counter(map(reflections, elements("A5"))) == {0: 1, 2: 35, 4: 24}


def test_only_cyclic_groups_are_commutative() -> None:
    for group in GROUPS:
        table = torch.tensor(multiplication_table(group))
        assert bool((table == table.T).all()) == group.startswith("Z")


@given(group=st.sampled_from(GROUPS), data=st.data())
def test_tables_are_those_of_groups(group: Group, data: st.DataObject) -> None:
    table = multiplication_table(group)
    a, b, c = (data.draw(st.integers(0, len(table) - 1)) for _ in range(3))
    assert table[table[a][b]][c] == table[a][table[b][c]]
    assert table[0][a] == table[a][0] == a
    assert sorted(table[a]) == list(range(len(table)))


# Prompts.


@given(length=st.integers(1, 70), seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_prefix_products_are_those_of_a_loop(length: int, seed: int) -> None:
    matrices = torch.randint(0, 2, (2, length, 3, 3), generator=torch.Generator().manual_seed(seed))

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2) % 7  # of matrices modulo 7: associative

    products = prefix_products(matrices, product)
    for row in range(2):
        for ours, expected in zip(products[row], accumulate(matrices[row], product), strict=True):
            assert torch.equal(ours, expected)


@pytest.mark.parametrize("alphabet", ["elements", "generators"])
@pytest.mark.parametrize("group", GROUPS)
def test_targets_are_the_compositions_of_the_permutations_so_far(
    group: Group, alphabet: Literal["elements", "generators"]
) -> None:
    task = WordProblem(group=group, alphabet=alphabet, n_points=19)
    prompts = task.sample(draws(), 5)
    members = elements(group)
    assert prompts.tokens.shape == (5, task.length(19))
    for words, targets in zip(prompts.tokens.tolist(), prompts.targets.tolist(), strict=True):
        products = accumulate((members[word] for word in words), composed)
        assert [members[target] for target in targets] == list(products)


@pytest.mark.parametrize("group", GROUPS)
def test_words_over_generators_have_the_identity_and_the_generators_equally_often(group: Group) -> None:
    prompts = WordProblem(group=group, alphabet="generators", n_points=16).sample(draws(), 64)
    counts = torch.bincount(prompts.tokens.flatten(), minlength=len(elements(group)))
    used = counts.nonzero().flatten().tolist()
    assert used == sorted(generators(group))
    assert used[0] == 0
    assert stats.chisquare(counts[used].numpy()).pvalue > UNLIKELY


@pytest.mark.parametrize("group", ["S3", "A4xZ5", "A5"])
def test_a_long_product_of_generators_may_be_any_element(group: Group) -> None:
    products = WordProblem(group=group, alphabet="generators", n_points=96).sample(draws(), 6000).targets
    counts = torch.bincount(products[:, -1], minlength=len(elements(group)))
    assert stats.chisquare(counts.numpy()).pvalue > UNLIKELY


def test_generators_need_as_many_reflections_as_the_claims_about_them_say() -> None:
    needed = {
        group: [reflections(elements(group)[number]) for number in generators(group)]
        for group in ("S3", "A5", "S5")
    }
    assert needed == {"S3": [0, 1, 2], "A5": [0, 2, 2], "S5": [0, 1, 4]}


def test_the_docstrings_example() -> None:
    members = elements("S3")
    assert [members[word] for word in (1, 2, 2, 4)] == [(0, 2, 1), (1, 0, 2), (1, 0, 2), (2, 0, 1)]
    assert list(accumulate((members[word] for word in (1, 2, 2, 4)), composed)) == [
        members[number] for number in (1, 4, 1, 2)
    ]


def test_a_product_is_uniform_whatever_the_last_element() -> None:
    prompts = WordProblem(group="S3", n_points=4).sample(draws(), 7200)
    for column in (1, 3):
        pairs = prompts.tokens[:, column] * 6 + prompts.targets[:, column]
        assert stats.chisquare(torch.bincount(pairs, minlength=36).numpy()).pvalue > UNLIKELY


# Scores.


def test_scores_tell_a_late_mistake_from_none() -> None:
    task = WordProblem(group="S3", n_points=6)
    prompts = task.sample(draws(), 4)
    outputs = 20.0 * torch.nn.functional.one_hot(prompts.targets, 6).float()
    outputs[1, 2] = outputs[1, 2].roll(1)
    scores = task.measure(lambda _: outputs, prompts, "report")
    assert scores["report"].sum(dim=1).tolist() == [6, 5, 6, 6]
    assert scores[PREFIX][1].tolist() == [1, 1, 0, 0, 0, 0]
    assert scores[CROSS_ENTROPY][0].max() < 1e-6
    assert scores[CROSS_ENTROPY][1, 2] == pytest.approx(20, abs=1e-3)


def test_prompts_of_eight_times_the_length_are_scored_at_each_doubling() -> None:
    (longer,) = WordProblem(group="A5", n_points=16).longer_evaluations().values()
    positions, marks = longer.description.positions, longer.description.marks
    assert longer.task.n_points == 128
    assert {mark: positions[column] for mark, column in marks.items()} == {
        "2x_length": 31,
        "4x_length": 63,
        "8x_length": 127,
    }


# Baselines.


def rows_of(group: Group, n_points: int = 16) -> dict[tuple[str, str], Baseline]:
    task = WordProblem(group=group, n_points=n_points)
    rows = task.baselines(task.sample(draws(), 2000))
    return {(row.name, row.evaluation): row for row in rows}


@pytest.mark.parametrize("group", ["S3", "A4xZ5", "S5"])
def test_the_floor_multiplies_and_guesses_have_their_closed_forms(group: Group) -> None:
    rows, order, derived = rows_of(group), len(elements(group)), len(derived_subgroup(group))
    floor = {at: row.mean for (_, at), row in rows.items() if row.kind == "floor"}
    assert floor == {"report": [1.0] * 16, CROSS_ENTROPY: [0.0] * 16, PREFIX: [1.0] * 16}
    guess, part = rows["uniform guess", CROSS_ENTROPY], rows["commutative part", CROSS_ENTROPY]
    assert guess.mean == pytest.approx([math.log(order)] * 16, rel=1e-4)
    assert part.mean == pytest.approx([math.log(derived)] * 16, rel=1e-4)
    window = rows[f"product of the last {WINDOW} elements", "report"]
    assert window.mean[:WINDOW] == [1.0] * WINDOW
    beyond = torch.tensor(window.mean[WINDOW:])
    assert float((beyond - 1 / order).abs().max()) < 4.5 * (1 / order / 2000) ** 0.5


def test_a_commutative_or_perfect_group_has_no_baseline_of_its_commutative_part() -> None:
    for group in ("Z60", "A5"):
        assert not [name for name, _ in rows_of(group, 4) if name == "commutative part"]


def test_a_guess_is_right_so_far_with_a_probability_that_falls_with_each_element() -> None:
    task = WordProblem(group="S3", n_points=5)
    described = task.evaluations()[PREFIX]
    assert described.trivial == pytest.approx([6.0**-t for t in (1, 2, 3, 4, 5)])
    prompts = task.sample(draws(), 20_000)
    guesses = torch.randint(6, prompts.targets.shape, generator=torch.Generator().manual_seed(0))
    right = (guesses == prompts.targets).double().cumprod(dim=1).mean(dim=0)
    for share, expected in zip(right.tolist(), described.trivial, strict=True):
        assert abs(share - expected) < 4.5 * (expected / 20_000) ** 0.5
    assert task.evaluations()["report"].trivial is None  # the task's


# Lengths that grow.

GROWING = WordProblem.model_validate(
    {"group": "S3", "n_points": 12, "curriculum": {"points": {"start": 4, "increment": 3, "every": 10}}}
)


@pytest.mark.parametrize(("step", "length"), [(0, 4), (9, 4), (10, 7), (25, 10), (30, 12), (999, 12)])
def test_the_loss_is_that_of_shorter_prompts(step: int, length: int) -> None:
    prompts = GROWING.batch(Draws(0, "train", torch.tensor(step)), 6)
    model = bench.make_model("deltanet", layers=1, width=16, heads=2, task=GROWING)
    short = WordProblem(group="S3", n_points=length)
    part = Prompts(prompts.tokens[:, :length], prompts.targets[:, :length], prompts.inputs[:, :length])
    with torch.no_grad():
        expected = training_loss(short, model(part.tokens), part, torch.tensor(step))
        loss = training_loss(GROWING, model(prompts.tokens), prompts, torch.tensor(step))
    assert GROWING.points_at(step) == length
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_growing_lengths_change_no_prompt_and_no_score() -> None:
    plain = WordProblem(group="S3", n_points=12)
    assert torch.equal(GROWING.batch(draws(3), 5).tokens, plain.batch(draws(3), 5).tokens)
    assert GROWING.evaluations() == plain.evaluations()
    assert GROWING.longer_evaluations()["longer_prompts"].task.n_points == 96
    # Results from before the word problem had a curriculum keep their ids.
    assert plain.identity() == {
        "version": 1, "name": "word_problem", "group": "S3", "n_points": 12, "curriculum": None
    }  # fmt: skip


def test_flops_are_counted_at_both_lengths() -> None:
    run = bench.make_run(GROWING, "deltanet", layers=1, width=16, learning_rate=1e-3, steps=40)
    expected = sum(
        bench.make_run(
            WordProblem(group="S3", n_points=length),
            "deltanet",
            layers=1,
            width=16,
            learning_rate=1e-3,
            steps=10,
        ).training_flops()
        for length in (4, 7, 10, 12)
    )
    assert run.training_flops() == expected < run.training_flops_full_length()
