"""Ask Slurm's queue about runs whose own files do not show where they are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.dispatch.slurm.submission import Submission, submissions
from bench.dispatch.status import Queue, QueuedJob

ASKED_SECONDS = 15.0
"""Longest wait for squeue. Without a controller, Slurm's commands wait about nine seconds."""

WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
"""States of a job that has not started, or must start again."""


def ask_queue(results: Path) -> Queue:
    """The queue of all submissions of a results folder; empty, without a question, if there is none."""
    return queue_of(list(submissions(results)))


def queue_of(submitted: Sequence[Submission]) -> Queue:
    """The queue of some submissions. `squeue` is called once."""
    if not submitted:
        return Queue()
    listed, problem = _squeue({submission.user for submission in submitted})
    queue = Queue(answered=listed is not None, problem=problem)
    for submission in submitted:
        for array in submission.arrays:
            for index, runs in enumerate(array.jobs):
                job = (listed or {}).get((array.name, index))
                if job is not None:
                    queue.jobs[job.job] = job
                for run_id in runs:
                    if job is None:
                        queue.gone[run_id] = submission.cancelled
                    elif run_id not in queue.runs or queue.runs[run_id].waits:
                        queue.runs[run_id] = job
    for run_id in queue.runs:
        queue.gone.pop(run_id, None)
    return queue


def _squeue(users: set[str]) -> tuple[dict[tuple[str, int], QueuedJob] | None, str]:
    """Jobs by name and index; None, with the reason, if there is no answer."""
    if shutil.which("squeue") is None:
        return None, "there is no squeue on this machine"
    command = ["squeue", "-h", "-r", "-o", "%j|%i|%T|%r|%K", "-u", ",".join(sorted(users))]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None, f"squeue did not answer within {ASKED_SECONDS:.0f} s"
    if process.returncode:
        return None, (process.stderr.strip().splitlines() or ["squeue failed"])[-1]
    jobs = {}
    for line in process.stdout.splitlines():
        name, job, state, reason, index = (line.split("|") + [""] * 4)[:5]
        jobs[name, int(index) if index.isdigit() else 0] = QueuedJob(job, state, reason, state in WAITING)
    return jobs, ""
