"""The list of runs of `bench plan` fits its terminal, and no run is left out or cut."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import ROOT
from rich.cells import cell_len

from bench import suite as suites
from bench.cli.printing import Output
from bench.cli.run_list import show_runs
from bench.cost import Speeds
from bench.plan import Planned, plan
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


def test_an_experiment_states_what_its_runs_share_and_breaks_long_names_before_options(
    planned: list[Planned], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_runs(planned, Output())
    printed = capsys.readouterr().out
    part = printed[printed.index("group_reflections: ") : printed.index("depth_for_state: ")]
    lines = [line.split() for line in part.splitlines()]
    assert "size 1×128, batch 128, steps 5,000" in part
    assert "every word_problem: n_points=32" in part
    assert ["id", "task", "architecture", "lr", "seed", "state", "time"] in lines
    assert ["+group=S5", "+negative_eigenvalues=True"] in lines
    assert "Left out of this narrow terminal: full-length FLOPs, parameters." in printed


def test_numbers_of_evaluation_prompts_that_differ_between_experiments_are_stated_with_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    suite = suites.load(ROOT / "suites/formal.yaml")
    show_runs(plan(suite, Path("/nowhere/results"), Pool(), Speeds(Pool())), Output())
    printed = capsys.readouterr().out
    assert {"500", "2500"} <= set(re.findall(r"evaluation_prompts\s+(\d+)", printed))
