"""The list of runs of `bench plan` fits its terminal, and no run is left out or cut."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import ROOT
from rich.cells import cell_len

from bench import suite as suites
from bench.cli.printing import Column, Output, table
from bench.cli.run_list import show_runs
from bench.plan.planned import Planned, plan
from bench.plan.time import Speeds
from bench.results import Pool

IDS = re.compile(r"^[0-9a-f]{12}\b", re.MULTILINE)


@pytest.fixture(scope="module")
def planned() -> list[Planned]:
    suite = suites.load(ROOT / "suites/modern_small.yaml")
    return plan(suite, Path("/nowhere/results"), Pool(), Speeds(Pool()))


@pytest.mark.parametrize("width", [80, 100, 300])
def test_every_run_is_listed_whatever_the_width(
    width: int, planned: list[Planned], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show_runs(planned, Output())
    printed = capsys.readouterr().out
    assert max(map(cell_len, printed.splitlines())) <= width
    assert IDS.findall(printed) == [entry.run.id for entry in planned]
    experiments = re.findall(r"^(\w+): [\d,]+ runs", printed, re.MULTILINE)
    everything = list(dict.fromkeys(entry.experiments[0] for entry in planned))
    assert experiments == ([] if width == 300 else everything)


SUITE = """
name: groups
defaults:
  sizes: [{layers: 1, width: 32}]
  learning_rates: [1e-3, 3e-3]
experiments:
  reflections:
    tasks: [{name: word_problem, n_points: 32}, {name: word_problem, n_points: 32, group: S5}]
    architectures:
      - {name: deltanet, householders: 4, negative_eigenvalues: true}
      - mamba2
    steps: 5_000
  recall:
    tasks: [token_mqar]
    architectures: [mamba2]
    steps: 100
"""


def test_an_experiment_states_what_its_runs_share_and_breaks_long_names_before_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "76")
    (tmp_path / "groups.yaml").write_text(SUITE)
    suite = suites.load(tmp_path / "groups.yaml")
    show_runs(plan(suite, Path("/nowhere/results"), Pool(), Speeds(Pool())), Output())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "reflections: 8 runs, size 1×32, steps 5,000" in lines
    assert "every word_problem: n_points=32" in lines
    assert "recall: 2 runs, task token_mqar, size 1×32, steps 100" in lines
    assert "id task architecture lr state time" in lines
    assert "+group=S5 +negative_eigenvalues=True" in lines
    assert "Left out of this narrow terminal: full-length FLOPs, parameters." in lines


def test_numbers_of_evaluation_prompts_that_differ_between_experiments_are_stated_with_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    suite = suites.load(ROOT / "suites/formal.yaml")
    show_runs(plan(suite, Path("/nowhere/results"), Pool(), Speeds(Pool())), Output())
    printed = capsys.readouterr().out
    assert {"500", "2500"} <= set(re.findall(r"evaluation_prompts\s+(\d+)", printed))


def test_a_filtered_plan_names_tasks_as_the_whole_suite_does(
    planned: list[Planned], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    part = [entry for entry in planned if entry.experiments[0] in ("parity_eigenvalues", "hybrid_state")]
    show_runs(part, Output(), planned)
    printed = capsys.readouterr().out
    assert "task word_problem+group=Z2+n_points=32," in printed
    assert "task word_problem+group=S3+n_points=32," in printed


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_a_table_that_cannot_be_as_narrow_as_its_terminal_loses_no_name(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `bench status` has it while runs are in every state."""
    monkeypatch.setenv("COLUMNS", str(width))
    numbers = ["finished", "running", "queued", "diverged", "failed", "missing", "done", "worker time left"]
    columns = [Column("experiment", folds=True), *(Column(name, number=True) for name in numbers)]
    rows = [(name, *(str(1000 + place) for place in range(9))) for name in ("figure-2", "recall")]
    out = Output()
    out.print(table(out, [*columns, Column("full-length FLOPs", number=True, spare=True)], rows))
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["experiment", *numbers[:-1], "worker", "time", "left"]
    assert [line.split() for line in lines[:2]] == [list(row[:-1]) for row in rows]


def test_in_a_pipe_prose_is_broken_into_lines_and_no_line_ends_in_spaces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out, words = Output(), " ".join(["word"] * 80)
    columns = [Column("name", folds=True), Column("meaning", folds=True, prose=True)]
    out.print(table(out, columns, [["a_long_name" * 20, words], ["short", "one"]]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("a_long_name" * 20), "names stay whole, so that scripts find them"
    assert " ".join(lines).count("word") == 80
    assert max(len(line.split("  ")[-1].strip()) for line in lines[2:]) <= 60
    assert not [line for line in lines if line != line.rstrip()]


def test_a_long_name_is_broken_behind_an_underscore(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    out = Output()
    columns = [Column("verdict"), Column("claim", folds=True), Column("bound")]
    out.print(table(out, columns, [["reproduced", "standard_hybrid_slower_than_mambaformer", "ratio < 0.5"]]))
    parts = [
        line.split()[1 if "reproduced" in line else 0] for line in capsys.readouterr().out.splitlines()[1:]
    ]
    assert "".join(parts) == "standard_hybrid_slower_than_mambaformer"
    assert len(parts) > 1
    assert all(part.endswith("_") for part in parts[:-1])
