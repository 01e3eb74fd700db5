"""Verdicts as they are printed: a line per claim that fits 100 columns, and details on request."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from command import ROOT
from rich.cells import cell_len
from synthetic_paper import paper_claims, paper_verdicts

from bench import check as checks
from bench import suite as suites
from bench.check import claims as claims_of
from bench.check.kinds.value import ValueClaim
from bench.cli import printing
from bench.cli.verdicts import show_in_full, show_lines
from bench.results import Pool

COLUMNS = 100


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


def lines_of(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(cell_len, lines)) <= COLUMNS
    return [line for line in lines if line and not line.startswith("verdict ")]


@pytest.mark.slow
def test_every_claim_of_the_paper_is_one_whole_line(capsys: pytest.CaptureFixture[str]) -> None:
    claims, verdicts = paper_claims(), paper_verdicts()
    show_lines(verdicts, claims.claims, printing.Output())
    lines = lines_of(capsys.readouterr().out)
    assert len(lines) == len(claims.claims) > 100
    by_claim = {verdict.claim: verdict for verdict in verdicts}
    for line in lines:
        claim = next(word for word in line.split() if word in by_claim)
        assert line.startswith(by_claim[claim].verdict)
        assert line.endswith(claims.claims[claim].bound_text)
        if by_claim[claim].value is not None:
            assert any(character.isdigit() for character in line.partition(claim)[2])
    words = [by_claim[next(word for word in line.split() if word in by_claim)].verdict for line in lines]
    assert words == sorted(words, key=list(checks.WORDS).index), "grouped by verdict"


@pytest.mark.parametrize("name", ["quick", "precision", "formal", "parity"])
def test_claims_without_results_fit_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    suite = suites.load(ROOT / f"suites/{name}.yaml")
    claims = claims_of.load(claims_of.path_for(suite.path), suite)
    verdicts = checks.check(claims, suite, Pool(), {})
    show_lines(verdicts, claims.claims, printing.Output())
    assert len(lines_of(capsys.readouterr().out)) == len(claims.claims)


def test_details_have_the_statement_the_reason_and_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    suite = suites.load(ROOT / "suites/quick.yaml")
    claims = claims_of.load(claims_of.path_for(suite.path), suite)
    verdict = checks.check(claims, suite, Pool(), {})[0]
    note = "read from runs of 2 devices"
    changed = replace(verdict, verdict="contradicted", value=0.7, standard_error=0.01, note=note)
    show_in_full([changed], claims.claims, printing.Output(), {verdict.claim: "reproduced"})
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"contradicted (before: reproduced) {verdict.claim} 0.700 ± 0.010 ≤ 0.5")
    for part in (verdict.statement, verdict.source, verdict.why_tolerance, verdict.reason, note):
        assert " ".join(str(part).split()) in text
    assert f"1 run: {verdict.run_ids[0]}" in text


@pytest.mark.parametrize(
    ("tolerance", "text"),
    [
        ({"expected": 0.25, "absolute": 0.02}, "0.23 to 0.27"),
        ({"expected": 0.5, "relative": 0.1}, "0.45 to 0.55"),
        ({"expected": -2.0, "relative": 0.1}, "−2.2 to −1.8"),
        ({"expected": 1.0, "log10": math.log10(2)}, "0.5 to 2"),
        ({"expected": 1.14e-3, "log10": 1.0}, "1.1e-4 to 0.0114"),
    ],
)
def test_the_bound_of_a_value_is_its_range(tolerance: dict[str, float], text: str) -> None:
    assert ValueClaim.model_validate({"statement": "s", "value": tolerance}).bound_text == text
