"""What clusters do to jobs, done by a real one: every run ends once, with the numbers it would have had."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cluster import eventually
from command import PATIENCE, SECONDS
from place import ENDLESS, REQUIRED, STEPS, Place

from bench import results as pools
from bench.dispatch import state
from bench.dispatch.slurm.queue import ask_queue
from bench.dispatch.slurm.submission import submissions
from bench.dispatch.status import run_status
from bench.results import STATE, Pool
from bench.run import Run

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def one_job(place: Place, **site: object) -> None:
    """Both runs and the baselines in one job."""
    place.write(job_hours=4, **site)


def resumptions(place: Place) -> int:
    pool = pools.load(place.results)
    return max(result.provenance.resumptions or 0 for result in pool.runs.values())


def saved_resumptions(place: Place, run: Run) -> int:
    """How often a run in training was resumed, according to its checkpoint."""
    path = place.results / STATE / run.id / "checkpoint.pt"
    notes = torch.load(path, map_location="cpu", weights_only=True)["notes"]
    return int(notes["resumptions"])


def test_the_time_limit_saves_and_requeues_and_the_run_goes_on(place: Place) -> None:
    place.write(ENDLESS, job_hours=4, timeout_min=1, signal_delay_s=30)
    place.submit("--limit", 1)
    run = place.runs[0]
    job = place.await_steps(run)["job"]
    # Slurm looks at limits every half a minute and warns up to a minute early: perhaps after one step.
    saved = place.await_beat(run, lambda beat: "ended" in beat, "the job is warned and saves")["step"]
    assert "asked to stop: saved" in place.log(run)
    eventually(lambda: place.status()["queued"], PATIENCE, "back in the queue")
    assert place.await_steps(run, saved)["job"] == job
    eventually(lambda: saved_resumptions(place, run), PATIENCE, "it goes on from where it was saved")
    # The new limit may have been warned of already.
    running = "the status says that it runs"
    eventually(lambda: place.status()["total"]["states"]["running"] == 1, PATIENCE, running)


def test_a_warning_is_answered_by_a_requeue_and_the_same_numbers(
    place: Place, undisturbed: dict[str, str]
) -> None:
    one_job(place)
    place.submit()
    job = place.await_steps(place.runs[0])["job"]
    place.cluster.command("scancel", "--signal=USR2", job)
    place.await_finish()
    assert place.numbers() == undisturbed
    assert resumptions(place) >= 1


def test_a_job_that_is_requeued_by_hand_resumes(place: Place, undisturbed: dict[str, str]) -> None:
    one_job(place)
    place.submit()
    job = place.await_steps(place.runs[0])["job"]
    place.cluster.command("scontrol", "requeue", job)
    place.await_finish()
    assert place.numbers() == undisturbed
    assert resumptions(place) >= 1


def test_a_preempted_job_gives_way_and_resumes(place: Place, undisturbed: dict[str, str]) -> None:
    one_job(place)
    place.submit()
    job = place.await_steps(place.runs[0])["job"]
    script = place.folder / "urgent.sh"
    script.write_text("#!/bin/sh\ntouch urgent-was-here\nsleep 1\n")
    place.cluster.command("sbatch", "-p", "high", "--exclusive", "-N", 2, "-D", place.folder, script)
    eventually(lambda: place.cluster.queue().get(job) != "RUNNING", PATIENCE, "the job gives way")
    eventually((place.folder / "urgent-was-here").exists, PATIENCE, "the urgent job runs")
    place.await_finish()
    assert place.numbers() == undisturbed
    assert resumptions(place) >= 1


def test_a_cancelled_job_leaves_its_run_resumable_and_the_status_says_so(
    place: Place, undisturbed: dict[str, str]
) -> None:
    one_job(place)
    place.submit()
    run = place.runs[0]
    place.cluster.command("scancel", place.await_steps(run)["job"].partition("_")[0])
    place.await_quiet()
    found = {one["id"]: one["note"] for one in place.status()["missing"]}
    assert found[run.id].startswith("cancelled in job")
    assert found[run.id].endswith("resumable")
    assert "cancelled in its job; resumable" in place.bench("status", "toy.yaml")
    place.submit("--wait")
    assert place.numbers() == undisturbed
    assert resumptions(place) == 1


def test_bench_cancel_takes_running_and_waiting_jobs_back(place: Place) -> None:
    place.write(ENDLESS, array_parallelism=1)
    place.submit()
    eventually(lambda: any(map(place.beat, place.runs)), PATIENCE, "one of them runs")
    assert "Cancelled 2 jobs" in place.bench("cancel", "toy.yaml")
    place.await_quiet()
    notes = sorted(one["note"] for one in place.status()["missing"])
    assert notes[0] == "cancelled before it started"
    assert notes[1].startswith("cancelled in job")
    assert "no job in the queue" in place.bench("cancel", "toy.yaml")


def test_a_dead_node_costs_only_what_was_not_saved(place: Place, undisturbed: dict[str, str]) -> None:
    one_job(place)
    waiting = place.start(
        "run", "toy.yaml", "--cluster", "slurm", "--cluster-config", "site.yaml", "--save-every", 0, "--wait"
    )
    job = place.await_steps(place.runs[0])["job"]
    node = place.cluster.command("squeue", "-h", "-j", job, "-o", "%N").strip()
    place.cluster.kill_node(node)
    output, _ = waiting.communicate(timeout=SECONDS)  # the scheduler says NODE_FAIL meanwhile: no end
    assert waiting.returncode == 0, output
    assert "2 finished" in output
    assert place.numbers() == undisturbed
    assert resumptions(place) >= 1


def test_the_controller_may_crash_and_restart_during_an_array(
    place: Place, undisturbed: dict[str, str]
) -> None:
    place.submit()
    place.await_steps(place.runs[0])
    place.cluster.kill_daemon("slurmctld")
    # At the same time, because both wait for it, and jobs that end meanwhile are reported a minute later.
    options = ("--cluster", "slurm", "--cluster-config", "site.yaml", "--results", "elsewhere")
    refused, status = place.start("run", "toy.yaml", *options), place.start("status", "toy.yaml")
    assert "nothing was submitted" in refused.communicate(timeout=SECONDS)[0]
    assert refused.returncode == 2
    assert not (place.folder / "elsewhere").exists()
    assert "The queue did not answer" in status.communicate(timeout=SECONDS)[0]
    place.cluster.start_daemon("slurmctld")
    place.await_finish()
    assert place.numbers() == undisturbed
    assert {place.log(run).count(f"step {STEPS:,} of") for run in place.runs} == {1}


def test_a_job_that_crashes_is_seen_and_the_others_go_on(place: Place, undisturbed: dict[str, str]) -> None:
    place.submit()
    run, other = place.runs
    beat = place.await_steps(run)
    parent = int(Path(f"/proc/{beat['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    eventually(lambda: beat["job"] not in place.cluster.queue(), PATIENCE, "the job is gone")
    eventually(pools.path_of(place.results, other).exists, PATIENCE, "the other run finishes")
    (found,) = [one for one in place.status()["missing"] if one["id"] == run.id]
    assert "resumable" in found["note"]
    place.submit("--wait")
    assert place.numbers() == undisturbed


def test_a_worker_that_crashes_is_replaced_inside_its_job(place: Place, undisturbed: dict[str, str]) -> None:
    one_job(place)
    place.submit()
    os.kill(place.await_steps(place.runs[0])["pid"], signal.SIGKILL)
    place.await_finish()
    assert place.numbers() == undisturbed
    assert resumptions(place) == 1


def test_a_job_that_hangs_is_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write(ENDLESS, job_hours=4)
    place.submit("--limit", 1)
    run = place.runs[0]
    beat = place.await_steps(run)
    os.kill(beat["pid"], signal.SIGSTOP)
    monkeypatch.setattr("bench.dispatch.status.SILENT_AFTER_SECONDS", 1.5)
    monkeypatch.setenv("SLURM_CONF", place.cluster.environment["SLURM_CONF"])
    time.sleep(2)
    found = run_status(run, place.results, Pool(), ask_queue(place.results))
    assert (found.word, found.job) == ("running", beat["job"])
    assert found.silent_seconds > 1.5
    assert found.note.startswith("silent for")
    os.kill(beat["pid"], signal.SIGKILL)


def test_two_submissions_of_one_suite_train_no_run_twice(place: Place, undisturbed: dict[str, str]) -> None:
    one_job(place, sbatch={"hold": True})  # a job that ends early would leave nothing in the queue
    options = ("run", "toy.yaml", "--cluster", "slurm", "--cluster-config", "site.yaml")
    both = [place.start(*options) for _ in range(2)]
    outputs = [process.communicate(timeout=SECONDS)[0] for process in both]
    assert all(process.returncode == 0 for process in both), outputs
    assert "Nothing to submit: all missing runs are queued." in place.submit()
    for job in place.cluster.queue():
        place.cluster.command("scontrol", "release", job)
    place.await_finish()
    assert place.numbers() == undisturbed
    assert [place.log(run).count(run.label) for run in place.runs] == [1, 1], "begun once"


def test_the_submitting_shell_may_be_gone(place: Place, undisturbed: dict[str, str]) -> None:
    options = "--cluster slurm --cluster-config site.yaml"
    shell = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -m bench run toy.yaml {options}; sleep 600"],
        cwd=place.folder,
        env=place.cluster.environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )

    def is_submitted() -> bool:
        """Submitit renames the pickle of each job after sbatch; then the record gets the job's number."""
        records = list(submissions(place.results))
        return bool(records) and all(array.job_id for record in records for array in record.arrays)

    eventually(is_submitted, PATIENCE, "everything is submitted")
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    place.await_finish()
    assert place.numbers() == undisturbed


def test_a_pending_job_that_is_cancelled_vanishes_and_nobody_waits_for_it(place: Place) -> None:
    place.write(300, array_parallelism=1)
    options = ("--cluster", "slurm", "--cluster-config", "site.yaml", "--wait")
    waiting = place.start("run", "toy.yaml", *options)
    eventually(place.cluster.queue, PATIENCE, "the jobs are queued")
    jobs = place.cluster.queue()
    last = max(jobs, key=lambda job: int(job.rpartition("_")[2]))
    assert jobs[last] == "PENDING", "it waits for two jobs that have hardly begun"
    place.cluster.command("scancel", last)
    output, _ = waiting.communicate(timeout=SECONDS)
    assert waiting.returncode == 1, output
    assert "1 finished, 1 missing" in output
    assert place.status()["missing"][0]["note"] == "its job is no longer in the queue"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of a few megabytes."""
    folder = tmp_path / "results"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        refuse = pytest.fail if os.environ.get(REQUIRED) else pytest.skip
        refuse(f"no disk of its own: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path) -> None:
    """Append until the disk is full."""
    try:
        with path.open("ab", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def test_a_full_disk_is_said_breaks_nothing_and_training_goes_on_when_there_is_room(
    small_disk: Path, place: Place, undisturbed: dict[str, str]
) -> None:
    one_job(place)
    place.submit()
    place.await_steps(place.runs[0])
    ballast = small_disk / "ballast"

    def is_over() -> bool:
        fill(ballast)  # again and again: a checkpoint that replaces another leaves room for the next one
        return not place.cluster.queue()

    eventually(is_over, PATIENCE, "the job ends")
    fill(ballast)
    output = place.bench("status", "toy.yaml")
    assert "only 0 MiB left" in output
    assert "failed" not in output
    assert pools.load(place.results).problems == []
    ballast.unlink()
    place.submit("--wait")
    assert place.numbers() == undisturbed
    assert resumptions(place) >= 1


def test_no_accounting_database_is_needed(place: Place) -> None:
    done = subprocess.run(["sacct"], env=place.cluster.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "disabled" in done.stderr
    assert place.status()["queue_problem"] is None
    assert state.SILENT_AFTER_SECONDS > 60
