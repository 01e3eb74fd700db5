"""What a job on a cluster decides by itself: whose code it is, when it stops coming back, who is to blame."""

from __future__ import annotations

import pickle
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from synthetic import run_of

from bench.dispatch.job import Machine
from bench.dispatch.order import Order
from bench.dispatch.slurm import job as slurm_job
from bench.dispatch.slurm.job import MOST_FRUITLESS, JobProgress, SlurmJob, _Process
from bench.dispatch.slurm.submit import LAUNCHER
from bench.dispatch.state import Folder
from bench.errors import UserError


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> _Process:
    """A process that has just become a job."""
    process = _Process()
    monkeypatch.setattr(slurm_job, "_PROCESS", process)
    return process


def job_of(results: Path, **fields: Any) -> SlurmJob:
    run = run_of()
    values: dict[str, Any] = {
        "ids": (run.id,),
        "jobs": (run,),
        "order": Order(results, (run.id,), {}),
        "machine": Machine(),
        "device": "cpu",
        "workers": 1,
        "memory_mib": 0,
        "spread": 1,
        "save_seconds": 1.0,
        "limit_seconds": 60.0,
    }
    return SlurmJob(**{**values, **fields})


def test_a_job_survives_being_pickled(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    again = pickle.loads(pickle.dumps(job))
    assert again.ids == job.ids
    assert again._pool().jobs == [run_of()]


def test_a_job_that_an_earlier_version_pickled_is_read(tmp_path: Path) -> None:
    """Jobs may wait in a queue for days. Their pickles name `bench.dispatch.slurm_job` and `Machine.scan`."""
    job = job_of(tmp_path, machine=Machine(kernels="triton"))
    text = pickle.dumps(job, protocol=0).replace(b"bench.dispatch.slurm.job", b"bench.dispatch.slurm_job")
    assert text.count(b"Vkernels\n") == 1
    earlier = pickle.loads(text.replace(b"Vkernels\n", b"Vscan\n"))
    assert earlier == job
    assert vars(earlier.machine) == vars(job.machine)


def test_a_run_that_the_code_takes_for_another_is_not_trained(tmp_path: Path) -> None:
    job = job_of(tmp_path, ids=("0123456789ab",))
    assert job._pool().jobs == []
    failure = Folder.of(tmp_path, "0123456789ab").failure()
    assert failure is not None
    assert failure["class"] == "CodeChanged"
    assert "it changed after it was submitted" in failure["message"]


def at_the_limit(process: _Process, job: SlurmJob, before: JobProgress = (0, 0, 0)) -> None:
    process.progress_before, process.began = before, time.monotonic() - job.limit_seconds


def test_time_limits_without_a_step_end_and_say_why(tmp_path: Path, process: _Process) -> None:
    job = job_of(tmp_path)
    for count in range(1, MOST_FRUITLESS):
        at_the_limit(process, job)
        again = job.checkpoint()
        assert again is not None
        job = again.function
        assert job.fruitless == count
    at_the_limit(process, job)
    assert job.checkpoint() is None
    failure = Folder.of(tmp_path, job.ids[0]).failure()
    assert failure is not None
    assert failure["class"] == "NoProgress"


@pytest.mark.parametrize("before", [(0, 6, 0), (0, 6, 4), (0, 7, 1)])
def test_a_step_or_a_part_of_an_evaluation_makes_up_for_all_before(
    before: JobProgress, tmp_path: Path, process: _Process
) -> None:
    job = job_of(tmp_path, fruitless=MOST_FRUITLESS - 1)
    Folder.of(tmp_path, job.ids[0]).beat(step=7, parts=2)
    at_the_limit(process, job, before)
    again = job.checkpoint()
    assert again is not None
    assert again.function.fruitless == 0


def test_being_preempted_early_is_nobodys_fault(tmp_path: Path, process: _Process) -> None:
    job = job_of(tmp_path, fruitless=MOST_FRUITLESS - 1)
    process.progress_before, process.began = (0, 0, 0), time.monotonic() - 5
    again = job.checkpoint()
    assert again is not None
    assert again.function.fruitless == MOST_FRUITLESS - 1


def test_a_limit_that_is_all_warning_ends_after_a_few_attempts(tmp_path: Path) -> None:
    """With one minute and a warning two minutes before the end, the warning comes before the pool."""
    job = job_of(tmp_path, save_seconds=90.0)
    for count in range(1, MOST_FRUITLESS):
        again = job.checkpoint()
        assert again is not None
        job = again.function
        assert job.fruitless == count
    assert job.checkpoint() is None


def test_a_warning_before_its_handler_is_pending_until_the_job_begins() -> None:
    code = (
        "import os, signal, sys\n"
        "os.kill(os.getpid(), signal.SIGUSR2)\n"
        "signal.signal(signal.SIGUSR2, lambda number, frame: print('warned'))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})\n"
        "print(*sys.argv[1:])\n"
    )
    command = f"{LAUNCHER} {shlex.quote(sys.executable)} -c {shlex.quote(code)} 'two words' '$HOME'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["warned", "two words $HOME"]


def test_a_job_lets_its_warning_through(tmp_path: Path) -> None:
    """A job whose order was abandoned returns at once; by then the signal is no longer blocked."""
    job = job_of(tmp_path)
    job.order.abandon("a reason")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_job, "_clear_half_written", lambda: None)
        assert job() == "abandoned"
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_node_without_a_gpu_is_said_by_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_job, "_clear_half_written", lambda: None)
    monkeypatch.setattr("bench.dispatch.machines.visible_gpus", lambda: 0)
    job = job_of(tmp_path, device="cuda")
    with pytest.raises(UserError, match="no CUDA device"):
        job()
    failure = Folder.of(tmp_path, job.ids[0]).failure()
    assert failure is not None
    assert "no CUDA device" in failure["message"]


@pytest.mark.parametrize(("memory", "largest", "places"), [
    ([80_000, 80_000], 10_000, ["cuda:0", "cuda:1"] * 3),
    ([80_000, 24_000], 10_000, ["cuda:0", "cuda:1"] * 2),
    ([16_000, 16_000], 10_000, ["cuda:0", "cuda:1"]),
    ([8_000, 8_000], 10_000, ["cuda:0", "cuda:1"]),
    ([16_000, 16_000], 0, ["cuda:0", "cuda:1"] * 3),
    ([], 10_000, ["cuda:0", "cuda:1"] * 3),
])  # fmt: skip
def test_on_smaller_gpus_than_were_expected_fewer_runs_share_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: list[int], largest: int, places: list[str]
) -> None:
    monkeypatch.setattr("bench.dispatch.machines.visible_gpus", lambda: 2)
    monkeypatch.setattr(slurm_job, "gpu_memory_mib", lambda: memory)
    runs = tuple(run_of(learning_rate=1e-4 * number) for number in range(1, 9))
    ids = tuple(run.id for run in runs)
    job = job_of(tmp_path, ids=ids, jobs=runs, device="cuda", workers=6, memory_mib=largest)
    assert [one.device for one in job._pool().machines] == places


@pytest.mark.parametrize(("spread", "failed"), [(1, 2), (2, 1)])
def test_an_error_that_all_tasks_of_a_job_have_is_the_failure_of_one_run(
    tmp_path: Path, spread: int, failed: int
) -> None:
    """Without tasks, a second error is another one: the job was requeued."""
    runs = tuple(run_of(seed=seed) for seed in range(3))
    order = Order(tmp_path, tuple(run.id for run in runs), {})
    job = job_of(tmp_path, ids=order.runs, jobs=runs, order=order, spread=spread)
    for _ in range(2):
        job._record(UserError("no CUDA device"))
    failures = [Folder.of(tmp_path, run.id).failure() for run in runs]
    assert [failure is not None for failure in failures] == [True] * failed + [False] * (3 - failed)
