"""The points of a figure as a table. The CSV beside the figure has all their columns."""

from __future__ import annotations

import pandas as pd

from bench.report.tables.table import Table, TableCell
from bench.run import short


def points_table(name: str, numbers: pd.DataFrame) -> Table:
    """A row per point: what it is and what it scored."""
    columns = [(key, head) for key, head in READABLE.items() if key in numbers]
    rows = [[TableCell(_readable(key, row[key])) for key, _ in columns] for row in numbers.to_dict("records")]
    text = frozenset(head for key, head in columns if key in ("panel", "series", "size", "learned"))
    caption = (
        "The points of the figure. Standard errors: over seeds where three or more finished, else prompts."
    )
    return Table(name, caption, [head for _, head in columns], rows, numbers, text)


READABLE = {
    "panel": "panel",
    "series": "architecture",
    "size": "size",
    "seed": "seed",
    "learning_rate": "learning rate",
    "step": "step",
    "training_flops": "training FLOPs",
    "value": "score",
    "standard_error": "standard error",
    "seeds": "seeds",
    "learned": "learned",
    "convergence_step": "step at which learned",
}
"""Columns of numbers that people read, and their headings."""


def _readable(key: str, value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if key in ("step", "convergence_step", "seeds", "seed"):
        return f"{int(value):,}"  # type: ignore[call-overload]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return short(float(value)) if key == "learning_rate" else f"{float(value):.3g}"
    return str(value)
