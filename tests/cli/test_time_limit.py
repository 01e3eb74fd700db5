"""`bench run --for`: durations, the time that saving gets, and commands that stop in time and resume."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from averaging import AVERAGE
from command import bench, said

from bench import suite as suites
from bench.cli.time_limit import LEAVE_SECONDS, UNFINISHED, Deadline, process_age, saving_seconds, seconds_of
from bench.dispatch.status import RunStatus
from bench.errors import UserError
from bench.plan.planned import Planned
from bench.plan.time import TimeEstimate
from bench.results import STATE

SUITE = """\
name: tiny
experiments:
  tiny:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [ARCHITECTURE]
    sizes: [{layers: 1, width: 8, heads: 2}]
    learning_rates: [1e-3, 2e-3, 4e-3]
    batch_size: 4
    steps: STEPS
    evaluation_prompts: 8
"""


SLOW = AVERAGE.replace("import nn\n", "import nn\nimport time\n").replace(
    "        return self.mix", "        time.sleep(0.05)\n        return self.mix"
)
"""A model that waits: its training takes time, and other tests have the processor meanwhile."""


def write(folder: Path, steps: int, architecture: str = "mamba") -> Path:
    path = folder / "tiny.yaml"
    text = SUITE.replace("STEPS", str(steps)).replace("ARCHITECTURE", architecture)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("9m", 540), ("1h30m", 5400), ("1.5h", 5400), ("1h1m1s", 3661)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "9", "0s", "m", "-3m", "30m1h", "9 minutes", "1e3s"])
def test_other_texts_are_refused_with_examples(text: str) -> None:
    with pytest.raises(UserError, match="9m or 1h30m"):
        seconds_of(text)


def test_the_age_of_a_process_grows() -> None:
    before = process_age()
    time.sleep(0.05)
    assert 0.02 < process_age() - before < 5


def planned(folder: Path) -> list[Planned]:
    estimate = TimeEstimate(None, "unknown")
    runs = suites.load(write(folder, 10)).runs
    return [Planned(run, ("tiny",), RunStatus("missing"), estimate, place) for place, run in enumerate(runs)]


def test_saving_gets_time_for_the_largest_states(tmp_path: Path) -> None:
    todo = planned(tmp_path)
    least, more = saving_seconds(todo, 1), saving_seconds(todo, 2)
    assert LEAVE_SECONDS < least < more == saving_seconds([*todo[1:], todo[0]], 2)
    deadline = Deadline.of(10_000, todo, 2)
    assert deadline.end - deadline.save == pytest.approx(more)
    assert deadline.end == pytest.approx(time.monotonic() - process_age() + 10_000, abs=1)
    with pytest.raises(UserError, match="no time to train"):
        Deadline.of(process_age() + 1, todo, 2)


def test_a_cluster_has_its_own_limit(tmp_path: Path) -> None:
    write(tmp_path, 10)
    done = bench("run", "tiny.yaml", "--for", "9m", "--cluster", "slurm", cwd=tmp_path)
    assert done.returncode == 2
    assert "timeout_min" in done.stderr


def test_a_command_that_is_soon_done_ends_as_without_a_limit(tmp_path: Path) -> None:
    write(tmp_path, 5)
    output = said(bench("run", "tiny.yaml", "--for", "9m", "--workers", 1, cwd=tmp_path))
    assert "Done: 3 finished." in output


@pytest.mark.slow
def test_a_command_saves_in_time_and_the_next_one_resumes(tmp_path: Path) -> None:
    """Two workers, one of them with a stack of two. The limit is one in which this machine can begin."""
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    options = ("run", "tiny.yaml", "--plugin", "slow.py", "--workers", 2, "--stack", 2, "--yes")
    write(tmp_path, 5, "averaging")
    began = time.monotonic()
    assert "Done: 3 finished." in said(bench(*options, "--results", "short", cwd=tmp_path))
    short = time.monotonic() - began  # mostly the imports, beside the other tests on this machine
    limit = round(LEAVE_SECONDS + 15 + 1.5 * short)
    write(tmp_path, 50_000_000, "averaging")
    saved = []
    for _ in range(2):
        began = time.monotonic()
        done = bench(*options, "--for", f"{limit}s", cwd=tmp_path)
        assert time.monotonic() - began < limit + 15
        assert done.returncode == UNFINISHED, done.stdout + done.stderr
        assert "run the same command again" in done.stdout
        assert "0 of 3 finished, 2 runs saved" in done.stdout
        (steps,) = re.findall(r"saved at steps? ([\d,]+)(?: to ([\d,]+))? of 50,000,000", done.stdout)
        saved.append(int(steps[0].replace(",", "")))
        assert len(list((tmp_path / "results" / STATE).glob("*/checkpoint.pt"))) == 2
    assert 0 < saved[0] < saved[1]
