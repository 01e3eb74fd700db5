"""Watching: status, logs and failures as they are printed, from files that workers would have left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic import result_of, write_pool

from bench import suite as suites
from bench.cli.arguments import SuiteChoice
from bench.cli.cancel import cancel_suite
from bench.cli.failures import show_failures
from bench.cli.logs import show_log
from bench.cli.run import run_suite
from bench.cli.run_options import RunOptions
from bench.cli.status import show_status
from bench.dispatch.job import Machine
from bench.dispatch.order import Order
from bench.dispatch.slurm.submission import Array, Submission, user_name
from bench.dispatch.state import Folder, log_of
from bench.errors import UserError
from bench.results import path_of, store
from bench.run import Run

SUITE = """
name: watched
experiments:
  first:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [transformer, mamba]
    sizes: [{layers: 1, width: 16, heads: 2}]
    learning_rates: [1e-3, 2e-3, 3e-3, 4e-3]
    steps: 1000
  second:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [transformer]
    sizes: [{layers: 1, width: 16, heads: 2}]
    learning_rates: [1e-3]
    steps: 1000
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "watched.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def runs_of(suite: Path) -> tuple[Run, ...]:
    return suites.load(suite).runs


def status(suite: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    show_status(SuiteChoice.of(suite, results=results), watch=False, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_of_two_experiments_counts_in_both_lines_and_once_in_all(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(suite)
    write_pool(results, runs[:1])
    found = status(suite, results, capsys)
    assert found["experiments"]["second"]["states"]["finished"] == 1
    assert found["total"]["states"] == {
        "finished": 1, "diverged": 0, "running": 0, "queued": 0, "failed": 0, "missing": 7,
    }  # fmt: skip
    assert found["total"]["training_flops_done"] == runs[0].training_flops()
    assert found["total"]["eta_seconds"] is None, "nothing runs: nobody knows"


def test_the_end_is_foretold_from_the_pace_of_what_runs(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(suite)
    for run in runs[:2]:
        Folder.of(results, run.id).beat(step=500, steps=run.steps, steps_per_second=5.0, loss=1.0)
    found = status(suite, results, capsys)["total"]
    assert found["states"]["running"] == 2
    # A FLOP of the evaluations still to come takes as long as one of steps.
    evaluations = runs[0].evaluation_flops() / runs[0].training_flops_full_length(1) / 5.0
    assert found["seconds_left"] == pytest.approx(2 * (100.0 + evaluations))
    assert found["runs_unknown"] == 6
    assert found["eta_seconds"] is None, "six runs like none that was measured"
    # Measured: 10 steps a second of a Transformer. It runs at half of that; so will the two that are scaled.
    like = runs[0].model_copy(update={"seed": 9, "batch_size": 32})
    like.__dict__.pop("id", None)
    others = [run.model_copy(update={"seed": 8}) for run in runs if run.architecture.name == "mamba"]
    for run, speed in [(like, 10.0), (others[0], 1.0)]:
        run.__dict__.pop("id", None)
        result = result_of(run, provenance={"synthetic": False, "device": "d", "steps_per_second": speed})
        store(path_of(results, run), result)
    found = status(suite, results, capsys)["total"]
    evaluations_of_mamba = others[0].evaluation_flops() / others[0].training_flops_full_length(1) / 1.0
    transformers, mambas = 2 * (200.0 + evaluations), 4 * (1000.0 + evaluations_of_mamba)
    assert found["seconds_left"] == pytest.approx(2 * (100.0 + evaluations) + transformers + mambas)
    assert found["eta_seconds"] == pytest.approx(found["seconds_left"] / 2)


def test_evaluations_that_a_run_has_measured_are_part_of_its_time_left(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs_of(suite)[0]
    third = {"evaluation_seconds": 30.0, "evaluation_flops": run.evaluation_flops() // 3}
    folder = Folder.of(results, run.id)
    folder.beat(step=500, steps=run.steps, steps_per_second=5.0, loss=1.0, **third)
    found = status(suite, results, capsys)
    assert found["total"]["seconds_left"] == pytest.approx(100.0 + 60.0)
    folder.beat(step=run.steps, steps=run.steps, steps_per_second=5.0, loss=1.0, parts=3, **third)
    assert status(suite, results, capsys)["total"]["seconds_left"] == pytest.approx(60.0)


def test_members_of_a_stack_share_its_time_and_its_worker(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(suite)
    for run in runs[:4]:
        Folder.of(results, run.id).beat(step=500, steps=run.steps, steps_per_second=5.0, loss=1.0, stack=4)
    show_status(SuiteChoice.of(suite, results=results), watch=False, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["states"]["running"] == 4
    assert {run["stack"] for run in found["running"]} == {4}
    # One worker, one stack, 500 steps and the evaluations of four runs.
    seconds = 100.0 + runs[0].evaluation_flops() / runs[0].training_flops_full_length(1) / 5.0
    assert found["total"]["seconds_left"] == pytest.approx(seconds)
    for run in runs[4:]:
        write_pool(results, [run])
    assert status(suite, results, capsys)["total"]["eta_seconds"] == pytest.approx(seconds)


def test_a_filter_and_a_share_choose_the_runs_of_a_status_and_of_failures(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(suite)
    mamba = [run for run in runs if run.architecture.name == "mamba"]
    for run in (runs[0], mamba[0]):
        Folder.of(results, run.id).fail_with("ValueError", "wrong", "Traceback …")
    show_status(SuiteChoice.of(suite, terms="architecture=mamba", results=results), as_json=True)
    chosen = json.loads(capsys.readouterr().out)
    assert chosen["total"]["states"]["missing"] == len(mamba) - 1
    assert [run["id"] for run in chosen["failed"]] == [mamba[0].id]
    assert chosen["experiments"].keys() == {"first"}, "the second has no Mamba"
    assert show_failures(SuiteChoice.of(suite, terms="architecture=mamba", results=results)) == 1
    assert show_failures(SuiteChoice.of(suite, terms="state=missing", results=results)) == 0
    shares = [SuiteChoice.of(suite, shard=f"{number}/2", results=results) for number in (1, 2)]
    assert sum(map(show_failures, shares)) == 2
    with pytest.raises(UserError, match="did you mean 'experiment=second'"):
        show_status(SuiteChoice.of(suite, terms="second", results=results))


def test_failures_are_told_by_cause_with_one_traceback_and_the_way_to_try_again(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(suite)
    for number, run in enumerate(runs[:4]):
        message = f"CUDA out of memory. Tried to allocate {number + 20}.5 MiB"
        Folder.of(results, run.id).fail_with("OutOfMemoryError", message, "Traceback …\n  deep.py, line 3")
    Folder.of(results, runs[4].id).fail_with("ValueError", "something else", "Traceback …\n  other.py")
    assert show_failures(SuiteChoice.of(suite, results=results), as_json=False) == 5
    printed = capsys.readouterr().out
    headings = ["4 runs: OutOfMemoryError: CUDA out of memory. Tried to allocate N MiB"]
    headings.append("1 run: ValueError: something else")
    assert [line for line in printed.splitlines() if line in headings] == headings
    assert printed.count("deep.py, line 3") == 1
    assert all(run.label in printed for run in runs[:5])
    ids = ",".join(run.id for run in runs[:4])
    assert f"bench run {suite} --results {results} --retry failed --filter id={ids}" in printed
    show_failures(SuiteChoice.of(suite, results=results), as_json=True)
    first, second = json.loads(capsys.readouterr().out)["causes"]
    assert (len(first["runs"]), second["class"]) == (4, "ValueError")
    show_status(SuiteChoice.of(suite, results=results), watch=False, as_json=False)
    assert "bench failures" in capsys.readouterr().out


def test_an_abandoned_order_has_one_word_in_every_output(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(suite)
    order = Order(results, tuple(run.id for run in runs), {})
    order.abandon("the first 5 runs failed alike")
    jobs = tuple((run.id,) for run in runs)
    Submission(order.folder, "watched", user_name(), (Array("watched-0", jobs),)).write()
    show_status(SuiteChoice.of(suite, results=results))
    show_failures(SuiteChoice.of(suite, results=results))
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("abandoned: the first 5 runs failed alike") == 2
    show_failures(SuiteChoice.of(suite, results=results), as_json=True)
    assert json.loads(capsys.readouterr().out)["abandoned"] == "the first 5 runs failed alike"


def test_a_command_that_is_printed_names_the_folder_of_results_if_it_is_another(suite: Path) -> None:
    elsewhere = Path("my results")
    assert str(SuiteChoice.of(suite)) == str(suite)
    assert str(SuiteChoice.of(suite, results=elsewhere)) == f"{suite} --results 'my results'"


def test_the_retry_command_means_exactly_those_runs(suite: Path, results: Path) -> None:
    runs = runs_of(suite)
    for run in runs[:3]:
        Folder.of(results, run.id).fail_with("ValueError", "x")
    options = RunOptions(None, True, "failed", True, "cpu", 1)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.cli.printing.Output.say", lambda self, text, style="": said.append(text))
        chosen = SuiteChoice.of(suite, terms=f"id={runs[0].id},{runs[2].id}", results=results)
        run_suite(chosen, options, Machine())
    started = [line for line in said if line.startswith("would run linear_regression/")]
    assert [line.rpartition("-")[2] for line in started] == [runs[0].id, runs[2].id]


def test_a_log_is_found_by_id_by_its_beginning_and_by_label(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = runs_of(suite)[:2]
    for each in (run, other):
        log_of(results, each.id).parent.mkdir(parents=True, exist_ok=True)
        log_of(results, each.id).write_text("".join(f"line {number} of {each.id}\n" for number in range(99)))
    for name in (run.id, run.id[:6], run.label):
        show_log(name, results, lines=2, follow=False)
        assert capsys.readouterr().out == f"line 97 of {run.id}\nline 98 of {run.id}\n"
    show_log(run.id, results, lines=1, follow=True)  # nobody trains it: there is nothing to follow
    assert capsys.readouterr().out == f"line 98 of {run.id}\n"
    with pytest.raises(UserError, match="no run 'nonsense' was ever started"):
        show_log("nonsense", results, lines=1, follow=False)
    with pytest.raises(UserError, match="is ambiguous"):
        show_log("", results, lines=1, follow=False)


def test_cancelling_what_was_never_submitted_says_so(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Folder.of(results, runs_of(suite)[0].id).beat(step=1)
    cancel_suite(SuiteChoice.of(suite, results=results))
    printed = capsys.readouterr().out
    assert "has no job in the queue" in printed
    assert "To stop 1 run of a local `bench run`" in printed


def test_little_room_is_said(
    suite: Path, results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.status.room_left", lambda path: 3 << 20)
    show_status(SuiteChoice.of(suite, results=results), watch=False, as_json=False)
    assert "its disk has only 3 MiB left" in capsys.readouterr().out


def choose(**fields: Any) -> RunOptions:
    values = {"limit": None, "retry": None, "dry_run": False, "yes": True, "device": "cpu"}
    return RunOptions(**{**values, "workers": 1, **fields})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (choose(cluster="slrum"), "--cluster slrum, did you mean 'slurm'?"),
        (choose(wait=True), "belong to --cluster slurm"),
        (choose(snapshot=True), "belong to --cluster slurm"),
        (choose(cluster="slurm", cluster_config=Path("nowhere.yaml")), "no such file"),
        (choose(cluster="slurm"), "no sbatch on this machine"),
        (choose(gpus_per_run=65), "has batches of 64 prompts, fewer than GPUs"),
    ],
)
def test_clusters_that_cannot_be_meant_are_refused(
    suite: Path, results: Path, options: RunOptions, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    with pytest.raises(UserError) as refused:
        run_suite(SuiteChoice.of(suite, results=results), options, Machine())
    assert message in str(refused.value)
    assert not results.exists()


def test_runs_with_dropout_are_not_spread(suite: Path, results: Path) -> None:
    suite.write_text(SUITE.replace("mamba]", "s4_mamba]"))
    with pytest.raises(UserError, match="4 runs of s4_mamba have dropout"):
        run_suite(SuiteChoice.of(suite, results=results), choose(gpus_per_run=2), Machine())


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("gpus_per_node: 1", "about 10 s on 1 worker with a GPU"),
        ("device: cpu", "about 17 min on 1 worker with a CPU"),
    ],
)
def test_times_of_jobs_are_those_of_a_device_of_the_kind_that_they_ask_for(
    suite: Path,
    results: Path,
    site: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for run, device, speed in zip(
        runs_of(suite), ("a CPU", "a CPU", "a GPU"), (1.0, 1.0, 100.0), strict=False
    ):
        where = {"device": device, "captured": device == "a GPU", "steps_per_second": speed}
        write_pool(results, [run], provenance={"synthetic": False, **where})
    commands = suite.parent / "commands"
    commands.mkdir()
    for name in ("sbatch", "srun", "squeue", "scontrol"):
        (commands / name).write_text("#!/bin/sh\necho 'MaxArraySize = 1001'\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands))
    (suite.parent / "site.yaml").write_text(site)
    terms = "architecture=transformer"
    options = choose(cluster="slurm", cluster_config=suite.parent / "site.yaml", dry_run=True)
    run_suite(SuiteChoice.of(suite, terms=terms, results=results), options, Machine())
    assert expected in capsys.readouterr().out
