"""Weights of finished runs: kept by the command, found by nobody as results, and loaded as the same model."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command import ROOT, bench, said
from toy import toy_suite

import bench as package
from bench import results as pools
from bench import suite as suites
from bench.errors import UserError
from bench.results import RunRecord, per_prompt
from bench.run import Run
from bench.stack import Stack
from bench.tasks import Task
from bench.tasks.task import MAIN
from bench.train.evaluate import ModelScores
from bench.train.evaluation_prompts import evaluation_set
from bench.train.loop import TrainingOptions, train_stack
from bench.train.summaries import headline
from bench.train.weights import load_model, save, state_dict_of

pytest.importorskip("safetensors", reason="needs the extra weights")

SUITE = toy_suite(architectures=["transformer", "s4_mamba"], learning_rates=[1e-3, 2e-3], steps=30)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the suite and its results, whose members trained in stacks of two."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    said(bench("run", "tiny.yaml", "--keep-weights", "--stack", 2, "--workers", 1, cwd=folder))
    return folder


def scores(model: torch.nn.Module, task: Task, count: int) -> np.ndarray:  # type: ignore[type-arg]
    """Headline scores of a model on the test prompts."""
    prompts = evaluation_set(task, MAIN, count).prompts
    with torch.no_grad():
        values = task.measure(model, prompts, MAIN)[MAIN]
    return headline(task, MAIN, ModelScores.of(task, MAIN, values.double()))


def runs_of(folder: Path) -> list[tuple[Run, RunRecord]]:
    pool = pools.load(folder / "results")
    assert pool.problems == []
    return [(run, pool.runs[run.id]) for run in suites.load(folder / "tiny.yaml").runs]


def test_a_loaded_model_predicts_what_was_measured(trained: Path) -> None:
    for run, result in runs_of(trained):
        model = package.load_model(run.id[:8], results=trained / "results")
        assert not model.training
        named = [f"{run.task.name}/{run.label}", run.id]
        assert pools.result_files(named, trained / "results") == [pools.path_of(trained / "results", run)]
        assert sum(value.numel() for value in model.parameters()) == run.parameters
        assert result.provenance.stack
        assert result.provenance.stack.members == 2
        measured = scores(model, run.task, run.evaluation_prompts)
        np.testing.assert_allclose(measured, per_prompt(result), rtol=2e-4, atol=1e-6)


def test_results_name_the_file_and_its_digest(trained: Path) -> None:
    for run, result in runs_of(trained):
        path = pools.path_of(trained / "results", run)
        weights = result.provenance.weights
        assert weights
        assert (path.parent / weights.file) == path.with_suffix(".safetensors")
        assert hashlib.sha256((path.parent / weights.file).read_bytes()).hexdigest() == weights.sha256
        model = load_model(path)
        with pytest.raises(UserError, match="keep-weights"):
            load_model(_without_weights(path))
        assert set(model.state_dict()) == _names(path.with_suffix(".safetensors"))


def _without_weights(path: Path) -> Path:
    value = json.loads(path.read_text())
    del value["provenance"]["weights"]
    copy = path.parent.parent / "copies" / path.name
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(json.dumps(value))
    return copy


def _names(path: Path) -> set[str]:
    """The tensors of a file, read by its format: the length of the header, then JSON."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return set(header) - {"__metadata__"}


def test_commands_do_not_take_weights_for_results(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    place = tmp_path / "copy"
    output = said(bench("run", "tiny.yaml", "--keep-weights", cwd=place))
    assert "Nothing to do." in output
    assert "without weights" not in output
    status = json.loads(said(bench("status", "tiny.yaml", "--json", cwd=place)))
    assert status["problems"] == []
    assert status["total"]["states"]["finished"] == 4
    said(bench("withdraw", "--filter", "architecture=s4_mamba", "--reason", "test", cwd=place))
    (run,) = [run for run, _ in _all_runs(place) if run.learning_rate == 1e-3][1:]
    with pytest.raises(UserError, match="withdrawn"):
        load_model(run.id, place / "results")
    assert load_model(pools.path_of(place / "results", run))


def _all_runs(folder: Path) -> list[tuple[Run, None]]:
    return [(run, None) for run in suites.load(folder / "tiny.yaml").runs]


def test_ids_and_numbers_do_not_depend_on_keeping_weights(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    said(bench("run", "tiny.yaml", "--stack", 2, "--workers", 1, cwd=tmp_path))
    for (_, kept), (_, plain) in zip(runs_of(trained), runs_of(tmp_path), strict=True):
        assert pools.record.same_numbers(kept, plain)
        assert plain.provenance.weights is None
    assert not list(tmp_path.rglob("*.safetensors"))
    output = said(bench("run", "tiny.yaml", "--keep-weights", cwd=tmp_path))
    assert "4 finished runs without weights" in output


def test_another_file_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "results", tmp_path / "results")
    run, _ = runs_of(trained)[0]
    file = pools.path_of(tmp_path / "results", run).with_suffix(".safetensors")
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(UserError, match="SHA-256"):
        load_model(run.id, tmp_path / "results")
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_model(run.id, tmp_path / "results")
    with pytest.raises(UserError, match="no result of a run 0123456789ab"):
        load_model("0123456789ab", tmp_path / "results")


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_member_that_diverged_keeps_no_weights(tmp_path: Path) -> None:
    text = toy_suite(learning_rates=[1e-3, 1e30], clip=1e30, steps=20)
    (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
    stack = Stack.of(*suites.load(tmp_path / "tiny.yaml").runs)
    kept: dict[int, dict[str, str]] = {}

    def keep(k: int, tensors: dict[str, torch.Tensor]) -> dict[str, str]:
        run = stack.members[k]
        kept[k] = save(tmp_path / f"{run.id}.json", run.id, tensors)
        return kept[k]

    options = TrainingOptions(torch.device("cpu"), keep_weights=keep)
    results = train_stack(stack, tmp_path / "state", options)
    outcomes = [result["outcome"] for result in results]
    assert sorted(outcomes) == ["diverged", "finished"]
    assert list(kept) == [outcomes.index("finished")]


def test_a_member_has_what_all_members_share() -> None:
    model = torch.nn.BatchNorm1d(2)
    own = {"weight": torch.zeros(2)}
    state = state_dict_of(model, own)  # type: ignore[arg-type]
    assert list(state) == list(model.state_dict())
    assert state["weight"] is own["weight"]


def test_weights_are_not_committed_by_accident() -> None:
    assert "*.safetensors" in (ROOT / ".gitignore").read_text().splitlines()
