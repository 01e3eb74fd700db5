"""`zip`: lists that are paired, value by value, beside lists that are multiplied."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from bench import suite as suites
from bench.errors import InvalidFile, UserError
from bench.strict_yaml.document import read

SUITE = """\
name: zipped
defaults: {steps: 100, batch_size: 8}
experiments:
  grid:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [transformer, mamba]
    sizes: [x-small, {layers: 1, width: 16, heads: 2}, {layers: 2, width: 16, heads: 2}]
    learning_rates: [1e-3, 2e-3, 1e-3]
    seeds: [0, 1]
    zip: [sizes, learning_rates]
"""
ZIP = "    zip: [sizes, learning_rates]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "zipped.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_zipped_lists_are_paired_and_the_others_multiply(tmp_path: Path) -> None:
    runs = suites.load(write(tmp_path, SUITE)).runs
    pairs = {(run.size.layers, run.size.width, run.learning_rate) for run in runs}
    assert pairs == {(2, 128, 1e-3), (8, 64, 1e-3), (32, 32, 1e-3), (1, 16, 2e-3), (2, 16, 1e-3)}
    assert len(runs) == len(pairs) * 2 * 2, "architectures and seeds"
    single = suites.load(
        write(
            tmp_path, SUITE.replace("    zip: [sizes, learning_rates]\n", "").replace("2e-3, 1e-3]", "2e-3]")
        )
    )
    assert {run.id for run in runs} < {run.id for run in single.runs}, "ids are those of the product"


def test_defaults_may_zip_and_three_lists_may_be_zipped(tmp_path: Path) -> None:
    text = SUITE.replace(ZIP, "").replace("batch_size: 8", "zip: [sizes, seeds, learning_rates]")
    runs = suites.load(write(tmp_path, text.replace("seeds: [0, 1]", "seeds: [4, 5, 6]"))).runs
    assert {(run.size.layers, run.seed) for run in runs if run.size.width == 16} == {(1, 5), (2, 6)}


def test_exclusions_and_points_work_beside_it(tmp_path: Path) -> None:
    more = "    exclude: [{size: x-small}, {learning_rate: 2e-3, architecture: mamba}]\n"
    more += "    points: [{architecture: s4, size: {layers: 1, width: 8}, learning_rate: 5e-3, seed: 9}]\n"
    runs = suites.load(write(tmp_path, SUITE + more)).runs
    shapes = sorted((run.architecture.name, run.size.layers, run.learning_rate, run.seed) for run in runs)
    assert shapes == [
        ("mamba", 2, 1e-3, 0), ("mamba", 2, 1e-3, 1), ("s4", 1, 5e-3, 9), ("transformer", 1, 2e-3, 0),
        ("transformer", 1, 2e-3, 1), ("transformer", 2, 1e-3, 0), ("transformer", 2, 1e-3, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("zip: [sizes, seeds]", "zipped.yaml:10:10: zip: sizes has 3 values, seeds has 2; paired lists"),
        ("zip: [sizes, sizes]", "zipped.yaml:10:18: zip: 'sizes' is listed twice"),
        ("zip: [sizes]", "zipped.yaml:10:10: zip: needs at least 2 values, got 1"),
        ("zip: [sizes, seed]", "zipped.yaml:10:18: zip: unknown value 'seed', did you mean 'seeds'?"),
        ("zip: [sizes, steps]", "zipped.yaml:10:18: zip: unknown value 'steps'"),
    ],
)
def test_a_mistake_has_its_place(line: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, SUITE.replace("zip: [sizes, learning_rates]", line))
    with pytest.raises(InvalidFile) as caught:
        suites.load(path)
    assert len(caught.value.problems) == 1
    assert message in caught.value.problems[0]


def test_a_list_from_the_command_line_must_have_the_length_too(tmp_path: Path) -> None:
    path = write(tmp_path, SUITE)
    with pytest.raises(UserError, match=r"--set learning_rates=1e-3,2e-3: zip: sizes has 3 values"):
        suites.load(path, ["learning_rates=1e-3,2e-3"])
    runs = suites.load(path, ["learning_rates=1e-3,2e-3,5e-3"]).runs
    assert {run.learning_rate for run in runs if run.size.layers == 2 and run.size.width == 16} == {5e-3}


def test_one_value_from_the_command_line_is_that_of_every_row(tmp_path: Path) -> None:
    path = write(tmp_path, SUITE)
    before, after = suites.load(path).runs, suites.load(path, ["learning_rates=5e-3"]).runs
    assert [(run.architecture.name, run.size, run.seed) for run in after] == [
        (run.architecture.name, run.size, run.seed) for run in before
    ]
    assert {run.learning_rate for run in after} == {5e-3}
    smallest = "sizes={layers: 2, width: 16, heads: 2}"
    alone = suites.load(path, [smallest, "learning_rates=5e-3"]).runs
    assert {(run.size.width, run.learning_rate) for run in alone} == {(16, 5e-3)}


def test_a_mistake_in_a_zipped_value_has_its_own_place(tmp_path: Path) -> None:
    path = write(tmp_path, SUITE.replace("{layers: 2, width: 16,", "{layers: 2, width: 15,"))
    with pytest.raises(InvalidFile) as caught:
        suites.load(path)
    assert caught.value.problems == [f"{path}:7:56: size: width 15 is not divisible by 2 heads"]


def test_the_schema_knows_it(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(suites.json_schema())
    validator.validate(read(write(tmp_path, SUITE)).data)
    wrong = read(write(tmp_path, SUITE.replace("zip: [sizes,", "zip: [steps,"))).data
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(wrong)
