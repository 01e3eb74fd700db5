"""The errors a user can cause. `bench.cli` prints them and exits; nothing else does either."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: what is wrong, where, and what would be right."""

    exit_code = 2


class InvalidFile(UserError):
    """A suite or claims file that cannot be used: one line per problem, each `file:line:column: …`."""

    exit_code = 3

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def did_you_mean(word: str, valid: Iterable[str], otherwise: str = "") -> str:
    """`, did you mean 'x'?` for the nearest valid word, else the list of them all, and `otherwise`."""
    choices = [str(choice) for choice in valid]
    near = difflib.get_close_matches(str(word), choices, n=1, cutoff=0.6)
    if near:
        return f", did you mean '{near[0]}'?"
    return f", expected one of: {', '.join(choices)}{otherwise}" if choices else ""


def raised_at(error: BaseException, file: str) -> str | None:
    """`file:line` of the innermost line of `file` that an error went through; None where it did not."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else None
