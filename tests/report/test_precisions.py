"""The report's comparison of precisions: its rows are the claims', its decisions follow the rule."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from synthetic import (
    baselines_of,
    claim_of,
    experiment_of,
    pool_with,
    result_of,
    run_of,
    suite_of,
    task_named,
)

from bench.check import Verdict, check
from bench.check.claims import Claims
from bench.report.tables.precisions import Precisions, precisions
from bench.report.write import contents
from bench.results import Pool
from bench.run import Run
from bench.suite import Suite

SEEDS = range(8)
TASK = task_named(n_points=8)
RUNS = {
    (architecture, precision): [
        run_of(TASK, architecture, 2, 128, seed=seed, precision=precision) for seed in SEEDS
    ]
    for architecture in ("mamba", "transformer")
    for precision in ("fp32", "tf32", "bf16")
}
EQUAL: dict[tuple[str, str], float] = dict.fromkeys(RUNS, 0.2)


def claims_on(*architectures: str, **more: dict[str, Any]) -> Claims:
    """Equivalence in tf32 and bf16 for some architectures, and further claims."""
    claims: dict[str, dict[str, Any]] = {
        f"{architecture}_{precision}": {
            "measure": {"architecture": architecture},
            "requires": {"about": "training"},
            "equivalent": {
                "subject": {"precision": precision},
                "reference": {"precision": "fp32"},
                "learned": 0.5,
            },
        }
        for architecture in architectures
        for precision in ("tf32", "bf16")
    }
    models = {}
    for name, claim in {**claims, **more}.items():
        measure = {"experiment": "all", **claim["measure"]}
        models[name] = claim_of({"statement": name, **claim, "measure": measure})
    return Claims(Path("x"), models)


BOTH = claims_on("mamba", "transformer")


def suite_and_pool(
    errors: Mapping[tuple[str, str], float], absent: tuple[Run, ...] = ()
) -> tuple[Suite, Pool]:
    runs = [run for group in RUNS.values() for run in group]
    results = {
        run.id: result_of(run, error * (1 + 0.01 * run.seed))
        for key, error in errors.items()
        for run in RUNS[key]
        if run not in absent
    }
    return suite_of(experiment_of(runs, "all")), pool_with(results, {runs[0].task_id: baselines_of(runs[0])})


def section(
    errors: Mapping[tuple[str, str], float], claims: Claims = BOTH, **options: Any
) -> tuple[Precisions | None, list[Verdict]]:
    suite, pool = suite_and_pool(errors, **options)
    verdicts = check(claims, suite, pool, allow_synthetic=True)
    return precisions(suite, verdicts, {RUNS["mamba", "fp32"][0].task_id: "Linear regression"}), verdicts


def decision(errors: Mapping[tuple[str, str], float], claims: Claims = BOTH, **options: Any) -> str:
    found, _ = section(errors, claims, **options)
    assert found is not None
    ((task, text),) = found.decisions
    assert task == "Linear regression"
    return text


def test_a_precision_that_is_equal_for_every_architecture_may_become_the_default() -> None:
    assert decision(EQUAL) == "tf32 or bf16 may become the default."


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({("mamba", "bf16"): 0.3}, "tf32 may become the default. Not bf16: Mamba contradicted."),
        (
            {("mamba", "bf16"): 0.3, ("transformer", "tf32"): 0.1},
            "fp32 stays the default. Not tf32: Transformer contradicted. Not bf16: Mamba contradicted.",
        ),
        # The Transformer learned nothing, in any precision.
        (
            {("transformer", precision): 1.0 for precision in ("fp32", "tf32", "bf16")},
            "fp32 stays the default. Not tf32: Transformer not comparable. "
            "Not bf16: Transformer not comparable.",
        ),
    ],
)
def test_one_architecture_keeps_a_precision_from_it(
    changed: dict[tuple[str, str], float], expected: str
) -> None:
    assert decision({**EQUAL, **changed}) == expected


def test_a_missing_run_decides_nothing() -> None:
    absent = (RUNS["mamba", "tf32"][3],)
    assert decision(EQUAL, absent=absent) == "bf16 may become the default. Not tf32: Mamba missing."


def test_an_architecture_that_no_claim_compares_keeps_fp32() -> None:
    text = decision(EQUAL, claims_on("mamba"))
    assert text.startswith("fp32 stays the default.")
    assert text.count("Transformer not compared") == 2


@pytest.mark.parametrize(("limit", "passes"), [(0.3, True), (1e-6, False)])
def test_what_else_is_claimed_of_a_precision_must_hold_too(limit: float, passes: bool) -> None:
    measure = {"architecture": "mamba", "precision": "bf16", "over_seeds": "lowest"}
    claims = claims_on("mamba", "transformer", low_bf16={"measure": measure, "bound": {"at_most": limit}})
    text = decision(EQUAL, claims)
    assert ("low_bf16 contradicted" in text) is not passes
    assert text.startswith("tf32 or bf16 may" if passes else "tf32 may")


def test_without_such_a_claim_there_is_no_section() -> None:
    bound = {"measure": {"architecture": "mamba", "precision": "bf16"}, "bound": {"at_most": 1.0}}
    assert section(EQUAL, claims_on(low={**bound}))[0] is None


def test_the_table_shows_the_numbers_of_the_verdicts() -> None:
    found, verdicts = section({**EQUAL, ("mamba", "bf16"): 0.3})
    assert found is not None
    for row, record, verdict in zip(
        found.table.rows, found.table.numbers.to_dict("records"), verdicts, strict=True
    ):
        assert len(row) == len(found.table.columns)
        assert verdict.comparison is not None
        ratio = verdict.comparison.ratio
        assert ratio is not None
        assert (record["claim"], record["verdict"]) == (verdict.claim, verdict.verdict)
        assert (record["ratio"], record["ratio_low"]) == (verdict.value, ratio.low)
        assert f"{ratio.value:.3f}" in [cell.text for cell in row]
        assert row[-1].text == verdict.verdict
    by_claim = {record["claim"]: record for record in found.table.numbers.to_dict("records")}
    assert by_claim["mamba_bf16"]["ratio"] == pytest.approx(1.5)
    assert by_claim["mamba_bf16"]["mean"] == pytest.approx(0.3 * 1.035)
    assert by_claim["mamba_bf16"]["reference_mean"] == pytest.approx(0.2 * 1.035)


@pytest.mark.usefixtures("undrawn")
def test_page_and_readme_show_the_section_and_its_files_are_written() -> None:
    suite, pool = suite_and_pool({**EQUAL, ("mamba", "bf16"): 0.3})
    files = contents(suite, pool, {}, check(BOTH, suite, pool, allow_synthetic=True))
    for name in ("README.md", "index.html"):
        assert "Not bf16: Mamba contradicted." in files[name].decode()
    rows = list(csv.DictReader(io.StringIO(files["tables/precisions.csv"].decode())))
    assert [row["claim"] for row in rows] == [
        "mamba_tf32",
        "mamba_bf16",
        "transformer_tf32",
        "transformer_bf16",
    ]
    assert "tables/precisions.tex" in files
