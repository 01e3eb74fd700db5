"""Kept models on other prompts than those of their runs: what is scored, what is stored, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import bench as bench_command
from command import said
from torch.nn.functional import pad

import bench
from bench import plugins, results
from bench.models.architectures import ARCHITECTURES
from bench.results import RunRecord
from bench.results.export import load_table
from bench.results.record import MAIN, EvaluationRecord
from bench.run import Run
from bench.tasks import TASKS
from bench.train.evaluation_prompts import evaluation_set

pytest.importorskip("safetensors", reason="needs the extra weights")

NOISY = """
from typing import Literal
from bench.tasks.regression import LinearRegression

class NoisyRegression(LinearRegression):
    name: Literal["noisy_regression"] = "noisy_regression"
    noise: float = 2.0

    def evaluate(self, inputs, draws, n_dims):
        noise = draws.normal("noise", inputs.shape[0], self.n_points)
        return super().evaluate(inputs, draws, n_dims) + self.noise * noise
"""


def run_of(task: str, architecture: str, **settings: Any) -> Run:
    return bench.make_run(
        bench.make_task(task, **settings), architecture, layers=1, width=16, heads=4, learning_rate=2e-3,
        steps=3, batch_size=8, evaluation_prompts=20,
    )  # fmt: skip


RUNS = {
    "mamba": run_of("linear_regression", "mamba", n_dims=3, n_points=5),
    "transformer": run_of("linear_regression", "transformer", n_dims=3, n_points=5),
    "outliers": run_of("many_outlier_regression", "s4", n_dims=3, n_points=20, outlier_probability=0.75),
    "recall": run_of("vector_mqar", "mamba", n_dims=3, pairs=4, queries=2),
    "chain": run_of("chain_of_thought", "mamba", n_dims=3, n_points=4, hidden=2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with weights, by one training per run of RUNS."""
    place = tmp_path_factory.mktemp("kept") / "results"
    for run in RUNS.values():
        bench.train_run(run, place, keep_weights=True)
    return place


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Loading a plugin is for a process: what a test loads is gone after it."""
    places: tuple[dict[Any, Any], ...] = (ARCHITECTURES, TASKS, plugins._files, plugins._origins)
    kept = [dict(place) for place in places]
    yield
    for place, values in zip(places, kept, strict=True):
        place.clear()
        place.update(values)


def result_of(folder: Path, name: str) -> RunRecord:
    return results.load(folder).runs[RUNS[name].id]


@pytest.mark.parametrize("name", RUNS)
def test_a_model_on_the_prompts_of_its_run_has_the_scores_of_its_result(name: str, folder: Path) -> None:
    record, result = bench.evaluate_model(RUNS[name].id, folder), result_of(folder, name)
    assert result.last is not None
    assert record.facts.task_id == result.facts.task_id
    assert set(record.evaluations) == {*RUNS[name].task.evaluations()}
    for evaluation, scores in record.evaluations.items():
        stored = result.last.evaluations[evaluation]
        assert scores.mean == pytest.approx(stored.mean, rel=1e-3)
        assert scores.headline == pytest.approx(stored.headline, rel=1e-3)
    for purpose, prompts in record.prompts.items():
        assert prompts == result.prompts[purpose]


def test_longer_prompts_are_those_of_a_run_with_more_points(folder: Path) -> None:
    record = bench.evaluate_model(RUNS["mamba"].id, folder, n_points=10)
    curriculum = RUNS["mamba"].task.model_dump()["curriculum"]
    longer = run_of("linear_regression", "mamba", n_dims=3, n_points=10, curriculum=curriculum)
    assert record.facts.task_id == longer.task_id
    drawn = evaluation_set(longer.task, MAIN, 20)
    assert record.prompts[MAIN].sha256 == drawn.sha256
    model = bench.load_model(RUNS["mamba"].id, folder)
    with torch.no_grad():
        expected = longer.task.scores(model(drawn.prompts.tokens), drawn.prompts).mean(dim=0)
    assert record.evaluations[MAIN].mean == pytest.approx(expected.tolist(), rel=1e-3)
    few = bench.evaluate_model(RUNS["mamba"].id, folder, n_points=10, prompts=8)
    assert few.prompts[MAIN].count == 8


def test_fewer_dimensions_are_read_with_zeros_for_the_others(folder: Path) -> None:
    record = bench.evaluate_model(RUNS["mamba"].id, folder, n_dims=2)
    assert record.facts.error_scale == 2
    task = bench.make_task("linear_regression", n_dims=2, n_points=5)
    prompts = evaluation_set(task, MAIN, 20).prompts
    model = bench.load_model(RUNS["mamba"].id, folder)
    with torch.no_grad():
        expected = task.scores(model(pad(prompts.tokens, (0, 1))), prompts).mean(dim=0)
    assert record.evaluations[MAIN].mean == pytest.approx(expected.tolist(), rel=1e-3)


def test_other_noise_and_a_users_task(folder: Path, tmp_path: Path) -> None:
    dense = bench.evaluate_model(RUNS["outliers"].id, folder, outlier_probability=0.9)
    assert set(dense.evaluations) == {MAIN, "clean_prompts"}
    assert dense.task.settings["outlier_probability"] == 0.9
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    bench.load_plugin(tmp_path / "noisy.py")
    settings = {"n_dims": 3, "n_points": 5}
    plain = bench.evaluate_model(RUNS["mamba"].id, folder, prompts=2000)
    noisy = bench.evaluate_model(RUNS["mamba"].id, folder, task="noisy_regression", prompts=2000, **settings)
    # The barely trained model cannot know the noise: its error grows by about its variance.
    grown = noisy.evaluations[MAIN].overall[0] - plain.evaluations[MAIN].overall[0]
    assert grown == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("transformer", {"n_points": 6}, "not defined on 12 tokens, only up to 10: the table of"),
        ("mamba", {"n_dims": 4}, "its tokens have width 3, those of linear_regression have 4"),
        ("recall", {"n_dims": 2}, "its predictions have width 3, those of vector_mqar have 2"),
        ("chain", {"hidden": 3}, "its tokens have width 3 and 2 and 1"),
        ("mamba", {"task": "chain_of_thought"}, "its tokens have width 3, those of chain_of_thought have"),
        ("mamba", {"task": "regbench", "languages": 5}, "vectors, those of regbench are discrete"),
        ("mamba", {"task": "linear_regresion"}, "did you mean 'linear_regression'?"),
        ("mamba", {"n_point": 6}, "unknown key 'n_point', did you mean 'n_points'?"),
        ("mamba", {"prompts": 1}, "a standard error needs at least 2 prompts, got 1"),
        ("mamba", {"prompts": 10**10}, "expected a whole number up to 1,000,000,000, got 10000000000"),
        ("mamba", {"prompts": "12"}, "prompts: expected a whole number up to 1,000,000,000, got '12'"),
        ("mamba", {"n_points": 100_000, "prompts": 10**9}, "fails on these prompts: "),
        ("mamba", {"device": "gpu"}, "unknown device 'gpu'"),
    ],
)  # fmt: skip
def test_what_a_model_is_not_defined_on_is_refused(
    name: str, settings: dict[str, Any], words: str, folder: Path
) -> None:
    with pytest.raises(bench.UserError) as caught:
        bench.evaluate_model(RUNS[name].id, folder, **settings)
    assert words in str(caught.value)


def test_shorter_prompts_are_defined_for_learned_positions(folder: Path) -> None:
    record = bench.evaluate_model(RUNS["transformer"].id, folder, n_points=4)
    assert len(record.evaluations[MAIN].mean) == 4


def test_without_weights_or_with_others_nothing_is_scored(folder: Path, tmp_path: Path) -> None:
    run = RUNS["mamba"]
    bench.train_run(run, tmp_path)
    with pytest.raises(bench.UserError, match="--keep-weights"):
        bench.evaluate_model(run.id, tmp_path)
    place = results.path_of(tmp_path, run)
    source = results.path_of(folder, run)
    place.write_bytes(source.read_bytes())
    weights = source.with_suffix(".safetensors").read_bytes()
    place.with_suffix(".safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(bench.UserError, match="SHA-256 differs"):
        bench.evaluate_model(run.id, tmp_path)
    for named, message in (
        ("0123456789ab", "no result of a run"),
        (str(tmp_path), r"expected the id of a run, or the path of its result file \(\.json\)"),
        (tmp_path / "absent.json", "no such file"),
    ):
        with pytest.raises(bench.UserError, match=message):
            bench.evaluate_model(named, tmp_path)


# --- stored scores and the command ------------------------------------------------------------


def test_stored_scores_stand_beside_the_result_which_does_not_change(folder: Path) -> None:
    run = RUNS["mamba"]
    path = results.path_of(folder, run)
    before, rows = path.read_bytes(), len(bench.load_results(folder))
    record = bench.evaluate_model(run.id, folder, n_points=7, store=True)
    assert path.read_bytes() == before
    pool = results.load(folder)
    assert pool.problems == []
    assert pool.evaluations == [record]
    assert len(bench.load_results(folder)) == rows
    assert EvaluationRecord.model_validate(json.loads(_stored(path).read_text())) == record
    table = load_table("evaluations", folder)
    assert table["position"].tolist() == list(range(7))
    assert table["score"].tolist() == record.evaluations[MAIN].mean
    assert set(table["id"]) == {run.id}
    assert json.loads(table["settings"].iloc[0])["n_points"] == 7
    assert np.allclose(table["error"], table["score"] / 3)
    stored = json.loads(_stored(path).read_text())
    _stored(path).write_text(json.dumps({**stored, "weights_sha256": "0" * 64}))
    pool = results.load(folder)
    assert pool.evaluations == []
    assert "a model that no result has" in pool.problems[0]
    _stored(path).write_text("{}")
    assert "evaluated" in results.load(folder).problems[0]
    _stored(path).unlink()


def _stored(path: Path) -> Path:
    (file,) = path.parent.glob(f"{path.stem}.evaluated-*.json")
    return file


@pytest.mark.slow
def test_the_command_prints_and_stores_scores(folder: Path) -> None:
    run, other = RUNS["mamba"], RUNS["outliers"]
    options = ("--results", folder, "--set", "n_points=8", "--prompts", 16)
    text = said(bench_command("evaluate", run.id, *options, "--store"))
    assert f"{run.id} on linear_regression, report: 16 prompts" in text
    first = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert first[:11] == [run.id, "position", *"01234567", "mean"]
    printed = json.loads(said(bench_command("evaluate", run.id, other.id, *options, "--json")))
    assert [record["id"] for record in printed] == [run.id, other.id]
    assert len(printed[0]["evaluations"]["report"]["mean"]) == 8
    table = said(bench_command("export", folder / "x.csv", "--table", "evaluations", "--results", folder))
    assert "8 rows of 1 run" in table
    (folder / "x.csv").unlink()
    _stored(results.path_of(folder, run)).unlink()
    mistyped = bench_command("evaluate", run.id, "0123456789ab", *options)
    assert said(mistyped, 2) == ""  # before the first model is scored
    failing = bench_command("evaluate", run.id, RUNS["recall"].id, *options)
    assert f"{run.id} on linear_regression" in said(failing, 2)
    for arguments, words in (
        (("--set", "n_points"), "expected KEY=VALUE, such as --set n_points=82"),
        (("--set", "prompts=3"), "unknown key 'prompts'"),
        (("--set", "n_point=3"), "unknown key 'n_point', did you mean 'n_points'?"),
        (("--set", "n_points=3", "--set", "n_points=4"), "'n_points' is set twice"),
        (("--set", "n_points=3,4"), "takes one value, got 2"),
        (("--set", "n_dims=9"), "tokens have width 3"),
    ):
        done = bench_command("evaluate", run.id, "--results", folder, *arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
