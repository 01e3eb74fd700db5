"""Sizes of figures in print: two widths, one size of text, panels in a grid, and a legend below them.

All lengths are in inches. Text is measured before it is drawn, so that it is wrapped where it would not fit.
What is placed by data, such as the label of the last tick, is moved in the end (`keep_text_inside`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation

from bench.report.style import MUTED, RC, TEXT_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

T = TypeVar("T")

COLUMN, PAGE = 3.25, 6.75
"""Widths of a column and of a page of a two-column paper."""
LINE = 1.3 * TEXT_SIZE / 72
"""Height of a line of text."""
MARGIN = 0.06
AIR = 0.02
"""Least distance of text from the edge. Text is a little wider in one kind of file than in another."""
TICKS, LABEL = 0.22, 0.17
"""Heights below axes: of the labels of ticks, and of the axis."""
HANDLE, BETWEEN = 0.43, 0.16
"""Widths in a legend: of a line sample with the gap after it, and between columns."""


@cache
def text_width(text: str, bold: bool = False) -> float:
    """The width of the longest line of a text in figures."""
    font = FontProperties(family=RC["font.family"], size=TEXT_SIZE, weight="bold" if bold else "normal")
    widths = (text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n"))
    return float(max(widths, default=0.0)) / 72


def wrapped(text: str, width: float, bold: bool = False) -> str:
    """The text in lines of at most `width`. A word that is wider than that is broken."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else ""
        if longer and text_width(longer, bold) <= width:
            lines[-1] = longer
        else:
            lines += _broken(word, width, bold)
    return "\n".join(lines)


def _broken(word: str, width: float, bold: bool) -> list[str]:
    """A word in pieces of at most `width`, each of at least one letter."""
    pieces = []
    while text_width(word, bold) > width and len(word) > 1:
        fits = max(1, sum(text_width(word[:end], bold) <= width for end in range(1, len(word))))
        pieces.append(word[:fits])
        word = word[fits:]
    return [*pieces, word]


def lines_of(text: str) -> int:
    """The number of lines of a wrapped text."""
    return text.count("\n") + 1


@dataclass(frozen=True)
class PanelGrid:
    """A figure and its axes, row by row.

    Attributes:
        width: of each panel's axes.
    """

    figure: Figure
    axes: Sequence[Axes]
    width: float


def new_grid(
    titles: Sequence[str],
    *,
    width: float,
    tall: float,
    columns: int = 1,
    left: float = 0.56,
    right: float = 0.18,
    between: float = 0.5,
    handles: Sequence[Line2D] = (),
    notes: Sequence[str] = (),
    legend_title: str = "",
    x_labels: bool = True,
) -> PanelGrid:
    """A figure with a panel per title, a legend below the panels, and notes below the legend.

    Args:
        titles: of the panels, row by row.
        width: of the figure.
        tall: height of every panel's axes.
        columns: panels in a row.
        left: room for the labels of the first column's y axes.
        right: room beside the last column.
        between: room between two columns.
        handles: of the legend, with labels.
        notes: sentences below the figure.
        legend_title: what the legend's labels are.
        x_labels: whether every row has labels of x axes; else panels that have none below them.
    """
    wide = (width - left - right - between * (columns - 1)) / columns
    named = [wrapped(title, wide + (0.0 if columns > 1 else right), bold=True) for title in titles]
    rows = [named[start : start + columns] for start in range(0, len(named), columns)]
    heads = [max(map(lines_of, row)) * LINE + 0.08 for row in rows]
    shown = [line for note in notes for line in wrapped(note, 0.97 * width - 2 * MARGIN).split("\n")]
    foot = len(shown) * LINE + (0.08 if shown else 0)
    labels, legend_columns, legend_height = _legend(handles, width - 2 * MARGIN, legend_title)
    labelled = len(rows) - 1 - (len(rows[-1]) < columns)  # the first row with labels
    below = [TICKS + (LABEL + 0.08 if x_labels or row >= labelled else 0.1) for row in range(len(rows))]
    height = MARGIN + sum(heads) + tall * len(rows) + sum(below) + legend_height + foot + MARGIN
    figure = Figure(figsize=(width, height))
    axes: list[Axes] = []
    top = height - MARGIN
    for row, head, space in zip(rows, heads, below, strict=True):
        top -= head + tall
        for column, title in enumerate(row):
            place = ((left + column * (wide + between)) / width, top / height, wide / width, tall / height)
            panel = figure.add_axes(place)
            panel.set_title(title, pad=4)
            axes.append(panel)
        top -= space
    if handles:
        figure.legend(
            handles=handles, labels=labels, ncols=legend_columns, loc="upper left", borderaxespad=0,
            borderpad=0, bbox_to_anchor=(MARGIN / width, (top - 0.02) / height), handlelength=3.0,
            handletextpad=0.5, columnspacing=1.2, labelspacing=0.3, title=legend_title or None,
            title_fontsize=TEXT_SIZE, alignment="left",
        )  # fmt: skip
    for index, line in enumerate(shown):
        y = (foot - index * LINE) / height
        figure.text(MARGIN / width, y, line, color=MUTED, va="top")
    return PanelGrid(figure, axes, wide)


def _legend(handles: Sequence[Line2D], width: float, title: str) -> tuple[list[str], int, float]:
    """A legend's labels, wrapped where they are too long, its number of columns, and its height."""
    labels = [wrapped(str(handle.get_label()), width - HANDLE) for handle in handles]
    if not labels:
        return [], 1, 0.0
    columns = next(
        count
        for count in range(len(labels), 0, -1)
        if count == 1 or sum(HANDLE + max(map(text_width, part)) + BETWEEN for part in _split(labels, count))
        <= width + BETWEEN
    )  # fmt: skip
    lines = max(sum(lines_of(label) for label in part) for part in _split(labels, columns))
    return labels, columns, (lines + bool(title)) * (LINE + 0.01) + 0.08


def _split(labels: Sequence[str], columns: int) -> list[Sequence[str]]:
    """The labels of each column, as matplotlib splits them: down the columns, the first ones longer."""
    most, longer = divmod(len(labels), columns)
    parts: list[Sequence[str]] = []
    start = 0
    for column in range(columns):
        end = start + most + (column < longer)
        parts.append(labels[start:end])
        start = end
    return parts


def y_label(axes: Axes, text: str, tall: float) -> None:
    """Label the y axis of axes that are `tall`, in several lines where one is too long."""
    axes.set_ylabel(wrapped(text, tall + 0.3))


def shown_texts(figure: Figure) -> list[Text]:
    """The texts that a figure shows: no empty ones, and no labels of ticks beyond the ends of their axis."""
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for low, high in [sorted(axis.get_view_interval())]
        for tick in axis.get_major_ticks()
        if not low <= tick.get_loc() <= high
        for label in (tick.label1, tick.label2)
    }
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip() and text not in beyond
    ]


def keep_text_inside(figure: Figure) -> None:
    """Move texts that stick out of a figure as far as it takes to be inside it.

    Half of the label of a tick at the end of an axis is beyond the axis, and the labels of ticks decide how
    far the label of the axis is from it. Only the drawn figure shows whether there is room.
    """
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    air = AIR * figure.dpi
    for text in shown_texts(figure):
        box = text.get_window_extent(renderer)
        move = [_inwards(box.x0, box.x1, air, width - air), _inwards(box.y0, box.y1, air, height - air)]
        if any(move):
            across, up = (pixels / figure.dpi for pixels in move)
            shift = ScaledTranslation(across, up, figure.dpi_scale_trans)
            text.set_transform(text.get_transform() + shift)


def _inwards(low: float, high: float, first: float, last: float) -> float:
    """How far an interval has to move to be between `first` and `last`, or to begin at `first`."""
    return max(min(0.0, last - high), first - low) if low < first or high > last else 0.0


def rows_of(panels: Sequence[T], columns: int) -> list[Sequence[T]]:
    """Panels by row."""
    return [panels[start : start + columns] for start in range(0, len(panels), columns)]


def rows_with(panels: Sequence[T], columns: int, has_data: Callable[[T], bool]) -> list[T]:
    """The panels of the rows in which a panel has data; all panels where none has."""
    shown = [panel for row in rows_of(panels, columns) if any(map(has_data, row)) for panel in row]
    return shown or list(panels)


def most_ticks(wide: float, text: str = "3×10¹⁷") -> int:
    """How many labels as long as `text` an axis of a width has room for."""
    return max(2, math.floor(wide / (text_width(text) + 0.08)))
