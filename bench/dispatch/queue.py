"""The cluster's queue, asked once: a hint about runs whose own files say nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.dispatch.submission import Submission, submissions

ASKED_SECONDS = 15.0
"""A controller that is away lets its clients wait about nine seconds."""


WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT", "RESV_DEL_HOLD")


@dataclass(frozen=True)
class Queued:
    """A job in the queue.

    Attributes:
        job: its number, such as 96_1.
        state: Slurm's word: PENDING, RUNNING, COMPLETING, …
        reason: why it waits.
    """

    job: str
    state: str
    reason: str = ""

    @property
    def waits(self) -> bool:
        """Whether it has yet to start, or to start again."""
        return self.state in WAITING


@dataclass(frozen=True)
class Queue:
    """What is queued of all submissions of a results folder.

    Attributes:
        answered: whether the scheduler could be asked.
        jobs: its jobs by number.
        runs: for a run's id, the queued job it belongs to; a running one before a waiting one.
        gone: runs whose jobs have left the queue, and whether their last submission was cancelled.
        problem: why it could not be asked.
    """

    answered: bool = False
    jobs: dict[str, Queued] = field(default_factory=dict)
    runs: dict[str, Queued] = field(default_factory=dict)
    gone: dict[str, bool] = field(default_factory=dict)
    problem: str = ""


def ask_queue(results: Path) -> Queue:
    """The queue as it is now; empty, without asking, when nothing was ever submitted from this folder."""
    return queue_of(list(submissions(results)))


def queue_of(known: Sequence[Submission]) -> Queue:
    """The queue of some submissions."""
    if not known:
        return Queue()
    listed, problem = _squeue({each.user for each in known})
    found = Queue(answered=listed is not None, problem=problem)
    for submission in known:
        for array in submission.arrays:
            for index, runs in enumerate(array.jobs):
                job = (listed or {}).get((array.name, index))
                if job is not None:
                    found.jobs[job.job] = job
                for run_id in runs:
                    if job is None:
                        found.gone[run_id] = submission.cancelled
                    elif run_id not in found.runs or found.runs[run_id].waits:
                        found.runs[run_id] = job
    for run_id in found.runs:
        found.gone.pop(run_id, None)
    return found


def _squeue(users: set[str]) -> tuple[dict[tuple[str, int], Queued] | None, str]:
    """Jobs by name and index; None and why when there is no answer."""
    if shutil.which("squeue") is None:
        return None, "there is no squeue on this machine"
    command = ["squeue", "-h", "-r", "-o", "%j|%i|%T|%r|%K", "-u", ",".join(sorted(users))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None, f"squeue did not answer within {ASKED_SECONDS:.0f} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["squeue failed"])[-1]
    jobs = {}
    for line in done.stdout.splitlines():
        name, job, state, reason, index = (line.split("|") + [""] * 4)[:5]
        jobs[name, int(index) if index.isdigit() else 0] = Queued(job, state, reason)
    return jobs, ""
