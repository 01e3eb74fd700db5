"""Trackers: a process beside the training. One that raises or hangs is one warning, and changes no run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, bench
from synthetic import result_of, run_of, write_pool

from bench import results as pools
from bench import tracking
from bench.dispatch.state import Folder
from bench.errors import UserError
from bench.results import path_of, store
from bench.tracking import Follower, Tracking

RECORDING = """\
import json, os

class Run:
    def __init__(self, **fields):
        self.fields, self.calls = fields, []
        write("init", fields)

    def log(self, metrics, step=None):
        write("log", {"name": self.fields["name"], "step": step, **metrics})

    def define_metric(self, *names, **options):
        write("define_metric", {"names": names, **options})

    def finish(self):
        write("finish", {"name": self.fields["name"]})


def write(kind, fields):
    with open(os.environ["CALLS"], "a") as file:
        file.write(json.dumps([kind, fields]) + "\\n")


def init(**fields):
    return Run(**fields)
"""
RAISING = "def init(**fields):\n    raise ConnectionError('no route to the tracker')\n"
HANGING = "import time\n\ndef init(**fields):\n    time.sleep(1000)\n"
TINY = ["quick", "--set", "steps=3", "--set", "checkpoints=1", "--set", "evaluation_prompts=4"]
ONE = ["--filter", "architecture=transformer task=linear_regression", "--workers", "1"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that installs a fake tracker for this process and for those that it starts."""
    modules = tmp_path / "modules"
    modules.mkdir()

    def install(name: str, source: str) -> dict[str, str]:
        (modules / f"{name}.py").write_text(source)
        environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{modules}", "CALLS": str(tmp_path / "calls")}
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        monkeypatch.syspath_prepend(str(modules))
        return environment

    return install


def calls(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return [fields for name, fields in lines if name == kind]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_losses_evaluations_and_settings_reach_the_tracker(name: str, tmp_path: Path, fake: Any) -> None:
    environment = fake(name, RECORDING)
    done = bench("run", *TINY, *ONE, "--track", name, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped" not in done.stdout
    (result,) = pools.load(tmp_path / "results").runs.values()
    (begun,) = calls(tmp_path, "init")
    assert begun["project"] == "quick"
    assert begun["config"]["learning_rate"] == result.run.learning_rate
    assert result.id in begun["name"]
    scores = [log for log in calls(tmp_path, "log") if "evaluation/report" in log]
    assert [log["step"] for log in scores] == [checkpoint.step for checkpoint in result.checkpoints] == [1, 3]
    for log, checkpoint in zip(scores, result.checkpoints, strict=True):
        assert log["evaluation/report"] == checkpoint.evaluations["report"].overall[0]
        assert log["flops"] == checkpoint.training_flops_full_length
    assert len(calls(tmp_path, "finish")) == 1
    if name == "wandb":
        assert (begun["mode"], begun["id"]) == ("offline", result.id)
        assert calls(tmp_path, "define_metric") == [{"names": ["*"], "step_metric": "step"}]


@pytest.mark.slow
def test_a_tracker_that_raises_is_one_warning(tmp_path: Path, fake: Any) -> None:
    environment = fake("wandb", RAISING)
    done = bench("run", *TINY, *ONE, cwd=tmp_path, BENCH_TRACK="wandb", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Done: 1 finished." in done.stdout
    warnings = [line for line in done.stdout.splitlines() if "wandb" in line]
    assert warnings == [
        "wandb stopped: ConnectionError: no route to the tracker. The training is not affected."
    ]
    assert len(pools.load(tmp_path / "results").runs) == 1


def test_a_tracker_that_hangs_is_ended(tmp_path: Path, fake: Any) -> None:
    fake("trackio", HANGING)
    run = run_of()
    write_pool(tmp_path / "results", [run])
    began = time.monotonic()
    tracker = Tracking.start("trackio", "hangs", [run], tmp_path / "results")
    tracker.patience = 3.0
    with tracker:
        assert time.monotonic() - began < 60, "starting does not wait for the tracker"
        assert tracker.process.poll() is None
    assert tracker.warning == "it did not finish within 3 s"
    assert tracker.process.poll() is not None


def test_a_tracker_ends_although_the_command_raises(tmp_path: Path, fake: Any) -> None:
    fake("trackio", RAISING)
    tracker = Tracking.start("trackio", "p", [run_of()], tmp_path / "results")
    tracker.patience = 180.0
    with pytest.raises(KeyboardInterrupt), tracker:
        raise KeyboardInterrupt
    assert tracker.process.poll() == 0, "there was nothing to log"
    assert tracker.warning == ""


def test_a_record_is_read_piece_by_piece(tmp_path: Path) -> None:
    run = run_of()
    folder = Folder.of(tmp_path, run.id)
    follower = Follower(path_of(tmp_path, run), folder)
    assert list(follower.events()) == []
    folder.beat(step=10, steps=run.steps, steps_per_second=2.5, loss=0.5)
    assert list(follower.events()) == [(10, {"train/loss": 0.5, "train/steps_per_second": 2.5})]
    assert list(follower.events()) == [], "nothing new"
    folder.beat(step=20, steps=run.steps, steps_per_second=2.5)
    assert list(follower.events()) == [], "no loss yet"
    store(path_of(tmp_path, run), result_of(run))
    steps = [step for step, _ in follower.events()]
    assert steps == list(run.checkpoints)
    assert follower.ended
    assert list(follower.events()) == []


def test_a_damaged_result_is_not_logged(tmp_path: Path) -> None:
    run = run_of()
    path = path_of(tmp_path, run)
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"checkpoints": [{"step": 1}]}', "null"):
        path.write_text(text)
        follower = Follower(path, Folder.of(tmp_path, run.id))
        assert list(follower.events()) == []
        assert not follower.ended


def test_a_tracker_that_is_not_installed_or_unknown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--track wandbb, did you mean 'wandb'\?"):
        tracking.check("wandbb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package trackio: pip install 'icl-bench\[tracking\]'"):
        tracking.check("trackio")
