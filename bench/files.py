"""Atomic writing, and strict reading of JSON."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

_SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python reads in place of a byte of a file name that is not UTF-8."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary file, flush it to disk, rename it to `path`: readers see the old or the new file.

    Raises:
        OSError: for example when the disk is full; it names the file or its folder. The old file is
            untouched, the temporary file removed.
    """
    _make_folder(path.parent)
    with _errors_name(path):
        _write(path, data)


def _make_folder(folder: Path) -> None:
    """Create a folder and those above it.

    Raises:
        OSError: it cannot be made. Where a file is in the way, the error is that it is not a directory.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


@contextlib.contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Name a file in errors, which name none on a full disk, and the temporary file in a read-only folder."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _write(path: Path, data: bytes) -> None:
    # A file name has at most 255 bytes, so the temporary name takes only the beginning of the final one.
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


def check_can_write(path: Path) -> None:
    """Check that `write_atomically` can write a file. Its folder is created if it does not exist.

    Raises:
        OSError: it cannot; the error names the file or its folder.
    """
    _make_folder(path.parent)
    with _errors_name(path):
        try_to_write(path.parent)


def try_to_write(folder: Path) -> None:
    """Create a temporary file in a folder and delete it.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".tmp"):
        pass


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write JSON atomically, as `json_bytes`."""
    write_atomically(path, json_bytes(value, indent))


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """A value as JSON, with a line break at the end.

    Raises:
        ValueError: a number is NaN or infinite. JSON has no such numbers.
    """
    text = json.dumps(value, allow_nan=False, indent=indent, ensure_ascii=False)
    # JSON escapes a backslash with another one.
    return utf8(_SURROGATE.sub(lambda match: f"\\\\u{ord(match[0]):04x}", text) + "\n")


def utf8(text: str) -> bytes:
    r"""A text as UTF-8. A byte of a file name that is not UTF-8 becomes, for example, `\udcff`."""
    return text.encode(errors="backslashreplace")


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        ValueError: when it is not JSON (truncated, binary, NaN), with the reason.
        OSError: when it cannot be read.
    """
    return parse_json(path.read_bytes())


def parse_json(data: bytes) -> Any:
    """Parse JSON. For long lists of numbers this takes a sixth of the standard library's time.

    Raises:
        ValueError: when it is not JSON (truncated, binary, NaN), with the reason.
    """
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        reason = error

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not a JSON number")

    with contextlib.suppress(RecursionError):
        json.loads(data, parse_constant=refuse)  # its error message says more
    raise ValueError(str(reason))


def as_read(value: Any) -> Any:
    """The value as a JSON file of it is read: tuples have become lists, for example."""
    return parse_json(json.dumps(value, allow_nan=False).encode())


def room_left(path: Path) -> int | None:
    """Free bytes on the disk of `path`; None where the system cannot tell."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
