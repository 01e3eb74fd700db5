"""A table for readers, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class TableCell:
    """Text for people; the best of its kind is set in bold, the absent in grey."""

    text: str
    best: bool = False
    absent: bool = False


@dataclass(frozen=True)
class Table:
    """A table for people and the numbers behind it.

    Attributes:
        name: file name without its ending.
        caption: what it shows, in a sentence or two.
        columns: heading of each column; those from the second on that hold numbers are right-aligned.
        rows: one cell a column.
        numbers: what the CSV holds.
        text_columns: headings of left-aligned columns.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    numbers: pd.DataFrame
    text_columns: frozenset[str] = frozenset()

    @property
    def architectures(self) -> list[str]:
        """Each row's architecture, as in suites; empty where rows do not stand for one."""
        if "architecture" not in self.numbers or len(self.numbers) != len(self.rows):
            return []
        return [str(name) for name in self.numbers["architecture"]]
