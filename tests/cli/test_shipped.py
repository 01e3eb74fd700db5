"""What ships with bench, and what a new user writes: a wheel, `suites`, `init`, `architectures`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, as_json, bench, said

from bench import suite as suites
from bench.errors import InvalidFile
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.suite import shipped

SHIPPED = sorted(path.stem for path in (ROOT / "suites").glob("*.yaml") if shipped.is_suite(path))


# An installed wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this working tree, installed into a folder of its own. Nothing is downloaded."""
    pytest.importorskip("hatchling", reason="needs hatchling, of the extra dev")
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("target")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(target), str(wheel)], check=True, capture_output=True, timeout=120)
    return target


def of_wheel(installed: Path, folder: Path, *arguments: str) -> str:
    """The output of a command of the installed wheel."""
    script = (
        f"import sys, bench; assert bench.__file__.startswith({str(installed)!r}); sys.argv[0] = 'bench'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", f"{script}from bench.cli import main; main()", *arguments],
        cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip


@pytest.mark.slow
def test_an_installed_wheel_has_every_suite_with_its_claims(installed: Path) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(installed / "bench/shipped") == files(ROOT / "suites")
    templates = [path.name for path in (ROOT / "bench/cli/templates").iterdir() if path.is_file()]
    assert all((installed / "bench/cli/templates" / name).is_file() for name in templates)


@pytest.mark.slow
def test_an_installed_wheel_plans_a_suite_by_its_name(installed: Path, tmp_path: Path) -> None:
    shown = of_wheel(installed, tmp_path, "plan", "quick")
    runs = suites.load(ROOT / "suites/quick.yaml").runs
    assert re.findall(r"^[0-9a-f]{12}\b", shown, re.MULTILINE) == [run.id for run in runs]
    listed = of_wheel(installed, tmp_path, "suites")
    assert re.findall(r"^(\w+) +[\d,]+ ", listed, re.MULTILINE) == SHIPPED
    assert "Wrote suites/mine.yaml" in of_wheel(installed, tmp_path, "init")


# Names of suites


def test_a_name_a_path_and_a_mistake() -> None:
    assert shipped.locate("quick") == ROOT / "suites/quick.yaml"
    assert list(shipped.paths()) == SHIPPED
    assert shipped.locate(str(ROOT / "suites/pilot.yaml")) == ROOT / "suites/pilot.yaml"


def test_a_file_here_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").write_text("name: other")
    assert shipped.locate("quick") == Path("quick")
    (tmp_path / "tasks").mkdir()
    assert shipped.locate("tasks") == ROOT / "suites/tasks.yaml", "a folder is no suite"
    (tmp_path / "mine").mkdir()
    assert shipped.locate("mine") == Path("mine"), "its reader says that it is a folder"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("quikc", "quikc: no such file, and no suite of this name ships with bench, did you mean 'quick'?"),
        ("xyzzy", "expected one of: formal, formal_quick"),
        ("mine", "did you mean 'suites/mine.yaml'?"),
        (
            "suites/quick.yaml",
            "suites/quick.yaml: no such file, did you mean 'quick', which ships with bench?",
        ),
    ],
)
def test_what_is_neither_is_an_error_with_near_names(
    word: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/mine.yaml").touch()
    with pytest.raises(InvalidFile) as caught:
        shipped.locate(word)
    assert message in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "status", "failures", "run"])
def test_commands_take_a_name_and_changes(command: str, tmp_path: Path) -> None:
    dry = ["--dry-run"] if command == "run" else []
    done = bench(command, "quick", "--set", "steps=3", *dry, cwd=tmp_path, COLUMNS="200")
    said(done)
    wrong = bench(command, "quick", "--set", "stepz=3", cwd=tmp_path)
    assert said(wrong, 2) == ""
    assert wrong.stderr == "bench: --set stepz=3: unknown key 'stepz', did you mean 'steps'?\n"


@pytest.mark.slow
def test_changed_runs_are_trained_checked_and_reported_apart(tmp_path: Path) -> None:
    shrunk = [
        "--set",
        "steps=4",
        "--set",
        "architectures=mamba,transformer",
        "--set",
        "evaluation_prompts=16",
    ]
    few = ["--filter", "task=linear_regression"]
    trained = said(bench("run", "quick", *shrunk, *few, "--workers", 1, cwd=tmp_path))
    assert "Done: 2 finished." in trained
    words = " ".join(shrunk)
    assert trained.endswith(f"Next: bench report quick {words}\n")
    planned = as_json(bench("plan", "quick", *shrunk, "--json", cwd=tmp_path))
    assert [run["state"] for run in planned["runs"]] == ["finished"] * 2 + ["missing"] * 2
    unchanged = as_json(bench("plan", "quick", "--json", cwd=tmp_path))
    assert {run["state"] for run in unchanged["runs"]} == {"missing"}
    checked = as_json(bench("check", "quick", *shrunk, "--json", cwd=tmp_path), 2)
    reasons = {verdict["claim"]: verdict["reason"] for verdict in checked["verdicts"]}
    assert "has architecture 'mambaformer'" in reasons["mambaformer_learns_linear_regression"]
    assert [key for key, reason in reasons.items() if not reason.startswith("not planned yet")] != []
    said(bench("report", "quick", *shrunk, cwd=tmp_path))
    (report,) = (tmp_path / "reports").iterdir()
    assert report.name == "quick+steps=4+architectures=mamba,transformer+evaluation_prompts=16"
    nothing = bench("report", "--set", "steps=4", cwd=tmp_path)
    assert "--set changes a suite: name one" in nothing.stderr


# bench suites, init, architectures


@pytest.mark.slow
def test_suites_are_listed_with_their_runs() -> None:
    listed = as_json(bench("suites", "--json"))
    assert list(listed) == SHIPPED
    assert listed["quick"]["runs"] == len(suites.load(ROOT / "suites/quick.yaml").runs)
    assert listed["quick"]["claims"] is True
    assert listed["tasks"]["claims"] is False
    lines = said(bench("suites", COLUMNS="100")).splitlines()
    assert max(map(len, lines)) <= 100
    (line,) = (line for line in lines if line.startswith("paper "))
    assert "1,501" in line


@pytest.mark.slow
def test_the_first_suite_of_a_user_trains_and_its_claims_are_decided(tmp_path: Path) -> None:
    said(bench("init", "--plugin", "--claims", cwd=tmp_path))
    plugin = ["--plugin", "suites/mine.py"]
    trained = said(bench("run", "suites/mine.yaml", *plugin, "--workers", 1, cwd=tmp_path))
    assert "Done: 6 finished." in trained
    checked = as_json(bench("check", "suites/mine.yaml", *plugin, "--json", cwd=tmp_path))
    assert {verdict["verdict"] for verdict in checked["verdicts"]} == {"reproduced"}


def test_the_next_command_that_init_prints_takes_a_path_with_spaces(tmp_path: Path) -> None:
    printed = said(bench("init", "my folder/", "--plugin", cwd=tmp_path))
    (line,) = (line for line in printed.splitlines() if line.startswith("Next: bench run "))
    words = shlex.split(line.removeprefix("Next: bench run "))
    assert words == ["my folder/suites/mine.yaml", "--plugin", "my folder/suites/mine.py"]


@pytest.mark.slow
def test_what_init_writes_is_named_and_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for target, file in (
        ("first", "suites/first.yaml"),
        ("folder", "folder/suites/mine.yaml"),
        ("a/b", "a/b/suites/mine.yaml"),
    ):
        output = said(bench("init", target, cwd=tmp_path))
        assert output.splitlines() == [f"Wrote {file}", f"Next: bench run {file}"]
        assert suites.load(tmp_path / file).runs
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = bench("init", "first", "--plugin", "--claims", cwd=tmp_path)
    assert said(again, 2) == ""
    assert "suites/first.yaml exists" in again.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for name, message in (("quick", "a suite of this name ships"), ("a b", "letters, digits")):
        refused = bench("init", name, cwd=tmp_path)
        assert said(refused, 2) == ""
        assert message in refused.stderr


@pytest.mark.slow
def test_architectures_are_listed_with_their_cost_at_a_size() -> None:
    lines = said(bench("architectures", "--size", "2x128", COLUMNS="200")).splitlines()
    for name in ARCHITECTURES:
        (line,) = (line for line in lines if line.startswith(f"{name} "))
        assert "2×128" in line
    facts = as_json(bench("architectures", "mamba", "--size", "2x128", "--json"))
    assert list(facts) == ["mamba"]
    assert {option["option"]: option["default"] for option in facts["mamba"]["options"]} == {
        "state": 16,
        "expand": 2,
        "convolution": 4,
        "embedding_dropout": 0.0,
        "block_input": "previous",
    }
    (run,) = (
        run
        for run in suites.load(
            ROOT / "suites/paper.yaml", ["sizes={layers: 2, width: 128}", "learning_rates=1e-4"]
        ).runs
        if (run.task.name, run.architecture.name, run.optimizer.name)
        == ("linear_regression", "mamba", "adam")
        if run.size == Size(layers=2, width=128, heads=None)
    )
    (cost,) = facts["mamba"]["costs"]
    assert cost["parameters"] == run.parameters
    assert cost["state"] == 4 * 2 * 128 * 16  # blocks × expand × width × state
    tokens = run.task.length(run.task.n_points) * run.batch_size * run.steps
    assert cost["flops_per_token"] == pytest.approx(run.training_flops_full_length() / tokens)


@pytest.mark.slow
def test_an_architecture_is_shown_with_its_options_and_sizes() -> None:
    lines = said(bench("architectures", "s4_mamba", COLUMNS="100")).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(re.match(r"dropout +0\.1 +s4_mamba +number", line) for line in lines)
    assert any(re.match(r"gate +identity +s4_mamba +identity or", line) for line in lines)
    assert any(re.match(r"12×768 .*large", line) for line in lines)
    lines = said(bench("architectures", "gla", "--size", "2x20", COLUMNS="100")).splitlines()
    assert any(re.match(r"2×20( +–){3}", line) for line in lines)
    assert "–: block 'gla' cannot be 20 wide: the width of its keys 10 is not a multiple of 4 heads." in lines
    for arguments, message in (
        (["mambo"], "unknown architecture 'mambo', did you mean 'mamba'?"),
        (
            ["--size", "smal"],
            "such as 2x128 (numbers up to 100,000), nor a size group, did you mean 'small'?",
        ),
        (["--task", "parity"], "--task parity, did you mean 'sparse_parity'?"),
    ):
        assert message in bench("architectures", *arguments).stderr
