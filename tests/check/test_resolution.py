"""Ties, and numbers known up to a step only: they decide nothing that they cannot tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import claim_of, experiment_of, grid, pool_with, result_of, suite_of, task_named

from bench.check import Verdict, check
from bench.check.claims import Claims
from bench.uncertainty import SeedErrors

PARITY = task_named("sparse_parity")
GROUP = task_named("word_problem", group="S3", n_points=8)
CADENCE, BUDGET = 1_000, 10_000
NAMES = ("mamba", "s4", "transformer")
STEPS = {"rebuilds": "Figure 2", "of": "convergence_step"}
HORIZONS = {"rebuilds": "Figure 2", "of": "horizon"}


def verdict(claim: dict[str, Any], results: list[dict[str, Any]], runs: list[Any]) -> Verdict:
    model = claim_of({"statement": "s", "requires": {"about": "these runs"}, **claim})
    suite = suite_of(experiment_of(runs, "all"))
    pool = pool_with(runs={result["id"]: result for result in results})
    (one,) = check(Claims(Path("x"), {"c": model}), suite, pool)
    return one


def on_steps(claim: dict[str, Any], *checks: int | tuple[int, ...]) -> Verdict:
    """The verdict on Mamba, S4 and the Transformer that learned at these checks, one for each seed."""
    runs, results = [], []
    for name, of_seeds in zip(NAMES, checks, strict=False):
        for seed, step in enumerate([of_seeds] if isinstance(of_seeds, int) else of_seeds):
            checkpoints = tuple(range(CADENCE, BUDGET + 1, CADENCE))
            (run,) = grid(PARITY, (name,), seeds=(seed,), steps=BUDGET, checkpoints=checkpoints)
            result = result_of(run, 0.97, provenance={"synthetic": False}, noise=0)
            runs.append(run)
            results.append(result | {"convergence_step": step})
    return verdict({"measure": STEPS, **claim}, results, runs)


def order(*names: str, **fields: Any) -> dict[str, Any]:
    return {"order": [{"architecture": name} for name in names], **fields}


@pytest.mark.parametrize(
    ("mamba", "s4", "slack", "word"),
    [
        (3_000, 3_000, 0.0, "undecided"),  # the same check
        (3_000, 4_000, 0.0, "reproduced"),  # a check apart: 3,000 at the latest, and 3,001 at the earliest
        (4_000, 3_000, 0.0, "contradicted"),
        (3_000, 3_000, 0.5, "reproduced"),  # at most 3,000, and 1.5 times at least 2,001
        (3_000, 3_000, 0.4, "undecided"),  # 1.4 times 2,001 is less than 3,000
        (3_000, 3_000, -0.5, "contradicted"),  # at least 2,001, and half of at most 3,000
        (2_000, 4_000, -0.4, "undecided"),  # the ratio is from 0.25 to 0.67
        (2_000, 4_000, -0.2, "reproduced"),
        (2_000, 4_000, -0.8, "contradicted"),
    ],
)
def test_an_order_of_steps_holds_wherever_between_the_checks_they_are(
    mamba: int, s4: int, slack: float, word: str
) -> None:
    one = on_steps(order("mamba", "s4", slack=slack), mamba, s4)
    assert one.verdict == word
    assert one.over == "steps between checks, not prompts"
    assert ("since the check before" in one.reason) == (word == "undecided")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ({"bound": {"at_most": 3_000}}, "reproduced"),
        ({"bound": {"at_most": 2_500}}, "undecided"),
        ({"bound": {"at_most": 2_000}}, "contradicted"),
        ({"bound": {"at_least": 2_001}}, "reproduced"),
        ({"bound": {"at_least": 2_500}}, "undecided"),
        ({"bound": {"at_least": 3_001}}, "contradicted"),
        ({"value": {"expected": 3_000, "absolute": 999}}, "reproduced"),
        ({"value": {"expected": 3_000, "relative": 0.1}}, "undecided"),
        ({"value": {"expected": 1_000, "relative": 0.1}}, "contradicted"),
    ],
)
def test_a_step_is_any_since_the_check_before(kind: dict[str, Any], word: str) -> None:
    one = on_steps(kind, 3_000)
    assert (one.verdict, one.value, one.interval) == (word, 3_000, (2_001, 3_000))


def test_seeds_of_these_runs_are_each_known_up_to_a_check() -> None:
    one = on_steps({"bound": {"at_most": 4_000}}, (3_000, 5_000))
    assert (one.value, one.interval) == (4_000, (3_001, 4_000))


def test_two_checks_for_every_seed_are_a_tie_for_training_too() -> None:
    claim = order("mamba", "s4", requires={"about": "training"})
    one = on_steps(claim, (3_000,) * 3, (3_000,) * 3)
    assert (one.verdict, one.over) == ("undecided", "3 seeds, not prompts")


def test_an_order_of_three_with_a_tie_is_contradicted_by_the_pair_that_is_the_other_way_round() -> None:
    assert on_steps(order(*NAMES), 2_000, 2_000, 5_000).verdict == "undecided"
    assert on_steps(order(*NAMES), 5_000, 5_000, 2_000).verdict == "contradicted"


def test_a_tie_among_counted_pairs_decides_only_if_it_is_needed() -> None:
    pairs = [[{"architecture": "mamba"}, {"architecture": name}] for name in ("s4", "transformer")]
    for at_least, word in ((1, "reproduced"), (2, "undecided")):
        one = on_steps({"count": {"at_least": at_least, "orders": pairs}}, 2_000, 2_000, 5_000)
        assert (one.verdict, one.value) == (word, 1)
        assert "(tie)" in one.reason


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10), st.integers(1, 10), st.floats(-0.9, 3))
def test_a_decided_order_holds_or_fails_at_both_ends_of_every_step(
    first: int, second: int, slack: float
) -> None:
    """The true steps are unknown: a verdict has to be right for the most and the least favourable ones."""
    low, high = (CADENCE * check for check in (first, second))
    favourable = low - CADENCE + 1 < (1 + slack) * high
    certain = low < (1 + slack) * (high - CADENCE + 1)
    word = on_steps(order("mamba", "s4", slack=slack), low, high).verdict
    assert word == ("reproduced" if certain else "undecided" if favourable else "contradicted")


@pytest.mark.parametrize(("s4", "word"), [(3, "undecided"), (2, "reproduced"), (4, "contradicted")])
def test_equal_horizons_are_a_tie(s4: int, word: str) -> None:
    """Accuracies fall from 1 to 0.5, so that no other prompts move a horizon."""
    runs = grid(GROUP, ("s4", "mamba"))
    results = [
        result_of(run, [1.0] * reached + [0.5] * (8 - reached), provenance={"synthetic": False}, noise=0)
        for run, reached in zip(runs, (s4, 3), strict=True)
    ]
    one = verdict({"measure": HORIZONS, **order("s4", "mamba")}, results, list(runs))
    assert one.verdict == word
    assert ("equal in 100 %" in one.reason) == (word == "undecided")


@pytest.mark.parametrize(
    ("least", "word"), [(147, "reproduced"), (150, "undecided"), (153, "undecided"), (154, "contradicted")]
)
def test_a_horizon_may_end_at_a_position_that_was_left_out(least: int, word: str) -> None:
    """Of the positions from 140 on, 146 and 153 are scored. The horizon is 147, or up to 153."""
    (run,) = grid(PARITY, ("mamba",), ((1, 64),))
    result = result_of(run, 1.0, provenance={"synthetic": False}, noise=0)
    longer = result["checkpoints"][-1]["evaluations"]["longer_prompts"]
    positions = result["facts"]["evaluations"]["longer_prompts"]["positions"]
    assert list(positions[:2]) == [146, 153]
    longer["mean"] = [1.0 if position == 146 else 0.5 for position in positions]
    claim = {"measure": {**HORIZONS, "evaluation": "longer_prompts"}, "bound": {"at_least": least}}
    one = verdict(claim, [result], [run])
    assert (one.verdict, one.value, one.interval) == (word, 147, (147, 153))
    assert one.over == "prompts, positions left out"


def test_errors_that_are_equal_on_every_prompt_refute_no_order() -> None:
    runs = grid(task_named(), ("mamba", "s4"))
    results = [result_of(run, 0.2, provenance={"synthetic": False}, noise=0) for run in runs]
    one = verdict({"measure": {"rebuilds": "Figure 2"}, **order("mamba", "s4")}, results, list(runs))
    assert (one.verdict, one.value) == ("undecided", 1)


@given(
    st.lists(st.floats(1, 1e4), min_size=1, max_size=4),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_draws_have_both_ends_of_a_coarse_number_and_nothing_else(
    means: list[float], below: float, above: float
) -> None:
    values, zeros = np.array(means), np.zeros(len(means))
    model = SeedErrors("coarse", values, zeros, unit=1.0, resolution=(below, above))
    draws = model.draws(training=False)
    assert set(draws) == {model.mean - below, model.mean + above}
    assert all(((draws == end).mean() > 0.4) for end in set(draws))
    if len(means) > 1:  # the spread of seeds stands for it
        assert (model.draws() == SeedErrors("coarse", values, zeros, unit=1.0).draws()).all()
