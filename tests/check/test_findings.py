"""Findings files: what is read, what is refused and where, and when verdicts support a finding."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from campaign_inputs import mutated
from command import ROOT
from synthetic import claim_of, experiment_of, grid, pool_of, suite_of, task_named

from bench import results
from bench import suite as suites
from bench.check import Verdict, check, claims, findings
from bench.check.claims import Claims
from bench.check.findings import Finding, Findings
from bench.check.schema import findings_schema
from bench.errors import InvalidFile
from bench.strict_yaml import document

NAMES = ["mamba_learns", "s4_fails", "dotted.name"]
SUITE = suite_of(experiment_of(grid(task_named(n_points=5))), name="quick")
SHIPPED = sorted((ROOT / "suites").glob("*.findings.yaml"))

GOOD = """\
suite: quick
findings:
  who_learns:
    title: Mamba learns.
    text: It has {mamba_learns.measured}, as expected ({mamba_learns.expected}); S4 has {s4_fails}.
    claims: [mamba_learns]
    contradicted: [s4_fails]
    figure: Figure 2
"""


def load(tmp_path: Path, text: str) -> Findings:
    path = tmp_path / "quick.findings.yaml"
    path.write_text(text, encoding="utf-8")
    return findings.load(path, SUITE, NAMES)


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a file, the folder taken off."""
    with pytest.raises(InvalidFile) as caught:
        load(tmp_path, text)
    return [problem.removeprefix(f"{tmp_path}/quick.findings.yaml:") for problem in caught.value.problems]


def finding(text: str = "Text.", **fields: list[str]) -> Finding:
    return Finding.model_validate({"title": "Title.", "text": text, **fields})


def verdict(word: str, name: str = "c") -> Verdict:
    """A verdict with some word, on a claim that was measured."""
    claim = claim_of(
        {
            "statement": "s",
            "measure": {"experiment": "figure2", "architecture": "mamba"},
            "bound": {"at_most": 2},
        }
    )
    (made,) = check(Claims(Path("x"), {name: claim}), SUITE, pool_of(SUITE.runs), allow_synthetic=True)
    return replace(made, verdict=word)  # type: ignore[arg-type]


def test_findings_lie_beside_their_suite() -> None:
    assert findings.path_for(Path("suites/quick.yaml")) == Path("suites/quick.findings.yaml")


def test_a_good_file_says_which_verdict_each_claim_has(tmp_path: Path) -> None:
    (read,) = load(tmp_path, GOOD).findings.values()
    assert read.said == {"mamba_learns": "reproduced", "s4_fails": "contradicted"}


MISTAKES = [
    ("suite: quick", "suite: slow", "1:8: these are findings about 'slow', the suite is named 'quick'"),
    ("title:", "tilte:", "4:5: unknown key 'tilte', did you mean 'title'?"),
    ("title: Mamba learns.", "title: 3", "4:12: title: expected text, got 3"),
    ("title: Mamba learns.", "title: ''", "4:12: title: must not be empty"),
    ("Mamba learns.", "It has 0.97.", "4:12: '0.97' looks measured: a title has no measured number"),
    ("who_learns", "who/learns", "3:3: 'who/learns' is not made of letters, digits"),
    (
        "[mamba_learns]",
        "[mamba_lerns]",
        "6:14: there is no claim 'mamba_lerns', did you mean 'mamba_learns'?",
    ),
    ("[mamba_learns]", "[mamba_learns, s4_fails]", "7:20: claim 's4_fails' is listed twice"),
    ("[mamba_learns]", "mamba_learns", "6:13: claims: expected a list, got 'mamba_learns'"),
    ("[mamba_learns]", "[]", "6:13: claims: must not be empty"),
    ("{s4_fails}", "{s4_falis}", "5:11: unknown placeholder '{s4_falis}', did you mean 's4_fails'?"),
    ("learns.measured", "learns.mesured", "5:11: unknown placeholder '{mamba_learns.mesured}', did you mean"),
    ("{s4_fails}", "{}", "5:11: unknown placeholder '{}', expected one of: mamba_learns, s4_fails, dot"),
    ("{s4_fails}", "{dotted.name}", "5:11: '{dotted.name}' shows claim 'dotted.name', which this finding"),
    ("{s4_fails}", "{s4_fails", "5:11: a brace without its pair: placeholders are written {claim.measured}"),
    ("{s4_fails}", "0.556", "5:11: '0.556' looks measured: write {claim.measured}, which results fill"),
    ("{s4_fails}", "83 %", "5:11: '83 %' looks measured: write {claim.measured}, which results fill"),
    ("{s4_fails}", "4 ± 1", "5:11: '±' looks measured: write {claim.measured}, which results fill"),
    ("findings:\n", "findings: {}\nfound:\n", "2:11: there is no finding here"),
    ("findings:\n", "findings: []\nfound:\n", "2:11: findings: expected a mapping, got an empty list"),
]


@pytest.mark.parametrize(("before", "after", "problem"), MISTAKES)
def test_a_mistake_is_refused_with_its_place(tmp_path: Path, before: str, after: str, problem: str) -> None:
    assert before in GOOD
    lines = problems(tmp_path, GOOD.replace(before, after))
    assert any(line.startswith(problem) for line in lines), lines


def test_a_finding_without_claims_is_refused(tmp_path: Path) -> None:
    text = "suite: quick\nfindings:\n  a:\n    title: T.\n    text: Text.\n"
    assert problems(tmp_path, text) == [
        "3:3: a finding rests on claims: name them under claims, contradicted, undecided or not_comparable"
    ]


def test_all_mistakes_are_reported_in_one_go(tmp_path: Path) -> None:
    text = GOOD.replace("{s4_fails}", "{x}").replace("[mamba_learns]", "[y]").replace("title", "titel")
    assert len(problems(tmp_path, text)) == 2  # a key is missing and another unknown: the rest is not read
    assert len(problems(tmp_path, text.replace("titel", "title"))) >= 3


@pytest.mark.parametrize(
    "text", ["Figure 5 and §4.3.", "30,000 steps, 2 layers, width 128.", "S4-Mamba, 3-gram."]
)
def test_numbers_that_are_no_results_may_be_written(tmp_path: Path, text: str) -> None:
    (read,) = load(tmp_path, GOOD.replace("S4 has {s4_fails}.", text)).findings.values()
    assert read.text.endswith(text)


def test_a_claim_with_a_dot_in_its_name_has_parts_too() -> None:
    read = finding("{dotted.name.measured}, {dotted.name}", claims=["dotted.name"])
    parts = {"measured": "1", "expected": "2", "verdict": "reproduced"}
    assert read.filled({"dotted.name": parts}) == "1, 1 (reproduced)"


@pytest.mark.parametrize(
    ("field", "word", "standing"),
    [
        ("claims", "reproduced", "supported"),
        ("claims", "contradicted", "not supported"),
        ("claims", "unreachable", "not supported"),
        ("claims", "undecided", "not decided yet"),
        ("claims", "missing", "not decided yet"),
        ("claims", "not comparable", "not decided yet"),
        ("contradicted", "contradicted", "supported"),
        ("contradicted", "reproduced", "not supported"),
        ("contradicted", "missing", "not decided yet"),
        ("undecided", "undecided", "supported"),
        ("undecided", "reproduced", "not supported"),
        ("undecided", "contradicted", "not supported"),
        ("undecided", "missing", "not decided yet"),
        ("not_comparable", "not comparable", "supported"),
        ("not_comparable", "undecided", "not decided yet"),
        ("not_comparable", "contradicted", "not supported"),
    ],
)
def test_a_finding_stands_while_its_claims_have_the_verdicts_it_states(
    field: str, word: str, standing: str
) -> None:
    assert finding(**{field: ["c"]}).standing({"c": verdict(word)}) == standing


def test_a_refuted_claim_weighs_more_than_an_open_one() -> None:
    verdicts = {"a": verdict("contradicted", "a"), "b": verdict("missing", "b")}
    assert finding(claims=["a", "b"]).standing(verdicts) == "not supported"


def test_an_unknown_figure_is_refused_with_its_place(tmp_path: Path) -> None:
    read = load(tmp_path, GOOD)
    read.require_figures(["Figure 2", "figure-2"])
    with pytest.raises(InvalidFile) as caught:
        read.require_figures(["Figure 5", "figure-5"])
    path = tmp_path / "quick.findings.yaml"
    assert caught.value.problems == [
        f"{path}:8:13: the report has no figure 'Figure 2', did you mean 'Figure 5'?"
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name.partition(".")[0])
def test_shipped_findings_rest_on_claims_that_exist(path: Path) -> None:
    suite = suites.load(path.with_name(f"{path.name.partition('.')[0]}.yaml"))
    names = claims.load(claims.path_for(suite.path), suite).claims
    read = findings.load(path, suite, names)
    assert read.findings
    jsonschema.Draft202012Validator(findings_schema()).validate(document.read(path).data)


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(findings_schema())
    entry = {"title": "T.", "text": "Text.", "claims": ["a"]}
    assert validator.is_valid({"suite": "x", "findings": {"f": entry}})
    for change in ({"claims": []}, {"claims": "a"}, {"titel": "T."}, {"text": ""}):
        assert not validator.is_valid({"suite": "x", "findings": {"f": {**entry, **change}}})
    assert not validator.is_valid({"suite": "x", "findings": {"f": {"title": "T.", "text": "Text."}}})


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_file_has_become_it_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        path = tmp_path / "quick.findings.yaml"
        path.write_text(mutated(GOOD, chance), encoding="utf-8", errors="surrogatepass")
        refused: list[str] = []
        try:
            findings.load(path, SUITE, NAMES)
        except InvalidFile as error:
            refused = error.problems
        assert all(problem.startswith(f"{path}:") for problem in refused)


@pytest.mark.slow
def test_committed_results_support_the_shipped_findings() -> None:
    """A finding that results no longer support needs another text."""
    pool = results.load(ROOT / "results")
    for path in SHIPPED:
        suite = suites.load(path.with_name(f"{path.name.partition('.')[0]}.yaml"))
        file = claims.load(claims.path_for(suite.path), suite)
        verdicts = {made.claim: made for made in check(file, suite, pool)}
        read = findings.load(path, suite, file.claims).findings
        standings = {name: entry.standing(verdicts) for name, entry in read.items()}
        assert standings == dict.fromkeys(read, "supported")
