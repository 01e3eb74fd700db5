"""Result files that are damaged, doubled, linked or out of place: named, and nothing else is hidden."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import damaged_pools
import pytest
from command import bench, said
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import baselines_of, record_of, result_of, run_of, task_named, write_pool

from bench import results
from bench.errors import UserError
from bench.files import as_read
from bench.results import NotARecord, NotStored, path_of, path_of_baselines, store
from bench.results.record import RecordedRun

LINEAR = task_named(n_points=5)
RUN = run_of(LINEAR)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "template"
    damaged_pools.pool_in(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1025))
def test_over_a_damaged_pool_every_command_ends_in_its_own_words(seed: int, template: Path) -> None:
    """`python tests/campaigns.py damaged-pools` does the same with more pools, and a report of each."""
    assert damaged_pools.faults_of(seed, template, lambda name: name != "report" or seed % 12 == 4) == []


def without(*path: str | int) -> Any:
    def change(result: dict[str, Any]) -> None:
        inner: Any = result
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return change


def setting(*path: str | int, to: Any) -> Any:
    def change(result: dict[str, Any]) -> None:
        inner: Any = result
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            without("checkpoints", 0, "training_flops_full_length"),
            "lacks checkpoints[0].training_flops_full_length",
        ),
        (without("per_prompt"), "lacks per_prompt"),
        (
            without("checkpoints", 2, "evaluations", "report", "mean"),
            "mean and standard_error differ in length",
        ),
        (without("reason"), "lacks reason"),
        (without("facts", "length"), "lacks facts.length"),
        (
            setting("checkpoints", 1, "step", to="300000"),
            "checkpoints[1].step: input should be a valid integer",
        ),
        (setting("checkpoints", 1, "step", to=True), "checkpoints[1].step: input should be a valid integer"),
        (setting("checkpoints", 1, "step", to=100_000), "checkpoints do not rise"),
        (setting("facts", "error_scale", to=0.0), "facts.error_scale: input should be greater than 0"),
        (setting("facts", "metric", to="accuracy"), "trivial: the accuracy of a predictor that has learned"),
        (setting("facts", "task_id", to="0" * 12), "task id 000000000000 is not that of the task it records"),
        (
            setting("checkpoints", 0, "evaluations", "report", "overall", to=[1.0]),
            "overall: list should have",
        ),
        (setting("checkpoints", to=[]), "finished without a checkpoint at its last step"),
        (setting("provenance", "finished", to=1e300), "provenance.finished: input should be less than"),
        (setting("provenance", "packages", to=["torch"]), "provenance.packages: input should be a valid"),
        (setting("per_prompt", "report", to="AAA"), "per_prompt: is not base64"),
        (setting("per_prompt", "report", to="AADAfw=="), "per_prompt: holds a number that is not finite"),
        (
            setting("checkpoints", -1, "evaluations", "report", "overall", 0, to=0.001),
            "overall 0.001 and headline",
        ),
        (
            setting("checkpoints", -1, "evaluations", "report", "headline", 0, to=0.001),
            "headline 0.001 of the last 'report' differ",
        ),
        (setting("run", "learning_rate", to=2e-4), f"id {RUN.id} is not that of the run it records"),
    ],
)
def test_a_fault_inside_a_result_is_named_by_its_field(tmp_path: Path, change: Any, words: str) -> None:
    result = json.loads(json.dumps(result_of(RUN)))
    change(result)
    path = path_of(tmp_path, RUN)
    path.parent.mkdir()
    path.write_text(json.dumps(result))
    pool = results.load(tmp_path)
    assert pool.runs == {}
    (problem,) = pool.problems
    assert problem.startswith(f"{path}: ")
    assert words in problem
    assert problem.endswith("; set aside")
    assert results.load_run(tmp_path, RUN) is None


def test_a_score_that_was_edited_is_noticed_by_the_scores_of_the_prompts(tmp_path: Path) -> None:
    """Scores are recorded with five digits, so smaller differences are rounding."""
    path = path_of(tmp_path, RUN)
    for factor, used in ((0.5, False), (1.001, False), (1.00003, True)):
        result = json.loads(json.dumps(result_of(RUN)))
        report = result["checkpoints"][-1]["evaluations"]["report"]
        report["overall"][0] = report["headline"][0] = factor * report["headline"][0]
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result))
        pool = results.load(tmp_path)
        assert bool(pool.runs) == used
        assert used or "the mean over its prompts (per_prompt) is" in pool.problems[0]


def positive(most: int) -> st.SearchStrategy[int]:
    return st.integers(1, most) | st.just(most)


@given(
    seed=st.integers(0, 2**64 - 1) | st.just(2**64 - 1),
    steps=positive(10**12),
    batch_size=positive(10**9),
    evaluation_prompts=st.integers(2, 10**9) | st.just(10**9),
    learning_rate=st.floats(0, exclude_min=True, allow_infinity=False),
    clip=st.floats(0, exclude_min=True, allow_infinity=False),
    layers=positive(1_000),
    width=positive(2_000).map(lambda part: 8 * part),
)
@settings(max_examples=60, deadline=None)
def test_every_run_that_a_suite_takes_can_be_stored(steps: int, **fields: Any) -> None:
    """What is refused after training is lost."""
    run = run_of(LINEAR, steps=steps, checkpoints=(steps,), **fields)
    recorded = RecordedRun.model_validate(as_read(run.identity()))
    assert (recorded.seed, recorded.learning_rate, recorded.steps) == (run.seed, run.learning_rate, steps)


@pytest.mark.parametrize("value", [None, {}, [None], "least squares"])
def test_baselines_that_are_none_are_named(tmp_path: Path, value: Any) -> None:
    path = path_of_baselines(tmp_path, "linear_regression", RUN.task_id)
    path.parent.mkdir()
    path.write_text(json.dumps({**baselines_of(RUN), "baselines": value}))
    (problem,) = results.load(tmp_path).problems
    assert f"{path}: baselines" in problem


def test_a_result_from_before_headlines_and_evaluations_were_recorded_is_whole() -> None:
    result = json.loads(json.dumps(result_of(RUN)))
    for key in ("evaluations", "headline", "convergence_accuracy"):
        del result["facts"][key]
    del result["convergence_step"]
    for checkpoint in result["checkpoints"]:
        for scores in checkpoint["evaluations"].values():
            del scores["headline"]
    assert record_of(result).id == RUN.id


# Two files, one id


@pytest.mark.parametrize("name", ["a copy.json", f"linear_regression/copy-{RUN.file_name}"])
def test_of_two_results_that_differ_the_one_under_its_own_name_counts_and_the_message_says_so(
    name: str, tmp_path: Path
) -> None:
    write_pool(tmp_path, [RUN])
    other = tmp_path / name
    other.write_text(json.dumps(result_of(RUN, 0.9)))
    pool = results.load(tmp_path)
    own = path_of(tmp_path, RUN)
    assert pool.problems == [
        f"{other}: differs from {own}, which has the same id ({RUN.id}) and counts; set aside"
    ]
    assert pool.paths["run", RUN.id] == own
    assert pool.runs[RUN.id] == record_of(result_of(RUN))


def test_a_copy_with_another_provenance_does_not_count_for_its_original(tmp_path: Path) -> None:
    write_pool(tmp_path, [RUN])
    copy = result_of(RUN)
    copy["provenance"] = {**copy["provenance"], "device": "another"}
    own = path_of(tmp_path, RUN)
    own.with_name(f"copy-{own.name}").write_text(json.dumps(copy))
    pool = results.load(tmp_path)
    assert pool.problems == []
    assert pool.paths["run", RUN.id] == own


def test_baselines_that_took_other_seconds_elsewhere_are_the_same(tmp_path: Path) -> None:
    write_pool(tmp_path, [RUN])
    known = baselines_of(RUN)
    known["provenance"] = {"host": "elsewhere", "finished": 1.0}
    for number, baseline in enumerate(known["baselines"]):
        baseline["seconds"] = 7.5 + number
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "b.json").write_text(json.dumps(known))
    assert results.load(tmp_path).problems == []
    known["baselines"][0]["mean"][0] += 1
    (tmp_path / "merged" / "b.json").write_text(json.dumps(known))
    assert len(results.load(tmp_path).problems) == 1


# Links


def test_a_task_folder_that_is_a_link_is_read(tmp_path: Path) -> None:
    write_pool(tmp_path / "scratch", [RUN])
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "linear_regression").symlink_to(tmp_path / "scratch" / "linear_regression")
    pool = results.load(tmp_path / "results")
    assert (pool.runs.keys(), pool.problems) == ({RUN.id}, [])
    assert results.load_run(tmp_path / "results", RUN) is not None


def test_a_loop_of_links_is_named_and_not_followed(tmp_path: Path) -> None:
    write_pool(tmp_path, [RUN])
    (tmp_path / "linear_regression" / "again").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "gone")
    pool = results.load(tmp_path)
    assert pool.runs.keys() == {RUN.id}
    assert pool.problems == [
        f"{tmp_path / 'linear_regression/again'}: is a link to a folder it lies in; not followed",
        f"{tmp_path / 'nowhere.json'}: is no file, or a link that leads nowhere; set aside",
    ]


# Folders without results


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "check"])
def test_a_mistyped_folder_replaces_no_report(tmp_path: Path, command: str) -> None:
    suite = damaged_pools.pool_in(tmp_path)
    said(bench("report", suite, "--results", "results", cwd=tmp_path))
    page = tmp_path / "reports/damaged/index.html"
    before = page.read_bytes()
    done = bench(command, suite, "--results", "resluts", cwd=tmp_path)
    assert said(done, 2) == ""
    assert done.stderr == "bench: resluts: no such folder of results, did you mean 'results'?\n"
    assert page.read_bytes() == before


@pytest.mark.slow
def test_a_folder_without_results_is_refused_where_results_are_needed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in (["compare", "empty", "empty"], ["export", "x.csv", "--results", "empty"]):
        done = bench(*arguments, cwd=tmp_path)
        assert said(done, 2) == ""
        assert done.stderr.startswith("bench: empty: no result in this folder; `bench run SUITE` trains")


@pytest.mark.slow
def test_only_folders_with_results_are_suggested_and_a_file_is_none(tmp_path: Path) -> None:
    suite = damaged_pools.pool_in(tmp_path)
    said(bench("report", suite, cwd=tmp_path))  # reports have JSON files too
    done = bench("export", "x.csv", "--results", "elsewhere", cwd=tmp_path)
    assert said(done, 2) == ""
    assert done.stderr == "bench: elsewhere: no such folder of results, expected one of: results\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: is a file, expected a folder of results"):
        results.require(tmp_path / "file")


# Storing


def test_a_result_that_cannot_be_stored_is_kept_and_said_where(tmp_path: Path) -> None:
    too_long = tmp_path / "results" / ("x" * 300 + ".json")
    with pytest.raises(NotStored) as told:
        store(too_long, result_of(RUN), tmp_path / "state")
    kept = tmp_path / "state" / "result.json"
    assert str(told.value) == (
        f"{too_long}: cannot be stored (File name too long); the result is kept in {kept}"
    )
    assert json.loads(kept.read_text())["id"] == RUN.id
    assert not (tmp_path / "results").exists() or list((tmp_path / "results").iterdir()) == []


def test_what_is_no_whole_result_is_not_stored_as_one(tmp_path: Path) -> None:
    broken = {**result_of(RUN), "reason": 7}
    with pytest.raises(NotARecord, match="reason"):
        store(tmp_path / "a.json", broken)
    with pytest.raises(NotStored, match="reason"):
        store(tmp_path / "a.json", broken, tmp_path / "state")
    assert not (tmp_path / "a.json").exists()


def test_a_label_of_any_length_has_a_file_name(tmp_path: Path) -> None:
    named = RUN.architecture.model_copy(update={"name": "longé" * 90})
    fields = {name: getattr(RUN, name) for name in type(RUN).model_fields}
    run = type(RUN).model_construct(**{**fields, "architecture": named})
    write_pool(tmp_path, [run])
    assert results.load(tmp_path).runs.keys() == {run.id}
    assert results.load_run(tmp_path, run) is not None


def test_what_stood_where_a_result_is_stored_is_kept(tmp_path: Path) -> None:
    path = path_of(tmp_path, RUN)
    path.parent.mkdir()
    path.write_text("{")
    store(path, result_of(RUN))
    store(path, result_of(RUN))  # the same again
    (kept,) = (path.parent / ".replaced").iterdir()
    assert kept.read_text() == "{"
    assert results.load(tmp_path).problems == []


def test_every_file_that_was_replaced_is_kept_under_the_longest_name_too(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 195}.json"
    contents = {"{", "[", "("}
    for content in contents:
        path.write_text(content)
        store(path, result_of(RUN))
    assert {copy.read_text() for copy in (tmp_path / ".replaced").iterdir()} == contents


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_refused_before_anything_trains(tmp_path: Path) -> None:
    suite = damaged_pools.pool_in(tmp_path)
    shutil.rmtree(tmp_path / "results")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".state").write_text("a file where a folder should be")
    done = bench("run", suite, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 2
    assert "results: results cannot be written there (File exists)" in done.stderr
    assert "--results" in done.stderr
    with pytest.raises(UserError, match="cannot be written"):
        results.check_writable(Path("/proc/nowhere"))


@pytest.mark.parametrize("name", ["x.csv", "x" * 240 + ".csv"])
def test_a_failed_export_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from bench.results import export

    write_pool(tmp_path / "results", [RUN])
    frame = export.load_results(tmp_path / "results")
    (tmp_path / "out").mkdir()
    if name == "x.csv":
        (tmp_path / "out" / name).mkdir()
    with pytest.raises(OSError, match=r"Is a directory|File name too long"):
        export.write(frame, tmp_path / "out" / name)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == []
