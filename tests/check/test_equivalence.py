"""Equivalence: equal mean errors over seeds hold, differ or stay undecided."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import experiment_of, pool_with, record_of, result_of, run_of, suite_of, task_named

from bench import suite as suites
from bench.check import Verdict, check, exit_code, to_json
from bench.check import claims as claims_of
from bench.check.claims import Claims
from bench.check.equivalence import LEAST_SEEDS, ratio_of_means
from bench.check.junit import junit
from bench.check.kinds.bound import BoundClaim
from bench.check.kinds.equivalent import EquivalentClaim
from bench.errors import InvalidFile
from bench.results import Pool, RunRecord
from bench.run import Run

REAL = {"synthetic": False}
DIVERGED = "diverged"
Errors = Mapping[int, Any]

# Errors of eight seeds around 0.2, spread by a few per cent.
FACTORS = [1.0, 1.03, 0.98, 1.05, 0.96, 1.01, 0.99, 1.02]
LEARNED = {seed: 0.2 * factor for seed, factor in enumerate(FACTORS)}


def scaled(factor: float, errors: Mapping[int, float] = LEARNED) -> dict[int, float]:
    """Errors times a factor, and a little noise of their own."""
    noise = random.Random(1)
    return {seed: error * factor * (1 + 0.005 * noise.gauss()) for seed, error in errors.items()}


def claim_of(requires: Mapping[str, Any] | None = None, **fields: Any) -> EquivalentClaim:
    equivalent = {
        "subject": {"precision": "bf16"},
        "reference": {"precision": "fp32"},
        "learned": 0.5,
        "seeds": 8,
    }
    return EquivalentClaim.model_validate(
        {
            "statement": "s",
            "measure": {"experiment": "all"},
            "requires": requires or {},
            "equivalent": {**equivalent, **fields},
        }
    )


def verdict(
    subject: Errors, reference: Errors = LEARNED, task: str = "linear_regression", **fields: Any
) -> Verdict:
    """What becomes of bf16 with the errors of `subject` against fp32 with those of `reference`."""
    records, runs = {}, []
    for precision, errors in (("bf16", subject), ("fp32", reference)):
        for seed, error in errors.items():
            run = run_of(task_named(task), seed=seed, precision=precision)
            runs.append(run)
            records[run.id] = _record(run, error)
    claims = Claims(Path("x"), {"c": claim_of(**fields)})
    (found,) = check(claims, suite_of(experiment_of(runs, "all")), Pool(runs=records))
    return found


def _record(run: Run, error: Any) -> RunRecord:
    if error == DIVERGED:
        return record_of(result_of(run, outcome="diverged", provenance=REAL))
    if math.isnan(error):  # no file can hold it; a reader must not let it pass nevertheless
        record = _record(run, 0.5)
        last = record.checkpoints[-1]
        report = last.evaluations["report"].model_copy(
            update={"overall": (error, error), "headline": (error, error)}
        )
        broken = last.model_copy(update={"evaluations": {**last.evaluations, "report": report}})
        return record.model_copy(update={"checkpoints": [*record.checkpoints[:-1], broken]})
    value = 1 - error if run.task.metric == "accuracy" else error
    return record_of(result_of(run, value, selection=0.5, provenance=REAL))


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        (1.0, "reproduced"),
        (1.05, "reproduced"),
        (0.95, "reproduced"),
        (1.1, "undecided"),
        (0.9, "undecided"),
        (1.3, "contradicted"),
        (0.7, "contradicted"),
    ],
)
def test_a_known_ratio_is_found_and_judged(factor: float, word: str) -> None:
    found = verdict(scaled(factor))
    assert found.verdict == word
    assert found.value == pytest.approx(factor, rel=0.01)
    assert found.comparison is not None
    ratio = found.comparison.ratio
    assert ratio is not None
    assert ratio.low < factor < ratio.high
    assert ratio.paired
    for part in (f"{ratio.value:.4g}", f"{ratio.low:.4g} to {ratio.high:.4g}", "8 seeds"):
        assert part in found.reason


def test_the_range_of_ratios_is_the_claims_own() -> None:
    assert verdict(scaled(1.3), high=1.4).verdict == "reproduced"
    assert verdict(scaled(1.05), high=1.01).verdict == "contradicted"


@pytest.mark.parametrize(("factor", "word"), [(1.0, "reproduced"), (1.2, "contradicted")])
def test_a_claim_about_these_runs_resamples_prompts_and_not_seeds(factor: float, word: str) -> None:
    """Half of the seeds learned, which other trainings need not do. These models' mean errors are known."""
    reference = {seed: 0.05 if seed % 2 else 0.75 for seed in range(8)}
    other_seeds_learn = {seed: factor * reference[(seed + 1) % 8] for seed in range(8)}
    of_training, of_runs = (
        verdict(other_seeds_learn, reference, learned=0.6, requires={"about": about})
        for about in ("training", "these runs")
    )
    assert (of_training.verdict, of_training.over) == ("undecided", "8 seeds, not prompts")
    assert (of_runs.verdict, of_runs.over) == (word, "prompts")
    assert of_runs.interval is not None
    assert of_runs.interval[0] < factor < of_runs.interval[1]
    assert of_runs.comparison is not None
    assert of_runs.comparison.ratio is None


def test_errors_that_scatter_decide_nothing() -> None:
    # Half of the seeds learned: each side's mean is 0.4, and both could be anything between.
    bimodal = {seed: 0.05 if seed % 2 else 0.75 for seed in range(8)}
    other = {seed: 0.75 if seed % 2 else 0.05 for seed in range(8)}
    assert verdict(bimodal, other).verdict == "undecided"


@pytest.mark.parametrize(
    ("task", "error", "learned"), [("linear_regression", 1.0, 0.5), ("sparse_parity", 0.5, 0.35)]
)
def test_where_nothing_was_learned_nothing_is_equivalent(task: str, error: float, learned: float) -> None:
    trivial = {seed: error * (1 + 0.001 * seed) for seed in range(8)}
    found = verdict(trivial, trivial, task, learned=learned)
    assert found.verdict == "not comparable"
    assert "too little was learned" in found.reason
    assert found.value == pytest.approx(1.0)


def test_an_accuracy_is_compared_by_what_it_lacks() -> None:
    found = verdict(dict.fromkeys(range(8), 0.1), dict.fromkeys(range(8), 0.05), "sparse_parity")
    assert found.verdict == "contradicted"
    assert found.value == pytest.approx(2.0)


def test_a_subject_that_did_not_learn_what_the_reference_did_is_not_equivalent() -> None:
    assert verdict({seed: 1.0 + 0.01 * seed for seed in range(8)}).verdict == "contradicted"


@pytest.mark.parametrize("side", ["subject", "reference"])
@pytest.mark.parametrize("broken", [math.nan, DIVERGED])
@pytest.mark.parametrize("count", [1, 8])
def test_a_run_without_a_number_leaves_it_undecided(side: str, broken: Any, count: int) -> None:
    some = {seed: broken if seed < count else error for seed, error in LEARNED.items()}
    found = verdict(some, LEARNED) if side == "subject" else verdict(LEARNED, some)
    assert found.verdict == "undecided"
    assert ("diverged" if broken == DIVERGED else "not a number") in found.reason


def test_too_few_seeds_decide_nothing_however_alike_they_are() -> None:
    few = dict.fromkeys(range(7), 0.2)
    found = verdict(few, few)
    assert found.verdict == "undecided"
    assert "7 of the 8 seeds" in found.reason
    assert verdict(few, few, seeds=7).verdict == "reproduced"
    single = verdict({0: 0.2}, {0: 0.2})
    assert (single.verdict, single.value) == ("undecided", None)


def test_different_seeds_are_resampled_each_on_their_own() -> None:
    more = {**scaled(1.0), 8: 0.2, 9: 0.2}
    found = verdict(more)
    assert found.comparison is not None
    ratio = found.comparison.ratio
    assert ratio is not None
    assert not ratio.paired
    assert (found.comparison.subject.seeds, found.comparison.reference.seeds) == (10, 8)
    assert found.verdict == "reproduced"


ZERO = dict.fromkeys(range(8), 0.0)


@pytest.mark.parametrize("task", ["linear_regression", "sparse_parity"])
@pytest.mark.parametrize("count", [8, 7])
def test_where_everything_was_learned_nothing_is_equivalent(task: str, count: int) -> None:
    zero = dict.fromkeys(range(count), 0.0)
    found = verdict(zero, zero, task)
    assert (found.verdict, found.value) == ("not comparable", None)
    assert found.reason.startswith("no seed of either side makes an error")
    json.dumps(to_json([found]), allow_nan=False)


def test_a_seed_that_diverged_is_no_seed_without_an_error() -> None:
    assert verdict({**ZERO, 0: DIVERGED}, ZERO).verdict == "undecided"


@pytest.mark.parametrize("task", ["linear_regression", "sparse_parity"])
def test_a_subject_that_fails_where_the_reference_makes_no_error_is_not_equivalent(task: str) -> None:
    found = verdict(LEARNED, ZERO, task)
    assert (found.verdict, found.value, found.shown) == ("contradicted", None, "infinite")
    assert "no interval of the ratio" in found.reason
    json.dumps(to_json([found]), allow_nan=False)
    some = {**ZERO, 7: 0.001}
    assert verdict(LEARNED, some, task).verdict == "contradicted"


def test_one_wrong_answer_is_not_worse_than_none() -> None:
    """Of 1,280 prompts with 140 positions each, one seed of eight has a single wrong answer."""
    one = {**ZERO, 0: 1 / (1280 * 140)}
    for subject, reference in ((one, ZERO), (ZERO, one), (one, one)):
        found = verdict(subject, reference, "sparse_parity")
        assert found.verdict == "undecided"
        assert "no interval of the ratio" in found.reason
        json.dumps(to_json([found]), allow_nan=False)


@pytest.mark.parametrize(("wrong", "word"), [(1, "undecided"), (2, "undecided"), (4000, "reproduced")])
def test_the_same_few_wrong_answers_in_every_seed_leave_the_ratio_open(wrong: int, word: str) -> None:
    """Resamples of equal errors are all alike. One more wrong answer would make the ratio another one."""
    errors = dict.fromkeys(range(8), wrong / (1280 * 140))
    found = verdict(errors, errors, "sparse_parity")
    assert (found.verdict, found.value) == (word, 1)
    assert found.interval is not None
    assert found.interval[0] < 1 < found.interval[1]
    alike = dict.fromkeys(range(8), 0.2)  # no shares of answers: equal errors are those of equal models
    assert verdict(alike, alike).interval == (1, 1)


def test_a_subject_without_a_wrong_answer_is_not_infinitely_better_than_one_with_a_few() -> None:
    few = dict.fromkeys(range(8), 1 / (1280 * 140))
    assert verdict(ZERO, few, "sparse_parity").verdict == "undecided"
    found = verdict(ZERO, LEARNED, "sparse_parity")
    assert (found.verdict, found.value) == ("contradicted", 0)


@given(
    st.lists(st.integers(1, 30), min_size=4, max_size=8),
    st.lists(st.integers(1, 30), min_size=8, max_size=8),
)
@settings(max_examples=10, deadline=None)
def test_an_interval_of_shares_is_never_narrower_than_one_answer(
    wrong: list[int], of_reference: list[int]
) -> None:
    subject = {seed: count / 640 for seed, count in enumerate(wrong)}
    reference = {seed: of_reference[seed] / 640 for seed in subject}
    free, limited = ratio_of_means(subject, reference), ratio_of_means(subject, reference, answer=1 / 640)
    assert free is not None
    assert limited is not None
    assert limited.low <= free.low <= free.high <= limited.high
    one_more = {**subject, 0: subject[0] + 1 / 640}
    moved = ratio_of_means(one_more, reference)
    assert moved is not None
    assert limited.low < moved.value < limited.high
    assert limited.value == free.value


def test_pairs_narrow_the_interval_where_seeds_decide_the_error() -> None:
    wide = {seed: 0.1 * (1 + seed) for seed in range(8)}
    paired = ratio_of_means(scaled(1.0, wide), wide)
    shifted = {seed + 100: error for seed, error in scaled(1.0, wide).items()}
    alone = ratio_of_means(shifted, wide)
    assert paired is not None
    assert alone is not None
    assert paired.value == alone.value
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_the_interval_is_that_of_a_normal_mean() -> None:
    """Of a mean over many seeds, divided by a constant: the interval is its ± 1.645 standard errors."""
    draw = random.Random(2)
    errors = {seed: 1 + 0.1 * draw.gauss() for seed in range(100)}
    ratio = ratio_of_means(errors, dict.fromkeys(range(100), 1.0))
    assert ratio is not None
    spread = statistics.pstdev(errors.values()) / 10
    assert ratio.standard_error == pytest.approx(spread, rel=0.03)
    assert (ratio.high - ratio.low) / 2 == pytest.approx(1.645 * spread, rel=0.04)


@pytest.mark.parametrize("seeds", [LEAST_SEEDS, 8])
def test_intervals_of_few_seeds_cover_the_truth(seeds: int) -> None:
    draw = random.Random(seeds)
    trials, covered = 100, 0
    for _ in range(trials):
        shared = [draw.gauss() for _ in range(seeds)]
        subject, reference = (
            {seed: math.exp(0.2 * (common + draw.gauss())) for seed, common in enumerate(shared)}
            for _ in range(2)
        )
        ratio = ratio_of_means(subject, reference)
        assert ratio is not None
        covered += ratio.low <= 1 <= ratio.high
    # A share of 0.9 of 100 trials has a standard error of 0.03. Quantiles of three seeds cover 0.6.
    assert covered / trials >= 0.81


@settings(max_examples=10)
@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=5), st.floats(0.1, 10))
def test_scaling_every_error_scales_the_ratio(errors: list[float], factor: float) -> None:
    reference = dict(enumerate(errors))
    ratio = ratio_of_means({seed: factor * error for seed, error in reference.items()}, reference)
    assert ratio is not None
    assert [ratio.low, ratio.value, ratio.high] == pytest.approx([factor] * 3)


def test_undecided_is_neither_a_failure_nor_a_pass() -> None:
    found = verdict(scaled(1.1))
    assert exit_code([found]) == 2
    assert b'skipped="1"' in junit("quick", [found])
    (entry,) = json.loads(json.dumps(to_json([found]), allow_nan=False))["verdicts"]
    assert entry["comparison"]["ratio"]["low"] < 1.1 < entry["comparison"]["ratio"]["high"]
    assert to_json([found])["counts"]["undecided"] == 1


def test_the_lowest_over_seeds_is_what_can_be_reached() -> None:
    runs = [run_of(seed=seed) for seed in range(4)]
    errors = [0.3, 0.01, 0.2, 0.4]
    results = [result_of(run, error, provenance=REAL) for run, error in zip(runs, errors, strict=True)]
    claim = BoundClaim.model_validate(
        {
            "statement": "s",
            "measure": {"experiment": "all", "over_seeds": "lowest"},
            "bound": {"at_most": 0.05},
        }
    )
    pool = pool_with(runs={result["id"]: result for result in results})
    (found,) = check(Claims(Path("x"), {"c": claim}), suite_of(experiment_of(runs, "all")), pool)
    assert (found.verdict, found.value) == ("reproduced", pytest.approx(0.01))
    assert "lowest of 4 seeds" in found.reason
    assert found.over == "prompts", "one seed says nothing about other trainings"


# --- the file ---------------------------------------------------------------------------------


def problems(tmp_path: Path, measure: str, equivalent: str) -> str:
    """The complaints about a claim on runs of two architectures, two precisions and four seeds."""
    suite = suite_of(
        experiment_of(
            [
                run_of(architecture=architecture, seed=seed, precision=precision)
                for architecture in ("mamba", "s4")
                for seed in range(4)
                for precision in ("fp32", "bf16")
            ],
            "all",
        ),
        experiment_of([run_of(task_named("sparse_parity"), seed=seed) for seed in range(4)], "parity"),
    )
    path = tmp_path / "x.claims.yaml"
    path.write_text(
        f"suite: {suite.name}\nclaims:\n  c:\n    statement: s\n"
        f"    measure: {measure}\n    equivalent: {equivalent}\n"
    )
    with pytest.raises(InvalidFile) as caught:
        claims_of.load(path, suite)
    return "\n".join(caught.value.problems)


SIDES = "subject: {precision: bf16}, reference: {precision: fp32}"


@pytest.mark.parametrize(
    ("measure", "equivalent", "message"),
    [
        ("{experiment: all, architecture: mamba}", f"{{{SIDES}}}", "missing key 'learned'"),
        (
            "{experiment: all, architecture: mamba}",
            f"{{{SIDES}, learned: 0.5, seeds: 4, low: 1.05}}",
            "give a low below 1 and a high above it",
        ),
        (
            "{experiment: all, architecture: mamba}",
            f"{{{SIDES}, learned: 0.5}}",
            "this means 4 seeds, the claim takes 8",
        ),
        (
            "{experiment: all, architecture: mamba}",
            f"{{{SIDES}, learned: 0.5, seeds: 3}}",
            "expected at least 4 seeds, not 3",
        ),
        (
            "{experiment: all, architecture: mamba, of: score}",
            f"{{{SIDES}, learned: 0.5, seeds: 4}}",
            "equivalent compares errors over all seeds: leave out of",
        ),
        (
            "{experiment: all, architecture: mamba}",
            "{subject: {precision: bf16, at: last}, reference: {precision: fp32}, learned: 0.5, seeds: 4}",
            "its two sides differ in at",
        ),
        (
            "{experiment: all, architecture: mamba}",
            "{subject: {precision: fp32}, reference: {precision: fp32}, learned: 0.5, seeds: 4}",
            "this shares runs with the subject",
        ),
        (
            "{experiment: all, precision: fp32}",
            "{subject: {architecture: mamba}, reference: {architecture: s4}, learned: 0.5, seeds: 4}",
            "its architecture is not that of the subject",
        ),
        (
            "{experiment: all, architecture: mamba, precision: fp32}",
            "{subject: {}, reference: {experiment: parity}, learned: 0.5, seeds: 4}",
            "its task is not that of the subject",
        ),
        (
            "{experiment: all, architecture: mamba}",
            "{subject: {precision: fp8}, reference: {precision: fp32}, learned: 0.5, seeds: 4}",
            "has precision 'fp8'",
        ),
    ],
)
def test_an_equivalence_that_cannot_be_decided_is_refused(
    tmp_path: Path, measure: str, equivalent: str, message: str
) -> None:
    assert message in problems(tmp_path, measure, equivalent)


def test_the_precision_suite_decides_every_cheaper_precision() -> None:
    suite = suites.load(ROOT / "suites/precision.yaml")
    claims = claims_of.load(ROOT / "suites/precision.claims.yaml", suite).claims
    decided = {
        (measure.experiment, measure.architecture["name"], measure.precision)
        for claim in claims.values()
        if isinstance(claim, EquivalentClaim)
        for measure in claim.quantities
        if measure.architecture
    }
    planned = {
        (experiment.name, run.architecture.name, run.precision)
        for experiment in suite.experiments
        for run in experiment.runs
    }
    assert decided == planned
    for claim in claims.values():
        if isinstance(claim, EquivalentClaim):
            task = (
                next(each for each in suite.experiments if each.name == claim.measure.experiment).runs[0].task
            )
            trivial_error = 1 - task.trivial if task.metric == "accuracy" else 1.0
            assert claim.equivalent.learned <= 0.7 * trivial_error
            assert claim.equivalent.reference.precision == "fp32"
