"""The state of every planned run: from its own files, and from a cluster's queue where those say nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.dispatch.state import SILENT_AFTER_SECONDS, Folder, owner_exists
from bench.results import Pool
from bench.run import Run

Word = Literal["finished", "diverged", "running", "queued", "failed", "missing"]
WORDS: tuple[Word, ...] = ("finished", "diverged", "running", "queued", "failed", "missing")


@dataclass(frozen=True)
class QueuedJob:
    """A job in a cluster's queue.

    Attributes:
        job: its number, such as 96_1.
        state: the cluster's word: PENDING, RUNNING, COMPLETING, …
        reason: why it waits.
        waits: whether it has yet to start, or to start again.
    """

    job: str
    state: str
    reason: str = ""
    waits: bool = False


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
    jobs: dict[str, QueuedJob] = field(default_factory=dict)
    runs: dict[str, QueuedJob] = field(default_factory=dict)
    gone: dict[str, bool] = field(default_factory=dict)
    problem: str = ""


NO_QUEUE = Queue()
"""Of runs that were submitted to no cluster."""


@dataclass(frozen=True)
class RunStatus:
    """The state of one run.

    Attributes:
        word: finished and diverged have a result; running has a live owner; queued is part of a
            job that a cluster has queued; failed has a recorded failure; missing is none of them.
        step: optimisation steps known to be done (0 when nothing is known).
        steps_per_second: of a running run, and of all members of its stack at once.
        loss: the running run's latest training loss.
        note: what a person may want to know: why it failed, where it can go on from, why it waits.
        silent_seconds: of a running run, the age of a heartbeat that is too old; else 0.
        job: the cluster's number for the job it is or was part of, or "".
        stack: of a running run, members of the stack that it trains in.
    """

    word: Word
    step: int = 0
    steps_per_second: float = 0.0
    loss: float | None = None
    note: str = ""
    silent_seconds: float = 0.0
    job: str = ""
    stack: int = 1


def run_statuses(
    runs: Iterable[Run], results: Path, pool: Pool, queue: Queue = NO_QUEUE
) -> dict[str, RunStatus]:
    """The status of every run, by id."""
    return {run.id: run_status(run, results, pool, queue) for run in runs}


def run_status(run: Run, results: Path, pool: Pool, queue: Queue = NO_QUEUE) -> RunStatus:
    """Where one run stands."""
    if (result := pool.runs.get(run.id)) is not None:
        step = result.last.step if result.last else 0
        if result.finished:
            return RunStatus("finished", step)
        return RunStatus("diverged", step, note=result.reason or "")
    folder = Folder.of(results, run.id)
    exists = folder.path.exists()
    beat = (folder.heartbeat() or {}) if exists else {}
    step, job = int(beat.get("step", 0)), str(beat.get("job", ""))
    if beat and "ended" not in beat and _has_owner(folder, beat, queue):
        age = folder.silence(beat)
        silent = age if age > SILENT_AFTER_SECONDS else 0.0
        note = f"silent for {silent / 60:.0f} min: it may hang" if silent else ""
        speed = float(beat.get("steps_per_second", 0.0))
        members = max(1, int(beat.get("stack", 1)))
        return RunStatus("running", step, speed, beat.get("loss"), note, silent, job, members)
    if exists and (failure := folder.failure()) is not None:
        message = str(failure.get("message", "")).strip().splitlines()
        note = f"{failure.get('class')}: {message[0] if message else ''}"
        return RunStatus("failed", step, note=note, job=job)
    if (queued := queue.runs.get(run.id)) is not None:
        note = f"job {queued.job} {queued.state.lower()}" + (f" ({queued.reason})" if queued.waits else "")
        return RunStatus("queued", step, note=note, job=queued.job)
    note = _how_it_ended(beat, queue.gone.get(run.id))
    if exists and folder.has_checkpoint():
        return RunStatus("missing", step, note=f"{note or 'interrupted'}; resumable", job=job)
    return RunStatus("missing", note=note, job=job)


def _has_owner(folder: Folder, beat: dict[str, Any], queue: Queue) -> bool:
    """Whether the process that wrote a heartbeat is still there, as far as can be told from here."""
    if queue.answered and (job := beat.get("job")) and (job not in queue.jobs or queue.jobs[job].waits):
        return False
    if folder.silence(beat) <= SILENT_AFTER_SECONDS:
        return owner_exists(beat) is not False
    return folder.is_locked()


def _how_it_ended(beat: dict[str, Any], gone: bool | None) -> str:
    """Why a run that a cluster once had is with nobody now; "" for one that was never on a cluster.

    Args:
        beat: its last heartbeat.
        gone: of the last submission that had it, whether it was cancelled; None when there is none.
    """
    if job := beat.get("job"):
        return f"cancelled in job {job}" if "ended" in beat or gone else f"job {job} ended without a word"
    if gone is None:
        return ""
    return "cancelled before it started" if gone else "its job left the queue before it started"
