"""A run's own folder while it trains: who works on it, how far it is, why it failed.

    results/.state/<id>/      lock            held by the process that works on the run
                              heartbeat.json  where it is, written about once a second
                              checkpoint.pt   where it can go on from
                              failure.json    what went wrong at the last attempt
                              deaths.json     how often its process died without a word
    results/.state/logs/<id>.log              what was printed while it trained

The folder disappears when the result is stored. The lock is the kernel's where it can be
(`bench.dispatch.lock`), so it dies with its owner and the next process takes the run over at once; the files
are hints for people.
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

_Types = Mapping[str, type | tuple[type | None, ...]]

SILENT_AFTER_SECONDS = 600.0
"""A heartbeat older than this belongs to a process that is gone or hangs."""


@dataclass(frozen=True)
class Folder:
    """The state folder of one run (or of one task's baselines)."""

    path: Path

    @classmethod
    def of(cls, results: Path, run_id: str) -> Folder:
        return cls(results / STATE / run_id)

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Try to own the run: yields whether this process does. Never waits."""
        with lock.held(self.path) as owned:
            yield owned

    def beat(self, **values: Any) -> None:
        """Say where the run is."""
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        write_json(self.path / "heartbeat.json", {**owner, **values})

    def heartbeat(self) -> dict[str, Any] | None:
        """The last heartbeat, of a process that may be dead by now; None where there is no whole one."""
        return _read(self.path / "heartbeat.json", _HEARTBEAT)

    def alive(self) -> bool:
        """Whether a process works on the run, as far as its heartbeat tells."""
        beat = self.heartbeat()
        if beat is None or self.silence(beat) > SILENT_AFTER_SECONDS:
            return False
        return owner_exists(beat) is not False

    def silence(self, beat: dict[str, Any]) -> float:
        """Seconds since a heartbeat.

        One from the future was written by a clock that is ahead; then the file system's clock counts.
        """
        seconds = time.time() - float(beat["time"])
        if seconds < 0:
            with contextlib.suppress(OSError):
                seconds = time.time() - (self.path / "heartbeat.json").stat().st_mtime
        return abs(seconds)

    def is_locked(self) -> bool:
        """Whether some process holds the run, however long it has been silent."""
        return lock.is_held(self.path)

    def held_by(self) -> str | None:
        """Who holds the run, and how long nothing was heard of it; None when nobody does."""
        if not self.is_locked():
            return None
        beat = self.heartbeat()
        who = lock.owner(self.path) or (f"process {beat['pid']} on {beat['host']}" if beat else "a process")
        return f"{who}, last heard {self.silence(beat) / 60:.0f} min ago" if beat else who

    def died(self) -> int:
        """Count a death of the process that held the run: how many since the run last got further."""
        step = int((self.heartbeat() or {}).get("step", 0))
        before = _read(self.path / "deaths.json", _DEATHS) or {}
        count = 1 + (int(before.get("deaths", 0)) if before.get("step") == step else 0)
        write_json(self.path / "deaths.json", {"deaths": count, "step": step})
        return count

    def deaths(self) -> int:
        """How often its process died since the run last got further."""
        return int((_read(self.path / "deaths.json", _DEATHS) or {}).get("deaths", 0))

    def fail(self, error: BaseException) -> None:
        """Record why the run failed."""
        self.fail_with(type(error).__name__, str(error), "".join(traceback.format_exception(error)))

    def fail_with(self, kind: str, message: str, trace: str = "") -> None:
        write_json(
            self.path / "failure.json",
            {"class": kind, "message": message, "traceback": trace[-20_000:], "time": time.time()},
        )

    def failure(self) -> dict[str, Any] | None:
        return _read(self.path / "failure.json", _FAILURE)

    def forgive(self) -> None:
        """Forget the failure, so that the run is tried again."""
        for name in ("failure.json", "deaths.json"):
            (self.path / name).unlink(missing_ok=True)

    def has_checkpoint(self) -> bool:
        return (self.path / "checkpoint.pt").exists()

    def quiet(self) -> None:
        """Nobody works on the run any more."""
        (self.path / "heartbeat.json").unlink(missing_ok=True)

    def clear(self) -> None:
        """The result is stored: nothing here is needed any more."""
        shutil.rmtree(self.path, ignore_errors=True)


def log_of(results: Path, run_id: str) -> Path:
    """Where the output of a run's training is kept, appended to at every attempt."""
    return results / STATE / "logs" / f"{run_id}.log"


def owner_exists(beat: dict[str, Any]) -> bool | None:
    """Whether the process that wrote a heartbeat exists; None when it is another machine's."""
    return process_exists(beat["pid"]) if beat["host"] == socket.gethostname() else None


_NUMBER = (int, float)
_HEARTBEAT: _Types = {
    "pid": int, "host": str, "time": _NUMBER, "step": (int, None), "steps": (int, None), "job": (str, None),
    "loss": (*_NUMBER, None), "steps_per_second": (*_NUMBER, None),
}  # fmt: skip
_DEATHS: _Types = {"deaths": int, "step": (int, None)}
_FAILURE: _Types = {"time": (*_NUMBER, None)}
"""What readers rely on of each file; None stands for a field that may be absent."""


def _read(path: Path, types: _Types) -> dict[str, Any] | None:
    """A file of the state folder; None where it is not there or not what it should be."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    for field, allowed in types.items():
        kinds = allowed if isinstance(allowed, tuple) else (allowed,)
        given = value.get(field)
        fits = None in kinds if given is None else type(given) in kinds
        if not fits or (isinstance(given, float) and not math.isfinite(given)):
            return None
    return {field: given for field, given in value.items() if given is not None}
