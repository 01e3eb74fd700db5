"""`--set`: the runs are those of a file with the changed settings, and errors name the option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import ROOT

from bench import suite as suites
from bench.errors import InvalidFile, UserError
from bench.suite.changes import changes

QUICK = ROOT / "suites/quick.yaml"
SIX = "[transformer, mamba, s4, s4_mamba, standard_hybrid, mambaformer]"
DRY = "mamba,{name: s4_mamba, dropout: 0.0}"
ADAMW = "{name: adamw, warmup_steps: 100}"
SUITE = """\
name: changed
experiments:
  grid:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [transformer, mamba]
    sizes: [{layers: 1, width: 16, heads: 2}]
    learning_rates: [1e-3, 2e-3]
    steps: 1000
    checkpoints: [100, {every: 400}]
    exclude: [{learning_rate: 2e-3, architecture: mamba}]
    points:
      - {architecture: mamba, learning_rate: 5e-3, steps: 2000, checkpoints: [500]}
"""


def write(folder: Path, text: str, name: str = "changed.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def ids(path: Path, *settings: str) -> list[str]:
    return [run.id for run in suites.load(path, settings).runs]


@pytest.mark.parametrize(
    ("settings", "edits"),
    [
        (["steps=2000"], [("steps: 1000", "steps: 2000")]),
        (["seeds=0,1"], [("defaults:\n", "defaults:\n  seeds: [0, 1]\n")]),
        (["seeds=[0, 1]"], [("defaults:\n", "defaults:\n  seeds: [0, 1]\n")]),
        (["learning_rates=1e-3"], [("[2e-3]", "[1e-3]")]),
        ([f"architectures={DRY}"], [(SIX, f"[{DRY}]")]),
        ([f"optimizer={ADAMW}"], [("defaults:\n", f"defaults:\n  optimizer: {ADAMW}\n")]),
        (["clip=1", "batch_size=8"], [("batch_size: 32", "batch_size: 8\n  clip: 1")]),
        (["checkpoints={every: 250}"], [("checkpoints: [300, 600]", "checkpoints: {every: 250}")]),
    ],
)  # fmt: skip
def test_the_runs_are_those_of_a_file_with_the_settings(
    settings: list[str], edits: list[tuple[str, str]], tmp_path: Path
) -> None:
    text = QUICK.read_text(encoding="utf-8")
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    edited = ids(write(tmp_path, text))
    assert ids(QUICK, *settings) == edited
    assert set(edited) != set(ids(QUICK))


def test_settings_that_are_those_of_the_file_change_no_run() -> None:
    assert ids(QUICK, "steps=1000", "seeds=0") == ids(QUICK)


def test_a_changed_suite_has_a_name_of_its_own() -> None:
    assert suites.load(QUICK).name == suites.load(QUICK).base_name == "quick"
    changed = suites.load(QUICK, ["steps=2_000", "seeds=0,1"])
    assert (changed.name, changed.base_name) == ("quick+steps=2000+seeds=0,1", "quick")
    names = {
        suites.load(QUICK, [f"sizes={{layers: {layers}, width: 16, heads: 4}}"]).name for layers in (1, 2)
    }
    assert len(names) == 2
    assert all(re.fullmatch(r"quick\+sizes=[0-9a-f]{12}", name) for name in names)


def test_fewer_steps_leave_out_later_checkpoints() -> None:
    (checkpoints,) = {run.checkpoints for run in suites.load(QUICK, ["steps=500"]).runs}
    assert checkpoints == (300, 500)
    with pytest.raises(UserError, match=r"--set checkpoints=600: checkpoint 600 is beyond the last"):
        suites.load(QUICK, ["steps=500", "checkpoints=600"])


def test_points_are_changed_too(tmp_path: Path) -> None:
    path = write(tmp_path, SUITE)
    runs = suites.load(path, ["steps=300", "seeds=0,1"]).runs
    assert {run.steps for run in runs} == {300}
    assert len(runs) == 2 * (3 + 1)
    point = [run for run in runs if run.learning_rate == 5e-3]
    assert [(run.seed, run.checkpoints) for run in point] == [(0, (300,)), (1, (300,))]
    assert {run.checkpoints for run in runs if run not in point} == {(100, 300)}
    runs = suites.load(path, ["learning_rates=1e-2", "sizes={layers: 2, width: 8, heads: 2}"]).runs
    assert {(run.learning_rate, run.size.layers) for run in runs} == {(1e-2, 2)}
    assert sorted(run.steps for run in runs) == [1000, 1000, 2000], (
        "an exclusion that no longer matches is no fault"
    )


def test_included_files_are_changed_too(tmp_path: Path) -> None:
    write(tmp_path, SUITE)
    path = write(tmp_path, "name: outer\ninclude: [changed.yaml]\n", "outer.yaml")
    assert {run.steps for run in suites.load(path, ["steps=70"]).runs} == {70}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps"], "--set steps: expected KEY=VALUE"),
        (["stepz=5"], "--set stepz=5: unknown key 'stepz', did you mean 'steps'?"),
        (["seed=5"], "--set seed=5: unknown key 'seed', did you mean 'seeds'?"),
        (["learning_rate=1e-3"], "unknown key 'learning_rate', did you mean 'learning_rates'?"),
        (["zip=[sizes, seeds]"], "unknown key 'zip'"),
        (["steps=two"], "--set steps=two: steps: expected a whole number, got 'two'"),
        (["steps=1,2"], "--set steps=1,2: takes one value, got 2"),
        (["steps=0"], "--set steps=0: steps: must be greater than 0, got 0"),
        (["seeds="], "--set seeds=: seeds: must not be empty"),
        (["seeds=[1"], "--set seeds=[1: "),
        (["seeds=1]"], "--set seeds=1]: "),
        (["seeds=-1"], "--set seeds=-1: seeds: must be at least 0, got -1"),
        (["seeds=1", "seeds=2"], "--set seeds=2: 'seeds' is set twice"),
        (["precision=fp8"], "--set precision=fp8: "),
    ],
)
def test_a_word_that_is_no_change_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        changes(words)
    assert message in str(caught.value)
    assert not isinstance(caught.value, InvalidFile)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "architectures=mambo",
            "unknown architecture 'mambo', did you mean 'mamba'?",
        ),
        ("architectures={name: mamba, stat: 4}", "unknown option 'stat', did you mean 'state'?"),
        ("tasks={name: linear_regression, n_dim: 3}", "unknown key 'n_dim', did you mean 'n_dims'?"),
        ("sizes=smal", "unknown size group 'smal', did you mean 'small'?"),
        ("sizes={layers: 2, width: 33, heads: 4}", "width 33 is not divisible by 4 heads"),
        ("seeds=1,1", "seeds: 1 is listed twice"),
    ],
)
def test_a_value_is_checked_as_in_a_file(word: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        suites.load(QUICK, [word])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"--set {word}: ")
    assert message in line


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(UserError) as caught:
        suites.load(QUICK, ["sizes=smal", "architectures=mambo"])
    assert len(str(caught.value).splitlines()) == 2
