"""Trends, symbols and counts; what makes runs incomparable; what changed; and the paper's own claims."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from command import ROOT
from pydantic import PositiveFloat
from synthetic import (
    baselines_of,
    claim_of,
    experiment_of,
    grid,
    pool_with,
    result_of,
    run_of,
    suite_of,
    task_named,
)

from bench import suite as suites
from bench.check import Verdict, check, exit_code, to_json
from bench.check import claims as claims_of
from bench.check.changes import changes, read
from bench.check.claim import Claim, Holds, Judgement
from bench.check.claims import Claims
from bench.check.comparisons import comparisons
from bench.check.junit import junit
from bench.check.kinds import KINDS
from bench.check.measure import _between
from bench.check.measurement import Measurement
from bench.check.schema import json_schema as claims_schema
from bench.cli.arguments import SuiteChoice
from bench.cli.check import CheckOptions, check_suite
from bench.cli.report import write_reports
from bench.errors import InvalidFile, UserError
from bench.frozen import Frozen
from bench.paper.exhibits import EXHIBITS, named
from bench.results import Pool, path_of, store
from bench.run import Run
from bench.strict_yaml import document
from bench.uncertainty import Floats

LINEAR, PARITY = task_named(), task_named("sparse_parity")
REAL = {"synthetic": False}


def judged(claims: dict[str, dict[str, Any]], errors: dict[Run, Any], **fields: Any) -> dict[str, Verdict]:
    """Verdicts on claims about one experiment that rebuilds Figure 2, by id."""
    runs = list(errors)
    suite = suite_of(experiment_of(runs, "all"))
    pool = pool_with(
        runs={run.id: result_of(run, error, provenance=REAL, noise=0) for run, error in errors.items()}
    )
    models = {name: claim_of({"statement": "s", **claim}) for name, claim in claims.items()}
    return {one.claim: one for one in check(Claims(Path("x"), models, **fields), suite, pool)}


def verdict(claim: dict[str, Any], errors: dict[Run, Any]) -> Verdict:
    return judged({"c": claim}, errors)["c"]


SIZES = ((2, 128), (4, 256), (8, 512))
SMALL, MIDDLE, LARGE = grid(LINEAR, ("mamba",), SIZES)


def along(*sizes: Run) -> list[dict[str, Any]]:
    return [{"size": {"layers": run.size.layers, "width": run.size.width}} for run in sizes]


@pytest.mark.parametrize(
    ("values", "slack", "word"),
    [
        ((0.1, 0.2, 0.3), 0.0, "reproduced"),
        ((0.1, 0.3, 0.2), 0.0, "contradicted"),
        ((0.1, 0.22, 0.2), 0.2, "reproduced"),
        ((0.2, 0.21, 0.2), 0.2, "undecided"),  # the last and the first are a tie
        ((0.2, 0.21, 0.19), 0.2, "contradicted"),
        ((0.3, 0.2, 0.1), 0.2, "contradicted"),
        ((0.2, 0.2, 0.2), 0.2, "undecided"),
        ((0.2, 0.2, 0.2), -0.2, "contradicted"),  # a tie is no margin
        ((0.1, 0.2, 0.4), -0.4, "reproduced"),  # a margin: each is below 0.6 of the next
        ((0.1, 0.2, 0.3), -0.4, "contradicted"),
    ],
)
def test_a_trend_rises_at_each_step_up_to_the_slack_and_as_a_whole(
    values: tuple[float, ...], slack: float, word: str
) -> None:
    errors = dict(zip((SMALL, MIDDLE, LARGE), values, strict=True))
    base = {"measure": {"rebuilds": "Figure 2"}, "slack": slack}
    rising = verdict({**base, "trend": {"rising": along(SMALL, MIDDLE, LARGE)}}, errors)
    falling = verdict({**base, "trend": {"falling": along(LARGE, MIDDLE, SMALL)}}, errors)
    assert rising.verdict == falling.verdict == word
    assert rising.expected == "rising: 2×128 < 4×256 < 8×512"
    assert falling.expected == "falling: 8×512 > 4×256 > 2×128"


MODELS = grid(LINEAR, ("transformer", "mamba", "s4"))
AMONG = [{"architecture": run.architecture.name} for run in MODELS]


@pytest.mark.parametrize(
    ("errors", "found"), [((0.1, 0.11, 0.9), "✓"), ((0.01, 0.2, 0.3), "▲"), ((0.01, 0.7, 0.2), "✗")]
)
def test_a_symbol_is_that_of_the_measured_model_among_the_others(
    errors: tuple[float, ...], found: str
) -> None:
    """Errors at the last position, where the floor is 0."""
    claim = claim_of(
        {
            "statement": "s",
            "measure": {"rebuilds": "Figure 2", "architecture": "mamba", "at": "last", "of": "excess"},
            "symbol": {"expected": "✓", "among": AMONG},
        }
    )
    runs = {
        run.id: result_of(run, error, provenance=REAL, noise=0)
        for run, error in zip(MODELS, errors, strict=True)
    }
    pool = pool_with(runs, {MODELS[0].task_id: baselines_of(MODELS[0])})
    (one,) = check(Claims(Path("x"), {"c": claim}), suite_of(experiment_of(MODELS, "all")), pool)
    assert one.shown == found, one.reason
    assert one.verdict == ("reproduced" if found == "✓" else "contradicted")
    assert one.value == pytest.approx(errors[1])


def test_a_count_of_orders_counts_pairs_whose_first_is_lower() -> None:
    pairs = [[{"architecture": "mamba"}, {"architecture": other}] for other in ("transformer", "s4")]
    claim = {"measure": {"rebuilds": "Figure 2"}, "count": {"orders": pairs, "at_least": 2}}
    errors = dict(zip(MODELS, (0.2, 0.1, 0.05), strict=True))
    one = verdict(claim, errors)
    assert (one.verdict, one.value) == ("contradicted", 1)
    assert one.reason.startswith("1 of 2 hold: Mamba: 0.1")
    assert re.search(r"against Transformer: 0\.2\d* ± [^;]*\(holds\); Mamba: 0\.1", one.reason)
    assert re.search(r"against S4: 0\.05\d* ± [^;]*\(does not hold\)", one.reason)
    claim["count"] = {"orders": pairs, "at_least": 1}
    assert verdict(claim, errors).verdict == "reproduced"


@pytest.mark.parametrize("alike", [0.99, 0.0])
def test_a_pair_that_cannot_be_compared_neither_holds_nor_fails(alike: float) -> None:
    """The Transformer has an error of 0.2; Mamba and S4 have learned nothing, or everything."""
    of_mamba = [{"architecture": "mamba"}, {"architecture": "s4"}]
    learned = {"architecture": "transformer"}
    other = [of_mamba[0], learned] if alike == 0 else [learned, of_mamba[0]]
    measure = {"rebuilds": "Figure 2"}
    errors = dict(zip(MODELS, (0.2, alike, alike), strict=True))
    for at_least, word in ((1, "reproduced"), (2, "undecided")):
        count = {"orders": [of_mamba, other], "at_least": at_least}
        one = verdict({"measure": measure, "count": count}, errors)
        assert (one.verdict, one.value) == (word, 1)
        assert "(not comparable); " in one.reason
    order = [*of_mamba, learned] if alike == 0 else [learned, *of_mamba]
    one = verdict({"measure": measure, "order": order}, errors)
    assert one.verdict == "undecided"
    assert "1 pair cannot be compared" in one.reason
    assert verdict({"measure": measure, "order": order[::-1]}, errors).verdict == "contradicted"


@pytest.mark.parametrize(("at_least", "word"), [(1, "reproduced"), (2, "contradicted")])
def test_a_count_of_claims_counts_those_that_are_reproduced(at_least: int, word: str) -> None:
    measure = {"rebuilds": "Figure 2", "architecture": "mamba"}
    claims = {
        "both": {"count": {"claims": ["low", "high"], "at_least": at_least}},  # may stand before them
        "low": {"measure": measure, "bound": {"at_most": 0.2}},
        "high": {"measure": measure, "bound": {"at_least": 0.2}},
    }
    found = judged(claims, dict(zip(MODELS, (0.1, 0.1, 0.1), strict=True)))
    assert list(found) == ["both", "low", "high"]
    assert found["both"].verdict == word
    assert found["both"].reason == "1 of 2 hold; not: high"


def test_a_count_of_claims_waits_for_all_of_them() -> None:
    measure = {"rebuilds": "Figure 2", "architecture": "mamba"}
    claims = {
        "there": {"measure": measure, "bound": {"at_most": 0.2}},
        "waiting": {"measure": {"rebuilds": "Table 4"}, "bound": {"at_most": 1}, "awaits": "GINC"},
        "both": {"count": {"claims": ["there", "waiting"], "at_least": 1}},
    }
    found = judged(claims, dict.fromkeys(MODELS, 0.1), awaiting={"waiting": "GINC"})
    assert (found["waiting"].verdict, found["waiting"].reason) == ("missing", "not planned yet: GINC")
    assert found["both"].verdict == "missing"


# --- which number -----------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "expected"), [("relative_to", 0.5), ("minus", -0.1)])
def test_a_measure_can_be_relative_to_another(reference: str, expected: float) -> None:
    measure = {"rebuilds": "Figure 2", "architecture": "mamba", reference: {"architecture": "s4"}}
    errors = dict(zip(MODELS, (0.9, 0.1, 0.2), strict=True))
    one = verdict({"measure": measure, "value": {"expected": expected, "absolute": 1e-6}}, errors)
    assert one.verdict == "reproduced"
    assert set(one.run_ids) == {MODELS[1].id, MODELS[2].id}
    assert one.operation == ("ratio" if reference == "relative_to" else "difference")


@pytest.mark.parametrize(("mamba", "word"), [(0.1, "reproduced"), (0.0, "not comparable")])
def test_an_error_is_any_multiple_of_an_error_of_0_unless_it_is_0_too(mamba: float, word: str) -> None:
    measure = {"rebuilds": "Figure 2", "architecture": "mamba", "relative_to": {"architecture": "s4"}}
    errors = dict(zip(MODELS, (0.9, mamba, 0.0), strict=True))
    assert verdict({"measure": measure, "bound": {"at_least": 2}}, errors).verdict == word


def test_errors_at_a_budget_lie_on_the_frontier_over_all_sizes() -> None:
    errors = {run: (run.training_flops() / 1e16) ** -0.5 for run in (SMALL, MIDDLE, LARGE)}
    claim = {
        "measure": {"rebuilds": "Figure 2", "at_flops": 5e16},
        "value": {"expected": 5**-0.5, "relative": 0.02},
    }
    one = verdict(claim, errors)
    assert one.verdict == "contradicted"  # earlier checkpoints, with errors as low, are on it too
    last = {run: [error] * 41 for run, error in errors.items()}
    results = {run.id: result_of(run, error, provenance=REAL, noise=0) for run, error in last.items()}
    for result in results.values():
        result["checkpoints"] = result["checkpoints"][-1:]
    suite = suite_of(experiment_of([SMALL, MIDDLE, LARGE], "all"))
    claims = Claims(Path("x"), {"c": claim_of({"statement": "s", **claim})})
    (one,) = check(claims, suite, pool_with(runs=results))
    assert one.verdict == "reproduced", one.reason


def test_a_budget_beyond_every_size_is_not_comparable() -> None:
    claim = {"measure": {"rebuilds": "Figure 2", "at_flops": 1e25}, "bound": {"at_most": 1}}
    one = verdict(claim, dict.fromkeys((SMALL, MIDDLE, LARGE), 0.1))
    assert one.verdict == "not comparable"
    assert "lies outside" in one.reason


def test_a_step_of_convergence_is_a_number_only_if_every_seed_converged() -> None:
    runs = grid(PARITY, ("mamba",), seeds=(0, 1, 2))
    measure = {"rebuilds": "Figure 2", "of": "convergence_step"}
    claim = {"measure": measure, "value": {"expected": 100_000, "absolute": 0.5}}
    assert verdict(claim, dict.fromkeys(runs, 0.97)).value == 100_000
    one = verdict(claim, dict(zip(runs, (0.97, 0.99, 0.6), strict=True)))
    # The third seed might have learned at the step after its last.
    assert (one.verdict, one.value, one.shown) == ("contradicted", pytest.approx(700_001 / 3), "≥")
    claim = {"measure": measure, "bound": {"at_least": 500_000}}
    assert verdict(claim, dict.fromkeys(runs, 0.5)).verdict == "reproduced"


GROUP = task_named("word_problem", group="S3", n_points=4)


@pytest.mark.parametrize(
    ("accuracies", "evaluation", "horizon"),
    [
        ([0.95, 0.9, 0.89, 0.2], "report", 2),
        ([0.95, 0.5, 1.0, 0.89], "report", 3),  # an earlier position may be worse
        ([0.5, 0.5, 0.5, 0.5], "report", 0),
        ([1.0, 1.0, 1.0, 0.95], "report", 4),
        ([1.0, 1.0, 1.0, 0.95], "longer_prompts", 32),  # which have 0.95 everywhere
        ([1.0, 1.0, 1.0, 0.8], "longer_prompts", 3),
    ],
)
def test_a_horizon_ends_at_the_last_accuracy_of_nine_tenths(
    accuracies: list[float], evaluation: str, horizon: int
) -> None:
    runs = grid(GROUP, ("mamba",), seeds=(0, 1, 2))
    claim = {
        "measure": {"rebuilds": "Figure 2", "of": "horizon", "evaluation": evaluation},
        "value": {"expected": horizon, "absolute": 0.01},
        "requires": {"about": "these runs"},
    }
    assert verdict(claim, dict.fromkeys(runs, accuracies)).value == horizon


@pytest.mark.parametrize(
    ("third", "word"),
    [
        (0.97, "reproduced"),
        (0.905, "undecided"),  # within one standard error of 0.9 on 1,280 prompts: 0.0084
        (0.895, "undecided"),
        (0.83, "contradicted"),
    ],
)
def test_a_horizon_whose_last_accuracy_is_near_nine_tenths_depends_on_the_prompts(
    third: float, word: str
) -> None:
    runs = grid(GROUP, ("mamba",), seeds=(0, 1, 2))
    claim = {
        "measure": {"rebuilds": "Figure 2", "of": "horizon"},
        "bound": {"at_least": 3},
        "requires": {"about": "these runs"},
    }
    one = verdict(claim, {run: [1.0, 1.0, third, 0.5] for run in runs})
    assert one.verdict == word
    assert one.standard_error == (0.5 if word == "undecided" else 0.0)
    over_both = verdict(
        {**claim, "requires": {"about": "training"}}, dict.fromkeys(runs, (1.0, 1.0, third, 0.5))
    )
    assert over_both.standard_error == pytest.approx(math.hypot(1 / 3, one.standard_error))
    assert (one.over, over_both.over) == ("prompts", "prompts, 3 seeds")


@pytest.mark.parametrize(
    ("reached", "least", "word"),
    [
        (2, 2, "undecided"),
        (2, 1, "reproduced"),
        (2, 3, "undecided"),  # another training may well reach one position more
        (2, 4, "contradicted"),
        (8, 8, "reproduced"),  # all positions: no training can reach more
        (8, 7.9, "reproduced"),
        (0, 1, "contradicted"),
    ],
)
def test_equal_horizons_are_known_to_about_a_position_unless_they_are_all_or_none(
    reached: int, least: float, word: str
) -> None:
    runs = grid(task_named("word_problem", group="S3", n_points=8), ("mamba",), seeds=(0, 1, 2))
    claim = {"measure": {"rebuilds": "Figure 2", "of": "horizon"}, "bound": {"at_least": least}}
    claim["requires"] = {"about": "training"}
    one = verdict(claim, dict.fromkeys(runs, [1.0] * reached + [0.5] * (8 - reached)))
    assert one.verdict == word
    assert one.standard_error == pytest.approx(1 / 3 if reached == 2 else 0)


def test_no_horizon_is_drawn_beyond_the_last_position() -> None:
    runs = grid(task_named("word_problem", group="S3", n_points=8), ("mamba",), seeds=(0, 1, 2))
    errors = {
        run: [1.0] * reached + [0.5] * (8 - reached) for run, reached in zip(runs, (8, 8, 3), strict=True)
    }
    claim = {"measure": {"rebuilds": "Figure 2", "of": "horizon"}, "bound": {"at_least": 6}}
    one = verdict({**claim, "requires": {"about": "training"}}, errors)
    assert one.interval is not None
    assert one.interval[1] == 8


def test_equal_steps_of_convergence_are_known_to_about_a_check() -> None:
    """All converge between the start and the first checkpoint, at step 100,000."""
    runs = grid(PARITY, ("mamba",), seeds=(0, 1, 2))
    measure = {"rebuilds": "Figure 2", "of": "convergence_step"}
    for about, word in (("training", "undecided"), ("these runs", "reproduced")):
        claim = {"measure": measure, "bound": {"at_most": 110_000}, "requires": {"about": about}}
        one = verdict(claim, dict.fromkeys(runs, 0.96))
        assert (one.verdict, one.value) == (word, 100_000)
        assert one.standard_error == pytest.approx(100_000 / (3 if about == "training" else 2), rel=1e-4)
        over = "3 seeds" if about == "training" else "steps between checks"
        assert one.over == f"{over}, not prompts"
        if about == "these runs":
            assert one.interval == (1, 100_000)


@pytest.mark.parametrize(
    ("learned", "slack", "word", "ratio"),
    [
        # Mamba learns at step 100,000 or 500,000, S4 not within 500,000: its step may be 500,001.
        (0.97, 0.0, "reproduced", 0.2),
        (0.97, -0.5, "reproduced", 0.2),
        (0.97, -0.9, "undecided", 0.2),  # a tenth of what S4 takes: nobody knows
        (0.5, -0.1, "not comparable", None),
    ],
)
def test_a_run_that_never_learned_takes_more_steps_than_its_training_and_nobody_knows_how_many(
    learned: float, slack: float, word: str, ratio: float | None
) -> None:
    runs = grid(PARITY, ("mamba", "s4"))
    pair = [{"architecture": "mamba"}, {"architecture": "s4"}]
    claim = {"measure": {"rebuilds": "Figure 2", "of": "convergence_step"}, "order": pair, "slack": slack}
    one = verdict(claim, dict(zip(runs, (learned, 0.5), strict=True)))
    assert (one.verdict, one.value) == (word, ratio and pytest.approx(ratio, rel=1e-4))
    if ratio:
        assert one.shown == "≤"
        assert "S4: never" in one.reason
    other_way = verdict({**claim, "order": pair[::-1]}, dict(zip(runs, (learned, 0.5), strict=True)))
    assert other_way.verdict == ("contradicted" if ratio else "not comparable")


@pytest.mark.parametrize(
    ("bound", "word"),
    [
        ({"at_most": 100_000}, "contradicted"),
        ({"at_most": 600_000}, "undecided"),
        ({"at_least": 500_000}, "reproduced"),
        ({"at_least": 600_000}, "undecided"),
    ],
)
def test_a_bound_beyond_the_training_does_not_decide_about_a_run_that_never_learned(
    bound: dict[str, int], word: str
) -> None:
    runs = grid(PARITY, ("mamba",))
    one = verdict(
        {"measure": {"rebuilds": "Figure 2", "of": "convergence_step"}, "bound": bound}, {runs[0]: 0.5}
    )
    assert (one.verdict, one.value, one.shown) == (word, None, "never")


def test_a_ratio_of_equal_horizons_of_the_same_models_has_a_spread() -> None:
    runs = grid(GROUP, ("mamba",), seeds=(0, 1, 2))
    measure = {"rebuilds": "Figure 2", "of": "horizon", "relative_to": {"evaluation": "longer_prompts"}}
    claim = {"measure": measure, "value": {"expected": 1, "absolute": 0.1}, "requires": {"about": "training"}}
    one = verdict(claim, {run: [1.0, 1.0, 1.0, 0.8] for run in runs})
    assert one.verdict == "undecided"


def test_a_draw_without_a_ratio_leaves_the_others() -> None:
    """With standard errors of 40 %, the reference is below 0 in some draws, which then have no ratio."""
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1, 2))
    results = {
        run.id: result_of(run, [0.5] * 39 + [0.2 + 0.001 * run.seed, 0.1], provenance=REAL, noise=10)
        for run in runs
    }
    measure = {"rebuilds": "Figure 2", "at": 39, "relative_to": {"at": "last"}}
    for about in ("training", "these runs"):
        fields = {"statement": "s", "measure": measure, "requires": {"about": about}}
        claim = claim_of({**fields, "bound": {"at_most": 50}})
        suite = suite_of(experiment_of(runs, "all"))
        (one,) = check(Claims(Path("x"), {"c": claim}), suite, pool_with(runs=results))
        assert one.verdict == "reproduced"
        assert one.share is not None
        assert 0.98 < one.share < 1


def test_the_longer_horizon_is_the_better_one_where_orders_are_turned_round() -> None:
    suite = suite_of(experiment_of(grid(GROUP, ("mamba", "s4"))))
    measure = {"rebuilds": "Figure 2", "of": "horizon"}
    claim = claim_of(
        {"statement": "s", "measure": measure, "order": [{"architecture": name} for name in ("s4", "mamba")]}
    )
    (comparison,) = comparisons(Claims(Path("x"), {"c": claim}), suite)
    better = {runs[0].architecture.name for sign, runs, *_ in comparison.sides if sign > 0}
    assert better == {"mamba"}


@pytest.mark.parametrize(
    ("scores", "word"),
    [
        ((0.97, 0.97), "undecided"),  # both before the first check
        ((0.97, 0.5), "reproduced"),  # whatever the margin: the other never converges
        ((0.5, 0.97), "contradicted"),
        ((0.5, 0.5), "not comparable"),
    ],
)
def test_what_never_converges_is_slower_than_what_does(scores: tuple[float, float], word: str) -> None:
    runs = grid(PARITY, ("mamba", "s4"))
    claim = {
        "measure": {"rebuilds": "Figure 2", "of": "convergence_step"},
        "order": [{"architecture": "mamba"}, {"architecture": "s4"}],
        "slack": -0.5,
    }
    assert verdict(claim, dict(zip(runs, scores, strict=True))).verdict == word


# --- what decides -----------------------------------------------------------------------------


PAIR = [{"architecture": "transformer"}, {"architecture": "mamba"}]


@pytest.mark.parametrize(
    "claim",
    [
        {"order": PAIR},
        {"order": PAIR, "slack": 0.5},
        {"trend": {"rising": PAIR}},
        {"count": {"orders": [PAIR], "at_least": 1}, "slack": 1.0},
        {
            "measure": {"architecture": "mamba", "relative_to": {"architecture": "s4"}},
            "value": {"expected": 1, "relative": 0.1},
        },
        {
            "measure": {"architecture": "mamba", "minus": {"architecture": "s4"}},
            "bound": {"at_most": 0.1},
        },
    ],
)
def test_models_that_learned_nothing_are_not_compared(claim: dict[str, Any]) -> None:
    claim = {**claim, "measure": {"rebuilds": "Figure 2", **claim.get("measure", {})}}
    one = verdict(claim, dict(zip(MODELS, (0.97, 0.98, 0.99), strict=True)))
    assert one.verdict == "not comparable"
    assert "too little was learned: the best model has 0.9" in one.reason
    lenient = {**claim, "requires": {"learned": 0.985}}
    assert verdict(lenient, dict(zip(MODELS, (0.97, 0.98, 0.99), strict=True))).verdict != "not comparable"


def test_models_without_an_error_are_not_compared() -> None:
    runs = grid(PARITY, ("mamba", "s4"))
    order = {"order": [{"architecture": "mamba"}, {"architecture": "s4"}]}
    equal = {"measure": {"architecture": "mamba", "minus": {"architecture": "s4"}}, "bound": {"at_most": 0.1}}
    at_budget = {**equal, "measure": {**equal["measure"], "at_flops": 1e17}}
    for claim in (order, equal, at_budget):
        claim = {**claim, "measure": {"rebuilds": "Figure 2", **claim.get("measure", {})}}
        one = verdict(claim, dict.fromkeys(runs, 1.0))
        assert one.verdict == "not comparable"
        assert one.reason.startswith("no compared model makes an error")
        assert verdict(claim, dict(zip(runs, (1.0, 0.99), strict=True))).verdict == "reproduced"
    alone = {"measure": {"rebuilds": "Figure 2", "architecture": "mamba"}, "bound": {"at_most": 0.1}}
    assert verdict(alone, {runs[0]: 1.0}).verdict == "reproduced"


@pytest.mark.parametrize(
    ("reached", "word"), [((8, 8), "not comparable"), ((4, 8), "reproduced"), ((8, 4), "contradicted")]
)
def test_models_that_reach_the_last_position_are_not_compared(reached: tuple[int, int], word: str) -> None:
    """Their accuracies are 0.95: they make errors, but no horizon can be longer."""
    runs = grid(task_named("word_problem", group="S3", n_points=8), ("mamba", "s4"))
    pair = [{"architecture": "mamba"}, {"architecture": "s4"}]
    claim = {"measure": {"rebuilds": "Figure 2", "of": "horizon"}, "trend": {"rising": pair}, "slack": -0.2}
    accuracies = [[0.95] * horizon + [0.5] * (8 - horizon) for horizon in reached]
    one = verdict(claim, dict(zip(runs, accuracies, strict=True)))
    assert one.verdict == word
    assert ("longer prompts may tell them apart" in one.reason) == (word == "not comparable")


def test_a_claim_about_training_takes_three_seeds_and_one_about_the_runs_takes_none() -> None:
    claim = {"measure": {"rebuilds": "Figure 2"}, "bound": {"at_most": 0.5}}
    about = {"requires": {"about": "training"}}
    for seeds, word in ((1, "undecided"), (2, "undecided"), (3, "reproduced")):
        runs = grid(LINEAR, ("mamba",), seeds=tuple(range(seeds)))
        one = verdict({**claim, **about}, dict.fromkeys(runs, 0.2))
        assert one.verdict == word
        assert verdict(claim, dict.fromkeys(runs, 0.2)).verdict == "reproduced"
    runs = grid(LINEAR, ("mamba",))
    assert "1 of the 3 seeds" in verdict({**claim, **about}, dict.fromkeys(runs, 0.2)).reason
    five = verdict({**claim, "requires": {"seeds": 5}}, dict.fromkeys(runs, 0.2))
    assert (five.verdict, five.reason) == ("undecided", "1 of the 5 seeds that the claim takes finished")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("relative_to", 0.5 * math.sqrt(2) * 0.04), ("minus", math.hypot(0.004, 0.008))],
)
def test_the_error_of_a_ratio_and_of_a_difference_follows_from_both_sides(
    reference: str, expected: float
) -> None:
    """At the last position results keep no errors per prompt, only a standard error: 4 % of each side."""
    runs = grid(LINEAR, ("mamba", "s4"))
    results = {
        run.id: result_of(run, error, provenance=REAL) for run, error in zip(runs, (0.1, 0.2), strict=True)
    }
    measure = {"rebuilds": "Figure 2", "architecture": "mamba", reference: {"architecture": "s4"}}
    claim = claim_of({"statement": "s", "measure": {**measure, "at": "last"}, "bound": {"at_most": 1.0}})
    suite = suite_of(experiment_of(runs, "all"))
    (one,) = check(Claims(Path("x"), {"c": claim}), suite, pool_with(runs=results))
    # 2,000 draws estimate a standard deviation to 2 %.
    assert one.standard_error == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(
    ("errors", "word"),
    [
        ((0.10, 0.11, 0.12), "reproduced"),
        ((0.10, 0.20, 0.45), "undecided"),  # the mean is 0.25, its interval reaches beyond 0.3
        ((0.40, 0.41, 0.42), "contradicted"),
    ],
)
def test_a_bound_within_the_interval_leaves_a_claim_undecided(errors: tuple[float, ...], word: str) -> None:
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1, 2))
    claim = {
        "measure": {"rebuilds": "Figure 2"},
        "bound": {"at_most": 0.3},
        "requires": {"about": "training"},
    }
    assert verdict(claim, dict(zip(runs, errors, strict=True))).verdict == word


def test_an_order_of_models_on_the_same_prompts_is_paired() -> None:
    """Prompts differ by 30 % in difficulty, models on one prompt by 5 %: a gap of 3 % is seen with 64."""
    runs = grid(LINEAR, ("mamba", "s4"))
    results = {
        run.id: result_of(run, error, provenance=REAL) for run, error in zip(runs, (0.2, 0.206), strict=True)
    }
    claim = claim_of(
        {
            "statement": "s",
            "measure": {"rebuilds": "Figure 2"},
            "order": [{"architecture": "mamba"}, {"architecture": "s4"}],
        }
    )
    suite = suite_of(experiment_of(runs, "all"))
    (one,) = check(Claims(Path("x"), {"c": claim}), suite, pool_with(runs=results))
    assert one.verdict == "reproduced", one.reason
    assert one.standard_error is not None
    assert one.standard_error < 0.02  # 5 % of one prompt, 64 prompts, two models: 0.9 %; unpaired 5 %


def test_an_excess_is_the_part_of_what_can_be_learned_that_was_not() -> None:
    (run,) = grid(LINEAR, ("mamba",))
    runs = {run.id: result_of(run, 0.75, provenance=REAL, noise=0)}
    pool = pool_with(runs, {run.task_id: baselines_of(run)})
    suite = suite_of(experiment_of([run], "all"))
    floor = sum(max(0.0, 1 - i / 20) for i in range(41)) / 41
    for at, expected in (("mean", (0.75 - floor) / (1 - floor)), ("last", 0.75), (10, 0.5)):
        claim = claim_of(
            {
                "statement": "s",
                "measure": {"rebuilds": "Figure 2", "of": "excess", "at": at},
                "value": {"expected": expected, "absolute": 1e-9},
            }
        )
        (one,) = check(Claims(Path("x"), {"c": claim}), suite, pool)
        assert one.verdict == "reproduced", one.reason
        (one,) = check(Claims(Path("x"), {"c": claim}), suite, pool_with(runs))
        assert one.verdict == "not comparable"
        assert "no floor" in one.reason


@pytest.mark.parametrize(
    ("error", "word"), [(0.6, "reproduced"), (0.5, "reproduced"), (0.4, "not comparable")]
)
def test_no_excess_is_divided_by_one_below_0(error: float, word: str) -> None:
    """The floor at position 10 is 0.5. An error below it is possible on some prompts."""
    (run,) = grid(LINEAR, ("mamba",))
    result = result_of(run, [0.9] * 10 + [error] + [0.9] * 30, provenance=REAL, noise=0)
    measure = {"rebuilds": "Figure 2", "of": "excess", "at": "last", "relative_to": {"at": 10}}
    claim = claim_of({"statement": "s", "measure": measure, "bound": {"at_least": 2}})
    pool = pool_with({run.id: result}, {run.task_id: baselines_of(run)})
    (one,) = check(Claims(Path("x"), {"c": claim}), suite_of(experiment_of([run], "all")), pool)
    assert one.verdict == word
    assert ("have no ratio" in one.reason) == (word == "not comparable")


def test_training_flops_are_those_of_the_checkpoint() -> None:
    flops = MIDDLE.training_flops_full_length(100_000)
    measure = {"rebuilds": "Figure 2", "of": "training_flops", "step": 100_000}
    claim = {"measure": measure, "value": {"expected": float(flops), "relative": 1e-9}}
    assert verdict(claim, {MIDDLE: 0.5}).verdict == "reproduced"


def test_another_evaluation_is_read_where_it_is_asked_for() -> None:
    run = run_of(task_named("many_outlier_regression"))
    result = result_of(run, 0.5, provenance=REAL, noise=0)
    clean = result["checkpoints"][-1]["evaluations"]["clean_prompts"]
    clean["headline"] = [2.0, 0.0]
    suite = suite_of(experiment_of([run], "all"))
    claim = {
        "statement": "s",
        "measure": {"rebuilds": "Figure 2", "evaluation": "clean_prompts", "at": "headline"},
        "value": {"expected": 0.1, "absolute": 1e-9},
    }
    claims = Claims(Path("x"), {"c": claim_of(claim)})
    (one,) = check(claims, suite, pool_with(runs={run.id: result}))
    assert one.verdict == "reproduced"
    del result["checkpoints"][-1]["evaluations"]["clean_prompts"]
    (one,) = check(claims, suite, pool_with(runs={run.id: result}))
    assert one.verdict == "not comparable"
    assert "no score at 'clean_prompts, headline'" in one.reason


# --- what is not comparable -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ({"steps": 300_000}, "its runs train for 500,000 steps, the claim is about 300,000"),
        ({"protocol": "released_code"}, "its task has subset per_prompt, the released code has per_batch"),
        ({"protocol": "paper", "steps": 500_000, "seeds": 1}, None),
    ],
)
def test_runs_that_are_not_what_the_claim_is_about_are_not_comparable(
    requires: dict[str, Any], reason: str | None
) -> None:
    (run,) = grid(PARITY, ("mamba",))
    claim = {"measure": {"rebuilds": "Figure 2"}, "bound": {"at_most": 1}, "requires": requires}
    one = verdict(claim, {run: 0.9})
    assert one.verdict == ("not comparable" if reason else "reproduced")
    assert reason is None or one.reason == reason


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "synthetic.claims.yaml"
    path.write_text(text)
    return path


def test_a_claim_may_wait_for_what_the_suite_lacks_and_is_decided_once_it_is_there(tmp_path: Path) -> None:
    text = """\
suite: synthetic
requires: {steps: 500_000}
claims:
  c:
    statement: s
    awaits: Table 3
    requires: {seeds: 2}
    measure: {rebuilds: Table 3, architecture: mamba}
    bound: {at_most: 1}
"""
    lacking = suite_of(experiment_of([MIDDLE]))
    found = claims_of.load(write(tmp_path, text), lacking)
    assert found.awaiting == {"c": "Table 3"}
    assert found.claims["c"].requires.steps == 500_000
    assert found.claims["c"].requires.seeds == 2
    there = suite_of(experiment_of([MIDDLE], rebuilds="Table 3"))
    assert claims_of.load(write(tmp_path, text), there).awaiting == {}
    with pytest.raises(InvalidFile) as caught:
        claims_of.load(write(tmp_path, text.replace("    awaits: Table 3\n", "")), lacking)
    assert "no experiment of suite 'synthetic' rebuilds Table 3" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("kind", "place", "message"),
    [
        (
            "trend: {rising: [{size: small}, {size: smal}]}",
            "5:44",
            "unknown size group 'smal', did you mean 'small'?",
        ),
        ("trend: {rising: [{size: small}]}", "5:21", "needs at least 2 values"),
        ("trend: {}", "5:12", "give one of rising and falling"),
        ("symbol: {expected: '?', among: [{at: 1}, {at: 2}]}", "5:24", "expected one of ✓, ▲, ✗, not '?'"),
        ("count: {orders: [[{at: 1}, {at: 2}]], at_least: 2}", "5:53", "at_least 2 of 1 can never hold"),
        ("count: {claims: [x], at_least: 1}", "5:22", "there is no claim 'x'"),
        ("count: {claims: [c], at_least: 1}", "5:22", "'c' is a count itself"),
    ],
)
def test_a_wrong_kind_is_refused_at_its_place(tmp_path: Path, kind: str, place: str, message: str) -> None:
    head = "suite: synthetic\nclaims:\n  c:\n    measure: {rebuilds: Figure 2}\n"
    text = f"{head}    {kind}\n    statement: s\n"
    with pytest.raises(InvalidFile) as caught:
        claims_of.load(write(tmp_path, text), suite_of(experiment_of([MIDDLE])))
    problems = [problem.partition("yaml:")[2] for problem in caught.value.problems]
    assert any(problem.startswith(place) and message in problem for problem in problems), problems


def test_an_evaluation_and_a_mark_that_no_task_has_are_refused(tmp_path: Path) -> None:
    for field, message in (
        ("evaluation: clean_prompt", "task 'linear_regression' has no evaluation 'clean_prompt'"),
        ("at: 50th_clean", "task 'linear_regression' has no mark '50th_clean'"),
        ("of: perplexity", "evaluation 'report' of task 'linear_regression' is no cross-entropy"),
        ("of: horizon", "evaluation 'report' of task 'linear_regression' is no accuracy: it has no horizon"),
        ("of: horizon, at: last", "a horizon is read over all positions: leave out at"),
    ):
        text = (
            "suite: synthetic\nclaims:\n  c:\n    statement: s\n    bound: {at_most: 1}\n"
            f"    measure: {{rebuilds: Figure 2, {field}}}\n"
        )
        with pytest.raises(InvalidFile) as caught:
            claims_of.load(write(tmp_path, text), suite_of(experiment_of([MIDDLE])))
        assert message in caught.value.problems[0]


def test_a_claim_about_longer_prompts_is_for_models_that_are_defined_there(tmp_path: Path) -> None:
    measure = "measure: {rebuilds: Figure 2, evaluation: longer_prompts, at: 2x_length}"
    path = write(
        tmp_path,
        "suite: synthetic\nclaims:\n  c:\n    statement: s\n    requires: {about: these runs}\n"
        f"    bound: {{at_most: 0.5}}\n    {measure}\n",
    )
    suite = suite_of(experiment_of([MIDDLE]))
    result = result_of(MIDDLE, 0.2, provenance=REAL)
    column = result["facts"]["evaluations"]["longer_prompts"]["marks"]["2x_length"]
    result["checkpoints"][-1]["evaluations"]["longer_prompts"]["mean"][column] = 0.3 * LINEAR.error_scale
    claims = claims_of.load(path, suite)
    (said,) = check(claims, suite, pool_with(runs={MIDDLE.id: result}))
    assert (said.verdict, said.value) == ("reproduced", pytest.approx(0.3))
    del result["checkpoints"][-1]["evaluations"]["longer_prompts"]  # as in results from before
    (said,) = check(claims, suite, pool_with(runs={MIDDLE.id: result}))
    assert said.value is None
    assert "no score at 'longer_prompts, 2x_length'" in said.reason
    with pytest.raises(InvalidFile) as caught:
        claims_of.load(path, suite_of(experiment_of([run_of(LINEAR, "transformer")])))
    assert "architecture 'transformer' has no evaluation 'longer_prompts'" in caught.value.problems[0]


def test_a_number_beyond_a_floor_is_unreachable_whatever_the_results() -> None:
    claim = {"measure": {"experiment": "all"}, "bound": {"at_most": 0.1}, "unreachable": "the floor is 0.2"}
    runs = {MIDDLE: 0.05}
    said = verdict(claim, runs)
    assert (said.verdict, said.reason) == ("unreachable", "the floor is 0.2")
    reached = verdict({**claim, "unreachable": None}, runs)
    assert reached.verdict == "reproduced"
    assert (exit_code([said, reached]), exit_code([said])) == (0, 2)
    assert exit_code([said, verdict({**claim, "unreachable": None}, {MIDDLE: 0.5})]) == 1
    assert to_json([said])["counts"]["unreachable"] == 1


def test_a_perplexity_is_the_exponential_of_a_cross_entropy() -> None:
    run = run_of(task_named("regbench", languages=5), steps=100)
    result = result_of(run, 0.2, provenance=REAL)
    for checkpoint in result["checkpoints"]:
        scores = checkpoint["evaluations"]["cross_entropy"]
        scores["headline"] = scores["overall"] = [math.log(4), 0.01]
    suite = suite_of(experiment_of([run], "all"))
    pool = pool_with(runs={run.id: result})
    measure = {"experiment": "all", "evaluation": "cross_entropy", "at": "headline"}
    for of, number, error in (
        ("perplexity", 4.0, 0.04),
        ("error", math.log(4) / math.log(20), 0.01 / math.log(20)),
    ):
        claim = claim_of({"statement": "s", "measure": {**measure, "of": of}, "bound": {"at_most": 9}})
        (said,) = check(Claims(Path("x"), {"c": claim}), suite, pool)
        assert said.value == pytest.approx(number)
        assert said.standard_error == pytest.approx(error)


def test_a_model_that_is_confidently_wrong_has_a_perplexity() -> None:
    run = run_of(task_named("regbench", languages=5), steps=100)
    result = result_of(run, 0.2, provenance=REAL)
    result["checkpoints"][-1]["evaluations"]["cross_entropy"]["overall"] = [1000.0, 0.01]
    measure = {"experiment": "all", "evaluation": "cross_entropy", "of": "perplexity"}
    claim = claim_of({"statement": "s", "measure": measure, "bound": {"at_most": 9}})
    suite = suite_of(experiment_of([run], "all"))
    (said,) = check(Claims(Path("x"), {"c": claim}), suite, pool_with(runs={run.id: result}))
    assert said.verdict == "contradicted"
    json.dumps(to_json([said]), allow_nan=False)


# --- what changed, and files for others -------------------------------------------------------


def said(claim: str, word: str) -> Verdict:
    return Verdict(claim, "bound", "s", "Figure 2", 0.1, None, 0.01, "e", "t", None, word, "why", ())  # type: ignore[arg-type]


def test_changes_name_what_is_lost_found_new_and_gone() -> None:
    before = {"kept": "reproduced", "lost": "reproduced", "found": "missing", "gone": "reproduced"}
    now = [
        said("kept", "reproduced"),
        said("lost", "missing"),
        said("found", "reproduced"),
        said("new", "missing"),
    ]
    found = {each.claim: (each.before, each.after, each.lost) for each in changes(before, now)}
    assert found == {
        "lost": ("reproduced", "missing", True),
        "found": ("missing", "reproduced", False),
        "new": (None, "missing", False),
        "gone": ("reproduced", None, True),
    }


def test_an_earlier_check_is_read_back_and_anything_else_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(json.dumps(to_json([said("c", "reproduced")])))
    assert read(path) == {"c": "reproduced"}
    for text in ("{", "[]", '{"verdicts": [{"claim": "c", "verdict": "splendid"}]}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"verdicts\.json"):
            read(path)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "nowhere.json")


def test_junit_fails_what_is_not_reproduced_and_skips_what_measured_nothing() -> None:
    words = ["reproduced", "contradicted", "missing", "not comparable"]
    root = ElementTree.fromstring(junit("quick", [said(f"c{i}\x07", word) for i, word in enumerate(words)]))
    assert {key: root.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "5",
        "failures": "1",
        "skipped": "2",
    }
    assert root.get("errors") == "0"
    assert [[child.tag for child in case] for case in root] == [[], [], ["failure"], ["skipped"], ["skipped"]]


@pytest.mark.parametrize(
    ("words", "errors"),
    [
        (["missing", "undecided", "missing"], 1),
        (["unreachable"], 1),
        ([], 1),
        (["missing", "reproduced"], 0),
        (["contradicted"], 0),
    ],
)
def test_a_junit_file_without_a_decided_claim_is_no_success(words: list[str], errors: int) -> None:
    """Programs that read JUnit count failures and errors, and show skipped cases as a success."""
    verdicts = [said(f"c{i}", word) for i, word in enumerate(words)]
    root = ElementTree.fromstring(junit("quick", verdicts))
    assert int(root.get("errors", "")) == len(root.findall(".//error")) == errors
    assert int(root.get("tests", "")) == len(root.findall("testcase"))


# --- the paper --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper() -> Claims:
    return claims_of.load(ROOT / "suites/paper.claims.yaml", suites.load(ROOT / "suites/paper.yaml"))


@pytest.mark.slow
def test_the_papers_claims_wait_for_nothing_that_its_suite_plans(paper: Claims) -> None:
    assert len(paper.claims) > 120
    plans = {
        number
        for each in suites.load(ROOT / "suites/paper.yaml").experiments
        for number in named(each.rebuilds)
    }
    waiting = {number for name in paper.awaiting for number in named(paper.claims[name].source or "")}
    assert waiting <= set(EXHIBITS) - (plans - {"Figure 7"})


def test_every_claim_of_the_paper_says_where_it_stands_and_why_its_tolerance(paper: Claims) -> None:
    assert [name for name, claim in paper.claims.items() if not (claim.source and claim.reason)] == []
    assert {claim.kind for claim in paper.claims.values()} == {
        "value", "bound", "order", "trend", "symbol", "count",
    }  # fmt: skip


def test_the_papers_claims_agree_with_its_printed_tables(paper: Claims) -> None:
    from bench.paper import printed

    for name, values in printed.TABLE_3.items():
        for (m, width), value in zip(printed.TABLE_3_COLUMNS, values, strict=True):
            claimed = paper.claims[f"table3_{name}_{m}_{width}"].value
            assert claimed is not None
            assert claimed.expected == float(value)
    for task, symbols in printed.TABLE_1.items():
        for architecture, mark in zip(printed.TABLE_1_ARCHITECTURES, symbols, strict=True):
            claim = paper.claims[f"table1_{task}_{architecture}"]
            assert claim.symbol is not None
            assert claim.symbol.expected == mark


def test_claims_about_formal_languages_are_the_printed_tables_and_name_what_no_model_can_have() -> None:
    from bench.paper import printed

    suite = suites.load(ROOT / "suites/formal.yaml")
    claims = claims_of.load(ROOT / "suites/formal.claims.yaml", suite)
    assert claims.awaiting == {}
    for name, (_, *numbers) in printed.TABLE_4.items():
        for part, text in zip(("train", "valid", "accuracy"), numbers, strict=True):
            claimed = claims.claims[f"table4_{name}_{part}"].value
            number = float(text.split()[0])
            assert claimed is not None
            assert claimed.expected == pytest.approx(number / 100 if part == "accuracy" else number)
    for epochs, models in printed.TABLE_5.items():
        for name, (_, perplexity, accuracy) in models.items():
            own = {key: c for key, c in claims.claims.items() if key.startswith(f"table5_{name}_{epochs}_")}
            beyond = {key for key, claim in own.items() if claim.unreachable}
            # The entropy given the automaton is a perplexity of 1.80, the ceiling of accuracy 98.74 %.
            assert any(key.endswith(("perplexity", "valid")) for key in beyond) == (float(perplexity) < 1.8)
            assert any(key.endswith("accuracy") for key in beyond) == (float(accuracy.strip("*")) > 98.74)
    assert {key for key in claims.claims if key.startswith("table4") and claims.claims[key].unreachable} == {
        "table4_lstm_train",
        "table4_lstm_valid",
    }


@pytest.mark.slow
def test_without_results_the_paper_is_missing_and_nothing_passes(paper: Claims) -> None:
    verdicts = check(paper, suites.load(ROOT / "suites/paper.yaml"), Pool())
    assert {one.verdict for one in verdicts} == {"missing"}
    assert exit_code(verdicts) == 2


# --- a further kind ---------------------------------------------------------------------------


class Multiple(Frozen):
    """A whole multiple of a number."""

    unit: PositiveFloat


class MultipleClaim(Claim):
    """The number is a whole multiple of a unit."""

    kind: ClassVar[str] = "multiple_of"

    multiple_of: Multiple

    @property
    def expected(self) -> str:
        return f"n × {self.multiple_of.unit:g}"

    @property
    def tolerance(self) -> str:
        return "a hundredth of the unit"

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        (measurement,) = measurements
        units = measurement.value / self.multiple_of.unit
        holds = self.decided(measurements).holds
        return Judgement(holds, measurement.value, None, f"{units:.3g} units", f"{round(units)} times")

    def parts(self, values: Floats) -> Holds:
        units = values.T / self.multiple_of.unit
        return np.asarray(np.abs(units - np.round(units)) < 0.01)


@pytest.fixture
def multiple_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, MultipleClaim.kind, MultipleClaim)


SMALL_SUITE = """\
name: quick
experiments:
  linear:
    tasks: [linear_regression]
    architectures: [mamba]
    sizes: [{layers: 2, width: 32}]
    learning_rates: [1e-3]
    steps: 100
"""
MULTIPLES = """\
suite: quick
requires: {about: these runs}
claims:
  in_units:
    statement: The error is a multiple.
    measure: {experiment: linear}
    multiple_of: {unit: 0.1}
  in_others:
    statement: The error is another multiple.
    measure: {experiment: linear}
    multiple_of: {unit: 0.07}
"""


@pytest.mark.usefixtures("multiple_of")
def test_a_further_kind_of_claim_needs_an_entry_in_the_registry_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, results = tmp_path / "quick.yaml", tmp_path / "results"
    path.write_text(SMALL_SUITE, encoding="utf-8")
    path.with_name("quick.claims.yaml").write_text(MULTIPLES, encoding="utf-8")
    suite = suites.load(path)
    for run in suite.runs:
        store(path_of(results, run), result_of(run, 0.3, provenance=REAL, noise=0))
    monkeypatch.setenv("COLUMNS", "160")

    code = check_suite(
        SuiteChoice.of(path, results=results), CheckOptions(junit=tmp_path / "claims.xml", verbose=True)
    )
    table = capsys.readouterr().out
    assert code == 1
    assert re.search(r"^reproduced +in_units +3 times 0\.3 +n × 0\.1, a hundredth of the unit", table, re.M)
    assert re.search(r"^contradicted +in_others +4 times 0\.3 +n × 0\.07", table, re.M)
    assert "4.29 units" in table

    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "claims.xml").getroot()}
    assert cases["in_units"].get("classname") == "quick.multiple_of"
    (failure,) = cases["in_others"]
    assert failure.get("message") == "4.29 units"

    write_reports([SuiteChoice.of(path)], results, tmp_path / "reports")
    entries = json.loads((tmp_path / "reports/quick/verdicts.json").read_text())["verdicts"]
    assert [(entry["kind"], entry["shown"], entry["value"]) for entry in entries] == [
        ("multiple_of", "3 times", pytest.approx(0.3)),
        ("multiple_of", "4 times", pytest.approx(0.3)),
    ]
    page = (tmp_path / "reports/quick/index.html").read_text(encoding="utf-8")
    for text in ("3 times", "n × 0.1", "a hundredth of the unit", "4.29 units"):
        assert text in page


@pytest.mark.usefixtures("multiple_of")
def test_a_further_kind_of_claim_is_read_strictly_and_is_in_the_schema(tmp_path: Path) -> None:
    head = "suite: synthetic\nclaims:\n  c:\n    statement: s\n    measure: {rebuilds: Figure 2}\n"
    for kind, problem in (
        ("multiple_of: {unit: 0}", "6:25: unit: must be greater than 0, got 0"),
        ("multiple_off: {unit: 1}", "6:5: unknown key 'multiple_off', did you mean 'multiple_of'?"),
    ):
        with pytest.raises(InvalidFile) as caught:
            claims_of.load(write(tmp_path, f"{head}    {kind}\n"), suite_of(experiment_of([MIDDLE])))
        assert [line.partition("yaml:")[2] for line in caught.value.problems] == [problem]
    validator = jsonschema.Draft202012Validator(claims_schema())
    claim = {"statement": "s", "multiple_of": {"unit": 0.1}}
    assert validator.is_valid({"suite": "x", "claims": {"c": claim}})
    assert not validator.is_valid({"suite": "x", "claims": {"c": {**claim, "multiple_of": {"unit": 0}}}})


@pytest.mark.parametrize("name", ["quick", "pilot", "precision", "paper"])
def test_the_schema_describes_claims_files(name: str) -> None:
    schema = claims_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    file = document.read(ROOT / f"suites/{name}.claims.yaml").data
    validator.validate(file)
    assert not validator.is_valid({**file, "claims": {"c": {"statement": "s", "bound": {"at_mots": 1}}}})


@pytest.mark.parametrize("limit", [0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("side", ["at_most", "at_least"])
def test_the_interval_that_a_report_shows_decides_a_bound(limit: float, side: str) -> None:
    """A reader with the interval and the bound alone comes to the same verdict."""
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1, 2))
    claim = {"measure": {"rebuilds": "Figure 2"}, "bound": {side: limit}, "requires": {"about": "training"}}
    one = verdict(claim, dict(zip(runs, (0.10, 0.20, 0.30), strict=True)))
    assert one.interval is not None
    low, high = one.interval
    inner, outer = (high, low) if side == "at_most" else (-low, -high)
    bound = limit if side == "at_most" else -limit
    expected = "reproduced" if inner <= bound else "contradicted" if outer > bound else "undecided"
    assert one.verdict == expected
    assert one.share is not None
    assert one.verdict == (
        "reproduced" if one.share >= 0.95 else "contradicted" if one.share <= 0.05 else "undecided"
    )
    assert (one.seeds, one.holds_if) == (3, f"{'≤' if side == 'at_most' else '≥'} {limit:g}")
    assert "mean of 3 seeds: 0.1, 0.2, 0.3" in one.reason
    assert one.quantity == "normalised error, mean over positions: Figure 2"


def test_members_and_quantities_are_in_words() -> None:
    measure = {"rebuilds": "Figure 2", "architecture": {"name": "deltanet", "negative_eigenvalues": True}}
    order = [{"architecture": "deltanet+householders=2", "size": {"layers": 2, "width": 64}}, {"step": 600}]
    claim = claim_of({"statement": "s", "measure": measure, "order": order})
    assert claim.names == ("DeltaNet, 2 Householder products, 2×64", "after 600 steps")
    assert claim.expected == "DeltaNet, 2 Householder products, 2×64 < after 600 steps"
    assert claim.number_in_words([]) == (
        "ratio of normalised error, mean over positions: Figure 2, DeltaNet, β < 2; "
        "DeltaNet, 2 Householder products, 2×64 / after 600 steps"
    )


@pytest.mark.parametrize(
    ("minus", "words"),
    [
        ({"evaluation": "report", "at": "last"}, "less that at the last position, on prompts as trained"),
        ({"architecture": "mamba"}, "less that of Mamba"),
    ],
)
def test_a_reference_is_another_number_of_the_same_runs_or_of_others(
    minus: dict[str, Any], words: str
) -> None:
    measure = {"rebuilds": "Figure 2", "evaluation": "longer_prompts", "at": "8x_length", "minus": minus}
    claim = claim_of({"statement": "s", "measure": measure, "bound": {"at_most": 1}})
    assert claim.number_in_words([]).partition("; ")[2] == words


def test_a_frontier_goes_on_flat_from_draws_without_a_logarithm_and_only_from_these() -> None:
    left, right = np.array([0.4, 0.4, 0.0]), np.array([0.1, 0.0, 0.0])
    assert _between(1e12, left, 4e12, right, 2e12) == pytest.approx([0.2, 0.4, 0.0])
    assert _between(1e12, left, 4e12, right, 4e12) == pytest.approx([0.1, 0.0, 0.0])
