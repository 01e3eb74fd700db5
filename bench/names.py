"""Names that become file names: which characters they may have, and how long they may be."""

from __future__ import annotations

import re

PATTERN = "[A-Za-z0-9][A-Za-z0-9_.-]*"
"""A regular expression that every name in a suite, a claims file or a plugin must match."""
MOST_LETTERS = 100
"""Longest name. A file name consists of several names and numbers."""
MOST_BYTES = 255
"""Longest file name on common file systems."""


def name_fault(name: str) -> str | None:
    """What is wrong with a name, or None."""
    if not re.fullmatch(PATTERN, name):
        shown = name if len(name) <= 60 else f"{name[:57]}…"
        if re.fullmatch("[A-Za-z0-9_.-]+", name):
            return f"'{shown}' does not begin with a letter or a digit"
        return f"'{shown}' is not made of letters, digits, dots, dashes and underscores only"
    if len(name) > MOST_LETTERS:
        return f"'{name[:57]}…' has {len(name)} letters: a name has at most {MOST_LETTERS}"
    return None


def option_fault(text: str) -> str | None:
    """What is wrong with the value of an architecture's option, given as text, or None.

    The value becomes part of the architecture's name. `--filter` separates names by spaces and commas.
    """
    if text.isascii() and text.isprintable() and not re.search(r"[\s,/\\]", text):
        return None
    return "this becomes part of a file name: no spaces, commas, slashes or letters beyond ASCII"


def file_fault(name: str) -> str | None:
    """Why a file cannot have this name (with its ending), or None."""
    size = len(name.encode())
    return None if size <= MOST_BYTES else f"a file name of {size} bytes; at most {MOST_BYTES} are allowed"
