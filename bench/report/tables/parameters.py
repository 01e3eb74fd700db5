"""Parameters of the paper's architectures at every size the paper names, beside the counts it prints.

Table 6 prints one count per size group, Table 4 one per model. Ours, at the widest size of each of Table 6's
groups and without read-in and read-out, agree with 23 of its 24 under rounding or truncation; the
Transformer of the large group has 85.2M against 86M, which is GPT-2's own positional table of 1,024 rows
(Table 4's model, whose prompts are that long).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.models import architectures
from bench.models.sizes import Size, size_text
from bench.paper import printed
from bench.paper.sizes import APPENDIX_C, PARITY, TABLE_3, TABLE_4, TABLE_6, TABLE_7, TABLE_8
from bench.report.tables.table import Table, TableCell
from bench.report.text import millions
from bench.words import architecture_name


class Source(NamedTuple):
    """Sizes that a part of the paper names.

    Attributes:
        where: table or section.
        groups: its size groups.
        length: tokens of its prompts; a positional table has as many rows, and no fewer than usual.
    """

    where: str
    groups: Mapping[str, tuple[Size, ...]]
    length: int


SOURCES = (
    Source("Table 6", TABLE_6, 202),
    Source("Table 4", TABLE_4, 1024),
    Source("Table 7", TABLE_7, 303),
    Source("Table 8", TABLE_8, 1024),
    Source("Table 3", TABLE_3, 80),
    Source("§4.3", PARITY, 280),
    Source("Appendix C", APPENDIX_C, 82),
)

_OF_TABLE_4 = {
    name: {"ginc-lstm" if name == "lstm" else "ginc": count} for name, (count, *_) in printed.TABLE_4.items()
}
PRINTED = {
    name: printed.TABLE_6.get(name, {}) | _OF_TABLE_4.get(name, {})
    for name in printed.TABLE_6 | printed.TABLE_4
}
"""By architecture and size group: the counts of Tables 6 and 4."""

CAPTION = (
    "The paper's / ours: trainable parameters at every size that the paper names, and how far ours are from "
    "the count that it prints (Tables 6 and 4; – where it prints none). Counted are blocks with their "
    "LayerNorms, the final LayerNorm and the positional table, but neither read-in nor read-out nor token "
    "embeddings. A positional table has 202 rows (Transformer) or 256 (Standard Hybrid), as the released "
    "configurations allocate, or as many as a prompt has tokens where that is more; S4 is 1.75 times as "
    "wide as listed. The paper prints one number per size group, with one or two digits, sometimes rounded "
    "and sometimes cut off; it is the count of the group's widest size (bold)."
)


def counted(text: str) -> int:
    """A printed count as a number: "3.2M" → 3,200,000."""
    return round(float(text[:-1]) * {"K": 1e3, "M": 1e6}[text[-1]])


def comparison() -> pd.DataFrame:
    """One row per size and architecture: our count, the paper's (or none) and the deviation in percent."""
    rows = []
    for source in SOURCES:
        for group, sizes in source.groups.items():
            widest = max(sizes, key=lambda size: size.width)
            for size in sizes:
                for architecture in architectures.PAPER:
                    stated = PRINTED.get(architecture.name, {}).get(group)
                    paper = None if stated is None else counted(stated)
                    count = architecture.parameters(size.layers, size.width, length=source.length)
                    rows.append(
                        {
                            "source": source.where,
                            "size_group": group,
                            **size.model_dump(),
                            "widest": size == widest,
                            "architecture": architecture.name,
                            "ours": count,
                            "paper_printed": stated,
                            "paper": paper,
                            "deviation_percent": None if paper is None else 100 * (count / paper - 1),
                        }
                    )
    return pd.DataFrame(rows).astype({"paper": "Int64"})


def table_6() -> Table:
    """Sizes × architectures: the paper's count, ours, the deviation."""
    numbers = comparison()
    columns = [
        "named in",
        "group",
        "layers × width",
        *(architecture_name(architecture.name) for architecture in architectures.PAPER),
    ]
    keys = ["source", "size_group", "layers", "width"]
    rows = []
    for _, group in numbers.groupby(keys, sort=False):
        cells = group.to_dict("records")
        first = cells[0]
        names = (
            first["source"],
            first["size_group"],
            size_text(Size(layers=first["layers"], width=first["width"])),
        )
        rows.append([*map(TableCell, names), *map(_cell, cells)])
    return Table("table-6-parameters", CAPTION, columns, rows, numbers, frozenset(columns[:2]))


def _cell(row: Mapping[Any, Any]) -> TableCell:
    count = millions(row["ours"])
    if not isinstance(row["paper_printed"], str):
        return TableCell(f"– / {count}")
    deviation = f"{row['deviation_percent']:+.1f}".replace("-", "−")
    return TableCell(f"{row['paper_printed']} / {count} ({deviation} %)", best=row["widest"])
