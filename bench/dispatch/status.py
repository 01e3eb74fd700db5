"""The state of every planned run, from its files, or from a cluster's queue if there are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from bench.dispatch.state import SILENT_AFTER_SECONDS, Folder, is_last, owner_exists
from bench.results import Pool, RunRecord, load_run, path_of
from bench.run import Run

Word = Literal["finished", "diverged", "running", "queued", "failed", "missing"]
WORDS: tuple[Word, ...] = get_args(Word)
"""The states of runs, in the order in which they are counted."""


@dataclass(frozen=True)
class QueuedJob:
    """A job in a cluster's queue.

    Attributes:
        number: of the job, such as 96_1.
        state: the scheduler's state: PENDING, RUNNING, COMPLETING, …
        reason: why the job waits.
        waits: whether the job has not started, or must start again.
    """

    number: str
    state: str
    reason: str = ""
    waits: bool = False


@dataclass(frozen=True)
class Queue:
    """The queued jobs of all submissions of a results folder.

    Attributes:
        answered: whether the scheduler answered.
        jobs: jobs by number.
        runs: by a run's id, the queued job that it belongs to; a running job before a waiting one.
        gone: by a run's id, if its jobs have left the queue, whether its last submission was cancelled.
        problem: why the scheduler did not answer.
    """

    answered: bool = False
    jobs: dict[str, QueuedJob] = field(default_factory=dict)
    runs: dict[str, QueuedJob] = field(default_factory=dict)
    gone: dict[str, bool] = field(default_factory=dict)
    problem: str = ""


NO_QUEUE = Queue()
"""The queue of a machine without a cluster."""


@dataclass(frozen=True)
class RunStatus:
    """The state of one run.

    Attributes:
        word: a finished or diverged run has a result; a running run has a live owner; a queued run is part
            of a queued cluster job; a failed run has a recorded failure; every other run is missing.
        step: optimisation steps done, as far as its files show. Without a checkpoint they are lost: 0, unless
            it is running.
        steps_per_second: of a running run. All members of its stack make a step at the same time.
        loss: latest training loss of a running run.
        note: for people: why the run failed, whether it can resume, why it waits.
        silent_seconds: age of a running run's heartbeat if that is too old; else 0.
        job: number of the cluster job that the run is or was part of, or "".
        stack: number of members of the stack in which a running run trains.
        evaluation_seconds: seconds of one worker in the evaluations so far of a run without a result: its
            share of those of its stack.
        evaluation_flops: FLOPs of these evaluations (`bench.run.Run.evaluation_flops`).
    """

    word: Word
    step: int = 0
    steps_per_second: float = 0.0
    loss: float | None = None
    note: str = ""
    silent_seconds: float = 0.0
    job: str = ""
    stack: int = 1
    evaluation_seconds: float = 0.0
    evaluation_flops: int = 0


def run_statuses(
    runs: Iterable[Run], results: Path, pool: Pool, queue: Queue = NO_QUEUE
) -> dict[str, RunStatus]:
    """The status of every run, by id."""
    return {run.id: run_status(run, results, pool, queue) for run in runs}


def run_status(run: Run, results: Path, pool: Pool, queue: Queue = NO_QUEUE) -> RunStatus:
    """The status of one run.

    Args:
        run: the run.
        results: the folder of results.
        pool: the results that it had; one that was stored since then is added.
        queue: the cluster's queue.
    """
    if (result := pool.runs.get(run.id)) is not None:
        return _outcome(result)
    status = _without_result(run, results, queue)
    # A worker stores the result, then removes the folder. Perhaps it did both after the pool was read.
    if status.word in ("missing", "queued") and not Folder.of(results, run.id).path.exists():
        stored = load_run(results, run)
        if stored is not None:
            pool.add(path_of(results, run), stored)
            return _outcome(stored)
    return status


def _outcome(result: RunRecord) -> RunStatus:
    """The status of a run with a result."""
    step = result.last.step if result.last else 0
    if result.finished:
        early = f"stopped at step {step:,} after convergence"
        return RunStatus("finished", step, note=early if result.last_step < result.run.steps else "")
    return RunStatus("diverged", step, note=result.reason or "")


def status_of(beat: Mapping[str, Any]) -> RunStatus:
    """The status of a running run by its heartbeat. Heartbeats of earlier versions lack some fields."""
    return RunStatus(
        "running",
        step=int(beat.get("step", 0)),
        steps_per_second=float(beat.get("steps_per_second", 0.0)),
        loss=beat.get("loss"),
        job=str(beat.get("job", "")),
        stack=max(1, int(beat.get("stack", 1))),
        evaluation_seconds=float(beat.get("evaluation_seconds", 0.0)),
        evaluation_flops=int(beat.get("evaluation_flops", 0)),
    )


def _without_result(run: Run, results: Path, queue: Queue) -> RunStatus:
    """The status of a run without a result, from its state folder and the queue."""
    folder = Folder.of(results, run.id)
    exists = folder.path.exists()
    beat = (folder.heartbeat() or {}) if exists else {}
    seen = status_of(beat)
    if beat and not is_last(beat) and _has_owner(folder, beat, queue):
        age = folder.silence(beat)
        silent = age if age > SILENT_AFTER_SECONDS else 0.0
        note = f"silent for {silent / 60:.0f} min: it may hang" if silent else ""
        return replace(seen, note=note, silent_seconds=silent)
    # Speed, loss and stack are those of a process that has ended.
    done = replace(seen, word="missing", steps_per_second=0.0, loss=None, stack=1)
    # A process that has just locked the run has not written its first heartbeat yet.
    if exists and not seen.job and (not beat or is_last(beat)) and folder.is_locked():
        return replace(done, word="running")
    # Members of a stack have one checkpoint, in the folder of the stack.
    resumable = exists and Folder.of(results, beat.get("stack_id", run.id)).has_checkpoint()
    if not resumable:
        done = RunStatus("missing", job=seen.job)
    if exists and (failure := folder.failure()) is not None:
        message = str(failure.get("message", "")).strip().splitlines()
        note = f"{failure.get('class')}: {message[0] if message else ''}"
        return replace(done, word="failed", note=note)
    if (queued := queue.runs.get(run.id)) is not None:
        note = f"job {queued.number} {queued.state.lower()}" + (f" ({queued.reason})" if queued.waits else "")
        return replace(done, word="queued", note=note, job=queued.number)
    note = _how_it_ended(beat, queue.gone.get(run.id))
    return replace(done, note=f"{note or 'interrupted'}; resumable" if resumable else note)


def _has_owner(folder: Folder, beat: dict[str, Any], queue: Queue) -> bool:
    """Whether the process that wrote a heartbeat still exists, as far as this machine can see."""
    if queue.answered and (job := beat.get("job")) and (job not in queue.jobs or queue.jobs[job].waits):
        return False
    if folder.silence(beat) <= SILENT_AFTER_SECONDS:
        return owner_exists(beat) is not False
    return folder.is_locked()


def _how_it_ended(beat: dict[str, Any], gone: bool | None) -> str:
    """Why a run that was submitted to a cluster has no owner; "" if it was never submitted.

    Args:
        beat: the run's last heartbeat.
        gone: whether its last submission was cancelled; None if there was no submission.
    """
    if job := beat.get("job"):
        return f"cancelled in job {job}" if "ended" in beat or gone else f"job {job} ended without a word"
    if gone is None:
        return ""
    return "cancelled before it started" if gone else "its job is no longer in the queue"
