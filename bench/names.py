"""Names that become names of files and folders: which letters they have, and how long they may be."""

from __future__ import annotations

import re

PATTERN = "[A-Za-z0-9][A-Za-z0-9_.-]*"
"""A regular expression of every name that a suite, a claims file or a plugin gives."""
MOST_LETTERS = 100
"""Of one name: several names and numbers share a file name."""
MOST_BYTES = 255
"""Of a file name, on every common file system."""


def name_fault(name: str) -> str | None:
    """What is wrong with a name, or None."""
    if not re.fullmatch(PATTERN, name):
        shown = name if len(name) <= 60 else f"{name[:57]}…"
        return f"'{shown}' is not made of letters, digits, dots, dashes and underscores only"
    if len(name) > MOST_LETTERS:
        return f"'{name[:57]}…' has {len(name)} letters: a name has at most {MOST_LETTERS}"
    return None


def option_fault(text: str) -> str | None:
    """What is wrong with an option's value, as text, in the name of an architecture, or None.

    Spaces and commas separate what `--filter` takes; slashes separate folders.
    """
    if text.isascii() and text.isprintable() and not re.search(r"[\s,/\\]", text):
        return None
    return "this becomes part of a file name: no spaces, commas, slashes or letters beyond ASCII"


def file_fault(name: str) -> str | None:
    """Why a file cannot have a name (its ending included), or None."""
    size = len(name.encode())
    return None if size <= MOST_BYTES else f"a file name of {size} bytes; at most {MOST_BYTES} are allowed"
