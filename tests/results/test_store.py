"""Results on disk: whole or absent, named when bad, never changed by reading."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import results
from bench.files import read_json, write_atomically, write_json
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.results import evaluations
from bench.run import Run
from bench.tasks import TASKS


def a_run(**fields: object) -> Run:
    architecture = ARCHITECTURES["mamba"]
    return Run.model_validate(
        {
            "task": TASKS["linear_regression"](),
            "architecture": architecture,
            "size": Size(layers=2, width=128).of(architecture),
            "learning_rate": 1e-4,
            "steps": 100,
            "checkpoints": (100,),
            **fields,
        }
    )


NAMES = ("report", "selection")


def a_result(run: Run) -> dict[str, object]:
    evaluation = {"mean": [1.0], "standard_error": [0.1], "overall": [10.0, 0.5]}
    return {
        "format": 1, "kind": "run", "id": run.id, "outcome": "finished", "reason": None,
        "run": run.identity(),
        "facts": {"metric": "squared_error", "error_scale": 20.0, "trivial": 20.0, "n_points": 41,
                  "length": 82, "task_id": run.task_id, "parameters": 1, "table_parameters": 1,
                  "size_group": "x-small"},
        "checkpoints": [{"step": 100, "training_flops": 5, "training_flops_full_length": 6,
                         "evaluations": {"report": evaluation, "selection": {"overall": [12.0, 0.5]}}}],
        "per_prompt": {"report": "AAAgQQ=="},
        "prompts": {name: {"count": run.evaluation_prompts, "sha256": "a"} for name in NAMES},
        "curve": {"step": [], "loss": [], "gradient_norm": []}, "provenance": {},
    }  # fmt: skip


def test_a_result_is_found_again_under_its_run(tmp_path: Path) -> None:
    run = a_run()
    results.store(results.path_of(tmp_path, run), a_result(run))
    assert results.load(tmp_path).runs.keys() == {run.id}
    assert results.load_run(tmp_path, run) is not None
    assert results.load_run(tmp_path, a_run(seed=1)) is None
    assert results.per_prompt(results.read_run(a_result(run))).tolist() == [10.0]


def test_the_file_name_is_for_people_and_never_read(tmp_path: Path) -> None:
    run = a_run()
    results.store(tmp_path / "elsewhere" / "renamed by hand.json", a_result(run))
    assert run.id in results.load(tmp_path).runs


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"format": 1, "kind": "run", "id"', "is not readable JSON"),
        (b"\xff\xfe\x00", "is not readable JSON"),
        (b'{"value": NaN}', "NaN is not a JSON number"),
        (b'{"some": "other file"}', "is not a result of bench"),
        (b"[]", "is not a result of bench"),
        (b'{"format": 9, "kind": "run"}', "has format 9, this version of bench reads 1"),
        (b'{"format": 1, "kind": "run", "id": "x"}', "lacks checkpoints, curve"),
        (b'{"format": 1, "kind": "painting"}', "is of unknown kind 'painting'"),
    ],
)
def test_a_file_that_is_no_result_is_named_and_the_rest_is_read(
    tmp_path: Path, content: bytes, why: str
) -> None:
    run = a_run()
    results.store(results.path_of(tmp_path, run), a_result(run))
    bad = tmp_path / "linear_regression" / "bad.json"
    bad.write_bytes(content)
    pool = results.load(tmp_path)
    assert pool.runs.keys() == {run.id}
    (problem,) = pool.problems
    assert str(bad) in problem
    assert why in problem
    assert bad.read_bytes() == content


def test_two_results_that_disagree_are_reported_and_copies_are_not(tmp_path: Path) -> None:
    run = a_run()
    results.store(tmp_path / "a.json", a_result(run))
    results.store(tmp_path / "b.json", {**a_result(run), "provenance": {"host": "another"}})
    assert results.load(tmp_path).problems == []
    results.store(tmp_path / "c.json", {**a_result(run), "reason": "other numbers"})
    (problem,) = results.load(tmp_path).problems
    assert problem.startswith(f"{tmp_path / 'c.json'}: differs from {tmp_path / 'a.json'}, which ")
    assert f"has the same id ({run.id}) and counts" in problem


LONG = [0.1234567890123456 + number for number in range(10)]


def with_curve(run: Run, loss: list[float]) -> dict[str, object]:
    curve = {"step": list(range(len(loss))), "loss": loss, "gradient_norm": loss}
    return {**a_result(run), "curve": curve}


def test_results_that_differ_only_in_a_curve_are_reported(tmp_path: Path) -> None:
    run = a_run()
    results.store(tmp_path / "a.json", with_curve(run, LONG))
    results.store(tmp_path / "b.json", with_curve(run, LONG))
    assert results.load(tmp_path).problems == []
    results.store(tmp_path / "c.json", with_curve(run, LONG[::-1]))
    (problem,) = results.load(tmp_path).problems
    assert "c.json: differs from" in problem


def test_the_table_has_a_row_a_checkpoint_with_normalised_errors(tmp_path: Path) -> None:
    run = a_run()
    results.store(tmp_path / "a.json", a_result(run))
    (row,) = results.frame(results.load(tmp_path)).to_dict("records")
    assert (row["error"], row["error_se"], row["selection_error"]) == (0.5, 0.025, 0.6)
    assert (row["architecture"], row["layers"], row["width"], row["step"]) == ("mamba", 2, 128, 100)


def test_an_empty_pool_is_an_empty_table(tmp_path: Path) -> None:
    assert list(results.frame(results.load(tmp_path / "nowhere")).columns) == results.COLUMNS


def test_a_run_that_diverged_at_once_has_a_row_without_scores(tmp_path: Path) -> None:
    run = a_run()
    results.store(
        tmp_path / "a.json",
        {
            **a_result(run),
            "outcome": "diverged",
            "reason": "not finite",
            "checkpoints": [],
            "per_prompt": {"report": None},
        },
    )
    (row,) = results.frame(results.load(tmp_path)).to_dict("records")
    assert row["outcome"] == "diverged"
    assert row["step"] == 0
    assert row["error"] != row["error"]


def test_accuracy_becomes_an_error() -> None:
    result = a_result(a_run())
    facts = {**result["facts"], "metric": "accuracy", "trivial": 0.5}  # type: ignore[dict-item]
    record = results.read_run({**result, "facts": facts})
    error, standard_error = evaluations.normalised(record, "report", (0.9, 0.01))
    assert (round(error, 12), standard_error) == (0.1, 0.01)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_numbers_that_are_none_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


@given(st.binary(max_size=2000))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("files") / "deep" / "x"
    write_atomically(path, data)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-4},
        {"clip": 5.0},
        {"seed": 1},
        {"steps": 200, "checkpoints": (200,)},
        {"checkpoints": (50, 100)},
        {"batch_size": 32},
        {"precision": "tf32"},
        {"evaluation_prompts": 640},
        {"optimizer": {"name": "adamw"}},
        {"size": Size(layers=4, width=128, heads=None)},
        {"task": TASKS["linear_regression"](n_points=20)},
        {"architecture": ARCHITECTURES["s4_mamba"]},
        {"architecture": ARCHITECTURES["mamba"].with_options({"state": 8})},
    ],
    ids=str,
)
def test_every_field_that_moves_numbers_moves_the_id(change: dict[str, object]) -> None:
    assert a_run(**change).id != a_run().id


def test_the_id_is_a_function_of_content_alone() -> None:
    """A known value: results found today must be found next year."""
    assert a_run().id == a_run(clip=10).id
    record = json.dumps(a_run().identity(), sort_keys=True)
    assert json.loads(record)["task"]["version"] == 1
    assert len(a_run().id) == 12


def test_attention_free_models_are_the_same_with_any_number_of_heads() -> None:
    size = Size(layers=2, width=128, heads=4)
    assert a_run(size=size.of(ARCHITECTURES["mamba"])).id == a_run().id
    with pytest.raises(ValueError, match="has no attention"):
        a_run(size=size)
    with pytest.raises(ValueError, match="width 100 is not divisible by 8 heads"):
        a_run(architecture=ARCHITECTURES["transformer"], size=Size(layers=2, width=100))
