"""Slurm's commands may be missing, slow or broken, and print anything. None of that is a traceback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic import run_of

from bench.dispatch.job import Machine
from bench.dispatch.order import Order
from bench.dispatch.slurm import job as slurm_job
from bench.dispatch.slurm.commands import NoAnswer, NoCommand, output_of
from bench.dispatch.slurm.job import SlurmJob
from bench.dispatch.slurm.queue import queue_of
from bench.dispatch.slurm.submission import Array, Submission
from bench.dispatch.slurm.submit import cancel, largest_array
from bench.dispatch.state import Folder
from bench.errors import UserError

Command = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Makes a command of a name and a shell script. There are no others."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def job_of(results: Path) -> SlurmJob:
    run = run_of()
    order = Order(results, (run.id,), {})
    return SlurmJob((run.id,), (run,), order, Machine(), "cpu", 1, 0, 2, 1.0, 60.0)


def submitted(results: Path) -> Submission:
    """A record of an array with one job."""
    folder = results / ".state" / "orders" / "now"
    submission = Submission(folder, "toy", "me", (Array("bench-toy-now-0", (("a run",),), "96"),))
    submission.write()
    return submission


def test_a_command_that_does_not_answer_says_why(command: Command) -> None:
    with pytest.raises(NoCommand, match="no squeue"):
        output_of("squeue", seconds=9)
    command("squeue", "echo first >&2; echo 'Unable to contact' >&2; exit 1")
    with pytest.raises(NoAnswer, match=r"^Unable to contact$"):
        output_of("squeue", seconds=9)
    command("squeue", "exec /bin/sleep 30")
    began = time.monotonic()
    with pytest.raises(NoAnswer, match="squeue did not answer"):
        output_of("squeue", seconds=0.2)
    assert time.monotonic() - began < 20


def test_a_queue_with_a_foreign_job_of_any_name_is_read(tmp_path: Path, command: Command) -> None:
    submission = submitted(tmp_path)
    command("squeue", r"printf 'caf\351 | x|95|RUNNING|None|N/A\nbench-toy-now-0|96_0|PENDING|Priority|0\n'")
    queue = queue_of([submission])
    assert queue.answered
    assert queue.runs["a run"].number == "96_0"


def test_without_squeue_nothing_is_known_of_the_queue(tmp_path: Path, command: Command) -> None:
    queue = queue_of([submitted(tmp_path)])
    assert not queue.answered
    assert "squeue" in queue.problem
    with pytest.raises(UserError, match="nothing was cancelled: there is no squeue"):
        cancel(tmp_path, "toy")


def test_jobs_that_scancel_does_not_cancel_do_not_count_as_cancelled(
    tmp_path: Path, command: Command
) -> None:
    submission = submitted(tmp_path)
    command("squeue", "echo 'bench-toy-now-0|96_0|PENDING|Priority|0'")
    with pytest.raises(UserError, match="jobs may still be queued: there is no scancel"):
        cancel(tmp_path, "toy")
    assert not submission.cancelled


def test_a_configuration_without_a_size_of_arrays_is_an_error(command: Command) -> None:
    with pytest.raises(UserError, match="there is no scontrol on this machine; nothing was submitted"):
        largest_array()
    command("scontrol", "echo 'MaxArraySize            = 1001'")
    assert largest_array() == 1001
    command("scontrol", "echo 'MaxArraySize            = 0'")
    assert largest_array() == 1, "a cluster without arrays gets single jobs"
    command("scontrol", "echo ClusterName=x")
    with pytest.raises(UserError, match="no MaxArraySize"):
        largest_array()


def test_an_abandoned_order_ends_in_a_container_without_slurm_too(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slurm_job, "_clear_half_written", lambda: None)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "96")
    job = job_of(tmp_path)
    job.order.abandon("a reason")
    assert job() == "abandoned"
    assert "there is no scancel" in capsys.readouterr().out


def test_a_crew_that_cannot_be_requeued_ends_at_once(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "96")
    monkeypatch.setattr(slurm_job, "LAST_SECONDS", 600.0)
    began = time.monotonic()
    with pytest.raises(SystemExit):
        job_of(tmp_path)._start_over()
    assert time.monotonic() - began < 60
    assert "not requeued: there is no scontrol" in capsys.readouterr().out
    assert Folder.of(tmp_path, run_of().id).failure() is None
