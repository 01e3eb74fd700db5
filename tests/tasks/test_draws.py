"""Random numbers: the same wherever and whenever they are drawn, and random enough."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.kernels.draws import words
from bench.tasks.draws import Draws

UNLIKELY = 1e-4
"""Draws are fixed, so a test of randomness passes always or never; a fair stream fails one in 10⁴."""


def draws(seed: int = 0, purpose: str = "train", step: int = 0) -> Draws:
    return Draws(seed, purpose, torch.tensor(step))


def bits(place: Draws, name: str, count: int) -> torch.Tensor:
    """The first `count` random words of a name, from which all kinds of draws are made."""
    return words.words(torch.arange(count), place.step, *place.keys(name))


def sha256(values: torch.Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16]


def uniform_by_chi_square(counts: np.ndarray) -> bool:
    return stats.chisquare(counts.reshape(-1)).pvalue > UNLIKELY


PLACES = st.tuples(
    st.integers(0, 2**40), st.sampled_from(["train", "select", "report"]), st.integers(0, 10**7)
)


@given(place=PLACES, name=st.text(max_size=5))
@settings(max_examples=50)
def test_a_draw_does_not_depend_on_what_was_drawn_before(place: tuple[int, str, int], name: str) -> None:
    fresh, used = draws(*place), draws(*place)
    used.normal("other", 7)
    used.uniform(name, 3)
    assert torch.equal(fresh.uniform(name, 20), used.uniform(name, 20))


@given(one=st.tuples(PLACES, st.text(max_size=3)), other=st.tuples(PLACES, st.text(max_size=3)))
@settings(max_examples=200)
def test_two_places_share_no_word(one: tuple, other: tuple) -> None:
    if one != other:
        here, there = (set(bits(draws(*place), name, 64).tolist()) for place, name in (one, other))
        assert not here & there


@pytest.mark.parametrize(
    "other", [draws(seed=1), draws(purpose="report"), draws(step=1), draws(seed=-1), draws(step=2**40)]
)
def test_changing_one_coordinate_changes_every_word(other: Draws) -> None:
    here, there = bits(draws(), "x", 10_000), bits(other, "x", 10_000)
    assert not set(here.tolist()) & set(there.tolist())


def test_purpose_and_name_do_not_run_into_each_other() -> None:
    assert not torch.equal(bits(draws(purpose="a/b"), "c", 4), bits(draws(purpose="a"), "b/c", 4))


def test_a_bigger_batch_begins_with_the_smaller_one() -> None:
    place = draws(3, "report", 5)
    assert torch.equal(place.normal("x", 10, 3, 5)[:3], place.normal("x", 3, 3, 5))
    assert torch.equal(place.uniform("x", 10, 3)[:3], place.uniform("x", 3, 3))
    assert torch.equal(place.integers("x", 9, 10, 3)[:3], place.integers("x", 9, 3, 3))
    assert torch.equal(place.signs("x", 10, 3)[:3], place.signs("x", 3, 3))
    assert torch.equal(place.subsets("x", 10, 2, 6, 8)[:3], place.subsets("x", 3, 2, 6, 8))


def test_every_bit_is_fair_and_independent_of_every_other_bit() -> None:
    drawn = bits(draws(), "x", 20_000)
    columns = ((drawn.unsqueeze(1) >> torch.arange(64)) & 1).to(torch.float64)
    z = (columns.mean(dim=0) - 0.5) * 2 * 20_000**0.5
    assert stats.kstest(z.numpy(), "norm").pvalue > UNLIKELY
    correlation = torch.corrcoef(columns.T) * 20_000**0.5
    pairs = correlation[tuple(torch.triu_indices(64, 64, offset=1))]
    assert stats.kstest(pairs.numpy(), "norm").pvalue > UNLIKELY


@pytest.mark.slow
def test_neighbouring_words_differ_in_half_their_bits() -> None:
    by_index = bits(draws(), "x", 4096)
    by_step = torch.stack([bits(draws(step=step), "x", 1)[0] for step in range(4096)])
    for drawn in (by_index, by_step):
        flips = (((drawn[1:] ^ drawn[:-1]).unsqueeze(1) >> torch.arange(64)) & 1).sum(dim=1)
        expected = stats.binom.pmf(np.arange(65), 64, 0.5) * len(flips)
        middle = slice(22, 43)
        counts = np.bincount(flips.numpy(), minlength=65)
        observed = [*counts[middle], len(flips) - counts[middle].sum()]
        wanted = [*expected[middle], len(flips) - expected[middle].sum()]
        assert stats.chisquare(observed, wanted).pvalue > UNLIKELY


@pytest.mark.parametrize("high", [2, 3, 20, 1000])
def test_integers_are_uniform(high: int) -> None:
    values = draws().integers("x", high, 100, 1000)
    assert values.dtype == torch.int64
    assert (int(values.min()), int(values.max())) == (0, high - 1)
    assert uniform_by_chi_square(np.bincount(values.flatten().numpy(), minlength=high))


def test_signs_are_uniform_over_all_patterns() -> None:
    signs = draws().signs("x", 100_000, 10)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    patterns = ((signs > 0).to(torch.int64) * 2 ** torch.arange(10)).sum(dim=1)
    assert uniform_by_chi_square(np.bincount(patterns.numpy(), minlength=1024))


def test_uniforms_are_uniform_and_inside_the_open_interval() -> None:
    values = draws().uniform("x", 200_000)
    assert 0 < float(values.min()) < float(values.max()) < 1
    assert stats.kstest(values.numpy(), "uniform").pvalue > UNLIKELY


def test_normals_have_the_distribution_and_moments_of_a_normal() -> None:
    values = draws().normal("x", 500_001).to(torch.float64)
    count = len(values)
    assert stats.kstest(values.numpy(), "norm").pvalue > UNLIKELY
    # Moments of N(0, 1) are 0, 1, 0, 3; their estimators' variances are 1, 2, 15, 96 over count.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((values**power).mean()) - moment) < 4 * (variance / count) ** 0.5
    assert values.abs().max() > 4.4  # half a million normals reach 4.9 or so


def test_normals_are_independent_across_prompts_points_and_coordinates() -> None:
    values = draws().normal("x", 4000, 4, 5).reshape(4000, 20).to(torch.float64)
    for paired in (values, torch.cat((values[1:], values[:-1]), dim=1)):
        scaled = torch.corrcoef(paired.T) * len(paired) ** 0.5
        pairs = scaled[tuple(torch.triu_indices(len(scaled), len(scaled), offset=1))]
        assert stats.kstest(pairs.numpy(), "norm").pvalue > UNLIKELY


def test_the_two_normals_of_one_word_are_independent_also_in_size() -> None:
    first, second = draws().normal("x", 100_000, 2).to(torch.float64).unbind(dim=1)
    for pair in ((first, second), (first.abs(), second.abs()), (first**2, second**2)):
        assert abs(float(torch.corrcoef(torch.stack(pair))[0, 1])) < 4 / 100_000**0.5


def test_normals_are_independent_across_steps() -> None:
    steps = torch.stack([draws(step=step).normal("x", 5000) for step in range(20)]).to(torch.float64)
    scaled = torch.corrcoef(steps) * 5000**0.5
    pairs = scaled[tuple(torch.triu_indices(20, 20, offset=1))]
    assert stats.kstest(pairs.numpy(), "norm").pvalue > UNLIKELY
    assert stats.kstest(steps.mean(dim=1).numpy() * 5000**0.5, "norm").pvalue > UNLIKELY


def test_subsets_are_uniform_without_repetition() -> None:
    chosen = draws().subsets("s", 56_000, 3, 8, 8).sort(dim=1).values
    assert bool((chosen[:, 1:] > chosen[:, :-1]).all())
    number = {subset: n for n, subset in enumerate(itertools.combinations(range(8), 3))}
    counts = np.bincount([number[tuple(row)] for row in chosen.tolist()], minlength=56)
    assert uniform_by_chi_square(counts)


@given(out_of=st.integers(2, 12), seed=st.integers(0, 100))
@settings(max_examples=40)
def test_subsets_stay_among_the_elements_allowed(out_of: int, seed: int) -> None:
    by_number = draws(seed).subsets("s", 50, 2, out_of, 12)
    by_tensor = draws(seed).subsets("s", 50, 2, torch.tensor(out_of), 12)
    assert torch.equal(by_number, by_tensor)
    assert set(by_number.flatten().tolist()) <= set(range(out_of))
    assert bool((by_number[:, 0] != by_number[:, 1]).all())


def test_a_subset_of_everything_is_everything() -> None:
    assert torch.equal(draws().subsets("s", 9, 5, 5, 5).sort(dim=1).values, torch.arange(5).expand(9, 5))


def test_splitmix_finaliser_matches_integer_arithmetic() -> None:
    """The hash written a second time with Python's unbounded integers."""
    full = 2**64 - 1
    golden = 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & full
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & full
        return x ^ (x >> 31)

    digest = hashlib.blake2b(b"(7, 'train', 'x')", digest_size=16).digest()
    keys = [int.from_bytes(half, "little") for half in (digest[:8], digest[8:])]
    first, second = (mix((12 * golden + key) & full) for key in keys)
    expected = [mix(mix((index * golden + first) & full) ^ second) for index in range(100)]
    assert [word % 2**64 for word in bits(draws(7, "train", 12), "x", 100).tolist()] == expected


def test_the_streams_are_those_of_every_earlier_run() -> None:
    """Results are comparable only while these hold: a change must raise the tasks' `version`."""
    place = draws(1, "report", 3)
    assert {
        "bits": sha256(bits(place, "a", 1000)),
        "uniform": sha256(place.uniform("b", 1000)),
        "normal": sha256(place.normal("c", 1000)),
        "integers": sha256(place.integers("d", 20, 1000)),
        "signs": sha256(place.signs("e", 1000)),
        "subsets": sha256(place.subsets("f", 100, 3, 15, 20)),
    } == {
        "bits": "cd2487de1896e04a",
        "uniform": "813870c1c0818d61",
        "normal": "2a6f83fb63ec7e3e",
        "integers": "6f95e3c8f451bad9",
        "signs": "3e4aa963ec656e9f",
        "subsets": "819dd9257b04d3be",
    }
