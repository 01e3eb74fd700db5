"""Causes of failures: the exception's class, and its message without the parts that vary between runs."""

from __future__ import annotations

import re
from typing import Any

Cause = tuple[str, str]
"""Class of the exception, skeleton of its message."""

MOST_CHARACTERS = 300

_DIFFERS = (
    (re.compile(r"0x[0-9a-fA-F]+"), "…"),  # addresses
    (re.compile(r"(?<![\w/])/(?:[^\s/'\":;,()]+/)*[^\s/'\":;,()]+"), "PATH"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "…"),  # ids of runs, commits
    (re.compile(r"(?<![A-Za-z_])[-+]?\d[\d_,]*(?:\.\d+)?(?:e[-+]?\d+)?"), "N"),
)


def skeleton(message: str) -> str:
    """The first line of a message with numbers, ids and paths replaced: equal for equal causes.

    `tried to allocate 20.5 MiB on GPU 3` and `… 18.0 MiB on GPU 1` both become
    `tried to allocate N MiB on GPU N`.
    """
    first = message.strip().splitlines()[0] if message.strip() else ""
    for pattern, word in _DIFFERS:
        first = pattern.sub(word, first)
    return first[:MOST_CHARACTERS]


def cause(failure: dict[str, Any]) -> Cause:
    """The cause that a failure record states."""
    return str(failure.get("class", "unknown")), skeleton(str(failure.get("message", "")))
