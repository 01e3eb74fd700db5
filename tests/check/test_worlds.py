"""Claims on made-up results: in a world without learning, and in one with the stated orders reversed."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import ROOT, as_json, bench, said
from synthetic import claim_of, experiment_of, grid, suite_of, task_named
from synthetic_paper import about_these_runs, paper_claims, paper_suite

from bench import suite as suites
from bench.check import Verdict, check, claims, worlds
from bench.check.claims import Claims
from bench.check.comparisons import comparisons
from bench.check.reversal import ReversedShares
from bench.results import RunRecord, per_prompt
from bench.run import Run, Stop
from bench.suite import Suite

SHIPPED = tuple(path.name.partition(".")[0] for path in sorted((ROOT / "suites").glob("*.claims.yaml")))

FAILURE = "states that a model does not learn the task"
COST = "counts FLOPs, which no learning changes"
LEARNED = "states that a model learns, and in this world it did"
EQUAL = "states that two models are nearly equal; no order is reversed"
ON_PAR = "states an excess within a tenth of the best, which this world's better ranks have"
CEILING = "states that no model is better than the best there can be"

PASSING: dict[tuple[str, str], dict[str, str]] = {
    ("quick", "null"): {"transformer_only_copies_in_parity": FAILURE},
    ("quick", "reversed"): {
        "mambaformer_learns_linear_regression": LEARNED,
        "standard_hybrid_learns_linear_regression": LEARNED,
    },
    ("pilot", "null"): {"transformer_struggles_with_two_layers": FAILURE},
    ("pilot", "reversed"): {"transformer_struggles_with_two_layers": FAILURE},
    ("parity", "null"): {
        "transformer_fails": FAILURE,
        "transformer_never_converges": FAILURE,
        "s4_fails": FAILURE,
        "mamba_at_four_times_the_length_worst_seed": FAILURE,
    },
    ("parity", "reversed"): {
        "mamba_learns_parity": LEARNED,
        "s4_mamba_learns_parity": LEARNED,
        "s4_mamba_like_mamba": EQUAL,
        "transformer_never_converges": FAILURE,
    },
    ("modern_small", "null"): {},
    ("modern_small", "reversed"): {
        "delta_like_decay_256": EQUAL,
        "gla_like_mamba2_512": EQUAL,
        "lstm_needs_one_layer": LEARNED,
        "gated_deltanet_needs_one_layer": LEARNED,
    },
    ("modern", "null"): {},
    ("modern", "reversed"): {},
    ("reproduction", "null"): {
        "figure5_transformer_fails": FAILURE,
        "figure7_transformer_never": FAILURE,
        "default_rate_transformer_fails": FAILURE,
        "default_rate_transformer_never": FAILURE,
        "shared_subset_transformer_fails": FAILURE,
        "shared_subset_transformer_never": FAILURE,
        "figure10_shallow_transformer_fails": FAILURE,
        "tf32_transformer_ends_as_the_zero_predictor": FAILURE,
        **{f"table3_mamba_struggles_{queries}": FAILURE for queries in (4, 16)},
    },
    ("reproduction", "reversed"): {
        "figure7_standard_hybrid_learns": LEARNED,
        "figure7_transformer_never": FAILURE,
        "figure5_s4_mamba_of_the_code_learns_parity": LEARNED,
        "figure5_s4_mamba_of_the_text_learns_parity": LEARNED,
        "default_rate_s4_mamba_learns_parity": LEARNED,
        "default_rate_standard_hybrid_learns": LEARNED,
        "default_rate_transformer_never": FAILURE,
        "shared_subset_mamba_learns_parity": LEARNED,
        "shared_subset_standard_hybrid_learns": LEARNED,
        "shared_subset_transformer_never": FAILURE,
        **{f"table3_mamba_struggles_{queries}": FAILURE for queries in (4, 16)},
        "table1_sparse_parity_mamba": LEARNED,
        "one_seed_fp32_transformer_keeps_what_it_learned": LEARNED,
        **{
            f"{precision}_transformer_keeps_what_it_learned_at_{rate}": LEARNED
            for precision in ("fp32", "tf32_weights")
            for rate in ("2e_4", "4e_4")
        },
    },
    ("precision", "null"): {},
    ("formal_quick", "null"): {"no_perplexity_below_the_automaton": CEILING},
    ("formal_small", "null"): {
        "no_accuracy_above_the_ceiling": CEILING,
        "no_perplexity_below_the_bayes_rule": CEILING,
        "standard_hybrid_fails_with_its_worst_seed": FAILURE,
    },
    ("formal", "null"): {},
    ("paper", "null"): {
        "figure3_small_mambaformer_costs_less_than_1e17": COST,
        "figure5_transformer_fails": FAILURE,
        "parity_large_transformer_fails": FAILURE,
        "figure5_released_code_transformer": FAILURE,
        "figure7_transformer_never": FAILURE,
        **{f"figure10_shallow_transformer_fails_{width}": FAILURE for width in (128, 256, 512, 1024)},
        "figure10_deep_narrow_transformer_fails": FAILURE,
        "figure10_deep_narrow_mamba_fails": FAILURE,
        "figure10_deep_narrow_mambaformer_fails": FAILURE,
        **{f"table3_mamba_struggles_{case}": FAILURE for case in ("4_64", "4_128", "16_64", "16_128")},
    },
    ("paper", "reversed"): {
        "figure2_linear_regression_mamba_on_par": EQUAL,
        "figure2_chain_of_thought_on_par": EQUAL,
        "figure3_small_mambaformer_costs_less_than_1e17": COST,
        "figure3_ratio_is_lower_out_of_distribution": "states a ratio, which no comparison turns round",
        "figure5_mamba_learns_parity": LEARNED,
        "parity_two_layers_suffice": LEARNED,
        "figure7_transformer_never": FAILURE,
        "figure10_deep_narrow_mamba_fails": FAILURE,
        "figure10_deep_narrow_mambaformer_fails": FAILURE,
        **{f"table3_mamba_struggles_{case}": FAILURE for case in ("4_64", "4_128", "16_64", "16_128")},
        "table1_linear_regression_transformer": ON_PAR,
        "table1_linear_regression_mamba": ON_PAR,
        "table1_sparse_linear_regression_transformer": ON_PAR,
        "table1_two_layer_network_transformer": ON_PAR,
        "table1_chain_of_thought_transformer": ON_PAR,
        "table1_chain_of_thought_mamba": ON_PAR,
        "table1_sparse_parity_mamba": LEARNED,
    },
}
"""By suite and world: the claims that rightly pass, and why."""


@functools.cache
def shipped(name: str) -> tuple[Suite, Claims]:
    """A shipped suite and its claims. Do not change them."""
    if name == "paper":
        return paper_suite(), paper_claims()
    suite = suites.load(ROOT / "suites" / f"{name}.yaml")
    file = claims.load(claims.path_for(suite.path), suite)
    return suite, about_these_runs(file) if name == "reproduction" else file


def judged(name: str, world: str) -> tuple[worlds.World, Claims, list[Verdict]]:
    """A world of a shipped suite, its claims, and the verdicts on them.

    Most runs of the paper and of its reproduction have one seed, too few for a claim about training. Here
    their claims are about the runs.
    """
    suite, file = shipped(name)
    made = worlds.null_world(suite) if world == "null" else worlds.reversed_world(file, suite)
    return made, file, check(file, suite, made.of(file).pool, {}, allow_synthetic=True)


def reproduced(verdicts: Sequence[Verdict]) -> set[str]:
    return {verdict.claim for verdict in verdicts if verdict.verdict == "reproduced"}


def _slow_if_large(*names: str) -> list[Any]:
    """Names of suites; those of thousands of runs take many seconds."""
    slow = ("paper", "modern")
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


@pytest.mark.parametrize("name", _slow_if_large(*SHIPPED))
def test_where_nothing_was_learned_no_comparison_passes_and_what_passes_rightly_does(name: str) -> None:
    _, file, verdicts = judged(name, "null")
    passing = reproduced(verdicts)
    assert passing == PASSING[name, "null"].keys()
    compared = {
        claim_id
        for claim_id, claim in file.claims.items()
        if claim.compares and any(quantity.of != "training_flops" for quantity in claim.quantities)
    }
    assert compared & passing == set()


@pytest.mark.parametrize("name", _slow_if_large(*SHIPPED))
def test_no_claim_whose_order_is_turned_round_passes(name: str) -> None:
    world, _, verdicts = judged(name, "reversed")
    passing = reproduced(verdicts)
    if (name, "reversed") in PASSING:
        assert passing == PASSING[name, "reversed"].keys()
    # What a run has not learned is the same in all its evaluations, so a ratio between two is not turned.
    kept = {"figure3_ratio_is_lower_out_of_distribution"} if name == "paper" else set()
    assert set(world.reversed_claims) & passing == kept
    assert bool(world.reversed_claims) == (name != "precision")


@pytest.mark.parametrize("world", ["null", "reversed"])
def test_results_of_the_runs_that_claims_read_decide_them_as_those_of_the_whole_suite_do(world: str) -> None:
    made, file, verdicts = judged("pilot", world)
    assert check(file, made.suite, made.pool, {}, allow_synthetic=True) == verdicts
    assert made.of(file).pool.runs.keys() < made.pool.runs.keys()


TASK = task_named("linear_regression", n_dims=5, n_points=11)
PARITY = task_named("sparse_parity")
SIZES = ((2, 64), (4, 128))


def planned(runs: Sequence[Run]) -> Suite:
    return suite_of(experiment_of(runs))


def claims_of(*statements: dict[str, Any]) -> Claims:
    models = [claim_of({"statement": "s", **entry}) for entry in statements]
    return Claims(Path("x.claims.yaml"), {f"claim{index}": model for index, model in enumerate(models)})


def errors(suite: Suite, *statements: dict[str, Any], at: int = -1) -> dict[Run, float]:
    """The normalised mean error of every run at a checkpoint, in the world that reverses the claims."""
    pool = worlds.reversed_world(claims_of(*statements), suite).pool
    scores = {run: pool.runs[run.id].checkpoints[at].evaluations["report"].overall[0] for run in suite.runs}
    return {
        run: 1 - score if run.task.metric == "accuracy" else score / run.task.error_scale
        for run, score in scores.items()
    }


def mean_of(measured: dict[Run, float], **fields: Any) -> float:
    """The mean error of the runs whose architecture has this name and whose other fields these values."""
    name = fields.pop("architecture", None)
    values = [
        error
        for run, error in measured.items()
        if name in (None, run.architecture.name)
        and all(getattr(run, field) == value for field, value in fields.items())
    ]
    return float(np.mean(values))


ORDER = [{"architecture": name} for name in ("mamba", "s4_mamba", "s4")]
MEASURE = {"measure": {"experiment": "figure2"}}


def test_an_order_of_architectures_is_turned_round() -> None:
    measured = errors(planned(grid(TASK, ("mamba", "s4_mamba", "s4"))), {**MEASURE, "order": ORDER})
    mamba, s4_mamba, s4 = (mean_of(measured, architecture=name) for name in ("mamba", "s4_mamba", "s4"))
    assert s4 < s4_mamba / 1.1
    assert s4_mamba < mamba / 1.1


def test_what_follows_from_two_orders_is_turned_round_too() -> None:
    # By wins less losses alone MambaFormer (1 − 0) and Mamba (2 − 1) would be equal.
    names = ("mambaformer", "mamba", "s4_mamba", "s4")
    statements = [{**MEASURE, "order": ORDER}, {**MEASURE, "order": [{"architecture": n} for n in names[:2]]}]
    measured = errors(planned(grid(TASK, names)), *statements)
    values = [mean_of(measured, architecture=name) for name in names]
    assert all(worse > better for worse, better in itertools.pairwise(values))


def test_a_ratio_with_a_bound_is_turned_round() -> None:
    suite = planned(grid(TASK, ("mamba", "transformer")))
    measure = {
        "experiment": "figure2",
        "architecture": "mamba",
        "relative_to": {"architecture": "transformer"},
    }
    slower = errors(suite, {"measure": measure, "bound": {"at_least": 1.2}})
    faster = errors(suite, {"measure": measure, "bound": {"at_most": 0.8}})
    assert mean_of(slower, architecture="mamba") < mean_of(slower, architecture="transformer") / 1.2
    assert mean_of(faster, architecture="mamba") > mean_of(faster, architecture="transformer") * 1.2


def test_an_order_of_accuracies_is_one_of_errors_the_other_way() -> None:
    suite = planned(grid(PARITY, ("mamba", "transformer")))
    rising = {"measure": {"experiment": "figure2", "of": "score"}}
    measured = errors(
        suite, {**rising, "order": [{"architecture": "mamba"}, {"architecture": "transformer"}]}
    )
    assert mean_of(measured, architecture="mamba") < mean_of(measured, architecture="transformer")


def test_an_order_of_sizes_is_turned_round() -> None:
    suite = planned(grid(TASK, ("mamba",), SIZES))
    small, large = ({"size": {"layers": layers, "width": width}} for layers, width in SIZES)
    measured = errors(suite, {**MEASURE, "trend": {"falling": [small, large]}})
    by_layers = {run.size.layers: error for run, error in measured.items()}
    assert by_layers[2] < by_layers[4] / 1.1
    natural = {run.size.layers: error for run, error in errors(suite).items()}
    assert natural[4] < natural[2]


def test_an_order_of_checkpoints_is_turned_round() -> None:
    suite = planned(grid(TASK, ("mamba",)))
    later = {**MEASURE, "order": [{"step": 500_000}, {"step": 100_000}]}
    (first,), (last,) = (errors(suite, later, at=at).values() for at in (0, -1))
    assert first < last / 1.1
    (natural_first,), (natural_last,) = (errors(suite, at=at).values() for at in (0, -1))
    assert natural_last < natural_first


def test_an_order_of_ratios_is_turned_round() -> None:
    # Mamba's ratio of a late to an early error is stated to be below the Transformer's.
    suite = planned(grid(TASK, ("mamba", "transformer"), SIZES))
    small, large = ({"layers": layers, "width": width} for layers, width in SIZES)
    measure = {"experiment": "figure2", "size": large, "relative_to": {"size": small}}
    order = [{"architecture": "mamba"}, {"architecture": "transformer"}]
    measured = {
        (run.architecture.name, run.size.layers): error
        for run, error in errors(suite, {"measure": measure, "order": order}).items()
    }
    gains = {name: measured[name, 4] / measured[name, 2] for name in ("mamba", "transformer")}
    assert gains["mamba"] > gains["transformer"] * 1.1


def test_claims_that_contradict_each_other_hold_for_their_own_sizes() -> None:
    suite = planned(grid(TASK, ("mamba", "transformer"), SIZES))
    small, large = ({"layers": layers, "width": width} for layers, width in SIZES)
    ways = [[{"architecture": "mamba"}, {"architecture": "transformer"}]]
    ways.append(ways[0][::-1])
    measured = errors(
        suite,
        *(
            {"measure": {"experiment": "figure2", "size": size}, "order": order}
            for size, order in zip((small, large), ways, strict=True)
        ),
    )
    by_size = {(run.architecture.name, run.size.layers): error for run, error in measured.items()}
    assert by_size["mamba", 2] > by_size["transformer", 2]
    assert by_size["mamba", 4] < by_size["transformer", 4]


def test_statements_of_costs_equality_and_absolute_bounds_turn_nothing_round() -> None:
    suite = planned(grid(TASK, ("mamba", "transformer")))
    one, other = {"architecture": "mamba"}, {"architecture": "transformer"}
    statements = (
        {"measure": {"experiment": "figure2", "of": "training_flops"}, "order": [one, other]},
        {
            "measure": {"experiment": "figure2", **one, "relative_to": other},
            "value": {"expected": 1, "log10": 0.3},
        },
        {"measure": {"experiment": "figure2", **one}, "bound": {"at_most": 0.5}},
    )
    assert comparisons(claims_of(*statements), suite) == []


def test_the_best_converges_first_and_its_run_stops_by_its_rule() -> None:
    stop = Stop(after_convergence=4_000, every=1_000)
    runs = grid(
        PARITY,
        ("mamba", "s4_mamba", "s4"),
        steps=30_000,
        checkpoints=tuple(range(1_000, 31_000, 1_000)),
        stop=stop,
    )
    suite = planned(runs)
    pool = worlds.reversed_world(claims_of({**MEASURE, "order": ORDER}), suite).pool
    s4, s4_mamba, mamba = (
        next(pool.runs[run.id] for run in runs if run.architecture.name == name)
        for name in ("s4", "s4_mamba", "mamba")
    )
    assert s4.convergence_step is not None
    assert s4.convergence_step < (s4_mamba.convergence_step or 30_000) / 1.5
    assert mamba.convergence_step is None
    assert s4.last_step == s4.convergence_step + 4_000
    assert mamba.last_step == 30_000
    for record in (s4, mamba):
        for checkpoint in record.checkpoints:
            learned = checkpoint.evaluations["report"].overall[0] >= 0.95
            reached = record.convergence_step is not None and checkpoint.step >= record.convergence_step
            assert learned == reached


@pytest.fixture(scope="module")
def null_records() -> tuple[RunRecord, RunRecord]:
    """Two runs of one task in the null world."""
    suite = planned(grid(TASK, ("mamba", "transformer")))
    pool = worlds.null_world(suite).pool
    first, second = (pool.runs[run.id] for run in suite.runs)
    return first, second


def test_nothing_is_learned_in_the_null_world(null_records: tuple[RunRecord, RunRecord]) -> None:
    for record in null_records:
        for checkpoint in record.checkpoints:
            scores = np.array(checkpoint.evaluations["report"].mean) / record.facts.error_scale
            assert np.abs(scores - 1).max() <= worlds.NOISE


def test_prompts_are_shared_so_that_paired_intervals_are_narrow(
    null_records: tuple[RunRecord, RunRecord],
) -> None:
    first, second = (per_prompt(record) / record.facts.error_scale for record in null_records)
    for record, values in zip(null_records, (first, second), strict=True):
        assert record.last is not None
        headline = record.last.evaluations["report"].headline
        assert headline is not None
        assert values.mean() * record.facts.error_scale == pytest.approx(headline[0], rel=1e-5)
        spread = values.std(ddof=1) / np.sqrt(len(values))
        assert spread * record.facts.error_scale == pytest.approx(headline[1], rel=0.05)
    assert np.corrcoef(first, second)[0, 1] > 0.8
    paired = (first - second).std(ddof=1) / np.sqrt(len(first))
    assert paired < first.std(ddof=1) / np.sqrt(len(first)) / 2
    # Two runs that learned nothing never differ significantly.
    assert 1.645 * paired > 2 * worlds.NOISE


def test_results_are_the_same_every_time_and_marked_as_made_up() -> None:
    suite = planned(grid(TASK, ("mamba",), seeds=(0, 1)))
    one, other = worlds.null_world(suite).pool, worlds.null_world(suite).pool
    assert one.runs == other.runs
    assert one.baselines == other.baselines
    records = [*one.runs.values(), *one.baselines.values()]
    assert all(record.provenance.synthetic for record in records)
    first, second = one.runs.values()
    assert first.checkpoints[-1].evaluations != second.checkpoints[-1].evaluations
    verdicts = check(claims_of({**MEASURE, "bound": {"at_least": 0.1}}), suite, one)
    assert [verdict.verdict for verdict in verdicts] == ["not comparable"]


def test_the_floor_falls_from_the_trivial_error_to_zero() -> None:
    suite = planned(grid(task_named("linear_regression"), ("mamba",)))
    (baselines,) = worlds.null_world(suite).pool.baselines.values()
    trivial, floor = (next(b for b in baselines.baselines if b.kind == kind) for kind in ("trivial", "floor"))
    assert floor.mean[0] == trivial.mean[0] == baselines.facts.error_scale
    assert floor.mean[-1] == 0
    assert np.mean(floor.mean) / baselines.facts.error_scale == pytest.approx(0.25, abs=0.02)
    parity = planned(grid(PARITY, ("mamba",)))
    (ceiling,) = (
        b
        for b in next(iter(worlds.null_world(parity).pool.baselines.values())).baselines
        if b.kind == "floor"
    )
    assert ceiling.mean[0] == 0.5
    assert ceiling.mean[-1] == pytest.approx(1)


def test_earlier_checkpoints_have_learned_less() -> None:
    (run,) = grid(TASK, ("mamba",))
    shares = [ReversedShares([])(run, step, "report") for step in run.checkpoints]
    assert 1 > shares[0] > shares[1] > shares[2] > 0


def test_the_command_lists_what_passes_and_writes_nothing(tmp_path: Path) -> None:
    suite = ROOT / "suites/quick.yaml"
    text = said(bench("check", suite, "--null", cwd=tmp_path, COLUMNS="100"))
    assert re.search(r"^reproduced +transformer_only_copies_in_parity .* ≤ 0.66 *$", text, re.MULTILINE)
    assert f"7 claims: {len(PASSING['quick', 'null'])} would still pass." in text
    data = as_json(bench("check", suite, "--reversed", "--json", cwd=tmp_path))
    assert data["world"] == "reversed"
    assert data["turned_round"] == [
        "mamba_beats_s4_mamba_beats_s4",
        "mamba_leads_the_transformer",
        "mamba_blocks_beat_the_transformer_in_parity",
    ]
    assert {entry["claim"] for entry in data["passing"]} == PASSING["quick", "reversed"].keys()
    assert data["counts"]["reproduced"] == len(data["passing"])
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_where_nothing_can_be_turned_round() -> None:
    text = said(bench("check", ROOT / "suites/precision.yaml", "--reversed"))
    assert "suite precision" in text
    assert "nothing to reverse" in text


@pytest.mark.parametrize("options", [("--null", "--reversed"), ("--null", "--against", "x.json")])
def test_the_command_refuses_options_that_exclude_each_other(options: tuple[str, ...]) -> None:
    done = bench("check", ROOT / "suites/quick.yaml", *options)
    assert done.returncode == 2
    assert all(option in done.stderr for option in options if option.startswith("--"))
