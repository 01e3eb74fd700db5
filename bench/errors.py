"""The errors a user can cause. `bench.cli` prints them and exits; nothing else does either."""

from __future__ import annotations

import difflib
import sys
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


def raised_in(error: BaseException, module: str) -> str:
    """`file:line: Type: message` of an error: the innermost line of `module` that it went through, if any.

    A module that could not be imported is unknown; then it is the innermost line of all.
    """
    from pydantic import ValidationError

    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, ValidationError):  # whose own text is a page
        found = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        message = f"{error.title}: {'; '.join(found)}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename[0] != "<"]
    if module in sys.modules:
        frames = [each for each in frames if each.filename == getattr(sys.modules[module], "__file__", None)]
    return f"{frames[-1].filename}:{frames[-1].lineno}: {message}" if frames else message
