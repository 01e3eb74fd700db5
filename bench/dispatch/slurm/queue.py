"""Ask Slurm's queue about runs whose own files do not show where they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.dispatch.slurm.commands import NoAnswer, output_of
from bench.dispatch.slurm.submission import Submission, submissions
from bench.dispatch.status import Queue, QueuedJob

SQUEUE_SECONDS = 15.0
"""Longest wait for squeue."""

WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
"""States of a job that has not started, or must start again."""


def ask_queue(results: Path) -> Queue:
    """The queue of all submissions of a results folder; empty, without a question, if there is none."""
    return queue_of(list(submissions(results)))


def queue_of(submitted: Sequence[Submission]) -> Queue:
    """The queue of some submissions. `squeue` is called once."""
    if not submitted:
        return Queue()
    try:
        listed = _squeue({submission.user for submission in submitted})
        queue = Queue(answered=True)
    except NoAnswer as problem:
        listed, queue = {}, Queue(problem=str(problem))
    for submission in submitted:
        for array in submission.arrays:
            for index, runs in enumerate(array.jobs):
                job = listed.get((array.name, index))
                if job is not None:
                    queue.jobs[job.number] = job
                for run_id in runs:
                    if job is None:
                        queue.gone[run_id] = submission.cancelled
                    elif run_id not in queue.runs or queue.runs[run_id].waits:
                        queue.runs[run_id] = job
    for run_id in queue.runs:
        queue.gone.pop(run_id, None)
    return queue


def _squeue(users: set[str]) -> dict[tuple[str, int], QueuedJob]:
    """The queued jobs of some users, by name and index in their array.

    Raises:
        NoAnswer: squeue does not answer.
    """
    command = ["squeue", "-h", "-r", "-o", "%j|%i|%T|%r|%K", "-u", ",".join(sorted(users))]
    jobs = {}
    for line in output_of(*command, seconds=SQUEUE_SECONDS).splitlines():
        name, number, state, reason, index = (line.split("|") + [""] * 4)[:5]
        jobs[name, int(index) if index.isdigit() else 0] = QueuedJob(number, state, reason, state in WAITING)
    return jobs
