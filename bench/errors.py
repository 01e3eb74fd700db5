"""The errors that a user can cause. Only `bench.cli` prints them and exits."""

from __future__ import annotations

import difflib
import re
import sys
import traceback
from collections.abc import Iterable
from typing import Any

OR_A_PLUGIN = "; one of your own is loaded by --plugin FILE"
"""What a message adds to the names of the architectures or tasks that would be right."""


class UserError(Exception):
    """A mistake that the user can correct. The message says what is wrong, where, and what would be right."""

    exit_code = 2


class InvalidFile(UserError):
    """A suite or claims file that cannot be used: one line per problem, each `file:line:column: …`."""

    exit_code = 3

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = [_printable(problem) for problem in problems]
        super().__init__("\n".join(self.problems))


def _printable(text: str) -> str:
    r"""The text with `\n` for a line break, and so on. A value of the file may contain control characters."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: match[0].encode("unicode_escape").decode(), text
    )


def check_type(argument: str, value: object, kind: Any, expected: str) -> None:
    """Check an argument of the Python API that is not a setting.

    Args:
        argument: its name.
        value: its value.
        kind: the type, or the union of types, that it may have.
        expected: these types in words.

    Raises:
        UserError: the value has another type.
    """
    if not isinstance(value, kind):
        raise UserError(f"{argument}: expected {expected}, got {value!r:.60}")


def did_you_mean(word: str, valid: Iterable[str], otherwise: str = "") -> str:
    """The text `, did you mean 'x'?` with the nearest valid word, or the only one that begins with `word`.

    Without such a word, the list of all valid words, then `otherwise`.
    """
    choices = [str(choice) for choice in valid]
    if (near := nearest(word, choices)) is not None:
        return f", did you mean '{near}'?"
    return f", expected one of: {', '.join(choices)}{otherwise}" if choices else ""


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The nearest valid word; the only one that begins with `word`, or whose parts begin with its letters.

    None without such a word. Capital and small letters count as equal: `LR` finds `learning_rate`.
    """
    lowered = {str(choice).lower(): str(choice) for choice in valid}
    start = str(word).lower()
    near = difflib.get_close_matches(start, lowered, n=1, cutoff=0.6)
    longer = [choice for choice in lowered if start and choice.startswith(start)]
    if near or len(longer) == 1:
        return lowered[(near or longer)[0]]
    initials = [choice for choice in lowered if "".join(part[:1] for part in choice.split("_")) == start]
    return lowered[initials[0]] if len(start) > 1 and len(initials) == 1 else None


def on_one_line(error: BaseException) -> str:
    """An error as `Type: message`, without line breaks."""
    try:
        message = " ".join(str(error).split())
    except Exception as fault:  # of a plugin's own class
        message = f"its message cannot be shown ({type(fault).__name__})"
    return f"{type(error).__name__}: {message}"


def raised_in(error: BaseException, module: str) -> str:
    """Describe an error as `file:line: Type: message`, with the innermost line in `module` that raised it.

    For a module that could not be imported, the line is the innermost of all.
    """
    from pydantic import ValidationError

    message = on_one_line(error)
    if isinstance(error, ValidationError):  # its own text is a page long
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        message = f"{error.title}: {'; '.join(faults)}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename[0] != "<"]
    if module in sys.modules:
        frames = [
            frame for frame in frames if frame.filename == getattr(sys.modules[module], "__file__", None)
        ]
    return f"{frames[-1].filename}:{frames[-1].lineno}: {message}" if frames else message
