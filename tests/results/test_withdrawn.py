"""Results that were found wrong: they stay on disk, count as missing, are trained again, and come back."""

from __future__ import annotations

import json
from pathlib import Path

import damaged_pools
import pytest
from command import as_json, bench, said
from synthetic import pool_with, result_of

from bench import results
from bench import suite as suites
from bench.check import check
from bench.check import claims as claims_of
from bench.errors import UserError
from bench.report.write import write_report
from bench.results import RunRecord, path_of, store
from bench.results.mixtures import mixtures
from bench.run import Run


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite whose Mamba on linear regression was trained by another commit."""
    path = damaged_pools.pool_in(tmp_path)
    for run in suites.load(path).runs:
        if run.architecture.name == "mamba" and run.task.name == "linear_regression":
            store(path_of(tmp_path / "results", run), result_of(run, provenance={"commit": "bad" + "0" * 9}))
    return path


@pytest.mark.slow
def test_a_commit_that_trained_only_a_part_of_a_run_withdraws_it(suite: Path) -> None:
    folder = suite.parent.parent
    run = next(run for run in suites.load(suite).runs if run.architecture.name == "transformer")
    piece = {"device": "H100", "host": "a", "from_step": 0, "commit": "bad" + "1" * 9, "kernels": "triton"}
    pieces = [piece, {**piece, "from_step": 1, "commit": "good"}]
    store(path_of(folder / "results", run), result_of(run, provenance={"commit": "good", "pieces": pieces}))
    assert "1 result withdrawn" in withdraw(suite, "--filter", "commit=bad1*", "--reason", "a kernel's bias")
    assert [missing.id for missing in withdrawn_runs(suite)] == [run.id]


def withdrawn_runs(suite: Path) -> list[Run]:
    return [
        run
        for run in suites.load(suite).runs
        if run.id not in results.load(suite.parent.parent / "results").runs
    ]


def withdraw(suite: Path, *options: object, code: int = 0) -> str:
    return said(bench("withdraw", suite, *options, cwd=suite.parent.parent), code)


BAD = ("--filter", "commit=bad*", "--reason", "a kernel forgot its bias")


@pytest.mark.slow
def test_withdrawn_results_are_missing_and_their_files_are_untouched(suite: Path) -> None:
    folder = suite.parent.parent
    before = {path: path.read_bytes() for path in (folder / "results").rglob("*-s0-*.json")}
    assert "2 results withdrawn: a kernel forgot its bias." in withdraw(suite, *BAD)
    gone = withdrawn_runs(suite)
    assert [run.architecture.name for run in gone] == ["mamba", "mamba"]
    assert all(results.load_run(folder / "results", run) is None for run in gone)
    assert {path: path.read_bytes() for path in before} == before
    states = as_json(bench("plan", suite, "--json", cwd=folder))["runs"]
    assert {one["id"] for one in states if one["state"] == "missing"} == {run.id for run in gone}
    assert "2 results withdrawn on " in said(bench("status", suite, cwd=folder))


@pytest.mark.slow
def test_they_come_back(suite: Path) -> None:
    withdraw(suite, *BAD)
    assert "a kernel forgot its bias (mamba on linear_regression (2)); 0 trained again" in withdraw(suite)
    assert "2 results no longer withdrawn." in withdraw(suite, "--undo", "--filter", "commit=bad*")
    assert withdrawn_runs(suite) == []
    assert not (suite.parent.parent / "results/withdrawn.json").exists()
    assert "No result is withdrawn." in withdraw(suite)


@pytest.mark.slow
def test_a_run_trained_again_counts_and_the_withdrawn_file_is_kept(suite: Path) -> None:
    folder = suite.parent.parent / "results"
    withdraw(suite, *BAD)
    run = withdrawn_runs(suite)[0]
    old = path_of(folder, run).read_bytes()
    store(path_of(folder, run), result_of(run, provenance={"commit": "good"}))
    assert results.load(folder).runs[run.id].provenance.commit == "good"
    assert results.load_run(folder, run) is not None
    assert len(withdrawn_runs(suite)) == 1
    kept = (path_of(folder, run).parent / ".replaced").glob(f"*{run.id}.json")
    assert old in [path.read_bytes() for path in kept]
    assert "; 1 trained again" in withdraw(suite)
    withdraw(suite, "--undo", "--filter", "id=*")
    assert results.load(folder).problems == []


@pytest.mark.slow
def test_every_copy_that_matches_is_withdrawn(suite: Path) -> None:
    folder = suite.parent.parent / "results"
    run = next(run for run in suites.load(suite).runs if run.architecture.name == "mamba")
    (folder / "copy.json").write_text(
        json.dumps(result_of(run, provenance={"commit": "bad" + "0" * 9, "host": "elsewhere"}))
    )
    withdraw(suite, *BAD)
    assert run.id not in results.load(folder).runs


@pytest.mark.slow
def test_a_report_says_what_was_withdrawn_and_why(suite: Path) -> None:
    folder = suite.parent.parent
    withdraw(suite, *BAD)
    said(bench("report", suite, cwd=folder))
    for page in ("index.html", "README.md"):
        text = (folder / "reports/damaged" / page).read_text()
        assert "2 results withdrawn on " in text
        assert "a kernel forgot its bias" in text


@pytest.mark.slow
def test_baselines_are_withdrawn_only_where_they_are_meant(suite: Path) -> None:
    folder = suite.parent.parent / "results"
    withdraw(suite, "--filter", "kind=baselines task=sparse_parity", "--reason", "too few prompts")
    pool = results.load(folder)
    assert [record.task.name for record in pool.baselines.values()] == ["linear_regression"]
    assert len(pool.runs) == 5
    parity = next(run for run in suites.load(suite).runs if run.task.name == "sparse_parity")
    assert results.load_baselines(folder, "sparse_parity", parity.task_id) is None


def test_a_pattern_of_kinds_means_every_kind_that_it_matches(suite: Path) -> None:
    folder = suite.parent.parent / "results"
    withdraw(suite, "--filter", "kind=base*", "--reason", "too few prompts")
    pool = results.load(folder)
    assert (len(pool.baselines), len(pool.runs)) == (0, 5)
    withdraw(suite, "--filter", "kind=run,baselines", "--reason", "all wrong", code=2)
    withdraw(suite, "--undo", "--filter", "id=*")
    withdraw(suite, "--filter", "kind=run,baselines task=sparse_parity", "--reason", "all wrong")
    pool = results.load(folder)
    assert [record.task.name for record in pool.baselines.values()] == ["linear_regression"]
    assert {record.run.task.name for record in pool.runs.values()} == {"linear_regression"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reason", "r"], "--filter is missing"),
        (["--undo"], "--filter is missing"),
        (["--filter", "commit=bad*"], "--reason is missing"),
        (["--filter", "comit=bad*", "--reason", "r"], "unknown filter field 'comit', did you mean 'commit'?"),
        (["--filter", "commit=c*", "--reason", "r"], "matches none of the 5 results under results"),
        (["--filter", "id=*", "--undo", "--reason", "r"], "--undo takes no --reason"),
        (["--filter", "id=*", "--undo"], "results: no result is withdrawn"),
    ],
)
def test_what_cannot_be_meant_is_refused(suite: Path, options: list[str], words: str) -> None:
    done = bench("withdraw", suite, *options, cwd=suite.parent.parent)
    assert said(done, 2) == ""
    assert words in done.stderr
    assert not (suite.parent.parent / "results/withdrawn.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "withdrawn": [{"id": 7}]}'])
def test_a_damaged_list_is_an_error_for_nobody_knows_what_counts(suite: Path, text: str) -> None:
    folder = suite.parent.parent / "results"
    (folder / "withdrawn.json").write_text(text)
    with pytest.raises(UserError, match=r"withdrawn\.json: cannot be read"):
        results.load(folder)
    assert "withdrawn.json: cannot be read" in bench("status", suite, cwd=folder.parent).stderr


# Results that differ in more than what they are compared for


def records(suite: Path, **of_mamba: object) -> dict[str, dict[str, object]]:
    return {
        run.id: result_of(
            run,
            provenance={
                "synthetic": False, "device": "H100", "scan": "triton",
                **(of_mamba if run.architecture.name == "mamba" else {}),
            },
        )
        for run in suites.load(suite).runs
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("of_mamba", "words"),
    [
        ({"device": "A100"}, "2 devices (A100: 2, H100: 2)"),
        ({"scan": "sequential"}, "2 selective scan kernels (sequential: 2, triton: 2)"),
        ({"device": None}, None),
        ({}, None),
    ],
)
def test_a_verdict_on_results_of_different_machines_says_so(
    suite: Path, of_mamba: dict[str, object], words: str | None
) -> None:
    loaded = suites.load(suite)
    claims = claims_of.load(claims_of.path_for(suite), loaded)
    pool = pool_with(runs=records(suite, **of_mamba))
    notes = {verdict.claim: verdict.note for verdict in check(claims, loaded, pool)}
    assert notes["mamba_leads"] == (words and f"read from runs of {words}")
    assert notes["mamba_learns"] is None
    write_report(loaded, pool, suite.parent / "report")
    page = (suite.parent / "report/README.md").read_text()
    assert ("Results side by side are of 2 " in page) == (words is not None)


def test_precisions_are_told_apart(suite: Path) -> None:
    found: list[RunRecord] = list(pool_with(runs=records(suite)).runs.values())
    other = found[0].run.model_copy(update={"precision": "tf32"})
    assert mixtures([found[0].model_copy(update={"run": other}), *found[1:3]]) == [
        "2 precisions of matrix products (fp32: 2, tf32: 1)"
    ]
    assert mixtures(found) == []
