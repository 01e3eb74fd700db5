"""What `bench run` prints while runs train, from the files that workers write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import experiment_of, grid, suite_of, task_named, write_pool

from bench.cli import progress
from bench.cli.printing import Output
from bench.dispatch.job import Job
from bench.dispatch.state import Folder
from bench.dispatch.status import RunStatus
from bench.plan.planned import plan
from bench.plan.time import Speeds
from bench.results import Pool


class Clock:
    """Time that passes only in sleep: 100 s at a time."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 100.0


class Workers:
    """Workers that do one piece of work between two looks at them."""

    def __init__(self, *pieces: Callable[[], None]) -> None:
        self.jobs: list[Job] = []
        self.pieces = list(pieces)

    def busy(self) -> bool:
        if not self.pieces:
            return False
        self.pieces.pop(0)()
        return True


def test_runs_of_a_stack_that_end_together_are_counted_and_the_last_of_them_tells_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = grid(
        task_named(), ["mamba"], [(2, 32)], [1e-3], seeds=range(4), steps=1000, checkpoints=(1000,),
        evaluation_prompts=2,
    )  # fmt: skip
    todo = plan(suite_of(experiment_of(runs)), tmp_path, Pool({}, {}), Speeds(Pool({}, {})))

    def train(step: int) -> None:
        for run in runs:
            Folder.of(tmp_path, run.id).beat(step=step, steps=1000, steps_per_second=5.0, loss=1.0)

    def end_two() -> None:
        train(900)
        write_pool(tmp_path, runs[:2])
        for run in runs[:2]:
            Folder.of(tmp_path, run.id).clear()

    def end_all() -> None:
        write_pool(tmp_path, runs[2:])
        for run in runs[2:]:
            Folder.of(tmp_path, run.id).clear()

    monkeypatch.setattr(progress, "time", Clock())
    progress.follow(Workers(lambda: train(0), lambda: train(500), end_two, end_all), todo, tmp_path, Output())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == [
        "1 of 4",
        "2 of 4, about 11 s left",  # 200 of 4,000 steps are left, and 3,800 took 200 s
        "3 of 4",
        "4 of 4, 5 min in all",
    ]


def test_the_time_left_includes_evaluations_still_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 steps take 200 s, and ten evaluations 400 s, of which the first took 40 s."""
    (run,) = grid(
        task_named("sparse_parity"), ["mamba"], [(2, 32)], [1e-3],
        steps=1000, checkpoints=tuple(range(100, 1001, 100)),
    )  # fmt: skip
    (entry,) = plan(suite_of(experiment_of([run])), tmp_path, Pool({}, {}), Speeds(Pool({}, {})))
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    view = progress._View([entry], tmp_path, Workers(), Output())
    began = view.began

    def left(seconds: float, step: int, evaluations: float) -> float | None:
        clock.now = began + seconds
        flops = round(run.evaluation_flops() * evaluations / 10)
        cost = {"evaluation_seconds": 40.0 * evaluations, "evaluation_flops": flops}
        Folder.of(tmp_path, run.id).beat(step=step, steps=1000, steps_per_second=5.0, loss=1.0, **cost)
        view.update()
        return view.seconds_left()

    assert left(0, 0, 0) is None
    # No evaluation was measured yet: its FLOPs take as long as those of steps.
    unmeasured = 200 * run.evaluation_flops() / run.training_flops_full_length()
    assert left(20, 100, 0) == pytest.approx(180 + unmeasured)
    assert left(60, 100, 1) == pytest.approx(540)
    assert left(200 + 360, 1000, 9) == pytest.approx(40)
    assert left(200 + 380, 1000, 9.5) == pytest.approx(20, rel=1e-3)


def test_the_time_left_of_a_run_that_waits_or_goes_back_is_that_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 steps take 200 s. A cluster requeues the run, and a process dies beyond its checkpoint."""
    (run,) = grid(
        task_named(), ["mamba"], [(2, 32)], [1e-3], steps=1000, checkpoints=(1000,), evaluation_prompts=2
    )
    (entry,) = plan(suite_of(experiment_of([run])), tmp_path, Pool({}, {}), Speeds(Pool({}, {})))
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    view = progress._View([entry], tmp_path, Workers(), Output())
    began = view.began

    def left(seconds: float, step: int, **beat: str) -> float | None:
        clock.now = began + seconds
        Folder.of(tmp_path, run.id).beat(step=step, steps=1000, steps_per_second=5.0, loss=1.0, **beat)
        view.update()
        return view.seconds_left()

    assert left(0, 300) is None  # the last heartbeat of a process that died
    assert left(0, 200) is None  # its successor resumes from the checkpoint
    assert left(20, 300) == pytest.approx(140, rel=0.01)
    assert left(40, 400) == pytest.approx(120, rel=0.01)
    assert left(40, 400, ended="asked to stop") == pytest.approx(120, rel=0.01)  # it waits in the queue
    assert left(60, 500) == pytest.approx(100, rel=0.01)


def test_a_run_that_diverged_at_once_has_not_done_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = grid(
        task_named(), ["mamba"], [(2, 32)], [1e-3], seeds=(0, 1), steps=1000, checkpoints=(1000,),
        evaluation_prompts=2,
    )  # fmt: skip
    todo = plan(suite_of(experiment_of(runs)), tmp_path, Pool({}, {}), Speeds(Pool({}, {})))
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    view = progress._View(todo, tmp_path, Workers(), Output())
    view.update()
    # Earlier calls had done half of the run that diverges, before this call sees it.
    view.todo[0] = replace(view.todo[0], status=RunStatus("missing", 500))
    write_pool(tmp_path, runs[:1], outcome="diverged")
    for step in (0, 100):
        Folder.of(tmp_path, runs[1].id).beat(step=step, steps=1000, steps_per_second=5.0, loss=1.0)
        view.update()
    clock.now += 20.0
    assert view.seconds_left() == pytest.approx(180, rel=0.01)  # a tenth took 20 s
