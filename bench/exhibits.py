"""Tables and figures of the paper, as experiments and claims name them in words.

An experiment says `rebuilds: Figures 9 and 10, left`, a claim `source: §4.3, Table 3`. What they name
is read from those words, so that nothing depends on what an experiment is called.
"""

from __future__ import annotations

import re

FIGURES = ("Figure 2", "Figure 3", "Figure 4", "Figure 5", "Figure 7", "Figure 8", "Figure 9", "Figure 10")
TABLES = ("Table 1", "Table 3", "Table 4", "Table 5", "Table 6")
_NAMED = re.compile(r"\b(Figure|Table)s?\s+(\d+(?:(?:\s*,\s*|\s*,?\s+and\s+)\d+)*)")


def unknown(text: str) -> str | None:
    """What a text names that no report draws: "Figure 99", or "figure 2", which is no name; else None."""
    for number in named(text):
        if number not in FIGURES + TABLES:
            return number
    rest = _NAMED.sub("", text)
    loose = re.search(r"\b(?:fig(?:ure)?|tab(?:le)?)s?\b\.?\s*\d+", rest, re.IGNORECASE)
    return loose[0] if loose else None


def named(text: str) -> tuple[str, ...]:
    """Every figure and table that a text names: "Figures 9 and 10, left" → ("Figure 9", "Figure 10")."""
    found = [
        f"{match[1]} {number}" for match in _NAMED.finditer(text) for number in re.findall(r"\d+", match[2])
    ]
    return tuple(dict.fromkeys(found))
