"""Who owns a run: one process at a time, on any file system.

    lock          held by `flock`: the kernel's, so it dies with its owner
    lock.owner    where a file system has no such locks: created by one process, renewed while it lives

A mount without locks answers ENOLCK or "not supported" to `flock`. There the file itself is the lock:
whoever creates it owns the run, and touches it every `RENEW_SECONDS`. It is taken over when its owner is
gone: at once on this machine, where processes can be asked for, else once it was seen unchanged for
`STALE_SECONDS`. That is measured by the clock of whoever waits: clocks of machines differ.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
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
WITHOUT_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}

_seen: dict[Path, tuple[int, float]] = {}
"""When this process first saw an owner's file as it is: its time of change, our own time."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Try to own what a folder stands for: yields whether this process does. Never waits."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
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
    with _created(folder / OWNER) as owned:
        yield owned


def is_held(folder: Path) -> bool:
    """Whether some process owns what a folder stands for, however long it has been silent."""
    try:
        with (folder / NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in WITHOUT_LOCKS and _owner_lives(folder / OWNER)
    return False


def owner(folder: Path) -> str | None:
    """Who owns it where locks are files: "process 7 on node3"; None where nobody is named."""
    record = _record(folder / OWNER)
    return f"process {record.get('pid')} on {record.get('host')}" if record else None


@contextlib.contextmanager
def _created(path: Path) -> Iterator[bool]:
    token = uuid.uuid4().hex
    if not _create(path, token) and not (_abandoned(path) and _take_away(path) and _create(path, token)):
        yield False
        return
    over = threading.Event()
    threading.Thread(target=_renew, args=(path, over), daemon=True).start()
    try:
        yield True
    finally:
        over.set()
        if _record(path).get("token") == token:
            path.unlink(missing_ok=True)


def _create(path: Path, token: str) -> bool:
    """Create the owner's file, whole, if there is none: a link to a finished file is one step everywhere."""
    draft = path.with_name(f".{token}.draft")
    record = {"pid": os.getpid(), "host": socket.gethostname(), "token": token}
    draft.write_text(str(record).replace("'", '"'), encoding="utf-8")
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links: creating is one step too, and the content follows
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(draft.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _renew(path: Path, over: threading.Event) -> None:
    while not over.wait(RENEW_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _abandoned(path: Path) -> bool:
    """Whether the owner of a file is gone, or was not seen to renew it for long enough."""
    record = _record(path)
    local = record.get("host") == socket.gethostname()
    if local and isinstance(pid := record.get("pid"), int) and not process_exists(pid):
        return True
    try:
        changed = path.stat().st_mtime_ns
    except FileNotFoundError:
        return False  # just released: the next attempt gets it
    if _seen.get(path, (None, 0.0))[0] != changed:
        _seen[path] = changed, time.monotonic()
    return time.monotonic() - _seen[path][1] > STALE_SECONDS


def _owner_lives(path: Path) -> bool:
    return path.exists() and not _abandoned(path)


def _take_away(path: Path) -> bool:
    """Move an abandoned file out of the way; only one of several processes succeeds."""
    grave = path.with_name(f".{uuid.uuid4().hex}.stale")
    before = _record(path).get("token")
    try:
        os.rename(path, grave)
    except OSError:
        return False
    owned = _record(grave).get("token") == before
    if not owned:  # somebody was faster, and owns it by now: give it back
        with contextlib.suppress(OSError):
            os.link(grave, path)
    grave.unlink(missing_ok=True)
    return owned


def _record(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        value = read_json(path)
        return value if isinstance(value, dict) else {}
    return {}


def process_exists(pid: int) -> bool:
    """Whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
