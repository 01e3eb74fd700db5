"""Verdicts: every kind of claim passing, failing and on the edge; and everything that must not pass."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import PROMPTS, claim_of, grid, pool_with, record_of, result_of, run_of, task_named

from bench.check import Verdict, changes, check, exit_code, to_json
from bench.check.claim import LEAST_PROMPTS
from bench.check.claims import Claims
from bench.models.architectures import ARCHITECTURES
from bench.results import NotARecord, Pool
from bench.run import Run
from bench.suite import Experiment, Suite
from bench.tasks.task import Task

LINEAR = task_named("linear_regression")
REAL = {"synthetic": False}


def suite_of(runs: Sequence[Run]) -> Suite:
    return Suite("quick", "", Path("quick.yaml"), (Experiment("linear", "", "", tuple(runs)),))


def pool_of(results: Sequence[dict[str, Any]]) -> Pool:
    return pool_with(runs={result["id"]: result for result in results})


def finished(run: Run, errors: Any, **fields: Any) -> dict[str, Any]:
    """A result that is not marked as made up. Its numbers are exact, unless `noise` says otherwise."""
    return result_of(run, errors, provenance=REAL, **{"noise": 0.0, **fields})


def diverged(run: Run) -> dict[str, Any]:
    return result_of(run, outcome="diverged", provenance=REAL)


def verdict_on(
    claim: dict[str, Any],
    runs: Sequence[Run],
    results: Sequence[dict[str, Any]],
    states: dict[str, str] | None = None,
    **options: Any,
) -> Verdict:
    """What becomes of one claim about `runs`; its measure is completed with the experiment."""
    measure = {"experiment": "linear", **claim.pop("measure", {})}
    model = claim_of({"statement": "s", "measure": measure, **claim})
    claims = Claims(Path("quick.claims.yaml"), {"c": model})
    (verdict,) = check(claims, suite_of(runs), pool_of(results), states, **options)
    return verdict


def on_error(claim: dict[str, Any], error: float) -> Verdict:
    """What becomes of a claim about a single run with this normalised error."""
    run = run_of()
    return verdict_on(claim, [run], [finished(run, error)])


def bound(**sides: float) -> dict[str, Any]:
    return {"bound": sides}


def value(**fields: float) -> dict[str, Any]:
    return {"value": fields}


# --- kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "error", "word"),
    [
        (bound(at_most=0.4), 0.3, "reproduced"),
        (bound(at_most=0.5), 0.5, "reproduced"),
        (bound(at_most=0.4), 0.41, "contradicted"),
        (bound(at_least=0.4), 0.41, "reproduced"),
        (bound(at_least=0.5), 0.5, "reproduced"),
        (bound(at_least=0.4), 0.39, "contradicted"),
        (value(expected=0.25, absolute=0.02), 0.26, "reproduced"),
        (value(expected=0.256, absolute=0.02), 0.276, "reproduced"),  # 0.276 − 0.256 > 0.02 in binary
        (value(expected=0.25, absolute=0.02), 0.2701, "contradicted"),
        (value(expected=0.25, absolute=0.02), 0.2299, "contradicted"),
        (value(expected=0.2, relative=0.1), 0.22, "reproduced"),
        (value(expected=0.2, relative=0.1), 0.221, "contradicted"),
        (value(expected=0.01, log10=1), 0.1, "reproduced"),
        (value(expected=0.01, log10=1), 0.0011, "reproduced"),
        (value(expected=0.01, log10=1), 0.11, "contradicted"),
        (value(expected=0.01, log10=1), 0.0, "contradicted"),
    ],
)
def test_a_number_is_held_against_its_claim(claim: dict[str, Any], error: float, word: str) -> None:
    verdict = on_error(claim, error)
    assert verdict.verdict == word
    assert verdict.value == pytest.approx(error)


@pytest.mark.parametrize(
    ("mamba", "s4", "slack", "word"),
    [
        (0.1, 0.2, 0.0, "reproduced"),
        (0.2, 0.1, 0.0, "contradicted"),
        (0.2, 0.2, 0.0, "undecided"),  # a tie
        (0.2, 0.2, -0.1, "contradicted"),  # a tie is no margin
        (0.21, 0.2, 0.1, "reproduced"),
        (0.23, 0.2, 0.1, "contradicted"),
        (0.09, 0.2, -0.5, "reproduced"),
        (0.11, 0.2, -0.5, "contradicted"),
        (0.0, 0.0, 0.1, "not comparable"),
        (0.1, 0.0, 0.1, "contradicted"),
    ],
)
def test_an_order_rises_up_to_its_slack(mamba: float, s4: float, slack: float, word: str) -> None:
    runs = grid(LINEAR, ("mamba", "s4"))
    claim = {"order": [{"architecture": "mamba"}, {"architecture": "s4"}], "slack": slack}
    verdict = verdict_on(claim, runs, [finished(runs[0], mamba), finished(runs[1], s4)])
    assert verdict.verdict == word
    assert verdict.expected == "Mamba < S4"
    assert verdict.run_ids == (runs[0].id, runs[1].id)
    if s4:
        assert verdict.value == pytest.approx(mamba / s4)


def test_slack_does_not_add_up_along_an_order() -> None:
    runs = grid(LINEAR, ("transformer", "mamba", "s4"))
    names = [{"architecture": name} for name in ("transformer", "mamba", "s4")]
    results = [finished(run, error) for run, error in zip(runs, (0.118, 0.109, 0.1), strict=True)]
    verdict = verdict_on({"order": names, "slack": 0.1}, runs, results)
    assert verdict.verdict == "contradicted"
    assert verdict.value == pytest.approx(1.18)


TRAINING = {"requires": {"about": "training"}}
MODELS = ("transformer", "mamba", "s4", "lstm")
ORDER: list[dict[str, Any]] = [{"architecture": name} for name in MODELS]


def on_seeds(claim: dict[str, Any], errors: Sequence[Sequence[float]]) -> Verdict:
    """What becomes of a claim about training, given the errors of three seeds of the first of MODELS."""
    runs = grid(LINEAR, MODELS[: len(errors)], seeds=(0, 1, 2))
    of_runs = [error for of_model in errors for error in of_model]
    results = [finished(run, error) for run, error in zip(runs, of_runs, strict=True)]
    return verdict_on({**TRAINING, **claim}, runs, results)


@pytest.mark.parametrize(
    ("errors", "word"),
    [
        ((0.2, 0.2001, 0.2002), "reproduced"),
        ((0.4, 0.4001, 0.4002), "contradicted"),
        ((0.1, 0.1001, 0.1002), "contradicted"),
        ((0.01, 0.2, 0.39), "undecided"),  # 9 of 10 draws lie outside, on either side
    ],
)
def test_a_spread_wider_than_its_tolerance_does_not_contradict_a_value(
    errors: tuple[float, ...], word: str
) -> None:
    assert on_seeds(value(expected=0.2, absolute=0.005), [errors]).verdict == word


@pytest.mark.parametrize(
    "claim",
    [
        {"order": ORDER},
        {"trend": {"rising": ORDER}},
        {
            "count": {
                "at_least": 5,
                "orders": [[ORDER[i], ORDER[j]] for i, j in ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3))],
            }
        },
    ],
)
def test_chance_does_not_contradict_an_order(claim: dict[str, Any]) -> None:
    """Models with equal means are in the claimed one of 24 orders in about 4 % of the draws."""
    alike = [(0.2, 0.3, 0.4), (0.3, 0.4, 0.2), (0.4, 0.2, 0.3), (0.2, 0.4, 0.3)]
    assert on_seeds(claim, alike).verdict == "undecided"
    reversed_ = [(0.5, 0.51, 0.52), (0.4, 0.41, 0.42), (0.3, 0.31, 0.32), (0.2, 0.21, 0.22)]
    assert on_seeds(claim, reversed_).verdict == "contradicted"
    assert on_seeds(claim, reversed_[::-1]).verdict == "reproduced"


@pytest.mark.parametrize("of", ["error", "score"])
def test_the_interval_of_an_accuracy_ends_at_0_and_1(of: str) -> None:
    runs = grid(task_named("sparse_parity"), ("mamba",), seeds=(0, 1, 2))
    results = [finished(run, error) for run, error in zip(runs, (0.02, 0.9, 0.98), strict=True)]
    verdict = verdict_on({**TRAINING, **bound(at_least=0.5), "measure": {"of": of}}, runs, results)
    assert verdict.interval is not None
    assert 0 <= verdict.interval[0] < verdict.interval[1] <= 1


@settings(max_examples=30)
@example([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.5, 0.5]])  # the first two have learned nothing
@example([[0.3, 0.3, 0.3], [0.9, 0.9, 0.9], [0.95, 0.95, 0.95]])
@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=3, max_size=3))
def test_an_order_is_contradicted_by_one_of_its_pairs(errors: list[list[float]]) -> None:
    pairs = [on_seeds({"order": [ORDER[i], ORDER[j]]}, errors).verdict for i, j in ((0, 1), (0, 2), (1, 2))]
    whole = on_seeds({"order": ORDER[:3]}, errors).verdict
    assert (whole == "contradicted") == ("contradicted" in pairs)
    if whole == "reproduced":
        assert pairs == ["reproduced"] * 3


# --- which number -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ({}, 0.5),
        ({"at": "mean"}, 0.5),
        ({"at": "last"}, 0.0),
        ({"at": 0}, 1.0),
        ({"at": 10}, 0.75),
        ({"at": 10, "of": "score"}, 15.0),
        ({"step": 500_000, "at": "last"}, 0.0),
    ],
)
def test_a_measure_says_where_the_number_is_read(measure: dict[str, Any], expected: float) -> None:
    run = run_of()
    result = finished(run, [1 - i / 40 for i in range(41)])
    verdict = verdict_on({**value(expected=expected, absolute=1e-9), "measure": measure}, [run], [result])
    assert verdict.verdict == "reproduced", verdict.reason


def test_an_earlier_checkpoint_is_read_where_it_is_asked_for() -> None:
    run = run_of()
    result = finished(run, 0.1)
    for number, score in zip((0.5, 0.3), result["checkpoints"], strict=False):
        score["evaluations"]["report"]["overall"] = [20 * number, 0.0]
    for step, expected in ((100_000, 0.5), (300_000, 0.3), (None, 0.1)):
        claim = {**value(expected=expected, absolute=1e-9), "measure": {"step": step}}
        assert verdict_on(claim, [run], [result]).verdict == "reproduced"


def test_the_learning_rate_is_chosen_on_one_set_of_prompts_and_reported_on_the_other() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3, 1e-2))
    results = [
        finished(run, error, selection=selection)
        for run, error, selection in zip(runs, (0.1, 0.3, 0.2), (0.25, 0.15, 0.2), strict=True)
    ]
    verdict = verdict_on(bound(at_most=0.2), runs, results)
    assert verdict.value == pytest.approx(0.3)
    assert verdict.verdict == "contradicted"
    assert verdict.run_ids == (runs[1].id,)
    assert "learning rate 1e-3" in verdict.reason
    assert "best of 3 candidates" in verdict.reason


@pytest.mark.parametrize(
    ("errors", "word"),
    [((0.1, 0.15, 0.9), "reproduced"), ((0.1, 0.3, 0.1), "undecided"), ((0.3, 0.1, 0.3), "undecided")],
)
def test_a_claim_holds_at_every_learning_rate_that_the_validation_prompts_cannot_tell_apart(
    errors: tuple[float, ...], word: str
) -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3, 1e-2))
    results = [
        finished(run, error, selection=selection)
        for run, error, selection in zip(runs, errors, (0.0, 0.0, 0.1), strict=True)
    ]
    verdict = verdict_on(bound(at_most=0.2), runs, results)
    assert verdict.verdict == word
    assert verdict.value == pytest.approx(errors[0]), "the lowest of equal rates is read"
    assert ("depends on which of them is read: 0." in verdict.reason) == (word == "undecided")


def test_a_difference_holds_whichever_of_equal_learning_rates_is_read_on_either_side() -> None:
    runs = grid(LINEAR, ("mamba", "s4"), learning_rates=(1e-4, 1e-3))
    measure = {"architecture": "mamba", "minus": {"architecture": "s4"}}
    for other, word in ((0.5, "reproduced"), (0.2, "undecided")):
        of_run = {run: 0.1 if run.architecture.name == "mamba" else 0.5 for run in runs}
        of_run |= {run: other for run in runs if run.architecture.name == "s4" and run.learning_rate == 1e-3}
        results = [finished(run, error, selection=0.0) for run, error in of_run.items()]
        claim = {**bound(at_most=-0.3), "measure": measure}
        assert verdict_on(claim, runs, results).verdict == word


@pytest.mark.parametrize(("other", "word"), [(0.25, "reproduced"), (0.9, "undecided")])
def test_a_claim_holds_at_every_rate_that_the_other_seeds_cannot_tell_apart(other: float, word: str) -> None:
    """Seed 0 alone makes 1e-3 the better rate. The seeds that choose for it have equal errors at both."""
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3), seeds=(0, 1, 2))
    selection, errors = (0.3, 0.1, 0.1, 0.2, 0.1, 0.1), (0.2, 0.2, 0.2, other, 0.2, 0.2)
    results = [
        finished(run, error, selection=choosing)
        for run, error, choosing in zip(runs, errors, selection, strict=True)
    ]
    verdict = verdict_on({**TRAINING, **bound(at_most=0.4)}, runs, results)
    assert verdict.verdict == word
    assert verdict.value == pytest.approx(0.2)
    assert (
        "learning rate 1e-3 (highest of 2), clip 10, best of 2 candidates, seed 0 at 1e-4" in verdict.reason
    )


@pytest.mark.parametrize(("other", "word"), [(0.25, "reproduced"), (0.9, "undecided")])
def test_a_claim_holds_at_the_rate_that_is_chosen_without_one_of_the_seeds(other: float, word: str) -> None:
    """Seed 3 alone makes 1e-4 the better rate, as one failure among trainings at 1e-3."""
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3), seeds=(0, 1, 2, 3))
    selection = (0.12, 0.12, 0.12, 0.12, 0.1, 0.1, 0.1, 0.3)
    results = [
        finished(run, 0.2 if run.learning_rate == 1e-4 or run.seed == 3 else other, selection=choosing)
        for run, choosing in zip(runs, selection, strict=True)
    ]
    verdict = verdict_on({**TRAINING, **bound(at_most=0.4)}, runs, results)
    assert verdict.verdict == word
    assert ("without one of the seeds" in verdict.reason) == (word == "undecided")


def test_a_rate_that_is_chosen_without_one_of_the_seeds_is_read_on_its_own_side_only() -> None:
    """Seed 3 decides Mamba's rate, on which its error hardly depends. S4's rate is certain."""
    runs = grid(LINEAR, ("mamba", "s4"), learning_rates=(1e-4, 1e-3), seeds=(0, 1, 2, 3))
    results = []
    for run in runs:
        low, is_mamba = run.learning_rate == 1e-4, run.architecture.name == "mamba"
        error = 0.2 if is_mamba else 0.5 if low else 0.1
        worse = 0.3 if run.seed == 3 or not is_mamba else 0.1
        results.append(finished(run, error, selection=0.12 if low else worse))
    measure = {"architecture": "mamba", "minus": {"architecture": "s4"}}
    claim = {**TRAINING, **bound(at_most=-0.2), "measure": measure}
    assert verdict_on(claim, runs, results).verdict == "reproduced"


def test_a_frontier_is_read_with_each_size_at_the_rate_that_is_chosen_without_one_of_the_seeds() -> None:
    """At 4×256 seed 3 alone makes 1e-4 the better rate; at 2×128 all seeds agree."""
    runs = grid(LINEAR, ("mamba",), ((2, 128), (4, 256)), learning_rates=(1e-4, 1e-3), seeds=(0, 1, 2, 3))
    results = []
    for run in runs:
        low = run.learning_rate == 1e-4
        agreed = 0.12 if low else 0.3 if run.seed == 3 or run.size.width == 128 else 0.1
        error = 0.8 if run.size.width == 128 else 0.2 if low else 0.5
        results.append(finished(run, error, selection=agreed))
    budget = max(result["checkpoints"][-1]["training_flops"] for result in results)
    for bounds, word in ((bound(at_most=0.4), "undecided"), (bound(at_most=0.7), "reproduced")):
        claim = {**TRAINING, **bounds, "measure": {"at_flops": budget}}
        assert verdict_on(claim, runs, results).verdict == word


@pytest.mark.parametrize(("other", "word"), [(0.3, "reproduced"), (0.9, "undecided")])
def test_a_claim_holds_at_every_size_that_the_validation_prompts_cannot_tell_apart(
    other: float, word: str
) -> None:
    runs = grid(LINEAR, ("mamba",), ((2, 128), (4, 256), (8, 512)))
    results = [
        finished(run, error, selection=selection)
        for run, error, selection in zip(runs, (0.2, other, 0.9), (0.0, 0.0, 0.1), strict=True)
    ]
    verdict = verdict_on(bound(at_most=0.4), runs, results)
    assert (verdict.verdict, verdict.value) == (word, pytest.approx(0.2))


def test_a_seed_that_is_read_at_the_rate_of_the_other_seeds_is_named() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3), seeds=(0, 1, 2))
    # Seed 0 alone makes 1e-3 the better rate.
    selection = (0.9, 0.3, 0.3, 0.1, 0.4, 0.4)
    results = [finished(run, 0.2, selection=error) for run, error in zip(runs, selection, strict=True)]
    reason = verdict_on(bound(at_most=1), runs, results).reason
    assert "learning rate 1e-3 (highest of 2), clip 10, best of 2 candidates" in reason
    assert "seed 0 at 1e-4, which the other seeds choose, mean of 3 seeds" in reason


def test_seeds_give_a_mean_and_a_standard_error() -> None:
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1, 2))
    results = [finished(run, error) for run, error in zip(runs, (0.1, 0.2, 0.6), strict=True)]
    of_runs = verdict_on(bound(at_most=0.35), runs, results)
    assert of_runs.verdict == "reproduced"
    assert of_runs.value == pytest.approx(0.3)
    assert of_runs.standard_error == pytest.approx(0, abs=1e-15)  # prompts do not differ
    of_training = verdict_on({**TRAINING, **bound(at_most=0.35)}, runs, results)
    assert of_training.standard_error == pytest.approx(math.sqrt(0.07 / 3))  # variance (0.2² + 0.1² + 0.3²)/2
    assert "mean of 3 seeds" in of_training.reason


@pytest.mark.parametrize(
    ("about", "diverged", "word"),
    [
        ("training", 0, "reproduced"),
        ("training", 1, "undecided"),  # the next training may diverge too
        ("these runs", 1, "reproduced"),  # of those that finished
    ],
)
def test_seeds_that_diverge_leave_a_claim_about_training_open(about: str, diverged: int, word: str) -> None:
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1, 2, 3))
    results = [
        finished(run, 0.2) if run.seed >= diverged else result_of(run, outcome="diverged", provenance=REAL)
        for run in runs
    ]
    verdict = verdict_on({"requires": {"about": about}, **bound(at_most=0.35)}, runs, results)
    assert verdict.verdict == word
    assert (f"{diverged} of 4 seeds diverged" in verdict.reason) == (diverged > 0)


@pytest.mark.parametrize(
    ("about", "width", "word"),
    [
        ("training", 256, "undecided"),
        ("training", 128, "reproduced"),  # a worse size, which the number is not read from
        ("these runs", 256, "reproduced"),
    ],
)
def test_a_seed_that_diverges_at_a_size_of_the_frontier_leaves_a_claim_about_training_open(
    about: str, width: int, word: str
) -> None:
    runs = grid(LINEAR, ("mamba",), ((2, 128), (4, 256)), seeds=(0, 1, 2, 3))
    results = [
        diverged(run)
        if run.size.width == width and run.seed == 0
        else finished(run, 0.5 if run.size.width == 128 else 0.2)
        for run in runs
    ]
    budget = max(checkpoint["training_flops"] for result in results for checkpoint in result["checkpoints"])
    claim = {"requires": {"about": about}, **bound(at_most=0.35), "measure": {"at_flops": budget}}
    verdict = verdict_on(claim, runs, results)
    assert verdict.verdict == word
    assert ("1 of 4 seeds diverged" in verdict.reason) == (word == "undecided")


def test_a_learning_rate_at_an_edge_of_its_grid_is_named() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3, 1e-2))
    for best, text in ((0, "1e-4 (lowest of 3)"), (1, "1e-3,"), (2, "0.01 (highest of 3)")):
        results = [finished(run, 0.1 if place == best else 0.2) for place, run in enumerate(runs)]
        assert f"learning rate {text}" in verdict_on(bound(at_most=1), runs, results).reason


@pytest.mark.parametrize(
    ("task", "group"), [(LINEAR, 1), (task_named("sparse_parity", subset="per_batch"), 64)]
)
def test_a_claim_takes_ten_independent_prompts(task: Task, group: int) -> None:
    for count, word in ((LEAST_PROMPTS - 1, "undecided"), (LEAST_PROMPTS, "reproduced")):
        run = run_of(task, evaluation_prompts=count * group)
        verdict = verdict_on(bound(at_most=1), [run], [finished(run, 0.1)])
        assert verdict.verdict == word
        assert ("9 independent prompts" in verdict.reason) is (word == "undecided")


def test_a_number_that_is_not_over_prompts_takes_none() -> None:
    run = run_of(evaluation_prompts=LEAST_PROMPTS - 1)
    claim = {**bound(at_least=1), "measure": {"of": "training_flops"}}
    assert verdict_on(claim, [run], [finished(run, 0.1)]).verdict == "reproduced"


@pytest.mark.parametrize("reference", ["relative_to", "minus"])
def test_a_reference_takes_ten_independent_prompts_too(reference: str) -> None:
    few, many = (run_of(evaluation_prompts=count) for count in (LEAST_PROMPTS - 1, 1280))
    few = few.model_copy(update={"architecture": ARCHITECTURES["s4"]})
    claim = {
        **bound(at_most=10),
        "measure": {"architecture": "mamba", reference: {"architecture": "s4"}},
    }
    verdict = verdict_on(claim, [few, many], [finished(few, 0.2), finished(many, 0.1)])
    assert verdict.verdict == "undecided"
    assert "9 independent prompts" in verdict.reason


def test_two_seeds_keep_the_standard_error_over_the_prompts_they_share() -> None:
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1))
    verdict = verdict_on(bound(at_most=1), runs, [finished(run, 0.2, noise=1) for run in runs])
    # Prompts differ by 30 % and there are 64 in made-up results; two seeds do not halve that.
    assert verdict.standard_error == pytest.approx(0.2 * 0.3 / 8, rel=0.3)


# --- what must not pass -----------------------------------------------------------------------


def test_part_of_a_grid_decides_nothing() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3, 1e-2, 1e-1))
    results = [finished(runs[0], 0.1), diverged(runs[3])]
    verdict = verdict_on(bound(at_most=0.4), runs, results, {runs[1].id: "failed", runs[2].id: "running"})
    assert verdict.verdict == "missing"
    assert verdict.value is None
    assert verdict.reason == "experiment 'linear' lacks 2 of 4 runs (1 diverged, 1 failed, 1 missing)"
    assert set(verdict.run_ids) == {run.id for run in runs}


def test_one_member_of_an_order_missing_leaves_it_undecided() -> None:
    runs = grid(LINEAR, ("mamba", "s4"))
    claim = {"order": [{"architecture": "mamba"}, {"architecture": "s4"}]}
    verdict = verdict_on(claim, runs, [finished(runs[0], 0.1)])
    assert (verdict.verdict, verdict.reason) == (
        "missing",
        "experiment 'linear' lacks 1 of 2 runs (1 missing)",
    )


def test_a_result_without_the_checkpoint_asked_for_is_missing() -> None:
    run = run_of()
    result = finished(run, 0.1)
    del result["checkpoints"][0]
    verdict = verdict_on({**bound(at_most=1), "measure": {"step": 100_000}}, [run], [result])
    assert verdict.verdict == "missing"
    assert "1 without its checkpoint" in verdict.reason


@pytest.mark.parametrize("kind", [bound(at_most=1e9), bound(at_least=0), value(expected=1, absolute=1e9)])
def test_runs_that_all_diverged_reproduce_nothing(kind: dict[str, Any]) -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3))
    verdict = verdict_on(kind, runs, [diverged(run) for run in runs])
    assert (verdict.verdict, verdict.value) == ("contradicted", None)
    assert verdict.reason == "all 2 runs diverged"


@pytest.mark.parametrize(("broken", "words"), [("mamba", "Mamba"), ("s4", "S4")])
def test_an_order_with_a_member_that_diverged_is_not_reproduced(broken: str, words: str) -> None:
    runs = grid(LINEAR, ("mamba", "s4"))
    results = [diverged(run) if run.architecture.name == broken else finished(run, 0.1) for run in runs]
    claim = {"order": [{"architecture": "mamba"}, {"architecture": "s4"}]}
    verdict = verdict_on(claim, runs, results)
    assert (verdict.verdict, verdict.reason) == ("contradicted", f"{words}: the run diverged")


@pytest.mark.parametrize(
    "claim",
    [
        {"order": [{"architecture": "mamba"}, {"architecture": "s4"}]},
        {**bound(at_least=2), "measure": {"architecture": "s4", "relative_to": {"architecture": "mamba"}}},
    ],
)
def test_where_all_compared_runs_diverged_nothing_is_compared(claim: dict[str, Any]) -> None:
    runs = grid(LINEAR, ("mamba", "s4"), seeds=(0, 1))
    verdict = verdict_on(claim, runs, [diverged(run) for run in runs])
    assert (verdict.verdict, verdict.value) == ("not comparable", None)
    assert verdict.reason == "there is nothing to compare: all 4 runs diverged"


def test_a_learning_rate_that_diverged_is_passed_over() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3))
    verdict = verdict_on(bound(at_most=0.4), runs, [finished(runs[0], 0.3), diverged(runs[1])])
    assert (verdict.verdict, verdict.run_ids) == ("reproduced", (runs[0].id,))


def test_a_setting_whose_seeds_all_finished_goes_before_a_better_one_that_lost_some() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3), seeds=(0, 1))
    results = [finished(runs[0], 0.3), finished(runs[1], 0.3), finished(runs[2], 0.1), diverged(runs[3])]
    assert verdict_on(bound(at_most=1), runs, results).value == pytest.approx(0.3)


def test_seeds_that_diverged_are_named_beside_the_value_of_the_others() -> None:
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1, 2))
    results = [finished(runs[0], 0.1), finished(runs[1], 0.3), diverged(runs[2])]
    verdict = verdict_on(bound(at_most=1), runs, results)
    assert verdict.value == pytest.approx(0.2)
    assert "1 of 3 seeds diverged" in verdict.reason
    assert verdict.run_ids == (runs[0].id, runs[1].id)


@pytest.mark.parametrize("broken", [math.nan, math.inf, None, "0.1"])
@pytest.mark.parametrize("evaluation", ["report", "selection"])
def test_what_is_not_a_number_is_no_result(evaluation: str, broken: Any) -> None:
    result = finished(run_of(), 0.5)
    result["checkpoints"][-1]["evaluations"][evaluation]["overall"] = [broken, broken]
    with pytest.raises(NotARecord, match=rf"checkpoints\[2\]\.evaluations\.{evaluation}\.overall\[0\]: "):
        verdict_on(bound(at_most=1e300), [run_of()], [result])


RATIO_TO_LAST = {"relative_to": {"at": "last"}}


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (bound(at_least=2), "reproduced"),
        (bound(at_most=1e300), "contradicted"),
        (value(expected=1, absolute=1e300), "contradicted"),
    ],
)
def test_a_ratio_to_an_error_of_0_is_larger_than_any_number(kind: dict[str, Any], word: str) -> None:
    run = run_of()
    verdict = verdict_on({**kind, "measure": RATIO_TO_LAST}, [run], [finished(run, [0.5] * 40 + [0.0])])
    assert (verdict.verdict, verdict.value, verdict.standard_error) == (word, None, None)
    assert (verdict.shown, verdict.interval) == ("infinite", None)
    assert verdict.reason.startswith("infinite (0.48")
    json.dumps(to_json([verdict]), allow_nan=False)


@pytest.mark.parametrize("kind", [bound(at_most=1e300), bound(at_least=0), value(expected=1, absolute=1e300)])
def test_two_errors_of_0_have_no_ratio(kind: dict[str, Any]) -> None:
    run = run_of()
    measure = {"at": 39, **RATIO_TO_LAST}
    verdict = verdict_on({**kind, "measure": measure}, [run], [finished(run, [0.5] * 39 + [0.0, 0.0])])
    assert (verdict.verdict, verdict.value) == ("not comparable", None)


@settings(max_examples=60)
@given(*[st.just(0.0) | st.floats(1e-9, 1)] * 2, st.floats(1e-3, 1e3))
def test_a_claim_about_a_ratio_is_one_about_a_product(subject: float, reference: float, least: float) -> None:
    run = run_of()
    result = finished(run, [0.5] * 39 + [subject, reference])
    claim = {**bound(at_least=least), "measure": {"at": 39, **RATIO_TO_LAST}, "requires": {"learned": 1}}
    word = verdict_on(claim, [run], [result]).verdict
    if subject == reference == 0:
        assert word == "not comparable"
    elif not math.isclose(subject, least * reference, rel_tol=1e-9):
        assert word == ("reproduced" if subject > least * reference else "contradicted")


def test_made_up_results_are_not_comparable_unless_allowed() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 1e-3))
    results = [finished(runs[0], 0.2), result_of(runs[1], 0.3)]
    verdict = verdict_on(bound(at_most=1), runs, results)
    assert (verdict.verdict, verdict.value) == ("not comparable", None)
    assert verdict.reason == "1 of 2 results is synthetic: made up, not measured"
    assert verdict_on(bound(at_most=1), runs, results, allow_synthetic=True).verdict == "reproduced"


@pytest.mark.parametrize("kind", ["report", "selection"])
def test_runs_scored_on_different_prompts_are_not_comparable(kind: str) -> None:
    runs = grid(LINEAR, ("mamba", "s4"))
    other = {**PROMPTS, kind: {"count": 1280, "sha256": "c" * 64}}
    results = [finished(runs[0], 0.1), finished(runs[1], 0.2, prompts=other)]
    claim = {"order": [{"architecture": "mamba"}, {"architecture": "s4"}]}
    verdict = verdict_on(claim, runs, results)
    assert verdict.verdict == "not comparable"
    assert f"not scored on the same {kind} prompts" in verdict.reason


def test_a_result_that_does_not_say_what_it_was_scored_on_is_none() -> None:
    unknown = {kind: {"count": 1280} for kind in PROMPTS}
    with pytest.raises(NotARecord, match=r"lacks prompts\.report\.sha256, prompts\.selection\.sha256"):
        record_of(finished(run_of(), 0.1, prompts=unknown))


def test_a_suite_without_the_runs_leaves_the_claim_missing() -> None:
    verdict = verdict_on({**bound(at_most=1), "measure": {"experiment": "gone"}}, [run_of()], [])
    assert verdict.verdict == "missing"
    assert "no planned run of experiment 'gone'" in verdict.reason


# --- the whole --------------------------------------------------------------------------------


def verdict_with(word: str) -> Verdict:
    return Verdict("c", "bound", "s", None, None, None, None, "", "", None, word, "", ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["reproduced"], 0),
        (["reproduced", "reproduced"], 0),
        (["reproduced", "contradicted"], 1),
        (["missing", "contradicted", "not comparable"], 1),
        (["reproduced", "missing"], 2),
        (["reproduced", "not comparable"], 2),
        (["reproduced", "unreachable"], 0),
        (["unreachable", "unreachable"], 2),  # nothing was checked
        (["missing", "missing"], 2),
        (["undecided"], 2),
        ([], 2),
    ],
)
def test_exit_codes(words: list[str], code: int) -> None:
    verdicts = [verdict_with(word) for word in words]
    assert exit_code(verdicts) == code
    report = to_json(verdicts)
    assert report["exit_code"] == code
    assert sum(report["counts"].values()) == len(words)


@pytest.mark.parametrize(
    ("before", "word", "code"),
    [
        ("reproduced", "reproduced", 0),
        ("reproduced", "missing", 1),
        ("reproduced", "undecided", 1),
        ("contradicted", "contradicted", 0),
        ("missing", "reproduced", 0),
        ("missing", "contradicted", 0),  # no loss: it never passed
        ("missing", "missing", 2),  # nothing was checked, now or before
        ("undecided", "not comparable", 2),
        ("unreachable", "unreachable", 2),
    ],
)
def test_a_check_against_an_earlier_one_is_about_lost_claims_and_takes_a_decided_one(
    before: str, word: str, code: int
) -> None:
    verdicts = [verdict_with(word)]
    assert changes.exit_code(changes.changes({"c": before}, verdicts), verdicts) == code
    others = [*verdicts, replace(verdict_with("reproduced"), claim="d")]
    since = changes.changes({"c": before, "d": "reproduced"}, others)
    assert changes.exit_code(since, others) == (1 if code == 1 else 0)


def test_json_says_everything_a_verdict_does() -> None:
    verdict = on_error(bound(at_most=0.4), 0.25)
    (entry,) = to_json([verdict])["verdicts"]
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["reason"] == "0.25 ± 0 (4×256, learning rate 1e-4, clip 10) is below 0.4"
    assert entry["expected"] == "at most 0.4"
    assert entry["verdict"] == "reproduced"
    assert entry["run_ids"] == [run_of().id]


ERRORS = st.floats(0, 1e6)
TOLERANCES = st.floats(1e-6, 10)
KINDS = ["absolute", "relative", "log10"]


@settings(max_examples=60)
@given(
    ERRORS, st.sampled_from(["absolute", "relative", "log10"]), TOLERANCES, TOLERANCES, st.floats(1e-3, 1e3)
)
def test_widening_a_tolerance_never_loses_a_value(
    error: float, kind: str, first: float, second: float, expected: float
) -> None:
    narrow, wide = sorted((first, second))
    if on_error(value(expected=expected, **{kind: narrow}), error).verdict == "reproduced":
        assert on_error(value(expected=expected, **{kind: wide}), error).verdict == "reproduced"


@settings(max_examples=40)
@given(ERRORS, ERRORS, ERRORS)
def test_raising_a_bound_never_loses_a_value(error: float, first: float, second: float) -> None:
    low, high = sorted((first, second))
    if on_error(bound(at_most=low), error).verdict == "reproduced":
        assert on_error(bound(at_most=high), error).verdict == "reproduced"
    if on_error(bound(at_least=high), error).verdict == "reproduced":
        assert on_error(bound(at_least=low), error).verdict == "reproduced"


@settings(max_examples=40)
@given(st.lists(ERRORS, min_size=3, max_size=3), st.floats(-0.99, 5), st.floats(-0.99, 5))
def test_more_slack_never_loses_an_order(errors: list[float], first: float, second: float) -> None:
    runs = grid(LINEAR, ("transformer", "mamba", "s4"))
    results = [finished(run, error) for run, error in zip(runs, errors, strict=True)]

    def word(slack: float) -> str:
        order = [{"architecture": run.architecture.name} for run in runs]
        return verdict_on({"order": order, "slack": slack}, runs, results).verdict

    narrow, wide = sorted((first, second))
    if word(narrow) == "reproduced":
        assert word(wide) == "reproduced"


# --- the choice -------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.one_of(st.none(), st.floats(0.01, 1)), min_size=12, max_size=12))
def test_claims_and_the_report_choose_alike(outcomes: list[float | None]) -> None:
    from bench.report.data.choices import best_sizes
    from bench.report.data.estimates import TaskResults
    from bench.report.data.frame import results_frame

    runs = grid(LINEAR, ("mamba",), ((2, 128), (4, 256)), (1e-4, 1e-3), (0, 1, 2))
    results = [
        diverged(run) if error is None else finished(run, error)
        for run, error in zip(runs, outcomes, strict=True)
    ]
    task = TaskResults(results_frame(runs, pool_of(results), {}))
    shown = task.ends(best_sizes(task.candidates))
    verdict = verdict_on(bound(at_least=0), runs, results)
    if verdict.verdict == "reproduced":
        assert set(verdict.run_ids) == set(shown["id"])
    else:
        assert shown.empty
