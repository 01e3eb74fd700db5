"""Where runs stand, from files alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from synthetic import grid, task_named, write_pool

from bench import results as pools
from bench.dispatch.state import Folder
from bench.dispatch.status import Queue, QueuedJob, RunStatus, run_status, run_statuses
from bench.results import Pool

RUNS = grid(task_named("linear_regression"), ("transformer", "mamba"), ((4, 256),), (1e-4, 5e-5), (0, 1))


def test_every_state_is_read_from_files_alone(tmp_path: Path) -> None:
    finished, diverged, running, killed, failed, untouched = RUNS[:6]
    write_pool(tmp_path, [finished])
    write_pool(tmp_path, [diverged], outcome="diverged")
    Folder.of(tmp_path, running.id).beat(step=7, steps_per_second=3.5, loss=1.5)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    beat(Folder.of(tmp_path, killed.id), pid=dead.pid, step=9_000)
    (Folder.of(tmp_path, killed.id).path / "checkpoint.pt").write_bytes(b"")
    Folder.of(tmp_path, failed.id).fail_with("MemoryError", "out of memory\nsomewhere")
    found = run_statuses(RUNS[:6], tmp_path, pools.load(tmp_path))
    assert [found[run.id] for run in RUNS[:6]] == [
        RunStatus("finished", finished.steps),
        RunStatus("diverged", 0, note="the loss was not finite at step 1,234"),
        RunStatus("running", 7, 3.5, 1.5),
        RunStatus("missing", 9_000, note="interrupted; resumable"),
        RunStatus("failed", 0, note="MemoryError: out of memory"),
        RunStatus("missing"),
    ]
    assert untouched.id in found


def beat(folder: Folder, **fields: Any) -> None:
    """A heartbeat with other fields than this process would write."""
    folder.beat(step=fields.get("step", 0))
    path = folder.path / "heartbeat.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_run_is_not_running_when_its_heartbeat_is_old(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path, RUNS[0].id)
    beat(folder, time=0.0)
    assert run_status(RUNS[0], tmp_path, Pool()).word == "missing"


def test_a_run_elsewhere_is_believed_to_be_running(tmp_path: Path) -> None:
    beat(Folder.of(tmp_path, RUNS[0].id), host="another machine", pid=2**22 + 1, step=3)
    assert run_status(RUNS[0], tmp_path, Pool()) == RunStatus("running", 3)


def test_a_result_counts_whatever_the_state_folder_says(tmp_path: Path) -> None:
    write_pool(tmp_path, RUNS[:1])
    Folder.of(tmp_path, RUNS[0].id).fail_with("OSError", "an earlier attempt")
    assert run_status(RUNS[0], tmp_path, pools.load(tmp_path)).word == "finished"


@pytest.mark.parametrize("outcome", ["finished", "diverged"])
def test_a_run_that_ended_after_the_results_were_read_is_not_missing(tmp_path: Path, outcome: str) -> None:
    pool, queue = pools.load(tmp_path), Queue(runs={RUNS[0].id: QueuedJob("7", "RUNNING")})
    assert run_status(RUNS[0], tmp_path, pool).word == "missing"
    write_pool(tmp_path, RUNS[:1], outcome=outcome)
    assert run_status(RUNS[0], tmp_path, pool, queue).word == outcome
    assert RUNS[0].id in pool.runs, "what the status says and what is computed from the results agree"


def test_a_run_tried_again_is_running_not_failed(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path, RUNS[0].id)
    folder.fail_with("OSError", "an earlier attempt")
    folder.beat(step=1)
    assert run_status(RUNS[0], tmp_path, Pool()).word == "running"


HERE = f'"pid": {os.getpid()}, "host": "{socket.gethostname()}"'


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"running"', '{"pid": 1, "host": "h", "time": "now"}',
        f'{{{HERE}, "time": 1e999}}', f'{{{HERE}, "time": 0, "step": "7"}}',
        f'{{{HERE}, "time": {time.time()}, "step": [7]}}',
        f'{{{HERE}, "time": {time.time()}, "steps_per_second": "fast"}}',
    ],
    ids=range(10),
)  # fmt: skip
def test_a_broken_heartbeat_is_no_heartbeat(tmp_path: Path, text: str) -> None:
    folder = Folder.of(tmp_path, RUNS[0].id)
    folder.path.mkdir(parents=True)
    (folder.path / "heartbeat.json").write_text(text)
    assert run_status(RUNS[0], tmp_path, Pool()) == RunStatus("missing")


def test_a_run_that_a_process_holds_is_running_with_or_without_a_heartbeat(tmp_path: Path) -> None:
    """A process that has just locked a run has not written its first heartbeat yet."""
    folder = Folder.of(tmp_path, RUNS[0].id)
    with folder.locked() as free:
        assert free
        assert run_status(RUNS[0], tmp_path, Pool()) == RunStatus("running")
        folder.beat(step=5, ended="asked to stop")  # by an earlier process
        assert run_status(RUNS[0], tmp_path, Pool()) == RunStatus("running", 5)
    assert run_status(RUNS[0], tmp_path, Pool()).word == "missing"


COST = {"evaluation_seconds": 9.0, "evaluation_flops": 1_000}


def test_a_run_that_waits_for_its_job_has_done_what_it_has_saved(tmp_path: Path) -> None:
    run = RUNS[0]
    queue = Queue(True, {"7": QueuedJob("7", "PENDING", waits=True)}, {run.id: QueuedJob("7", "PENDING")})
    folder = Folder.of(tmp_path, run.id)
    folder.beat(step=500, job="7", ended="asked to stop", **COST)
    status = run_status(run, tmp_path, Pool(), queue)
    assert (status.word, status.step, status.evaluation_flops) == ("queued", 0, 0), "it has saved nothing"
    (folder.path / "checkpoint.pt").write_bytes(b"")
    status = run_status(run, tmp_path, Pool(), queue)
    assert (status.word, status.step) == ("queued", 500)
    assert (status.evaluation_seconds, status.evaluation_flops) == (9.0, 1_000)


def test_a_run_whose_process_died_has_done_what_it_has_saved(tmp_path: Path) -> None:
    run = RUNS[0]
    folder = Folder.of(tmp_path, run.id)
    folder.beat(step=500, parts=3, **COST)
    (folder.path / "checkpoint.pt").write_bytes(b"")
    assert run_status(run, tmp_path, Pool()).word == "running"
    folder.record_death()  # by a process that lives on, on the machine of the dead one
    assert not folder.alive()
    assert folder.last_progress() == (500, 3)
    status = run_status(run, tmp_path, Pool())
    assert (status.word, status.step, status.note) == ("missing", 500, "interrupted; resumable")
    assert status.evaluation_flops == 1_000
    folder.fail_with("WorkerDied", "killed by SIGKILL, 3 times without progress")
    status = run_status(run, tmp_path, Pool())
    assert (status.word, status.step, status.evaluation_flops) == ("failed", 500, 1_000), "a retry resumes"


def test_members_of_an_interrupted_stack_can_resume_from_its_checkpoint(tmp_path: Path) -> None:
    stack = Folder.of(tmp_path, "stack-0123456789ab")
    for run in RUNS[:2]:
        Folder.of(tmp_path, run.id).beat(step=500, stack=2, stack_id=stack.path.name, ended="asked to stop")
    assert {run_status(run, tmp_path, Pool()) for run in RUNS[:2]} == {RunStatus("missing")}
    stack.path.mkdir()
    (stack.path / "checkpoint.pt").write_bytes(b"")
    expected = RunStatus("missing", 500, note="interrupted; resumable")
    assert [run_status(run, tmp_path, Pool()) for run in RUNS[:3]] == [
        expected,
        expected,
        RunStatus("missing"),
    ]
