"""The command as people and scripts use it: real processes, real files, and what they print."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command import ROOT, as_json, bench, said
from synthetic import run_of, write_pool

from bench import results as pools
from bench import suite as suites
from bench.cli import printing
from bench.cli.app import COMMANDS, load
from bench.cli.arguments import SuiteChoice
from bench.cli.expected_time import cautious_seconds, expected_cost
from bench.digits import count_of
from bench.dispatch.status import RunStatus
from bench.plan.planned import Planned
from bench.plan.time import TimeEstimate
from bench.results import STATE, path_of
from bench.strict_yaml.document import read

TINY = """\
name: tiny
description: Two runs of a second.
experiments:
  tiny_regression:
    rebuilds: Figure 2 [in small]
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [transformer, mamba]
    sizes: [{layers: 1, width: 16, heads: 2}]
    learning_rates: [1e-3]
    batch_size: 4
    steps: 20
    evaluation_prompts: 16
"""
CLAIMS = """\
suite: tiny
claims:
  mamba_is_trained:
    statement: Mamba is trained.
    measure: {experiment: tiny_regression, architecture: mamba, at: mean, of: error}
    bound: {at_most: 1e6}
  transformer_is_trained:
    statement: So is the Transformer.
    source: nowhere
    measure: {experiment: tiny_regression, architecture: transformer, at: mean, of: error}
    bound: {at_most: 1e6}
requires: {about: these runs}
"""


def files_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file by name: when it was written, and what it holds."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_suite(folder: Path) -> Path:
    (folder / "suites").mkdir()
    (folder / "suites" / "tiny.yaml").write_text(TINY)
    (folder / "suites" / "tiny.claims.yaml").write_text(CLAIMS)
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with the tiny suite and no results."""
    return write_suite(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder where the tiny suite was run once, and what that printed. To be left as it is."""
    folder = write_suite(tmp_path_factory.mktemp("trained"))
    return folder, said(bench("run", "suites/tiny.yaml", "--workers", 1, cwd=folder))


@pytest.fixture
def done(trained: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that folder, to be spoiled."""
    shutil.copytree(trained[0], tmp_path / "done")
    return tmp_path / "done"


def result_of(folder: Path, architecture: str) -> Path:
    (path,) = folder.glob(f"results/*/{architecture}-*.json")
    return path


# bench run


@pytest.mark.slow
def test_a_run_says_what_it_will_do_what_it_did_and_what_comes_next(trained: tuple[Path, str]) -> None:
    folder, output = trained
    lines = output.splitlines()
    assert re.fullmatch(
        r"Suite tiny: 2 runs \(2 missing\)\. 2 runs to train, \S+ full-length FLOPs\.", lines[0]
    )
    assert lines[1] == "Kernels: sequential (the fastest on a processor)."
    how = "no similar run was measured; measure on the device that trains: bench speed suites/tiny.yaml"
    assert lines[2] == f"Expected: an unknown time ({how})."
    assert sum(line.startswith("finished  linear_regression/") for line in lines) == 2
    assert lines[-2:] == ["Done: 2 finished.", "Next: bench report suites/tiny.yaml"]
    pool = pools.load(folder / "results")
    assert (len(pool.runs), len(pool.baselines), pool.problems) == (2, 1, [])


@pytest.mark.slow
def test_a_second_run_does_nothing_and_says_so(done: Path) -> None:
    before = files_in(done)
    output = said(bench("run", "suites/tiny.yaml", cwd=done))
    assert output.splitlines() == ["Suite tiny: 2 runs (2 finished).", "Nothing to do."]
    assert files_in(done) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "is_longest_first"),
    [(["--workers", 1], False), (["--workers", 2], True), (["--workers", 2, "--for", "9m"], False)],
)
def test_a_dry_run_names_what_would_run_in_its_order_and_starts_nothing(
    fresh: Path, options: list[Any], is_longest_first: bool
) -> None:
    before = files_in(fresh)
    lines = said(bench("run", "suites/tiny.yaml", "--dry-run", *options, cwd=fresh)).splitlines()
    would = [line.removeprefix("would run ") for line in lines if line.startswith("would run ")]
    runs = list(suites.load(fresh / "suites/tiny.yaml").runs)
    if is_longest_first:
        runs.sort(key=lambda run: -run.training_flops_full_length())
    assert would == ["baselines of linear_regression", *(f"linear_regression/{run.label}" for run in runs)]
    assert files_in(fresh) == before


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--workers", 1], ["--workers", 2], ["--workers", 2, "--for", "9m"]])
@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("begun", [0, 1])
def test_a_run_that_has_begun_comes_first(fresh: Path, options: list[Any], limit: int, begun: int) -> None:
    runs = list(suites.load(fresh / "suites/tiny.yaml").runs)
    folder = fresh / "results" / STATE / runs[begun].id
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"something")
    output = said(bench("run", "suites/tiny.yaml", "--dry-run", "--limit", limit, *options, cwd=fresh))
    expected = [runs[begun].label, runs[1 - begun].label][:limit]
    assert re.findall(r"would run linear_regression/(\S+)", output) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "architectures"),
    [
        (["--limit", 1], ["transformer"]),
        (["--filter", "architecture=mamba"], ["mamba"]),
        (["--filter", "architecture=m*,transformer", "--limit", 2], ["transformer", "mamba"]),
    ],
)
def test_limit_and_filter_take_a_part(fresh: Path, options: list[Any], architectures: list[str]) -> None:
    output = said(bench("run", "suites/tiny.yaml", "--dry-run", "--workers", 1, *options, cwd=fresh))
    assert re.findall(r"would run linear_regression/(\w+)-", output) == architectures
    assert f"{count_of(len(architectures), 'run')} to train" in output


@pytest.mark.slow
def test_a_filter_that_matches_nothing_is_an_error(fresh: Path) -> None:
    for command in ("run", "plan"):
        done = bench(command, "suites/tiny.yaml", "--filter", "architecture=mmaba", cwd=fresh)
        assert said(done, 2) == ""
        assert done.stderr == (
            "bench: filter 'architecture=mmaba' matches none of the suite's 2 runs: "
            "no architecture=mmaba, did you mean 'mamba'?\n"
        )


@pytest.mark.slow
def test_a_run_that_fails_is_told_apart_and_the_others_finish(fresh: Path) -> None:
    suite = suites.load(fresh / "suites/tiny.yaml")
    broken, other = suite.runs
    in_the_way = path_of(fresh / "results", broken)
    in_the_way.mkdir(parents=True)  # its result cannot be written

    first = bench("run", "suites/tiny.yaml", "--workers", 1, cwd=fresh)
    output = said(first, 1)
    assert "Done: 1 finished, 1 failed." in output
    where = f"{in_the_way}: cannot be stored (Is a directory)"
    assert f"linear_regression/{broken.label}: failed: NotStored: {where}" in output
    kept = fresh / "results/.state" / broken.id / "result.json"
    assert f"the result is kept in {kept}" in output
    assert json.loads(kept.read_text())["id"] == broken.id
    assert "Try failed runs again with: bench run suites/tiny.yaml --retry failed" in output
    assert pools.load(fresh / "results").runs.keys() == {other.id}

    status = as_json(bench("status", "suites/tiny.yaml", "--json", cwd=fresh))
    assert [run["id"] for run in status["failed"]] == [broken.id]
    assert "NotStored" in status["failed"][0]["note"]
    assert "failed, 1 run: NotStored" in said(bench("status", "suites/tiny.yaml", cwd=fresh))

    again = said(bench("run", "suites/tiny.yaml", cwd=fresh), 1)
    assert "Suite tiny: 2 runs (1 finished, 1 failed)." in again
    assert "Nothing to do." in again
    assert "Try failed runs again with: bench run suites/tiny.yaml --retry failed" in again

    in_the_way.rmdir()
    retried = said(bench("run", "suites/tiny.yaml", "--retry", "failed", "--workers", 1, cwd=fresh))
    assert "1 run to train" in retried
    assert "Done: 1 finished." in retried
    assert pools.load(fresh / "results").runs.keys() == {broken.id, other.id}


@pytest.mark.slow
def test_long_work_is_not_started_unasked(tmp_path: Path) -> None:
    suite = ROOT / "suites/paper.yaml"
    done = bench("run", suite, "--limit", 1, "--device", "cpu", cwd=tmp_path)
    said(done, 2)
    assert re.fullmatch(
        r"bench: not started: this takes an unknown time \(.* trains: bench speed \S+\); "
        r"use --yes to start it without a question, or select fewer runs with --filter and --limit\n",
        done.stderr,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_run_ends_no_sooner_than_its_longest_part() -> None:
    def costing(seconds: float | None) -> Planned:
        basis = "unknown" if seconds is None else "measured"
        return Planned(run_of(), (), RunStatus("missing"), TimeEstimate(seconds, basis))

    def total(*seconds: float | None, workers: int) -> float:
        return cautious_seconds([costing(value) for value in seconds], workers, "cpu")

    assert total(8.0, workers=4) == 8.0
    assert total(8.0, 1.0, 1.0, workers=2) == 8.0
    assert total(*[3.0] * 4, workers=2) == 6.0
    assert total(workers=2) == 0.0
    assert total(8.0, None, workers=2) > 3 * 3600.0, "half a million steps are asked about"
    todo, choice = [costing(7.0), costing(5.0), costing(None)], SuiteChoice(Path("x.yaml"), "x.yaml")
    assert expected_cost(todo[:2], choice, 2) == "about 7 s on 2 workers (at measured speeds)"
    some = expected_cost(todo, choice, 1)
    assert some.startswith("at least 12 s on 1 worker, with 1 run unknown (")
    assert "bench speed x.yaml" in some
    assert expected_cost(todo[2:], choice, 1).startswith("an unknown time (")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "tpu"], "bench: --device tpu, did you mean 'cpu'?"),
        (["--device", "cpu", "--kernels", "parallel"], "bench: --kernels parallel, expected one of: auto"),
        (["--device", "cpu", "--kernels", "mamba_ssm"], "bench: --kernels mamba_ssm: needs an NVIDIA GPU"),
        (["--retry", "all"], "bench: --retry all: only failed runs can be tried again (--retry failed)"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--results", "suites/tiny.yaml"], "'suites/tiny.yaml' is a file"),
        (["--filter", "mamba"], "bench: filter term 'mamba' is not of the form field=pattern"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(fresh: Path, options: list[str], message: str) -> None:
    done = bench("run", "suites/tiny.yaml", *options, cwd=fresh, COLUMNS="200")
    said(done, 2)
    assert message in done.stderr
    assert not (fresh / "results").exists()


# Suites


@pytest.mark.slow
def test_tf32_on_a_processor_is_refused_with_the_way_out(fresh: Path) -> None:
    suite = fresh / "suites" / "tiny.yaml"
    suite.write_text(TINY.replace("steps:", "precision: tf32\n    steps:", 1))
    done = bench("run", suite, "--device", "cpu", cwd=fresh)
    assert done.returncode == 2
    assert "in precision tf32 cannot train here" in done.stderr
    assert "choose precision: fp32" in done.stderr
    assert not (fresh / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "run", "report", "check"])
def test_a_typo_in_a_suite_is_named_with_its_place(fresh: Path, command: str) -> None:
    suite = fresh / "suites/tiny.yaml"
    suite.write_text(TINY.replace("learning_rates:", "learning_rate:").replace("mamba", "mmaba"))
    done = bench(command, "suites/tiny.yaml", cwd=fresh)
    assert said(done, 3) == ""
    assert "suites/tiny.yaml:7:34: unknown architecture 'mmaba', did you mean 'mamba'?" in done.stderr
    assert "suites/tiny.yaml:9:5: unknown key 'learning_rate', did you mean 'learning_rates'?" in done.stderr
    assert not (fresh / "results").exists()


@pytest.mark.slow
def test_a_suite_that_is_not_there_is_named(tmp_path: Path) -> None:
    for command in ("run", "report", "check"):
        done = bench(command, "suites/absent.yaml", cwd=tmp_path)
        assert said(done, 3) == ""
        assert done.stderr == "suites/absent.yaml: no such file\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["suite", "claims", "findings"])
def test_the_schemas_that_are_shipped_are_printed_and_accept_every_file(tmp_path: Path, kind: str) -> None:
    schema = as_json(bench("schema", kind, cwd=tmp_path))
    jsonschema.Draft202012Validator.check_schema(schema)
    shipped = ROOT / f"suites/.schema/{kind}.json"
    assert json.loads(shipped.read_text("utf-8")) == schema, f"bench schema {kind} > {shipped}"
    validator = jsonschema.Draft202012Validator(schema)
    files = [
        path
        for path in (ROOT / "suites").glob("*.yaml")
        if (Path(path.stem).suffix or ".suite") == f".{kind}"
    ]
    assert len(files) > 1
    for path in files:
        validator.validate(read(path).data)
        assert path.read_text("utf-8").startswith(f"# yaml-language-server: $schema=.schema/{kind}.json\n")


def test_the_schemas_refuse_a_misspelt_name(tmp_path: Path) -> None:
    suite = jsonschema.Draft202012Validator(as_json(bench("schema", cwd=tmp_path)))
    with pytest.raises(jsonschema.ValidationError):
        suite.validate({"name": "x", "experiments": {"a": {"architectures": ["mmaba"]}}})
    claims = jsonschema.Draft202012Validator(as_json(bench("schema", "claims", cwd=tmp_path)))
    claim = {
        "statement": "s",
        "measure": {"experiment": "a", "architecture": "mamba"},
        "bound": {"at_most": 1},
    }
    claims.validate({"suite": "x", "claims": {"c": claim}})
    for field, value in (("measure", {"architecture": "mmaba"}), ("bound", {"at_mots": 1}), ("bond", {})):
        with pytest.raises(jsonschema.ValidationError):
            claims.validate({"suite": "x", "claims": {"c": {**claim, field: value}}})


# bench check


@pytest.mark.slow
def test_check_succeeds_when_every_claim_holds(trained: tuple[Path, str]) -> None:
    output = said(bench("check", "suites/tiny.yaml", cwd=trained[0]))
    assert re.search(r"^reproduced +mamba_is_trained +\S+ ± \S+ +≤ 1e6 *$", output, re.MULTILINE)
    assert output.endswith("2 claims: 2 reproduced.\n")


@pytest.mark.slow
def test_check_fails_when_a_number_is_wrong(done: Path) -> None:
    path = result_of(done, "mamba")
    result = json.loads(path.read_text())
    report = result["checkpoints"][-1]["evaluations"]["report"]
    report["overall"][0] = report["headline"][0] = 1e9
    result["per_prompt"]["report"] = base64.b64encode(struct.pack("<16f", *[1e9] * 16)).decode()
    path.write_text(json.dumps(result))
    output = said(bench("check", "suites/tiny.yaml", cwd=done), 1)
    assert re.search(r"^contradicted +mamba_is_trained +\S.* ≤ 1e6 *$", output, re.MULTILINE)
    assert "2 claims: 1 reproduced, 1 contradicted.\n" in output
    assert "is above" not in output
    full = said(bench("check", "suites/tiny.yaml", "--verbose", cwd=done), 1)
    for detail in (
        "Mamba is trained.",
        "is above 1e6",
        f"1 run: {result['id']}",
        "expected: at most 1e6",
    ):
        assert detail in full


@pytest.mark.slow
def test_check_decides_nothing_without_the_results(done: Path) -> None:
    result_of(done, "transformer").unlink()
    output = said(bench("check", "suites/tiny.yaml", cwd=done), 2)
    assert re.search(r"^missing +transformer_is_trained +– +≤ 1e6 *$", output, re.MULTILINE)
    assert "2 claims: 1 reproduced, 1 missing.\n" in output
    full = said(bench("check", "suites/tiny.yaml", "-v", cwd=done), 2)
    assert "So is the Transformer. (nowhere)" in full
    assert "lacks 1 of 1 run (1 missing)" in full


@pytest.mark.slow
def test_check_says_what_changed_since_the_last_time(done: Path) -> None:
    assert "Since" not in said(bench("check", "suites/tiny.yaml", cwd=done))
    path = result_of(done, "mamba")
    path.rename(done / "aside")
    lost = said(bench("check", "suites/tiny.yaml", cwd=done), 2)
    assert "Since the last check: mamba_is_trained: reproduced → missing\n" in lost
    (done / "aside").rename(path)
    found = said(bench("check", "suites/tiny.yaml", cwd=done))
    assert "Since the last check: mamba_is_trained: missing → reproduced\n" in found


@pytest.mark.slow
def test_check_against_a_report_fails_only_when_a_claim_is_lost(done: Path) -> None:
    said(bench("report", "suites/tiny.yaml", cwd=done))
    against = ("--against", "reports/tiny/verdicts.json")
    (line,) = said(bench("check", "suites/tiny.yaml", *against, cwd=done)).splitlines()
    assert line == "2 claims: 2 reproduced. Nothing changed since reports/tiny/verdicts.json."
    result_of(done, "transformer").unlink()
    lost = said(bench("check", "suites/tiny.yaml", *against, cwd=done), 1)
    assert (
        "missing (before: reproduced)  transformer_is_trained\n    So is the Transformer. (nowhere)" in lost
    )
    assert "mamba_is_trained" not in lost, "it did not change"
    assert lost.endswith("1 changed since reports/tiny/verdicts.json.\n")
    said(bench("report", "suites/tiny.yaml", cwd=done))  # what is missing there is no loss here
    said(bench("check", "suites/tiny.yaml", *against, cwd=done))
    nowhere = bench("check", "suites/tiny.yaml", "--against", "nowhere.json", cwd=done)
    said(nowhere, 2)
    assert nowhere.stderr.startswith("bench: nowhere.json: no such file;")


@pytest.mark.slow
def test_check_writes_junit_for_others(done: Path) -> None:
    said(bench("check", "suites/tiny.yaml", "--junit", "claims.xml", cwd=done))
    assert '<testcase classname="tiny.bound" name="mamba_is_trained" />' in (done / "claims.xml").read_text()


@pytest.mark.slow
def test_made_up_results_pass_no_check_unless_a_test_asks_for_it(done: Path) -> None:
    for architecture in ("mamba", "transformer"):
        path = result_of(done, architecture)
        result = json.loads(path.read_text())
        result["provenance"]["synthetic"] = True
        path.write_text(json.dumps(result))
    refused = said(bench("check", "suites/tiny.yaml", "--verbose", cwd=done), 2)
    assert "2 claims: 2 not comparable." in refused
    assert "synthetic: made up, not measured" in refused
    allowed = said(bench("check", "suites/tiny.yaml", "--allow-synthetic", cwd=done))
    assert "2 claims: 2 reproduced." in allowed


@pytest.mark.slow
def test_a_typo_in_the_claims_is_named_with_its_place(done: Path) -> None:
    (done / "suites/tiny.claims.yaml").write_text(CLAIMS.replace("bound:", "buond:", 1))
    checked = bench("check", "suites/tiny.yaml", cwd=done)
    assert said(checked, 3) == ""
    assert "suites/tiny.claims.yaml:6:5: unknown key 'buond', did you mean 'bound'?" in checked.stderr


# --json


@pytest.mark.slow
def test_scripts_read_the_plan(trained: tuple[Path, str]) -> None:
    folder = trained[0]
    plan = as_json(bench("plan", "suites/tiny.yaml", "--json", cwd=folder))
    runs = suites.load(folder / "suites/tiny.yaml").runs
    assert (plan["suite"], plan["problems"]) == ("tiny", [])
    assert [run["id"] for run in plan["runs"]] == [run.id for run in runs]
    for planned, run in zip(plan["runs"], runs, strict=True):
        assert planned["experiments"] == ["tiny_regression"]
        assert planned["run"] == run.identity()
        assert planned["training_flops"] == run.training_flops()
        assert planned["training_flops_full_length"] == run.training_flops_full_length()
        assert planned["parameters"] == run.parameters
        assert (planned["state"], planned["step"], planned["estimate"]) == ("finished", 20, "measured")
        assert 0 < planned["estimated_hours"] < 1


@pytest.mark.slow
def test_scripts_read_the_status(done: Path) -> None:
    result_of(done, "mamba").unlink()
    status = as_json(bench("status", "suites/tiny.yaml", "--json", cwd=done))
    states = {"finished": 1, "diverged": 0, "running": 0, "queued": 0, "failed": 0, "missing": 1}
    assert status["total"]["states"] == status["experiments"]["tiny_regression"]["states"] == states
    transformer, mamba = suites.load(done / "suites/tiny.yaml").runs
    assert status["total"]["training_flops_done"] == transformer.training_flops()
    full_length = transformer.training_flops_full_length()
    assert status["total"]["training_flops_full_length_done"] == full_length
    full_length += mamba.training_flops_full_length()
    assert status["total"]["training_flops_full_length"] == full_length
    assert status["total"]["training_flops"] == transformer.training_flops() + mamba.training_flops()
    assert status["total"]["seconds_left"] == 0, "of what is known"
    assert status["total"]["runs_unknown"] == 1
    assert (status["running"], status["failed"], status["problems"]) == ([], [], [])


@pytest.mark.slow
def test_scripts_read_the_verdicts(trained: tuple[Path, str]) -> None:
    checked = as_json(bench("check", "suites/tiny.yaml", "--json", cwd=trained[0]))
    assert (checked["exit_code"], checked["problems"]) == (0, [])
    assert checked["counts"] == {
        "reproduced": 2,
        "contradicted": 0,
        "undecided": 0,
        "not comparable": 0,
        "missing": 0,
        "unreachable": 0,
    }
    verdict = checked["verdicts"][0]
    assert (verdict["claim"], verdict["verdict"]) == ("mamba_is_trained", "reproduced")
    assert verdict["run_ids"] == [json.loads(result_of(trained[0], "mamba").read_text())["id"]]
    assert isinstance(verdict["value"], float)


@pytest.mark.slow
def test_scripts_read_what_the_doctor_finds(tmp_path: Path) -> None:
    found = as_json(bench("doctor", "--json", cwd=tmp_path))
    assert found["devices"][0]["device"] == "cpu"
    assert found["packages"]["torch"]
    on_cpu = [test for test in found["self_test"] if test["device"] == "cpu"]
    verdicts = {(test["kernel"], test["backend"]): test["verdict"] for test in on_cpu}
    assert verdicts["selective scan", "sequential"] == "agrees"
    assert verdicts["selective scan", "mamba_ssm"] == "not available"
    assert "disagrees" not in verdicts.values()


@pytest.mark.slow
def test_the_doctor_trains_with_every_backend_and_says_which_agree(tmp_path: Path) -> None:
    found = as_json(bench("doctor", "--train", 1, "--json", cwd=tmp_path))
    assert (found["device"], found["steps"]) == ("cpu", 1)
    agrees = {(one["architecture"], one["backend"]): one["agrees"] for one in found["trained"]}
    assert {name for name, _ in agrees} == {"mamba", "s4_mamba", "s4"}
    assert agrees["mamba", "sequential"] is True
    assert agrees["mamba", "reference"] is agrees["mamba", "mamba_ssm"] is None
    done = bench("doctor", "--train", 1, "--speed", cwd=tmp_path)
    assert said(done, 2) == ""
    assert "give only one" in done.stderr


# bench report


@pytest.mark.slow
def test_a_report_without_arguments_takes_the_suites_that_have_results(done: Path) -> None:
    (done / "suites/other.yaml").write_text(TINY.replace("name: tiny", "name: other").replace("1e-3", "2e-3"))
    output = said(bench("report", cwd=done))
    assert re.fullmatch(
        r"tiny: 2 of 2 runs have results; \d+ files written\. Open reports/tiny/index\.html\n", output
    )
    assert [path.name for path in (done / "reports").iterdir()] == ["tiny"]
    assert "Figure 2 [in small]" in (done / "reports/tiny/index.html").read_text()


@pytest.mark.slow
def test_a_report_of_nothing_says_what_is_lacking(fresh: Path) -> None:
    without_results = bench("report", cwd=fresh)
    assert said(without_results, 2) == ""
    assert without_results.stderr == (
        "bench: results: no such folder of results; `bench run SUITE` trains and writes some, "
        "and --results names another folder\n"
    )
    write_pool(fresh / "results", [run_of(seed=77)])  # of no suite that ships with bench
    of_another_suite = bench("report", cwd=fresh)
    assert said(of_another_suite, 2) == ""
    assert of_another_suite.stderr == (
        "bench: no suite in suites/ has a result yet: bench run suites/tiny.yaml\n"
    )
    shutil.rmtree(fresh / "suites")
    without_suites = bench("report", cwd=fresh)
    assert said(without_suites, 2) == ""
    (line,) = without_suites.stderr.splitlines()
    assert line.startswith("bench: no suite that ships with bench has a result yet: bench run ")


@pytest.mark.slow
def test_a_report_that_cannot_be_written_says_where(done: Path) -> None:
    (done / "reports").write_text("a file where a folder should be")
    for option in ([], ["--reports", "reports/inside"]):
        written = bench("report", "suites/tiny.yaml", *option, cwd=done, COLUMNS="200")
        said(written, 2)
        assert "reports" in written.stderr


# Results that are none


BROKEN = {
    "cut.json": ('{"format": 1, "kind": "run", "id"', "is not readable JSON"),
    "empty.json": ("", "is not readable JSON"),
    "other.json": ("[1, 2]", "is not a result of bench"),
    "newer.json": ('{"format": 2, "kind": "run"}', "has format 2, this version of bench reads 1"),
    "[bold]lacking.json": ('{"format": 1, "kind": "run"}', "lacks checkpoints"),
}


def spoil(results: Path) -> None:
    for name, (text, _) in BROKEN.items():
        (results / name).write_text(text)
    whole = json.loads(next(results.glob("*/mamba-*.json")).read_text())
    for key, value in {"run": {}, "facts": {}, "checkpoints": [{}], "provenance": None, "id": ["x"]}.items():
        hollow = {**whole, "id": f"hollow {key}", key: value}
        (results / f"hollow {key}.json").write_text(json.dumps(hollow))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "status", "check", "report", "run"])
def test_a_broken_result_is_named_and_hides_nothing_else(done: Path, command: str) -> None:
    spoil(done / "results")
    options = ["--dry-run"] if command == "run" else []
    output = said(bench(command, "suites/tiny.yaml", *options, cwd=done))
    for name, (_, complaint) in BROKEN.items():
        assert re.search(rf"^results/{re.escape(name)}: {complaint}.*; set aside$", output, re.MULTILINE)
    for key in ("run", "facts", "checkpoints", "provenance", "id"):
        assert re.search(rf"^results/hollow {key}\.json: .*; set aside$", output, re.MULTILINE)
    expected = {
        "plan": "all, each run once     2         2",
        "status": "100 %",
        "check": "2 claims: 2 reproduced.",
        "report": "tiny: 2 of 2 runs have results",
        "run": "Nothing to do.",
    }
    assert expected[command] in output


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "status", "check"])
def test_scripts_are_told_of_broken_results(done: Path, command: str) -> None:
    spoil(done / "results")
    told = as_json(bench(command, "suites/tiny.yaml", "--json", cwd=done))["problems"]
    assert len(told) == len(BROKEN) + 5


# The terminal


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 160])
def test_nothing_is_cut_to_fit_a_terminal(width: int, tmp_path: Path) -> None:
    suite = suites.load(ROOT / "suites/paper.yaml")
    output = said(bench("plan", suite.path, cwd=tmp_path, COLUMNS=str(width)))
    assert max(map(len, output.splitlines())) <= width
    assert "…" not in output
    runs, totals = output.split("By experiment")
    assert re.findall(r"^[0-9a-f]{12}\b", runs, re.MULTILINE) == [run.id for run in suite.runs]
    assert all(re.search(rf"^{each.name} ", totals, re.MULTILINE) for each in suite.experiments)
    if width == 80:
        assert "Left out of this narrow terminal:" in runs


@pytest.mark.slow
def test_a_summary_of_the_papers_grid_is_a_line_per_experiment(tmp_path: Path) -> None:
    suite = suites.load(ROOT / "suites/paper.yaml")
    output = said(bench("plan", suite.path, "--summary", cwd=tmp_path, COLUMNS="100"))
    lines = output.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == [
        "experiment", "runs", "finished", "time", "done", "time", "left", "unknown", "full-length", "FLOPs",
    ]  # fmt: skip
    rows = dict(zip([line.split()[0] for line in lines[1:]], lines[1:], strict=True))
    for experiment in suite.experiments:
        count = len(experiment.runs)
        total = sum(run.training_flops_full_length() for run in experiment.runs)
        cells = [experiment.name, f"{count:,}", "·", "·", "·", f"{count:,}", printing.flops(total)]
        assert rows[experiment.name].split() == cells
    flops = sum(run.training_flops_full_length() for run in suite.runs)
    assert rows["all,"].split()[-2:] == [f"{len(suite.runs):,}", printing.flops(flops)]
    assert not re.search(r"^[0-9a-f]{12}\b", output, re.MULTILINE)


@pytest.mark.slow
def test_a_status_is_not_cut_either(tmp_path: Path) -> None:
    suite = suites.load(ROOT / "suites/paper.yaml")
    status = said(bench("status", suite.path, cwd=tmp_path, COLUMNS="80"))
    assert max(map(len, status.splitlines())) <= 80
    assert "…" not in status
    assert all(re.search(rf"^{each.name} ", status, re.MULTILINE) for each in suite.experiments)


@pytest.mark.slow
def test_what_is_piped_has_a_line_for_each_run_whatever_its_length(tmp_path: Path) -> None:
    suite = suites.load(ROOT / "suites/paper.yaml")
    lines = said(bench("plan", suite.path, cwd=tmp_path)).splitlines()
    for line, run in zip(lines[1:], suite.runs, strict=False):
        assert line.split()[0] == run.id
        assert run.architecture.name in line.split()
        assert "missing" in line


@pytest.mark.slow
def test_runs_are_told_apart_by_what_they_differ_in_and_the_rest_is_said_once(tmp_path: Path) -> None:
    suite = ROOT / "suites/paper.yaml"
    parity = said(bench("plan", suite, "--filter", "experiment=figure5*", cwd=tmp_path))
    assert "sparse_parity+released_code" in parity
    assert "Every run: clip 10, optimizer adam, batch 64, steps 500,000, seed 0, precision fp32." in parity
    adam = said(bench("plan", suite, "--filter", "experiment=figure9*", cwd=tmp_path))
    assert " optimizer " in adam.splitlines()[0]


@pytest.mark.slow
def test_words_of_a_suite_are_printed_as_they_are(trained: tuple[Path, str]) -> None:
    assert "Figure 2 [in small]" in said(bench("plan", "suites/tiny.yaml", cwd=trained[0]))


@pytest.mark.slow
def test_a_reader_that_leaves_early_hears_nothing(tmp_path: Path) -> None:
    for arguments in (["plan"], ["plan", "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments, ROOT / "suites/quick.yaml"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        with process.stderr:
            assert process.stderr.read() == b""
        assert process.wait(60) == 141  # what a shell says of SIGPIPE


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_first_line_of_each_docstring(name: str) -> None:
    assert COMMANDS[name].summary == load(name).help.partition("\n")[0]


@pytest.mark.slow
def test_the_former_name_of_kernels_works_and_says_the_new_one(fresh: Path) -> None:
    done = bench("run", "suites/tiny.yaml", "--device", "cpu", "--scan", "parallel", cwd=fresh)
    assert done.returncode == 2
    assert "--scan is now called --kernels" in done.stderr
    assert "bench: --kernels parallel, expected one of: auto" in done.stderr


@pytest.mark.slow
def test_without_a_command_there_is_help(tmp_path: Path) -> None:
    for done in (bench(cwd=tmp_path), bench("--help", cwd=tmp_path)):
        shown = done.stdout + done.stderr
        assert "Usage: " in shown
        for command in ("plan", "run", "status", "report", "check", "doctor", "schema"):
            assert re.search(rf"│ {command} ", shown)
    assert said(bench("-h", cwd=tmp_path))


def test_an_unknown_command_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    done = bench("plam", cwd=tmp_path)
    assert said(done, 2) == ""
    assert "No such command 'plam'. Did you mean 'plan'?" in done.stderr


def test_the_version_is_told(tmp_path: Path) -> None:
    from bench import __version__

    assert said(bench("--version", cwd=tmp_path)) == f"bench {__version__}\n"


@pytest.mark.slow
def test_a_made_up_result_is_no_evidence(fresh: Path) -> None:
    write_pool(fresh / "results", suites.load(fresh / "suites/tiny.yaml").runs)
    output = said(bench("check", "suites/tiny.yaml", "--verbose", cwd=fresh), 2)
    assert "1 of 1 result is synthetic" in output
    assert "no similar run was measured" in said(bench("plan", "suites/tiny.yaml", cwd=fresh))


# How numbers are printed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.04 s"),
        (1, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (5400, "1.5 h"),
        (9.94 * 3600, "9.9 h"),
        (83 * 3600, "83 h"),
        (1_234 * 3600, "1,234 h"),
        (94_514 * 3600, "95k h"),
        (3_800_000 * 3600, "3.8M h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert printing.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (1.37e18, "1.37e18"), (5e5, "5.00e5"), (3.0, "3.00e0")]
)
def test_flops_are_short(count: float, text: str) -> None:
    assert printing.flops(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(86_440_000, "86M"), (3_200_000, "3.2M"), (467_000, "467K"), (6_600, "6.6K"), (120, "0.1K")],
)
def test_parameters_are_counted_as_in_the_paper(count: int, text: str) -> None:
    assert printing.parameters(count) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 7, "0 %"), (6.999, 7, "99 %"), (7, 7, "100 %"), (0, 0, "100 %")]
)
def test_a_hundred_percent_is_all_of_it(part: float, whole: float, text: str) -> None:
    assert printing.percent(part, whole) == text
