"""Table 6 of the paper: its parameter counts beside ours.

The paper prints one count a size group. Ours, at the widest configuration of each group and without
read-in and read-out, agree with 23 of the 24 under rounding or truncation; the Transformer of the
large group has 85.2M against 86M, which is GPT-2's own positional table of 1 024 rows.
"""

from __future__ import annotations

import pandas as pd

from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import TABLE_6
from bench.report.format import millions
from bench.report.style import architecture_name
from bench.report.tables import Cell, Table

PAPER: dict[str, dict[str, str]] = {
    "transformer": {"large": "86M", "medium": "25M", "small": "3M", "x-small": "420K"},
    "mamba": {"large": "90M", "medium": "27M", "small": "3M", "x-small": "460K"},
    "s4": {"large": "88M", "medium": "26M", "small": "3M", "x-small": "430K"},
    "s4_mamba": {"large": "86M", "medium": "26M", "small": "3M", "x-small": "430K"},
    "standard_hybrid": {"large": "74M", "medium": "22M", "small": "3M", "x-small": "400K"},
    "mambaformer": {"large": "77M", "medium": "24M", "small": "3.2M", "x-small": "480K"},
}
"""As printed."""


def counted(printed: str) -> int:
    """A printed count as a number: "3.2M" → 3 200 000."""
    return round(float(printed[:-1]) * {"K": 1e3, "M": 1e6}[printed[-1]])


def comparison() -> pd.DataFrame:
    """One row per architecture and size group: its widest size, the paper's count, ours and their ratio."""
    rows = []
    for architecture, groups in PAPER.items():
        for group, printed in groups.items():
            widest = max(TABLE_6[group], key=lambda size: size.width)
            ours = ARCHITECTURES[architecture].parameters(widest.layers, widest.width)
            rows.append(
                {
                    "architecture": architecture,
                    "size_group": group,
                    "layers": widest.layers,
                    "width": widest.width,
                    "paper": counted(printed),
                    "paper_printed": printed,
                    "ours": ours,
                    "ratio": ours / counted(printed),
                }
            )
    return pd.DataFrame(rows)


def table_6() -> Table:
    """Architectures × size groups, each cell the paper's count, ours and their ratio."""
    numbers = comparison()
    groups = list(TABLE_6)
    found = {(row["architecture"], row["size_group"]): row for row in numbers.to_dict("records")}
    rows = [
        [Cell(architecture_name(architecture))]
        + [
            Cell(f"{row['paper_printed']} / {millions(row['ours'])} ({row['ratio']:.3f})")
            for row in (found[architecture, group] for group in groups)
        ]
        for architecture in PAPER
    ]
    sizes = [found[next(iter(PAPER)), group] for group in groups]
    heads = [f"{row['size_group']} ({row['layers']}×{row['width']})" for row in sizes]
    caption = (
        "Trainable parameters: the paper's Table 6 / ours (ratio), at the widest size of each group, "
        "counting blocks, final normalisation and positional table but neither read-in nor read-out. The "
        "paper prints one or two digits, sometimes rounded and sometimes cut off."
    )
    columns = ["architecture", *heads]
    return Table("table-6-parameters", caption, columns, rows, numbers, frozenset({"architecture"}))
