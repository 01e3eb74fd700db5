"""The state folder of a run while it trains: its owner, its progress, its failure.

    results/.state/<id>/      lock            held by the process that trains the run
                              heartbeat.json  step, loss and speed, written about once a second; the last one
                                              of a process states `ended` (it stopped) or `died`
                              checkpoint.pt   the state from which the run resumes
                              failure.json    the error of the last attempt
                              deaths.json     how often its process died without an error
    results/.state/logs/<id>.log              the output of the training

The folder is removed when the result is stored. Where the file system allows it, the lock belongs to the
operating system (`bench.dispatch.lock`). It then ends with its process, and another process can take the run
over at once. The other files do not decide who owns a run.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatch import lock
from bench.dispatch.lock import process_exists
from bench.files import read_json, write_json
from bench.results import STATE
from bench.train import CHECKPOINT

_Types = Mapping[str, type | tuple[type | None, ...]]

SILENT_AFTER_SECONDS = 600.0
"""A process whose heartbeat is older than this is dead or hangs."""


@dataclass(frozen=True)
class Folder:
    """The state folder of a run, of a stack or of a task's baselines."""

    path: Path

    @classmethod
    def of(cls, results: Path, run_id: str) -> Folder:
        """The state folder of a run, a stack or baselines with this id. It need not exist."""
        return cls(results / STATE / run_id)

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Try to lock the run, without waiting. Yields whether this process has the lock."""
        with lock.held(self.path) as success:
            yield success

    def beat(self, **values: Any) -> None:
        """Write a heartbeat with these fields."""
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        write_json(self.path / "heartbeat.json", {**owner, **values})

    def heartbeat(self) -> dict[str, Any] | None:
        """The last heartbeat, whose process may be dead; None if there is none or it is damaged."""
        return _read(self.path / "heartbeat.json", _HEARTBEAT)

    def last_progress(self) -> tuple[int, int]:
        """The step of the last heartbeat, whose process may be dead, and the parts of the prompts that the
        evaluation after this step had scored; zeros without a heartbeat.
        """
        beat = self.heartbeat() or {}
        return int(beat.get("step", 0)), int(beat.get("parts", 0))

    def alive(self) -> bool:
        """Whether a process trains the run, by its heartbeat."""
        beat = self.heartbeat()
        if beat is None or is_last(beat) or self.silence(beat) > SILENT_AFTER_SECONDS:
            return False
        return owner_exists(beat) is not False

    def silence(self, beat: dict[str, Any]) -> float:
        """Seconds since a heartbeat.

        A heartbeat from the future comes from a machine whose clock is ahead. Then the file's time counts.
        """
        seconds = time.time() - float(beat["time"])
        if seconds < 0:
            with contextlib.suppress(OSError):
                seconds = time.time() - (self.path / "heartbeat.json").stat().st_mtime
        return abs(seconds)

    def is_locked(self) -> bool:
        """Whether a process holds the lock, even if it has been silent for long."""
        return lock.is_held(self.path)

    def held_by(self) -> str | None:
        """The process that holds the lock and the age of its heartbeat, in words; None if nobody holds it."""
        if not self.is_locked():
            return None
        beat = self.heartbeat()
        holder = lock.owner(self.path) or (
            f"process {beat['pid']} on {beat['host']}" if beat else "a process"
        )
        return f"{holder}, last heard {self.silence(beat) / 60:.0f} min ago" if beat else holder

    def record_death(self) -> int:
        """Record that the run's process died. Returns the number of deaths since the last progress.

        The heartbeat stays, marked, because it contains the progress.
        """
        step, parts = self.last_progress()
        record = _read(self.path / "deaths.json", _DEATHS) or {}
        is_same = (record.get("step"), record.get("parts", 0)) == (step, parts)
        count = 1 + (int(record.get("deaths", 0)) if is_same else 0)
        write_json(self.path / "deaths.json", {"deaths": count, "step": step, "parts": parts})
        if (beat := self.heartbeat()) is not None:
            write_json(self.path / "heartbeat.json", {**beat, "died": True})
        return count

    def deaths(self) -> int:
        """Number of deaths of the run's process since its last progress."""
        return int((_read(self.path / "deaths.json", _DEATHS) or {}).get("deaths", 0))

    def fail(self, error: BaseException) -> None:
        """Record the error with which the run failed."""
        self.fail_with(type(error).__name__, str(error), "".join(traceback.format_exception(error)))

    def fail_with(self, kind: str, message: str, trace: str = "") -> None:
        """Record a failure by the class of its error, its message and its traceback."""
        write_json(
            self.path / "failure.json",
            {"class": kind, "message": message, "traceback": trace[-20_000:], "time": time.time()},
        )

    def failure(self) -> dict[str, Any] | None:
        """The recorded failure: class, message, traceback, time; None if there is none."""
        return _read(self.path / "failure.json", _FAILURE)

    def forget_failure(self) -> None:
        """Remove the failure, so that the run is tried again."""
        for name in ("failure.json", "deaths.json"):
            (self.path / name).unlink(missing_ok=True)

    def has_checkpoint(self) -> bool:
        """Whether the run has a checkpoint of its own. A member of a stack has none."""
        return (self.path / CHECKPOINT).exists()

    def remove_heartbeat(self) -> None:
        """Remove the heartbeat, because no process trains the run any more."""
        (self.path / "heartbeat.json").unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder, after the result was stored."""
        shutil.rmtree(self.path, ignore_errors=True)


def log_of(results: Path, run_id: str) -> Path:
    """The file with the output of a run's training. Every attempt appends to it."""
    return results / STATE / "logs" / f"{run_id}.log"


def is_last(beat: Mapping[str, Any]) -> bool:
    """Whether a heartbeat is known to be the last one of its process: it was stopped, or it died."""
    return "ended" in beat or "died" in beat


def owner_exists(beat: dict[str, Any]) -> bool | None:
    """Whether the process of a heartbeat exists; None if it is on another machine."""
    return process_exists(beat["pid"]) if beat["host"] == socket.gethostname() else None


_NUMBER = (int, float)
_HEARTBEAT: _Types = {
    "pid": int, "host": str, "time": _NUMBER, "step": (int, None), "steps": (int, None), "job": (str, None),
    "loss": (*_NUMBER, None), "steps_per_second": (*_NUMBER, None), "parts": (int, None),
    "evaluation_seconds": (*_NUMBER, None), "evaluation_flops": (int, None), "died": (bool, None),
    "stack_id": (str, None),
}  # fmt: skip
_DEATHS: _Types = {"deaths": int, "step": (int, None), "parts": (int, None)}
_FAILURE: _Types = {"time": (*_NUMBER, None)}
"""Types of the fields that readers of a file rely on. With None in it, the field may be absent."""


def _read(path: Path, types: _Types) -> dict[str, Any] | None:
    """The content of a file of the state folder; None if it is missing or its fields have other types."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    for field, allowed in types.items():
        kinds = allowed if isinstance(allowed, tuple) else (allowed,)
        content = value.get(field)
        fits = None in kinds if content is None else type(content) in kinds
        if not fits or (isinstance(content, float) and not math.isfinite(content)):
            return None
    return {field: content for field, content in value.items() if content is not None}
