"""Suites: what a file means, what is wrong with it, and that the grid multiplies and shares as it should."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import InvalidFile
from bench.flops import training_flops_full_length
from bench.optimizers import Adam, AdamW
from bench.paper.sizes import APPENDIX_C, SIZE_GROUPS
from bench.run import Run
from bench.strict_yaml.document import read
from bench.suite import Suite, json_schema, load
from bench.tasks import TASKS

PAPER = ROOT / "suites" / "paper.yaml"

ONE: dict[str, Any] = {
    "tasks": "linear_regression",
    "architectures": "mamba",
    "sizes": {"layers": 2, "width": 32},
    "learning_rates": 1e-4,
    "steps": 1000,
}


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, *experiments: dict[str, Any]) -> Suite:
    """A suite (of JSON, which is YAML) of experiments a, b, … that state what `ONE` does or otherwise."""
    named = {chr(ord("a") + index): {**ONE, **each} for index, each in enumerate(experiments)}
    return load(write(folder, json.dumps({"name": "x", "experiments": named})))


def problems(folder: Path, text: str, name: str = "x.yaml") -> list[str]:
    path = write(folder, text, name)
    with pytest.raises(InvalidFile) as caught:
        load(path)
    assert caught.value.exit_code == 3
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def problems_of(folder: Path, *changes: str, without: str = "") -> list[str]:
    """What is wrong with an experiment of six lines from line 4 on, then `changes`, without one key."""
    stated = {
        "tasks": "linear_regression",
        "architectures": "transformer",
        "sizes": "small",
        "learning_rates": "1e-4",
        "steps": "1000",
    }
    replaced = {change.split(":")[0] for change in changes} | {without}
    body = [*changes, *(f"{key}: {value}" for key, value in stated.items() if key not in replaced)]
    return problems(folder, "name: x\nexperiments:\n  a:\n" + "".join(f"    {line}\n" for line in body))


# --- the grid -----------------------------------------------------------------------------------


def test_one_point_states_everything_about_its_run(tmp_path: Path) -> None:
    (run,) = loaded(
        tmp_path, {"clip": 5, "optimizer": {"name": "adamw", "warmup_steps": 7}, "checkpoints": [100, 500]}
    ).runs
    assert (run.task.name, run.architecture.name) == ("linear_regression", "mamba")
    assert (run.size.layers, run.size.width, run.size.heads) == (2, 32, None)
    assert (run.learning_rate, run.clip, run.optimizer) == (1e-4, 5.0, AdamW(warmup_steps=7))
    assert (run.steps, run.checkpoints) == (1000, (100, 500, 1000))
    assert (run.batch_size, run.seed, run.precision, run.evaluation_prompts) == (64, 0, "fp32", 1280)


AXES: dict[str, list[Any]] = {
    "tasks": ["linear_regression", {"name": "linear_regression", "n_points": 11}, "decision_tree"],
    "architectures": ["transformer", "mamba", {"name": "mamba", "state": 8}],
    "sizes": [{"layers": 2, "width": 32}, {"layers": 3, "width": 64, "heads": 4}, "small"],
    "learning_rates": [5e-5, 1e-4, 4e-4],
    "clip": [5, 10.0, 50],
    "optimizer": ["adam", {"name": "adamw", "warmup_steps": 9}, {"name": "adamw", "warmup_steps": 10}],
    "seeds": [0, 1, 7],
    "precision": ["fp32", "tf32"],
}
"""Values that give runs of their own; the group small is two sizes."""

chosen = st.fixed_dictionaries(
    {
        key: st.lists(st.sampled_from(values), min_size=1, max_size=2, unique_by=str)
        for key, values in AXES.items()
    }
)


@pytest.mark.slow
@settings(max_examples=25)
@given(axes=chosen, data=st.data())
def test_a_grid_has_as_many_runs_as_its_lists_multiply_to_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory, axes: dict[str, list[Any]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    runs = loaded(folder, axes).runs
    sizes = len(axes["sizes"]) + ("small" in axes["sizes"])
    assert len(runs) == sizes * prod(len(values) for key, values in axes.items() if key != "sizes")
    assert len({run.id for run in runs}) == len(runs)
    shuffled = {key: data.draw(st.permutations(axes[key])) for key in data.draw(st.permutations(list(axes)))}
    assert {run.id for run in loaded(folder, shuffled).runs} == {run.id for run in runs}


def test_equal_points_of_two_experiments_are_one_run_of_both(tmp_path: Path) -> None:
    suite = loaded(tmp_path, {}, {"learning_rates": [1e-4, 2e-4]})
    first, second = suite.experiments
    assert first.runs[0].id == second.runs[0].id
    assert [run.id for run in suite.runs] == [run.id for run in second.runs]
    assert suite.experiments_of(first.runs[0].id) == (first, second)
    assert suite.experiments_of(second.runs[1].id) == (second,)
    assert suite.experiments_of("no such run") == ()


def test_heads_make_no_second_run_of_a_model_without_attention(tmp_path: Path) -> None:
    sizes = [{"layers": 2, "width": 32, "heads": heads} for heads in (4, 8)]
    assert len(loaded(tmp_path, {"sizes": sizes}).runs) == 1
    assert len(loaded(tmp_path, {"sizes": sizes, "architectures": "transformer"}).runs) == 2


def test_an_experiment_says_what_the_defaults_leave_open_and_overrides_the_rest(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
name: x
defaults: {tasks: decision_tree, sizes: small, learning_rates: [1e-4, 2e-4], steps: 50, clip: 5}
experiments:
  a: {architectures: mamba, clip: [10, 50], rebuilds: Figure 2, description: something}
""",
    )
    (experiment,) = load(path).experiments
    assert (experiment.rebuilds, experiment.description) == ("Figure 2", "something")
    assert Counter(run.clip for run in experiment.runs) == {10.0: 4, 50.0: 4}
    assert {run.task.name for run in experiment.runs} == {"decision_tree"}


def test_architecture_options_reach_the_blocks(tmp_path: Path) -> None:
    (run,) = loaded(tmp_path, {"architectures": {"name": "s4_mamba", "dropout": 0.0, "gate": "silu"}}).runs
    block = run.architecture.layer[0].model_dump()
    assert (block["dropout"], block["gate"]) == (0.0, "silu")


def test_a_protocol_fills_the_fields_an_entry_leaves_out(tmp_path: Path) -> None:
    sparse: list[Any] = ["sparse_linear_regression", {"name": "sparse_linear_regression", "n_points": 70}]
    for protocol, points in (("paper", 101), ("released_code", 41)):
        suite = loaded(tmp_path, {"tasks": sparse, "protocol": protocol})
        assert [run.task.n_points for run in suite.runs] == [points, 70]
    both = loaded(tmp_path, {"tasks": sparse, "protocol": ["paper", "released_code"]})
    assert sorted(run.task.n_points for run in both.runs) == [41, 70, 101]
    parity = loaded(tmp_path, {"tasks": "sparse_parity", "protocol": "released_code"}).runs[0].task
    assert parity.model_dump()["subset"] == "per_batch"


def test_exclusions_drop_the_points_that_match_every_field_given(tmp_path: Path) -> None:
    grid = {
        "architectures": ["transformer", "mamba"],
        "sizes": ["small", "x-small"],
        "learning_rates": [1e-4, 4e-4],
        "optimizer": ["adam", {"name": "adamw", "warmup_steps": 9}],
    }
    whole = loaded(tmp_path, grid).runs
    rules = [
        {"architecture": "mamba", "size": "x-small"},
        {"width": 256, "learning_rate": 4e-4},
        {"optimizer": "adamw", "layers": 16},
    ]
    left = loaded(tmp_path, {**grid, "exclude": rules}).runs

    def is_dropped(run: Run) -> bool:
        return (
            (run.architecture.name == "mamba" and run.size_group == "x-small")
            or (run.size.width == 256 and run.learning_rate == 4e-4)
            or (run.optimizer.name == "adamw" and run.size.layers == 16)
        )

    assert [run.id for run in left] == [run.id for run in whole if not is_dropped(run)]
    assert 0 < len(left) < len(whole)


def test_checkpoints_can_be_given_at_equal_distances(tmp_path: Path) -> None:
    def checkpoints(value: Any) -> tuple[int, ...]:
        (run,) = loaded(tmp_path, {"checkpoints": value}).runs
        return run.checkpoints

    assert checkpoints({"every": 250}) == checkpoints([250, 500, 750]) == (250, 500, 750, 1000)
    assert checkpoints([10, {"every": 400}]) == (10, 400, 800, 1000)
    assert checkpoints({"every": 1000}) == checkpoints(1000) == (1000,)


def test_points_stand_beside_the_grid_and_inherit_single_values(tmp_path: Path) -> None:
    points = [
        {"layers": 5, "width": 40},
        {"task": {"name": "decision_tree", "depth": 3}, "size": "medium", "seed": 3, "steps": 10},
    ]
    runs = loaded(tmp_path, {"checkpoints": 500, "points": points}).runs
    assert [(run.size.layers, run.size.width, run.steps, run.seed) for run in runs] == [
        (2, 32, 1000, 0),
        (5, 40, 1000, 0),
        (8, 512, 10, 3),
        (32, 256, 10, 3),
    ]
    assert [run.checkpoints for run in runs] == [(500, 1000), (500, 1000), (10,), (10,)]
    assert runs[2].task.model_dump()["depth"] == 3


def test_points_alone_need_no_grid(tmp_path: Path) -> None:
    point = "{task: decision_tree, architecture: s4, layers: 2, width: 64, learning_rate: 2e-4, steps: 9}"
    suite = load(write(tmp_path, f"name: x\nexperiments: {{a: {{points: [{point}]}}}}\n"))
    (run,) = suite.runs
    assert (run.task.name, run.architecture.name, run.learning_rate) == ("decision_tree", "s4", 2e-4)
    assert run.optimizer == Adam()


# --- include ------------------------------------------------------------------------------------

HEAD = (
    "name: {name}\ndefaults: {{sizes: small, learning_rates: 1e-4, steps: {steps}, architectures: mamba}}\n"
)


def test_an_included_file_keeps_its_defaults_and_comes_first(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    head = HEAD.format(name="b", steps=10)
    write(tmp_path, head + "experiments: {b: {tasks: decision_tree}}", "inner/b.yaml")
    write(tmp_path, "name: c\ninclude: [inner/b.yaml]\n", "c.yaml")
    head = HEAD.format(name="a", steps=20) + "include: [inner/b.yaml, c.yaml]\n"
    suite = load(write(tmp_path, head + "experiments: {a: {tasks: decision_tree}}"))
    assert suite.name == "a"
    assert [(each.name, each.runs[0].steps) for each in suite.experiments] == [("b", 10), ("a", 20)]


def test_files_that_include_each_other_are_shown_as_a_chain(tmp_path: Path) -> None:
    write(tmp_path, "name: b\ninclude: [x.yaml]\n", "b.yaml")
    assert problems(tmp_path, "name: a\ninclude: [b.yaml]\n") == [
        "b.yaml:2:11: files include each other: x.yaml → b.yaml → x.yaml"
    ]


def test_an_experiment_of_two_files_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    entry = HEAD.format(name="n", steps=10) + "experiments:\n  a: {tasks: decision_tree}\n"
    write(tmp_path, entry, "b.yaml")
    assert problems(tmp_path, entry + "include: [b.yaml]\n") == [
        "x.yaml:4:3: duplicate experiment 'a', first at b.yaml:4:3"
    ]


def test_problems_of_included_files_are_reported_with_the_rest(tmp_path: Path) -> None:
    write(tmp_path, "name: b\nname: c\n", "b.yaml")
    assert problems(tmp_path, "name: a\ninclude: [b.yaml, none.yaml]\nexperiments: 3\n") == [
        "b.yaml:2:1: duplicate key 'name' (first on line 1)",
        "x.yaml:2:19: include: no such file: none.yaml",
        "x.yaml:3:14: experiments: expected a mapping, got 3",
    ]


# --- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "tasks: linear_regresion",
            "4:12: unknown task 'linear_regresion', did you mean 'linear_regression'?",
        ),
        ("tasks: [{n_dims: 3}]", "4:13: missing key 'name'"),
        ("tasks: 3", "4:12: expected the name of a task, got 3"),
        ("tasks: []", "4:12: tasks: must not be empty"),
        ("tasks:", "4:11: expected the name of a task, got null"),
        (
            "tasks: [{name: decision_tree, depht: 3}]",
            "4:35: unknown key 'depht', did you mean 'depth'?",
        ),
        (
            "tasks: {name: decision_tree, depth: 11}",
            "4:41: depth: must be at most 10, got 11",
        ),
        (
            "tasks: {name: sparse_linear_regression, sparsity: 30}",
            "4:55: sparsity 30 exceeds n_dims 20",
        ),
        (
            "tasks: [decision_tree, {name: decision_tree, depth: 4}]",
            "4:28: task 'decision_tree' with these fields is listed twice",
        ),
        ("tasks: {name: [a]}", "4:19: expected the name of a task, got a list"),
        ("architectures: mambo", "4:20: unknown architecture 'mambo', did you mean 'mamba'?"),
        (
            "architectures: s4_mamba+dropout=0.1+gate=silu",  # as plans print it
            "4:20: unknown architecture 's4_mamba+dropout=0.1+gate=silu', expected "
            "{name: s4_mamba, dropout: 0.1, gate: silu}",
        ),
        ("architectures: [[mamba]]", "4:21: expected the name of an architecture, got a list"),
        (
            "architectures: {name: s4_mamba, gait: silu}",
            "4:37: unknown option 'gait', did you mean 'gate'?",
        ),
        (
            "architectures: {name: s4_mamba, dropout: high}",
            "4:46: dropout: expected a number, got 'high'",
        ),
        (
            "architectures: {name: s4, embedding_dropout: 2}",
            "4:50: embedding_dropout: must be less than 1, got 2",
        ),
        (
            "architectures: {name: s4, embedding_dropout: '0.1'}",
            "4:50: embedding_dropout: expected a number, got '0.1'",
        ),
        (
            "architectures: [s4, mamba, s4]",
            "4:32: architecture 's4' with these options is listed twice",
        ),
        ("architectures: s4, mamba", "4:20: unknown architecture 's4, mamba', expected a list: [s4, mamba]"),
        ("architectures: [s4: {state: 8}]", "4:21: missing key 'name', expected {name: s4, …}"),
        (
            "sizes: [[2, 64]]",
            "4:13: expected the name of a size group, or its fields, layers and width, got a",
        ),
        ("sizes: smal", "4:12: unknown size group 'smal', did you mean 'small'?"),
        ("sizes: [{layers: 2}]", "4:13: missing key 'width'"),
        ("sizes: [table6, large]", "4:21: size 12 × 768 is listed twice"),
        ("sizes: [small, {layers: 2, width: 100}]", "4:20: size: width 100 is not divisible by 8 heads"),
        ("sizes: {layers: 2, width: 64, heads: null}", "4:12: size: transformer needs a number of heads"),
        ("learning_rates: [1e-4, fast]", "4:28: learning_rates: expected a number, got 'fast'"),
        ("learning_rates: ['1e-4']", "4:22: learning_rates: expected a number, got '1e-4'"),
        ("learning_rates: [1e-4, 0.0001]", "4:28: learning_rates: 1e-4 is listed twice"),
        ("learning_rates: -1", "4:21: learning_rates: must be greater than 0, got -1"),
        ("learning_rates: .nan", "4:21: .nan is not a finite number"),
        ("steps: 1.5", "4:12: steps: expected a whole number, got 1.5"),
        ("steps: null", "4:5: missing key 'steps'"),
        ("checkpoints: [10, 5000]", "4:23: checkpoint 5000 is beyond the last step, 1000"),
        ("checkpoints: {every: 5000}", "4:18: checkpoint 5000 is beyond the last step, 1000"),
        ("checkpoints: {every: 0}", "4:26: every: must be greater than 0, got 0"),
        ("checkpoints: [10, 10]", "4:23: checkpoints: 10 is listed twice"),
        ("checkpoints: [0]", "4:19: checkpoints: must be greater than 0, got 0"),
        ("optimizer: adm", "4:16: unknown optimizer 'adm', did you mean 'adam'?"),
        (
            "optimizer: {name: adamw, warmup: 3}",
            "4:30: unknown key 'warmup', did you mean 'warmup_steps'?",
        ),
        ("optimizer: [adam, {name: adam}]", "4:23: optimizer 'adam' with these settings is listed twice"),
        ("protocol: papr", "4:15: protocol: unknown value 'papr', did you mean 'paper'?"),
        ("protocol: [paper, paper]", "4:23: protocol: paper is listed twice"),
        ("precision: fp31", "4:16: precision: unknown value 'fp31', did you mean 'fp32'?"),
        ("seeds: [0, 0]", "4:16: seeds: 0 is listed twice"),
        ("seeds: true", "4:12: seeds: expected a whole number, got true"),
        ("batch_size: 2k", "4:17: batch_size: expected a whole number, got '2k': write 2_000"),
        ("batch_size: 2,000", "4:17: batch_size: expected a whole number, got '2,000': write 2_000"),
        ("batch_size: '20'", "4:17: batch_size: expected a whole number, got '20': write 20 without quotes"),
        ("batch_size: '1.5'", "4:17: batch_size: expected a whole number, got '1.5'"),
        ("batch_size: 0", "4:17: batch_size: must be greater than 0, got 0"),
        ("exclude: [{architecture: mamba}]", "4:15: excludes nothing: no grid point matches"),
        ("exclude: [{task: decision}]", "4:22: unknown task 'decision', did you mean 'decision_tree'?"),
        ("exclude: [{size: big}]", "4:22: unknown size group 'big'"),
        ("exclude: [{optimizer: sgd}]", "4:27: unknown optimizer 'sgd', expected one of: adam, adamw"),
        ("exclude: [{sizes: large}]", "4:16: unknown key 'sizes', did you mean 'size'?"),
        (
            "exclude: [{architecture: transformer}]",
            "4:5: there is nothing to run: every grid point is excluded",
        ),
        ("points: [{layers: 2}]", "4:14: missing key 'width'"),
        ("points: [{size: large, layers: 2}]", "4:21: give either size or layers and width, not both"),
        ("points: [{lr: 2}]", "4:15: unknown key 'lr', did you mean 'learning_rate'?"),
        ("points: [{size: 2×64}]", "4:21: unknown size group '2×64', expected its fields, layers: 2 and"),
        ("points: [{size: huge}]", "4:21: unknown size group 'huge'"),
        ("points: [{layers: 2, width: 100}]", "4:14: size: width 100 is not divisible by 8 heads"),
        ("step: 3", "4:5: unknown key 'step', did you mean 'steps'?"),
        (
            "tested_checkpoint: best_validation",
            "4:24: tested_checkpoint: the task 'linear_regression' has no validation loss",
        ),
        (
            "optimizer: {name: adamw, decay: plateau, warmup_steps: 1}",
            "4:16: optimizer: decay plateau: the task 'linear_regression' has no validation loss",
        ),
        (
            "architectures: [transformer, {name: lstm, carry: true}]",
            "4:34: architecture: lstm+carry=True carries a state from step to step, and the task",
        ),
    ],
)
def test_a_slip_is_named_with_its_place(tmp_path: Path, line: str, problem: str) -> None:
    (only,) = problems_of(tmp_path, line)
    assert only.startswith(f"x.yaml:{problem}")


def test_a_width_that_an_architecture_lacks_is_named_with_the_place_of_the_size(tmp_path: Path) -> None:
    sizes = "sizes: [{layers: 1, width: 64}, {layers: 1, width: 20}]"
    assert problems_of(tmp_path, "architectures: [mamba, mamba2]", sizes) == [
        "x.yaml:5:37: size: block 'mamba2' cannot be 20 wide: "
        "its inner width 40 is not a multiple of head_dim 32"
    ]


@pytest.mark.parametrize("key", ["tasks", "architectures", "sizes", "learning_rates", "steps"])
def test_what_nobody_states_is_missing(tmp_path: Path, key: str) -> None:
    assert problems_of(tmp_path, without=key) == [f"x.yaml:4:5: missing key '{key}'"]


def test_a_point_cannot_choose_among_several_values(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "seeds: [1, 2]", "points: [{learning_rate: 1}]") == [
        "x.yaml:5:14: missing key 'seed': the experiment lists 2 of them"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: x\n", "x.yaml:1:1: missing key 'experiments'"),
        ("name: x\nexperiments: {}\n", "x.yaml:2:14: experiments: there is none"),
        ("experiments: {a: {points: [3]}}\n", "x.yaml:1:1: missing key 'name'"),
        ("name: a b\n", "x.yaml:1:7: name: 'a b' is not made of letters"),
        ("name: _x\n", "x.yaml:1:7: name: '_x' does not begin with a letter or a digit"),
        ("name: x\nexperiments:\n  a b: {}\n", "x.yaml:3:3: 'a b' is not made of letters"),
        ("name: x\nexperiments:\n  a: 3\n", "x.yaml:3:6: expected a mapping, got 3"),
        ("name: x\nexperiment: {}\n", "x.yaml:2:1: unknown key 'experiment', did you mean 'experiments'?"),
        ("name: x\ndefaults: {points: []}\n", "x.yaml:2:12: unknown key 'points'"),
        ("name: x\ndefaults: {exclude: []}\n", "x.yaml:2:12: unknown key 'exclude'"),
        ("name: x\ndefaults: [a]\n", "x.yaml:2:11: expected a mapping, got a list"),
        ("- a\n", "x.yaml:1:1: expected a mapping (keys: name, "),
    ],
)
def test_a_slip_in_the_frame_of_the_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    assert any(each.startswith(problem) for each in problems(tmp_path, text))


def test_a_slip_in_the_defaults_is_reported_once_and_there(tmp_path: Path) -> None:
    text = """name: x
defaults: {tasks: lines, architectures: mamba, sizes: {layers: 1, width: 8}, learning_rates: 1, steps: 5}
experiments:
  a: {}
  b: {clip: 5}
  c: {tasks: decision_tree}
"""
    (only,) = problems(tmp_path, text)
    assert only.startswith("x.yaml:2:19: unknown task 'lines'")


def test_problems_of_all_experiments_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """name: x
defaults: {steps: 10, clip: none}
experiments:
  a:
    tasks: [linear_regression, {name: decision_tree, depth: 0}]
    architectures: mamb
    sizes: small
    learning_rates: [.5, fast]
  b:
    tasks: decision_tree
    architectures: mamba
    learning_rates: 1e-4
    checkpoints: 11
"""
    assert problems(tmp_path, text) == [
        "x.yaml:2:29: clip: expected a number, got 'none'",
        "x.yaml:5:61: depth: must be greater than 0, got 0",
        "x.yaml:6:20: unknown architecture 'mamb', did you mean 'mamba'?",
        "x.yaml:8:26: learning_rates: expected a number, got 'fast'",
        "x.yaml:10:5: missing key 'sizes'",
        "x.yaml:13:18: checkpoint 11 is beyond the last step, 10",
    ]


# --- the paper's suite, the schema, the imports -------------------------------------------------


def test_the_papers_suite_is_the_papers_grid() -> None:
    suite = load(PAPER)
    counts = {each.name: len(each.runs) for each in suite.experiments}
    chains = {name for name in counts if name.endswith("chain_of_thought")}
    figure_2_and_8 = {name for name in counts if name.startswith(("figure2_", "figure8_"))} - chains
    assert {counts[name] for name in figure_2_and_8} == {4 * 8 * 4}  # architectures × Table 6 × rates
    assert len(figure_2_and_8) == 8
    assert {counts[name] for name in chains} == {4 * 3 * 4}  # Table 7
    assert counts["figure3_many_outlier_regression"] == 6 * 2 * 4  # Table 8
    assert counts["figure3_orthogonal_outlier_regression"] == 6 * 8 * 4
    assert counts["figure7_parity_convergence"] == 5 * 5
    assert counts["table3_vector_mqar"] == 2 * 5 * 2 * 4
    assert counts["figure9_figure10_adam"] == counts["figure9_figure10_adamw"] == 3 * 16 * 3
    assert all(each.rebuilds for each in suite.experiments)
    assert {run.clip for run in suite.runs} == {10.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "rows", "full_length_flops"),
    [
        ("figure2_linear_regression", 4 * 8, 9.46e18),
        ("figure2_sparse_linear_regression", 4 * 8, 2.35e19),
        ("figure2_two_layer_network", 4 * 8, 2.35e19),
        ("figure2_decision_tree", 4 * 8, 2.35e19),
        ("figure3_many_outlier_regression", 6 * 2, 3.11e19),
        ("figure3_orthogonal_outlier_regression", 6 * 8, 3.43e19),
        ("figure5_parity", 4, 2.27e18),
        ("parity_large_transformer", 1, 1.94e19),
        ("parity_two_layer_mamba", 1, 9.7e16),
        ("figure9_figure10_adam", 3 * 16, 4.25e19 / 6),
    ],
)
def test_an_experiments_flops_at_one_learning_rate_are_those_of_the_closed_forms(
    experiment: str, rows: int, full_length_flops: float
) -> None:
    """Sums worked out apart, from Tables 9 and 10 with L in tokens: batch 64, without the curriculum."""
    (found,) = (each for each in load(PAPER).experiments if each.name == experiment)
    rate = min(run.learning_rate for run in found.runs)
    runs = [run for run in found.runs if run.learning_rate == rate]
    assert len(runs) == rows
    total = sum(
        training_flops_full_length(
            run.architecture, run.size.layers, run.size.width, run.task, run.batch_size, run.steps
        )
        for run in runs
    )
    assert total == pytest.approx(full_length_flops, rel=0.006)


@pytest.mark.slow
def test_figures_2_and_8_share_what_both_show() -> None:
    experiments = {each.name: each for each in load(PAPER).experiments}
    shown_2, shown_8 = (
        {run.id: run.architecture.name for run in experiments[f"figure{number}_decision_tree"].runs}
        for number in (2, 8)
    )
    assert {shown_2[key] for key in shown_2.keys() & shown_8.keys()} == {"transformer", "mamba"}
    assert len(shown_2.keys() & shown_8.keys()) == 2 * 8 * 4


def test_appendix_c_groups_hold_parameters_and_head_dimension_fixed() -> None:
    for sizes in APPENDIX_C.values():
        assert [size.layers for size in sizes] == [2, 8, 32, 128]
        assert len({size.layers * size.width**2 for size in sizes}) == 1
        assert all(size.heads is not None and size.width / size.heads == 16 for size in sizes)


def test_the_schema_is_valid_and_accepts_the_papers_suite() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(read(PAPER).data)


def test_the_schema_knows_every_task_architecture_and_size_group() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["TaskEntry"]["anyOf"][0]["enum"] == list(TASKS)
    assert definitions["SizeEntry"]["anyOf"][0]["enum"] == list(SIZE_GROUPS)
    assert "mambaformer" in definitions["ArchitectureEntry"]["anyOf"][0]["enum"]
    assert "depth" in definitions["DecisionTree"]["properties"]
    assert all(field.get("description") for field in definitions["Entry"]["properties"].values())


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": "linear_regresion"},
        {"tasks": [{"name": "decision_tree", "depht": 3}]},
        {"tasks": [{"n_dims": 3}]},
        {"tasks": []},
        {"architectures": {"name": "mamba", "dropout": 0.1}},
        {"sizes": "huge"},
        {"sizes": [{"layers": 2}]},
        {"learning_rates": ["1e-4"]},
        {"zip": ["sizes", "steps"]},
        {"optimizer": "sgd"},
        {"steps": None},
        {"step": 3},
        {"exclude": [{"seeds": 3}]},
        {"points": [{"lr": 3}]},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(tmp_path: Path, change: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid({"name": "x", "experiments": {"a": ONE}})
    assert not validator.is_valid({"name": "x", "experiments": {"a": {**ONE, **change}}})
    with pytest.raises(InvalidFile):
        loaded(tmp_path, change)


@pytest.mark.slow
def test_reading_a_suite_imports_no_torch() -> None:
    program = (
        "import sys; from pathlib import Path; from bench.suite import load; "
        f"load(Path({str(PAPER)!r})); print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    root = str(PAPER.parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.split() == ["False", "False"]


def test_a_list_that_is_missing_is_the_only_fault_beside_exclusions(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\nexperiments:\n  a:\n    asks: [linear_regression]\n    architectures: [mamba]\n"
        "    sizes: [small]\n    learning_rates: [1e-3]\n    steps: 10\n"
        "    exclude: [{architecture: mamba}]\n"
    )
    with pytest.raises(InvalidFile) as refused:
        load(path)
    assert [problem.split(": ", 1)[1] for problem in refused.value.problems] == [
        "missing key 'tasks'",
        "unknown key 'asks', did you mean 'tasks'?",
    ]
