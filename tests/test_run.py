"""A run's id: results that exist keep theirs; a field that came later joins it where it says something."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from command import ROOT
from pydantic import ValidationError
from small_runs import small_run

from bench import results as pools
from bench import suite as suites
from bench.check.quantity import FILTERS, Quantity
from bench.filters import RUN_FIELDS
from bench.frozen import Frozen, identity
from bench.json_data import digest
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.blocks import Mamba, S4Mamba
from bench.models.sizes import Size
from bench.optimizers import AdamW
from bench.results.record import RecordedRun
from bench.results.table import DESCRIBED
from bench.run import SETTINGS, Run, Stop, text_of
from bench.suite.format import Point, Settings
from bench.suite.shipped import is_suite
from bench.tasks import TASKS


def test_committed_results_are_those_that_the_pilot_asks_for() -> None:
    pool = pools.load(ROOT / "results")
    runs = suites.load(ROOT / "suites/pilot.yaml").runs
    assert len(runs) == 14
    for run in runs:
        assert run.id in pool.runs, f"{run.label}: the committed result has another id"
        assert run.identity() == json.loads(pool.paths["run", run.id].read_bytes())["run"]
        assert run.task_id in pool.baselines


SUITES = {
    "formal": (133, "e69e6b725e25d405aa6c8d5b3c3b321809f3ca8606f8f509e9971e7519217ab2"),
    "formal_quick": (5, "462e410b9f73e11f7b9fc3a1e42304ebd4631aec9882f5889911641f5486078f"),
    "formal_small": (47, "b4b9d54c2ab33b72e8fbc6817ddd4c7ba22b38304765fd336d4daf6044832ef4"),
    "modern": (5967, "d62cbefda1ffa6888766de03f902b0722b48942fec06d4cdcf8194a8b88191a7"),
    "modern_small": (1356, "6aecbf192a06e70b6725a77603b32d026e90d32a29bdfe5263297a677936ab7f"),
    "modern_tasks": (22, "25de3701c577572de8adeeadb19dbe760e85639927189e318fe3878f0e70b27c"),
    "paper": (1501, "a56c64f7f829dc7caed941781946b1a05ce6a2c5d4d723c30c81383c91b655b7"),
    "parity": (60, "1b8cdf5976d70b4edd3fc050beae29caf472b86189c3e4930e38e7e160f14101"),
    "pilot": (14, "74efa17228651be46949e154ec93984fd47caf314953cc332a8ddf163f950ead"),
    "precision": (960, "4edde3a8b7aa40360066bae8dd9fbdba9170539f4a5d84c9be9ac67c475d2e0d"),
    "quick": (12, "165e9be9ae6ae97efc211670575b56e2627fe749fcd26ae825e85cd95c86ceec"),
    "reproduction": (306, "d93699a8736e9c2b395d3b0d5cad492cdf9a848be52f6b32f28df2cb15f49239"),
    "tasks": (18, "4241b56d49a8d5a191debba575e3fb55cc5503ff2072055207bf5d8070c17865"),
}
"""Every suite's number of runs, and the SHA-256 of their ids, sorted, one a line.

Who changes a suite changes its line. Who changes code must not: results on disk would be lost to their runs.
"""


@pytest.mark.parametrize("name", SUITES)
def test_the_runs_of_every_suite_keep_their_ids(name: str) -> None:
    ids = sorted(run.id for run in suites.load(ROOT / f"suites/{name}.yaml").runs)
    assert (len(ids), hashlib.sha256("\n".join(ids).encode()).hexdigest()) == SUITES[name]


def test_results_keep_every_setting_of_training() -> None:
    lacking = SETTINGS.keys() - RecordedRun.model_fields.keys()
    assert not lacking, "RecordedRun needs the field, with the value of earlier results as its default"


@pytest.mark.parametrize("name", SETTINGS)
def test_suites_filters_claims_and_exports_have_every_setting_of_training(name: str) -> None:
    assert SETTINGS[name].key in Settings.model_fields
    assert name in Point.model_fields
    assert name in Quantity.model_fields
    assert name in FILTERS
    assert name in RUN_FIELDS
    assert name in DESCRIBED


def test_no_suite_is_left_out() -> None:
    files = {file.stem for file in (ROOT / "suites").glob("*.yaml") if is_suite(file)}
    assert files == SUITES.keys()


def test_an_id_is_the_digest_of_what_its_result_records() -> None:
    pool = pools.load(ROOT / "results")
    assert pool.problems == []
    for kind, key in pool.paths:
        value = json.loads(pool.paths[kind, key].read_bytes())
        if kind == "run":
            assert digest(value["run"]) == key
        else:
            prompts = value["prompts"]["report"]["count"]
            assert digest({"task": value["task"], "evaluation_prompts": prompts}) == key


def test_looking_at_a_run_changes_nothing_of_its_identity() -> None:
    run = suites.load(ROOT / "suites/pilot.yaml").runs[0]
    before = run.identity()
    assert (run.id, run.task_id) == (run.id, run.task_id)  # kept on the run from now on
    assert run.identity() == before
    fields = {key: value for key, value in run.model_dump(mode="json").items() if key not in run.later_fields}
    assert before == {**fields, "architecture": before["architecture"], "task": run.task.identity()}


def test_a_copy_with_another_setting_is_another_run() -> None:
    run = small_run()
    known = run.id, run.task_id
    other = run.model_copy(update={"seed": 1})
    assert other.id == small_run(seed=1).id != known[0]
    assert run.model_copy(update={"evaluation_prompts": 16}).task_id != known[1]
    assert (run.model_copy().id, run.model_copy().task_id) == known


class Inner(Frozen):
    size: int = 1


class Grown(Frozen):
    later_fields: ClassVar[Mapping[str, Any]] = {"late": "old", "inner": Inner()}

    early: float = 0.5
    late: str = "new"  # a default that changed after the field was added
    inner: Inner = Inner()
    many: tuple[Inner, ...] = (Inner(), Inner(size=2))


def test_a_later_field_is_left_out_at_the_value_it_was_added_with_and_only_there() -> None:
    base = {"early": 0.5, "many": [{"size": 1}, {"size": 2}]}
    assert identity(Grown(late="old")) == base
    assert identity(Grown()) == {**base, "late": "new"}
    assert identity(Grown(late="old", inner=Inner(size=3))) == {**base, "inner": {"size": 3}}


@pytest.mark.parametrize(
    "changed",
    [
        {"middle": (Mamba(state=8),)},
        {"residual": False},
        {"version": 2},
        {"layer": (Mamba(), S4Mamba())},
        {"layer": (Mamba(), S4Mamba(skip="ones"))},
    ],
    ids=str,
)
def test_whatever_changes_an_architecture_changes_its_identity(changed: dict[str, Any]) -> None:
    plain = ARCHITECTURES["mamba"]
    other = plain.model_copy(update=changed)
    assert digest(identity(other)) != digest(identity(plain))
    if changed.get("layer"):
        assert ("skip" in str(identity(other))) == (other.layer[1] == S4Mamba(skip="ones"))


def test_no_two_architectures_are_the_same_but_for_their_names() -> None:
    bare = [digest({**identity(each), "name": ""}) for each in ARCHITECTURES.values()]
    assert len(set(bare)) == len(bare)


def test_every_later_field_names_a_field() -> None:
    for model in (Architecture, *{type(block) for each in ARCHITECTURES.values() for block in each.pattern}):
        assert model.later_fields.keys() <= model.model_fields.keys()


@pytest.mark.parametrize("task", ["linear_regression", "sparse_parity"])
def test_no_steps_cost_nothing(task: str) -> None:
    run = small_run(task=TASKS[task].example())
    assert run.training_flops(0) == run.training_flops_full_length(0) == 0
    assert run.training_flops() == run.training_flops(run.steps) > 0
    assert run.training_flops_full_length() == run.training_flops_full_length(run.steps) > 0


def test_a_run_knows_its_size_group_and_the_numbers_of_its_state() -> None:
    run = small_run("mamba", size=Size(layers=4, width=256))
    assert run.size_group == "small"
    # A layer has two blocks, and a block 16 numbers for each of twice as many channels.
    assert run.state_numbers == 4 * 2 * (2 * 256 * 16)
    assert small_run("mamba", size=Size(layers=256, width=4)).size_group is None


@pytest.mark.parametrize(
    ("architecture", "fields", "complaint"),
    [
        ("transformer", {"checkpoints": (20, 10, 30)}, r"must rise and end at steps \(30\)"),
        ("transformer", {"checkpoints": (10, 10, 30)}, "must rise"),
        ("transformer", {"checkpoints": (10, 20)}, "must rise"),
        ("transformer", {"checkpoints": ()}, "must rise"),
        (
            "transformer",
            {"size": Size(layers=1, width=16, heads=None)},
            "transformer needs a number of heads",
        ),
        ("transformer", {"size": Size(layers=1, width=16, heads=3)}, "width 16 is not divisible by 3 heads"),
        ("mamba", {"size": Size(layers=1, width=16, heads=4)}, "mamba has no attention heads"),
        ("mamba", {"stop": Stop(after_convergence=5)}, "'linear_regression' has no criterion"),
        ("mamba", {"tested_checkpoint": "best_validation"}, "'linear_regression' has no validation loss"),
        (
            "mamba",
            {"optimizer": AdamW(decay="plateau")},
            "plateau: .* has no validation loss",
        ),
        (
            "mamba",
            {"task": TASKS["sparse_parity"](subset="per_batch"), "evaluation_prompts": 64},
            "so a standard error needs more than 64, got 64",
        ),
        ("mamba", {"evaluation_prompts": 1}, "greater than or equal to 2"),  # one has no standard error
    ],
)
def test_a_run_that_cannot_be_trained_or_scored_is_refused(
    architecture: str, fields: dict[str, Any], complaint: str
) -> None:
    run = small_run(architecture)
    settings = {name: getattr(run, name) for name in Run.model_fields}
    assert Run.model_validate(settings) == run
    with pytest.raises(ValidationError, match=complaint):
        Run.model_validate({**settings, **fields})


def test_a_label_names_what_tells_runs_of_a_grid_apart() -> None:
    run = small_run(learning_rate=4.64e-4, clip=0.5, seed=3)
    assert run.label == f"transformer-1x16-lr4.64e-4-clip0.5-s3-{run.id}"
    assert run.file_name == f"{run.label}.json"


def test_settings_as_text_are_those_that_filters_take() -> None:
    run = small_run(optimizer=AdamW(warmup_steps=5), learning_rate=0.002)
    texts = {name: text_of(run, name) for name in ("learning_rate", "clip", "optimizer", "stop", "steps")}
    assert texts == {
        "learning_rate": "2e-3", "clip": "10", "optimizer": "adamw", "stop": "none", "steps": "30"
    }  # fmt: skip


def test_the_bound_of_memory_adds_parameters_to_activations() -> None:
    """Of a batch of 8, 10 tokens, width 16 and one layer: 1,280 activations, on two devices 640 each."""
    run = small_run()
    parameters = 16 * run.parameters  # a value, a gradient and two moments of 4 bytes each
    assert run.unmeasured_bytes() == 1_000 * 1_280 + parameters
    assert run.unmeasured_bytes(devices=2) == 1_000 * 640 + parameters, "every device has all parameters"
    deep = small_run(size=Size(layers=3, width=16, heads=4), batch_size=2)
    assert deep.unmeasured_bytes() == 1_000 * 960 + 16 * deep.parameters
