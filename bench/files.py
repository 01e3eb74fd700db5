"""Files that are either whole or absent, and bad ones that are named instead of fatal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside `path`, flush to disk, rename over it: a reader sees the old file or the new one.

    Raises:
        OSError: when the disk is full, say; the old file is untouched and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file name has at most 255 bytes; the temporary one may not be longer than the one it becomes.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write JSON atomically. NaN and infinities are refused: JSON has no such numbers."""
    text = json.dumps(value, allow_nan=False, indent=indent, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


LONG_LIST = re.compile(r"\[[-+.eE0-9, ]{64,}+\]")
"""A list of more than a few numbers, as `write_json` writes it: no pair of floats is as long."""


def read_json(path: Path, outline: bool = False) -> Any:
    """Parse a JSON file.

    Args:
        path: the file.
        outline: read long lists of numbers as empty ones. They are most of a result, and of the time
            that parsing it takes.

    Raises:
        ValueError: when it is not JSON (truncated, binary, NaN), with the reason.
        OSError: when it cannot be read.
    """

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not a JSON number")

    text = path.read_text(encoding="utf-8")
    return json.loads(LONG_LIST.sub("[]", text) if outline else text, parse_constant=refuse)


def room_left(path: Path) -> int | None:
    """Bytes free on the disk under `path`; None where that cannot be told."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
