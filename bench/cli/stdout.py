"""Standard output is for what a command answers, and for nothing else.

What a plugin prints goes to standard error, so that `--json` stays JSON. Where the terminal or a pipe has
another encoding than UTF-8, letters beyond it degrade instead of ending the command.
"""

from __future__ import annotations

import codecs
import contextlib
import sys
import unicodedata
from typing import TextIO

_PLAIN = {
    "×": "x", "·": ".", "…": "...", "–": "-", "—": "-", "−": "-", "±": "+-", "→": "->", "≤": "<=", "≥": ">=",
    "✓": "yes", "✗": "no", "“": '"', "”": '"', "’": "'",
}  # fmt: skip

_reserved: TextIO | None = None


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: what cannot be encoded, in letters that can."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    letters = (_PLAIN.get(letter) or _without_marks(letter) for letter in text)
    return "".join(letters), error.end


def _without_marks(letter: str) -> str:
    """é as e, ² as 2; a question mark for what has no such form."""
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or "?"


codecs.register_error("bench.plain", _plain)


def data_stream() -> TextIO:
    """Where answers go: the standard output that this process was started with."""
    stream = sys.stdout if _reserved is None or _reserved.closed else _reserved
    reconfigure = getattr(stream, "reconfigure", None)  # a test's stand-in may have none
    if reconfigure is not None and not speaks_utf8(stream):
        with contextlib.suppress(ValueError, OSError):
            reconfigure(errors="bench.plain")
    return stream


def reserve() -> None:
    """From now on `print` goes to standard error; only `data_stream` is standard output."""
    global _reserved
    if sys.stdout is not sys.stderr:  # a process that runs several commands may have another one by now
        _reserved, sys.stdout = sys.stdout, sys.stderr


def speaks_utf8(stream: TextIO) -> bool:
    """Whether every letter can be written to a stream."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")
