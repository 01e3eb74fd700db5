"""A table for readers and the numbers behind it, as CSV (every number in full), Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.text import latex, markdown


@dataclass(frozen=True)
class TableCell:
    """Text of a cell. The best of its kind is set in bold, an absent one in grey."""

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
        rows: a cell per column.
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
        """Each row's architecture, as in suites; empty if rows do not belong to architectures."""
        if "architecture" not in self.numbers or len(self.numbers) != len(self.rows):
            return []
        return [str(name) for name in self.numbers["architecture"]]


def encoded(table: Table) -> dict[str, bytes]:
    """The table's files by ending."""
    return {
        "csv": csv(table.numbers),
        "md": as_markdown(table).encode(),
        "tex": as_latex(table).encode(),
    }


def csv(numbers: pd.DataFrame) -> bytes:
    """Numbers in full. Missing ones are empty fields."""
    return numbers.to_csv(index=False, lineterminator="\n").encode()


def as_markdown(table: Table) -> str:
    """A pipe table, best values in bold."""
    head = "| " + " | ".join(markdown(column) for column in table.columns) + " |"
    rules = (" --- " if column in table.text_columns else " ---: " for column in table.columns)
    rule = "|" + "|".join(rules) + "|"

    def shown(cell: TableCell) -> str:
        text = markdown(cell.text)
        return f"**{text}**" if cell.best else text

    lines = ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join([head, rule, *lines]) + "\n"


def as_latex(table: Table) -> str:
    """A table environment that needs the packages booktabs and amssymb."""
    align = "".join("l" if column in table.text_columns else "r" for column in table.columns)

    def shown(cell: TableCell) -> str:
        text = latex(cell.text)
        return rf"\textbf{{{text}}}" if cell.best else text

    lines = [" & ".join(shown(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \begin{{tabular}}{{{align}}}",
            r"    \toprule",
            "    " + " & ".join(latex(column) for column in table.columns) + r" \\",
            r"    \midrule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            rf"  \caption{{{latex(table.caption)}}}",
            rf"  \label{{tab:{table.name}}}",
            r"\end{table}",
            "",
        ]
    )


def missing_text(reason: str) -> str:
    """The text of a cell without a number: "missing: no experiment", "missing (4 of 4 runs)"."""
    return reason if reason.startswith("missing") else f"missing: {reason}"


def scalars(numbers: pd.DataFrame) -> pd.DataFrame:
    """The numbers behind a figure without lists and without what tooltips alone need."""
    lists = [
        name
        for name, values in numbers.items()
        if values.dtype == object and any(isinstance(value, list) for value in values)
    ]
    return numbers.drop(columns=[*lists, "independent_prompts"], errors="ignore")
