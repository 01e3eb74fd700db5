"""Output of the commands: tables, JSON, and the format of numbers and durations. No text is cut to fit."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rich.cells import cell_len
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.cli.stdout import READER_LEFT, abandon, data_stream, speaks_utf8
from bench.digits import count_of

STATE_STYLES = {
    "finished": "green",
    "running": "cyan",
    "queued": "blue",
    "diverged": "yellow",
    "failed": "red",
    "missing": "dim",
}
VERDICT_STYLES = {"agrees": "green", "disagrees": "red", "not available": "dim"}
"""Of a kernel backend, compared with the reference."""
UNBOUNDED = 10_000
"""Width of output that does not go to a terminal: no line is broken, except in columns of prose."""
PROSE = 60
"""Width of a column of prose in output that does not go to a terminal."""
LEAST_FOLDED = 10
"""Columns of a table fold to no less."""
FLOPS = "full-length FLOPs"
"""Heading of training FLOPs, which are printed in the count at which models are compared (`AXIS`)."""

Cell = str | Text | ProgressBar


class Output(Console):
    """Standard output: as wide as its terminal. In a file or a pipe: lines are whole, and end in no space."""

    def __init__(self) -> None:
        super().__init__(highlight=False, file=data_stream())
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = UNBOUNDED

    def on_broken_pipe(self) -> NoReturn:
        """Exit without a message, and without output that Python would flush at exit."""
        abandon()
        raise SystemExit(READER_LEFT)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, without cutting a table that cannot be as narrow as the terminal."""
        options = {"crop": False, **options}
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:  # a table fills its last column with spaces
            super().print(*objects, **options)
        lines = (line.rstrip(" ") for line in captured.get().split("\n"))
        super().print(Text("\n".join(lines)), soft_wrap=True, end="")

    def say(self, text: str, style: str = "") -> None:
        """Print a text without markup: it may contain paths, brackets and messages of other programs."""
        self.print(Text(text, style), soft_wrap=True)

    def json(self, value: Any) -> None:
        """Print JSON for scripts."""
        text = json.dumps(value, indent=2, ensure_ascii=not speaks_utf8(data_stream()))
        self.out(text)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        number: whether cells are aligned to the right.
        folds: whether cells may be broken into lines if the terminal is too narrow.
        spare: whether the column may be left out in that case.
        prose: whether cells are sentences, which are broken into lines in a file or a pipe too.
    """

    name: str
    number: bool = False
    folds: bool = False
    spare: bool = False
    prose: bool = False


def table(out: Output, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], title: str = "") -> Table:
    """A table that fits its terminal.

    Spare columns are left out, the last first, and named below the table. Then other columns fold: names at a
    `+` or behind a `_` where that suffices. A table that is too wide even so is wider than the terminal.
    """
    rows = list(rows)
    widths = _widths(columns, rows)
    shown = list(range(len(columns)))
    spare = [index for index in shown if columns[index].spare]

    def excess(gap: int) -> int:
        return sum(widths[index] for index in shown) + gap * (len(shown) - 1) - out.width

    gap = 2 if excess(2) <= 0 else 1
    while spare and excess(gap) > 0:
        shown.remove(spare.pop())
    left_out = [column.name for index, column in enumerate(columns) if index not in shown and column.name]
    for index in sorted(shown, key=lambda index: -widths[index]):
        if columns[index].folds and excess(gap) > 0:
            texts = [columns[index].name, *(cell for row in rows if isinstance(cell := row[index], str))]
            narrowest = max(cell_len(part) for text in texts for part in _parts(text))
            widths[index] = max(narrowest, widths[index] - excess(gap))
    fitted = Table(
        box=None,
        header_style="bold",
        padding=(0, gap, 0, 0),
        pad_edge=False,
        title=Text(f"\n{title}", "italic") if title else None,
        title_justify="left",
        caption=Text(f"Left out of this narrow terminal: {', '.join(left_out)}.") if left_out else None,
        caption_justify="left",
    )
    for index in shown:
        column = columns[index]
        fitted.add_column(
            column.name,
            min_width=min(widths[index], LEAST_FOLDED),
            max_width=PROSE if column.prose and out.width == UNBOUNDED else None,
            justify="right" if column.number else "left",
            no_wrap=not column.folds,
            overflow="fold",
        )
    further = sum(max(0, widths[index] - LEAST_FOLDED) for index in shown if columns[index].folds)
    if excess(gap) > further:  # the terminal breaks the lines; a narrower table would lose whole columns
        fitted.width = out.width + excess(gap) - further
    for row in rows:
        fitted.add_row(*(_folded(row[index], widths[index]) for index in shown))
    return fitted


def fits(out: Output, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether a table needs neither folds nor, beside the spare ones, fewer columns."""
    widths = _widths(columns, rows)
    needed = [width for width, column in zip(widths, columns, strict=True) if not column.spare]
    return sum(needed) + len(needed) - 1 <= out.width


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[int]:
    """The width of each column on one line."""
    return [
        max([cell_len(column.name), *(_width(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]


def _parts(text: str) -> list[str]:
    """Where a text may be broken: its words; a name and its options; the parts of a name without options.

    Parts are `deltanet`, `+heads=2` and `mamba_`, `learns_`, `parity`.
    """
    if " " in text:
        return text.split()
    return re.split(r"(?=\+)" if "+" in text else r"(?<=_)(?=\w)", text)


def _folded(cell: Cell, width: int) -> Text | ProgressBar:
    """A cell in which a name that is wider than `width` is broken between some of its parts."""
    if not isinstance(cell, str):
        return cell
    if " " in cell or cell_len(cell) <= width:
        return Text(cell)
    lines = [""]
    for part in _parts(cell):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return Text("\n".join(lines))


def _width(cell: Cell) -> int:
    if isinstance(cell, ProgressBar):
        return cell.width or 0
    return cell_len(cell if isinstance(cell, str) else cell.plain)


def state(word: str) -> Text:
    """The state of a run, in its colour."""
    return Text(word, STATE_STYLES[word])


def flops(count: float) -> str:
    """FLOPs with two decimals: 1.37e+18 as 1.37e18; zero as 0."""
    return "0" if not count else f"{count:.2e}".replace("e+", "e").replace("e0", "e")


def percent(part: float, whole: float) -> str:
    """A share, rounded down: 100 % is all of it."""
    return f"{int(100 * part / whole) if whole else 100} %"


def parameters(count: int) -> str:
    """Parameter counts as the paper writes them: 86M, 3.2M, 467K."""
    if count >= 1e7:
        return f"{count / 1e6:.0f}M"
    if count >= 1e6:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.0f}K" if count >= 1e4 else f"{count / 1e3:.1f}K"


def duration(seconds: float) -> str:
    """A duration for people: 0.4 s, 12 s, 3 min, 1.4 h, 83 h, 95k h, 3.8M h."""
    if seconds < 1:
        return f"{seconds:.1g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 1e4:
        return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"
    return f"{hours / 1e3:.0f}k h" if hours < 1e6 else f"{hours / 1e6:,.1f}M h"


def expected(seconds: float | None, unknown: int) -> str:
    """A sum of durations, some of which may be unknown: `3 h`, `≥ 3 h, 5 runs unknown`, `unknown`.

    A sum of which nothing is known is unknown, also if runs that have finished add 0 to it.
    """
    if seconds is None or (unknown and not seconds):
        return "unknown"
    return f"≥ {duration(seconds)}, {count_of(unknown, 'run')} unknown" if unknown else duration(seconds)
