"""Standard output contains the output of a command, and nothing else.

Output of plugins goes to standard error, so that `--json` stays JSON. If a terminal or a pipe has another
encoding than UTF-8, letters that it lacks are replaced, and the command does not fail.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import unicodedata
from typing import TextIO

_PLAIN = {
    "×": "x", "·": ".", "…": "...", "–": "-", "—": "-", "−": "-", "±": "+-", "→": "->", "≤": "<=", "≥": ">=",
    "✓": "yes", "✗": "no", "“": '"', "”": '"', "’": "'",
}  # fmt: skip

READER_LEFT = 141
"""Exit code if the reader of a pipe has closed it (`bench plan … | head`): the shell's code for SIGPIPE."""
LEAST_COLUMNS = 20
"""Smallest width of a terminal that is believed."""

_reserved: TextIO | None = None


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: replaces letters that cannot be encoded by letters that can."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    letters = (_PLAIN.get(letter) or _without_marks(letter) for letter in text)
    return "".join(letters), error.end


def _without_marks(letter: str) -> str:
    """é as e, ² as 2; a question mark for a letter that has no such form."""
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or "?"


codecs.register_error("bench.plain", _plain)


def open_closed() -> None:
    """Open the null device in place of each standard stream that this process was started without.

    Otherwise the next files that are opened, such as pipes to workers, would take the streams' numbers, and
    workers would have no output to redirect.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            os.set_inheritable(handle, True)
            setattr(sys, name, open(handle, mode, encoding="utf-8"))  # noqa: SIM115 (open until the end)


def data_stream() -> TextIO:
    """The stream for output: the standard output with which this process was started."""
    stream = sys.stdout if _reserved is None or _reserved.closed else _reserved
    reconfigure = getattr(stream, "reconfigure", None)  # a test's stream may have none
    if reconfigure is not None:
        with contextlib.suppress(ValueError, OSError):
            # UTF-8 lacks only the bytes of file names that are not UTF-8.
            reconfigure(errors="backslashreplace" if speaks_utf8(stream) else "bench.plain")
    return stream


def reserve() -> None:
    """Redirect `print` to standard error. Then only `data_stream` is standard output."""
    global _reserved
    if sys.stdout is not sys.stderr:  # differs between commands of one process
        _reserved, sys.stdout = sys.stdout, sys.stderr


def abandon() -> None:
    """Discard the rest of the output, so that Python does not fail when it flushes the stream at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), data_stream().fileno())


def settle_width() -> None:
    """Remove the variable COLUMNS if it is no usable width, such as the 0 of a terminal without a size."""
    width = os.environ.get("COLUMNS", "")
    if not (width.isascii() and width.isdigit() and int(width) >= LEAST_COLUMNS):
        os.environ.pop("COLUMNS", None)


def speaks_utf8(stream: TextIO) -> bool:
    """Whether a stream can encode every letter."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")
