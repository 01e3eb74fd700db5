"""Claims files: what is read, and what is refused, where and with which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import ROOT
from synthetic import grid, run_of, task_named

from bench import suite as suites
from bench.check import check, claims, exit_code
from bench.check.claim import LEAST_PROMPTS
from bench.check.quantity import runs_of
from bench.errors import InvalidFile
from bench.results import Pool
from bench.suite import Experiment, Suite

LINEAR = task_named("linear_regression")
SPARSE = [run_of(task_named("sparse_linear_regression", sparsity=k)) for k in (2, 3)]
SUITE = Suite(
    "quick",
    "",
    Path("quick.yaml"),
    (
        Experiment(
            "regression",
            "",
            "",
            grid(LINEAR, ("transformer", "mamba", "s4"), ((2, 128), (4, 256)), (1e-4, 1e-3), (0, 1)),
        ),
        Experiment("sparse", "", "", tuple(SPARSE)),
    ),
)

GOOD = """\
suite: quick
claims:
  linear:
    statement: Linear regression is learned.
    source: §4.1
    measure: {experiment: regression, task: linear_regression, architecture: mamba, size: x-small}
    bound: {at_most: 0.4}
    reason: half of what nothing learned would give
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "quick.claims.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, text: str, suite: Suite = SUITE) -> list[str]:
    """What is wrong with a file, the folder taken off."""
    with pytest.raises(InvalidFile) as caught:
        claims.load(write(tmp_path, text), suite)
    assert caught.value.exit_code == 3
    return [problem.removeprefix(f"{tmp_path}/quick.claims.yaml:") for problem in caught.value.problems]


def one(measure: str, kind: str = "bound: {at_most: 1}") -> str:
    return f"suite: quick\nclaims:\n  c:\n    statement: s\n    measure: {measure}\n    {kind}\n"


@pytest.mark.parametrize(
    ("of_file", "of_claim", "place"),
    [
        ("{seeds: 1}", "{}", "2:19:"),
        ("{}", "{seeds: 1}", "7:23:"),
        ("{seeds: 1, about: these runs}", "{about: training}", "2:19:"),
        ("{seeds: 1, about: these runs}", "{}", None),
        ("{about: these runs}", "{seeds: 1}", None),
        ("{seeds: 1}", "{seeds: 2}", None),
    ],
)
def test_one_seed_decides_nothing_about_training(
    tmp_path: Path, of_file: str, of_claim: str, place: str | None
) -> None:
    measure = "{experiment: regression, architecture: mamba, size: x-small}"
    text = one(measure).replace("claims:", f"requires: {of_file}\nclaims:", 1) + f"    requires: {of_claim}\n"
    text = text.replace("    bound: {at_most: 1}\n", "") + "    bound: {at_most: 1}\n"
    if place is None:
        claims.load(write(tmp_path, text), SUITE)
        return
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(place)
    assert "one seed says nothing about what training anew would give" in problem


def test_claims_lie_beside_their_suite() -> None:
    assert claims.path_for(Path("suites/quick.yaml")) == Path("suites/quick.claims.yaml")


def test_models_that_a_statement_says_to_have_equal_states_have_them() -> None:
    suite = suites.load(ROOT / "suites" / "modern_small.yaml")
    stated = {
        name: (int(match[1].replace(" ", "")), claim)
        for name, claim in claims.load(claims.path_for(suite.path), suite).claims.items()
        if (match := re.search(r"[Ww]ith a state of ([\d ]+) numbers", claim.statement))
    }
    assert len(stated) >= 3
    for name, (state, claim) in stated.items():
        compared = [side for quantity in claim.quantities for side in quantity.operands]
        assert len(compared) == 2, name
        assert {run.state_numbers for side in compared for run in runs_of(side, suite)} == {state}, name


def test_a_good_file_is_read_in_its_order(tmp_path: Path) -> None:
    more = GOOD + GOOD.split("claims:\n")[1].replace("linear:", "again:", 1)
    loaded = claims.load(write(tmp_path, more), SUITE)
    assert list(loaded.claims) == ["linear", "again"]
    claim = loaded.claims["linear"]
    assert claim.kind == "bound"
    assert (claim.expected, claim.tolerance) == ("at most 0.4", "none")
    assert claim.source == "§4.1"


def test_members_of_an_order_complete_the_common_measure(tmp_path: Path) -> None:
    text = one(
        "{experiment: regression, at: last}",
        "order: [{architecture: mamba, at: 3}, {architecture: s4}]\n    slack: 0.1",
    )
    claim = claims.load(write(tmp_path, text), SUITE).claims["c"]
    assert [(m.architecture, m.at) for m in claim.quantities] == [
        ({"name": "mamba"}, 3),
        ({"name": "s4"}, "last"),
    ]
    assert (claim.expected, claim.tolerance) == ("Mamba, at position 3 < S4", "10 % slack")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("absolute: 0.02", ("0.256", "± 0.02")),
        ("relative: 0.05", ("0.256", "± 5 %")),
        ("log10: 0.5", ("0.256", "± 0.5 decades")),
    ],
)
def test_each_tolerance_has_its_words(tmp_path: Path, value: str, words: tuple[str, str]) -> None:
    text = one("{experiment: regression, architecture: mamba}", f"value: {{expected: 0.256, {value}}}")
    claim = claims.load(write(tmp_path, text), SUITE).claims["c"]
    assert (claim.expected, claim.tolerance) == words


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("value: {expected: 1}", "no tolerance: give one of absolute, relative and log10"),
        ("value: {expected: 1, absolute: 0}", "must be greater than 0, got 0"),
        ("value: {expected: 1, absolute: 1, log10: 1}", "several tolerances (absolute, log10): give one"),
        ("value: {expected: 0, relative: 0.1}", "a relative tolerance of 0 is none: give an absolute one"),
        ("value: {expected: 0, log10: 0.1}", "log10 needs an expected value above 0"),
        ("value: {expected: .nan, absolute: 1}", ".nan is not a finite number"),
        ("value: {expected: 1, absolute: .inf}", ".inf is not a finite number"),
        ("value: {expected: '0.256', absolute: 1}", "expected a number, got '0.256'"),
        ("value: {expected: true, absolute: 1}", "expected a number, got true"),
        ("bound: {}", "give one of at_most and at_least"),
        ("bound: {at_most: 1, at_least: 0}", "give one of at_most and at_least"),
        ("bound: {at_mots: 1}", "unknown key 'at_mots', did you mean 'at_most'?"),
        ("order: [{architecture: mamba}]", "needs at least 2 values, got 1"),
        ("source: x", "; this one has none"),
        ("bound: {at_most: 1}\n    value: {expected: 1, absolute: 1}", "this one has value and bound"),
        (
            "bound: {at_most: 1}\n    slack: 0.1",
            "bound takes no 'slack', which belongs to order",
        ),
        (
            "order: [{architecture: mamba}, {architecture: s4}]\n    slack: -1",
            "must be greater than -1",
        ),
    ],
)
def test_a_claim_that_says_nothing_testable_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    found = problems(tmp_path, one("{experiment: regression, architecture: mamba}", kind))
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize(
    ("measure", "place", "message"),
    [
        ("{}", "5:5", "missing key 'experiment', expected one of: regression, sparse"),
        (
            "{experiment: regresion}",
            "5:27",
            "suite 'quick' has no experiment 'regresion', did you mean 'regression'?",
        ),
        (
            "{experiment: regression, task: linear_regresion}",
            "5:45",
            "no run of experiment 'regression' has task 'linear_regresion', "
            "did you mean 'linear_regression'?",
        ),
        (
            "{experiment: regression, architecture: mabma}",
            "5:53",
            "no run of experiment 'regression' has architecture 'mabma', did you mean 'mamba'?",
        ),
        (
            "{experiment: regression, architecture: lstm}",
            "5:53",
            "no run of experiment 'regression' has architecture 'lstm', "
            "expected one of: transformer, mamba, s4",
        ),
        (
            "{experiment: regression, architecture: mamba, minus: {architecture: lstm}}",
            "5:82",
            "no run of experiment 'regression' has architecture 'lstm', "
            "expected one of: transformer, mamba, s4",
        ),
        (
            "{experiment: regression, architecture: mamba, relative_to: {experiment: sprse}}",
            "5:86",
            "suite 'quick' has no experiment 'sprse', did you mean 'sparse'?",
        ),
        (
            "{experiment: regression, architecture: {name: mamba, mixer: true}}",
            "5:60",
            "no run of experiment 'regression' has architecture 'mamba' with mixer = true: "
            "unknown key 'mixer', expected one of: convolution, expand, state",
        ),
        (
            "{experiment: regression, architecture: mamba, size: xsmall}",
            "5:66",
            "unknown size group 'xsmall', did you mean 'x-small'?",
        ),
        (
            "{experiment: regression, architecture: mamba, size: 2x64}",
            "5:66",
            "unknown size group '2x64', expected its fields, layers: 2 and width: 64",
        ),
        (
            "{experiment: regression, architecture: mamba, size: large}",
            "5:66",
            "no run of experiment 'regression', mamba has size 'large', expected one of: x-small, small",
        ),
        (
            "{experiment: regression, architecture: mamba, size: {layers: 3, width: 128}}",
            "5:66",
            "no run of experiment 'regression', mamba has size '3x128', expected one of: x-small, small",
        ),
        (
            "{experiment: regression, architecture: mamba, learning_rate: 0.01}",
            "5:75",
            "no run of experiment 'regression', mamba has learning rate '0.01', expected one of: 1e-4, 1e-3",
        ),
        (
            "{experiment: regression, architecture: mamba, seed: 5}",
            "5:66",
            "no run of experiment 'regression', mamba has seed '5', expected one of: 0, 1",
        ),
        (
            "{experiment: regression, architecture: mamba, at: 41}",
            "5:64",
            "position 41 is not scored, expected 0 to 40",
        ),
        (
            "{experiment: regression, architecture: mamba, evaluation: longer_prompts, at: 80}",
            "5:92",
            "position 80 is not scored, expected one of 62 from 41 to 163; the nearest: 79 and 81",
        ),
        (
            "{experiment: regression, architecture: mamba, at: first}",
            "5:64",
            "at: expected mean, last, headline, a mark's name or a position from 0, not 'first'",
        ),
        (
            "{experiment: regression, architecture: mamba, step: 7}",
            "5:66",
            "no checkpoint at step 7, expected one of: 100000, 300000, 500000",
        ),
        (
            "{experiment: regression}",
            "5:5",
            "this means runs of 3 architectures (transformer, mamba, s4): name one",
        ),
        (
            "{experiment: sparse}",
            "5:5",
            "this means runs of 2 tasks (sparse_linear_regression with different sparsity): name one",
        ),
        (
            "{experiment: sparse, task: {name: sparse_linear_regression, sparsity: 5}}",
            "5:48",
            "no run of experiment 'sparse' has task 'sparse_linear_regression' with sparsity = 5",
        ),
        (
            "{experiment: sparse, task: {name: sparse_linear_regression, sparsty: 3}}",
            "5:48",
            "no run of experiment 'sparse' has task 'sparse_linear_regression' with sparsty = 3: "
            "unknown key 'sparsty', did you mean 'sparsity'?",
        ),
        (
            "{experiment: regression, task: 7}",
            "5:45",
            "task: expected a name, or a mapping with 'name' and the fields that tell variants apart",
        ),
        (
            "{experiment: regression, architecture: mamba, of: erorr}",
            "5:64",
            "of: unknown value 'erorr', did you mean 'error'?",
        ),
        (
            "{experiment: regression, architecture: mamba, of: convergence_step}",
            "5:64",
            "task 'linear_regression' is not scored by accuracy: it has no step of convergence",
        ),
        (
            "{experiment: regression, architecture: mamba, of: convergence_step, at: last, step: 100_000}",
            "5:98",
            "a step of convergence is read over all checkpoints of the main evaluation: "
            "leave out at and step",
        ),
        (
            "{experiment: regression, architecture: mamba, of: training_flops, at: last}",
            "5:84",
            "training FLOPs do not depend on what is scored: leave out at",
        ),
    ],
)
def test_a_measure_no_result_could_satisfy_is_refused(
    tmp_path: Path, measure: str, place: str, message: str
) -> None:
    assert problems(tmp_path, one(measure)) == [f"{place}: {message}"]


def test_a_variant_of_a_task_or_an_architecture_is_meant_by_its_fields(tmp_path: Path) -> None:
    plain = run_of(architecture="s4_mamba")
    silu = plain.model_copy(update={"architecture": plain.architecture.with_options({"gate": "silu"})})
    suite = Suite(
        "quick", "", Path("quick.yaml"), (*SUITE.experiments, Experiment("gates", "", "", (plain, silu)))
    )
    text = one("{experiment: gates, architecture: {name: s4_mamba, gate: silu}}")
    claim = claims.load(write(tmp_path, text), suite).claims["c"]
    assert runs_of(claim.measure, suite) == [silu]
    assert problems(tmp_path, one("{experiment: gates, architecture: s4_mamba}"), suite) == [
        "5:5: this means runs of 2 architectures (s4_mamba, s4_mamba+gate=silu): name one"
    ]


def test_optimizers_and_budgets_are_never_chosen_between(tmp_path: Path) -> None:
    runs = (run_of(), run_of(optimizer={"name": "adamw"}), run_of(steps=1000))
    suite = Suite("quick", "", Path("quick.yaml"), (Experiment("mixed", "", "", runs),))
    assert problems(tmp_path, one("{experiment: mixed}"), suite) == [
        "5:5: this means runs of 2 optimizers (adam, adamw): name one",
        "5:5: this means runs with 2 values of steps (500000, 1000): name one",
    ]
    narrowed = one("{experiment: mixed, optimizer: adam, steps: 1000}")
    claim = claims.load(write(tmp_path, narrowed), suite).claims["c"]
    assert runs_of(claim.measure, suite) == [runs[2]]


@pytest.mark.parametrize("subset", ["per_prompt", "per_batch"])
def test_too_few_prompts_for_a_claim_are_known_before_training(subset: str, tmp_path: Path) -> None:
    task = task_named("sparse_parity", subset=subset)
    least = LEAST_PROMPTS * task.dependent_prompts
    for prompts, refused in ((least, False), (least - task.dependent_prompts, True)):
        run = run_of(task, evaluation_prompts=prompts)
        suite = Suite("quick", "", Path("quick.yaml"), (Experiment("parity", "", "", (run,)),))
        for of, scored in (("score", True), ("convergence_step", False)):
            text = one(f"{{experiment: parity, of: {of}}}")
            if refused and scored:
                (problem,) = problems(tmp_path, text, suite)
                assert problem.startswith(f"5:5: its scores rest on {LEAST_PROMPTS - 1} independent prompts")
                assert f"set evaluation_prompts to {least} or more" in problem
            else:
                assert claims.load(write(tmp_path, text), suite).claims


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (
            "[{architecture: mamba}, {architecture: s5}]",
            "6:51: no run of experiment 'regression' has",
        ),
        (
            "[{architecture: mamba}, {architecture: mamba}]",
            "6:36: this measures the same as an earlier",
        ),
        (
            "[{architecture: mamba}, {architecture: s4, of: score}]",
            "6:36: an order compares one quantity: this is score, the first error",
        ),
        (
            "[{architecture: mamba}, "
            "{experiment: sparse, task: {name: sparse_linear_regression, sparsity: 2}}]",
            "6:36: this is evaluated on other prompts than the first member, never comparable",
        ),
        ("[{architecture: mamba}, {}]", "6:36: this means runs of 3 architectures"),
    ],
)
def test_an_order_names_the_member_that_is_wrong(tmp_path: Path, order: str, expected: str) -> None:
    (problem,) = problems(tmp_path, one("{experiment: regression}", f"order: {order}"))
    assert problem.startswith(expected), problem


def test_what_members_share_is_complained_about_once(tmp_path: Path) -> None:
    text = one("{experiment: regresion}", "order: [{architecture: mamba}, {architecture: s4}]")
    assert problems(tmp_path, text) == [
        "5:27: suite 'quick' has no experiment 'regresion', did you mean 'regression'?"
    ]


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
suite: quikc
claims:
  first:
    statement: s
    measure: {experiment: nothing}
    bound: {at_most: 1}
  second:
    measure: {experiment: regression, architecture: mamba, siez: small}
    value: {expected: 1}
  third:
    statement: s
    measure: {experiment: regression, architecture: mamba}
    tendency: up
"""
    places = [problem.split(": ")[0] for problem in problems(tmp_path, text)]
    assert places == ["1:8", "5:27", "8:5", "8:60", "9:12", "13:5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("suite: quick\nclaims: {}\n", "2:9: there is no claim here"),
        ("suite: quick\nclaims:\n", "2:8: claims: expected a mapping, got null"),
        ("suite: quick\n", "1:1: missing key 'claims'"),
        ("", "1:1: is empty, expected one or more of the keys suite, requires, claims"),
        (
            "suite: slow\n" + GOOD.split("\n", 1)[1],
            "1:8: these are claims about 'slow', the suite is named 'quick'",
        ),
        (GOOD + GOOD.split("claims:\n")[1], "9:3: duplicate key 'linear' (first on line 3)"),
        ("suite: quick\nclaims: [a]\n", "2:9: claims: expected a mapping, got a list"),
        ("suite: quick\nclaims: {c: 3}\n", "2:13: expected a mapping, got 3"),
    ],
)
def test_a_file_that_claims_nothing_or_twice_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text) == [message]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="no such file"):
        claims.load(tmp_path / "absent.claims.yaml", SUITE)


def test_a_file_is_held_against_a_suite_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "quick.yaml"
    path.write_text(
        "name: quick\n"
        "experiments:\n"
        "  regression:\n"
        "    tasks: [linear_regression]\n"
        "    architectures: [transformer, mamba]\n"
        "    sizes: [x-small]\n"
        "    learning_rates: [1e-4, 1e-3]\n"
        "    steps: 100\n"
    )
    (tmp_path / "quick.claims.yaml").write_text(GOOD)
    quick = suites.load(path)
    loaded = claims.load(claims.path_for(path), quick)
    runs = runs_of(loaded.claims["linear"].measure, quick)
    assert {run.architecture.name for run in runs} == {"mamba"}
    assert len(runs) == 6  # three sizes, two learning rates
    (verdict,) = check(loaded, quick, Pool())
    assert (verdict.verdict, exit_code([verdict])) == ("missing", 2)


def test_an_experiment_without_runs_decides_nothing(tmp_path: Path) -> None:
    empty = Suite("quick", "", Path("quick.yaml"), (Experiment("empty", "", "", ()),))
    assert problems(tmp_path, one("{experiment: empty}"), empty) == ["5:27: experiment 'empty' plans no run"]
