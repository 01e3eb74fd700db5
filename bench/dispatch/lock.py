"""Locks of runs: one process at a time owns a run, on any file system.

    lock          locked with `flock`; the operating system releases it when its process ends
    lock.owner    on file systems without `flock`: created by the owner, renewed while the owner lives

A file system without locks answers ENOLCK or "not supported" to `flock`. There, the file `lock.owner` is the
lock. The process that creates it owns the run and touches it every `RENEW_SECONDS`. Another process may take
the run over when the owner is dead. On the same machine it can check that. For an owner on another machine
it waits until the file has not changed for `STALE_SECONDS` by its own clock, because clocks of machines
differ.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.files import read_json

NAME, OWNER = "lock", "lock.owner"
RENEW_SECONDS = 20.0
STALE_SECONDS = 300.0
READING_SECONDS = 0.02
"""How long a lock is tried again: `is_held` of another process has a shared lock for a moment."""
WITHOUT_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}

_observations: dict[Path, tuple[int, float]] = {}
"""For each owner's file, its last change and when this process first observed it, by its own clock."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Try to lock a folder, without waiting for its owner. Yields whether this process owns it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / NAME)
    try:
        lock.acquire(timeout=READING_SECONDS, poll_interval=READING_SECONDS / 4)
    except Timeout:
        yield False
        return
    except FileNotFoundError:  # its owner has just stored the result and removed the folder
        yield False
        return
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    except NotImplementedError:  # filelock's word for ENOSYS
        pass
    else:
        try:
            yield True
        finally:
            lock.release()
        return
    with _created(folder / OWNER) as success:
        yield success


def is_held(folder: Path) -> bool:
    """Whether a process owns a folder, even if it has been silent for long."""
    try:
        with (folder / NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in WITHOUT_LOCKS and _owner_lives(folder / OWNER)
    return False


def owner(folder: Path) -> str | None:
    """The owner of a folder on a file system without locks: "process 7 on node3"; None if unknown."""
    record = _record(folder / OWNER)
    return f"process {record.get('pid')} on {record.get('host')}" if record else None


@contextlib.contextmanager
def _created(path: Path) -> Iterator[bool]:
    token = uuid.uuid4().hex
    if not _create(path, token) and not (_is_stale(path) and _remove(path) and _create(path, token)):
        yield False
        return
    end = threading.Event()
    threading.Thread(target=_renew, args=(path, end), daemon=True).start()
    try:
        yield True
    finally:
        end.set()
        if _record(path).get("token") == token:
            path.unlink(missing_ok=True)


def _create(path: Path, token: str) -> bool:
    """Create the owner's file if there is none. Returns whether it was created.

    A hard link to a finished file is atomic, so no process can read half a file.
    """
    draft = path.with_name(f".{token}.draft")
    record = {"pid": os.getpid(), "host": socket.gethostname(), "token": token}
    try:
        draft.write_text(json.dumps(record), encoding="utf-8")
    except FileNotFoundError:  # the owner has just removed the folder
        return False
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links: creation is atomic too, and the content follows
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(draft.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _renew(path: Path, end: threading.Event) -> None:
    while not end.wait(RENEW_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _is_stale(path: Path) -> bool:
    """Whether the owner of a file is dead, or has not renewed it for `STALE_SECONDS`."""
    record = _record(path)
    is_local = record.get("host") == socket.gethostname()
    if is_local and isinstance(pid := record.get("pid"), int) and not process_exists(pid):
        return True
    try:
        last_change = path.stat().st_mtime_ns
    except FileNotFoundError:
        return False  # just released: the next attempt creates it
    if _observations.get(path, (None, 0.0))[0] != last_change:
        _observations[path] = last_change, time.monotonic()
    return time.monotonic() - _observations[path][1] > STALE_SECONDS


def _owner_lives(path: Path) -> bool:
    return path.exists() and not _is_stale(path)


def _remove(path: Path) -> bool:
    """Remove a stale file. Only one of several processes succeeds."""
    stale = path.with_name(f".{uuid.uuid4().hex}.stale")
    token = _record(path).get("token")
    try:
        os.rename(path, stale)
    except OSError:
        return False
    is_stale = _record(stale).get("token") == token
    if not is_stale:  # another process was faster and owns the file: put it back
        with contextlib.suppress(OSError):
            os.link(stale, path)
    stale.unlink(missing_ok=True)
    return is_stale


def _record(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        value = read_json(path)
        return value if isinstance(value, dict) else {}
    return {}


def process_exists(pid: int) -> bool:
    """Whether a process with this number exists on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
