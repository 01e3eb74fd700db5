"""Docstrings as data: the text, and the meaning of each attribute. Commands and JSON Schemas show both."""

from __future__ import annotations

import re

_HEADING = r"^Attributes:\n"
_ATTRIBUTE = r"^ {4}(\w+): (.*(?:\n {8}.*)*)\n?"


def attributes(docstring: str) -> dict[str, str]:
    """The meaning of each attribute that a cleaned docstring lists, on one line."""
    _, *section = re.split(_HEADING, docstring, maxsplit=1, flags=re.MULTILINE)
    listed = re.findall(_ATTRIBUTE, "".join(section), re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in listed}


def paragraphs(docstring: str) -> str:
    """A cleaned docstring for a terminal: every paragraph is one line, which the terminal wraps.

    Indented text is kept as it is. The `::` before it becomes a colon; a line that is only `::` is left out.
    """
    text = re.sub(r"^::\n+", "", docstring, flags=re.MULTILINE).replace("::\n", ":\n")
    blocks = re.split(r"\n{2,}", text)
    return "\n\n".join(block if "\n " in f"\n{block}" else " ".join(block.split()) for block in blocks)


def description(docstring: str) -> str:
    """A cleaned docstring without its attributes."""
    return re.sub(f"{_HEADING}(?:{_ATTRIBUTE})*\n*", "", docstring, flags=re.MULTILINE).strip()
