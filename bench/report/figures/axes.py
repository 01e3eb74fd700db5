"""What figures share: panels, logarithmic axes, readable ticks, labels at the ends of lines, footnotes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

from bench.report.data.frame import ScoreScale
from bench.report.style import FAINT, LINES, MUTED, PAPER, Look, superscript
from bench.report.text import first_few

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SMALLEST = 1e-6
"""No logarithmic axis starts below this: it is the resolution of single precision."""


@dataclass(frozen=True)
class Panel:
    """What is drawn for one task.

    Attributes:
        title: the task, for people.
        scale: how its scores are shown.
        data: `estimates.curves` (one size per series) or `estimates.points`.
        references: `references_frame` of the task.
        series: every planned series and its architecture, in the order of the plan.
        absent: a phrase for each planned model that cannot be drawn.
        reference_position: where floor and trivial predictor are read beside a headline; None for their mean
            over positions.
        label: of the axis that shows scores, where it is not that of the scale.
        task: the task's title, if the title is another.
    """

    title: str
    scale: ScoreScale
    data: pd.DataFrame
    references: pd.DataFrame
    series: Mapping[str, str]
    absent: Sequence[str] = ()
    reference_position: int | None = None
    label: str = ""
    task: str = ""

    @property
    def score_label(self) -> str:
        return self.label or self.scale.label

    def styles(self, looks: Mapping[str, Look]) -> dict[str, dict[str, Any]]:
        """Line colour and style of each series: its architecture's colour, variants told by dashes."""
        variants: dict[str, int] = {}
        styles = {}
        for series, architecture in self.series.items():
            place = variants.setdefault(architecture, 0)
            variants[architecture] += 1
            styles[series] = {
                "color": looks[architecture].colour, "linestyle": LINES[place % len(LINES)],
                "marker": looks[architecture].marker,
            }  # fmt: skip
        return styles


def reference_look(kind: str, dashes: Iterator[Any] | None = None) -> dict[str, Any]:
    """Grey: solid for floor and reference, the next of `dashes` for baselines, else (trivial) long dashes."""
    if kind in ("floor", "reference"):
        return {"color": MUTED, "linestyle": "-"}
    if kind == "baseline" and dashes is not None:
        return {"color": MUTED, "linestyle": next(dashes)}
    return {"color": MUTED, "linestyle": (0, (6, 2))}


def marker_size(marker: str) -> float:
    """Size in points. Stars and crosses need more to look as large as squares."""
    return {"*": 7.0, "P": 5.4, "X": 5.4}.get(marker, 4.2)


def absence_notes(panels: Sequence[Panel]) -> list[str]:
    """A footnote for each panel that cannot show every planned model."""
    notes = []
    for panel in panels:
        if panel.absent:
            prefix = f"{panel.title}, not drawn" if len(panels) > 1 else "Not drawn"
            notes.append(f"{prefix}: {'; '.join(first_few(panel.absent))}.")
    return notes


NOTE_SIZE = 6.5
LINE_HEIGHT = 0.125
"""Height of one line of a footnote, in inches."""


def spans_decades(values: Iterable[float]) -> bool:
    """Whether positive values differ by more than a factor of 30: then an axis is logarithmic."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > 30


def log_limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits of a logarithmic axis that shows the positive `values` with some air."""
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [0.1, 1.0]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    air = max(0.06 * (high - low), 0.08)
    return 10 ** (low - air), 10 ** (high + air)


def logarithmic(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make the x or y axis logarithmic from `low` to `high`, ticks at powers of ten, or between few."""
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axis: Axis = axes.xaxis
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        axis = axes.yaxis
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    chosen: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), tuple(range(1, 10))):
        ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(chosen) < 3 and len(chosen) < len(inside) <= 5:
            chosen = inside
    axis.set_major_locator(FixedLocator(chosen))
    axis.set_minor_locator(FixedLocator([]))
    axis.set_major_formatter(FuncFormatter(tick_label))


def tick_label(value: float, _: object = None) -> str:
    """0.01 … 100 as decimals, everything else as powers of ten."""
    if value <= 0 or 0.0099 < value < 999:
        return f"{value:g}".replace("-", "−")
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = round(value / 10.0**exponent)
    return (f"{mantissa}×" if mantissa != 1 else "") + f"10{superscript(exponent)}"


def spread(wanted: Sequence[float], gap: float, low: float = 0.0, high: float = 1.0) -> list[float]:
    """Positions near `wanted`, in the same order, at least `gap` apart if there is room.

    Neighbours that collide become a block, centred on the positions that its members want, within `low` and
    `high`.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[list[int]] = []
    bottoms: list[float] = []
    for index in order:
        blocks.append([index])
        bottoms.append(_bottom([index], wanted, gap, low, high))
        while len(blocks) > 1 and bottoms[-1] < bottoms[-2] + gap * len(blocks[-2]) - 1e-12:
            above = blocks.pop()
            blocks[-1].extend(above)
            bottoms[-2:] = [_bottom(blocks[-1], wanted, gap, low, high)]
    placed = {
        index: bottom + gap * place
        for block, bottom in zip(blocks, bottoms, strict=True)
        for place, index in enumerate(block)
    }
    return [placed[index] for index in range(len(wanted))]


def _bottom(block: list[int], wanted: Sequence[float], gap: float, low: float, high: float) -> float:
    centred = sum(wanted[index] - gap * place for place, index in enumerate(block)) / len(block)
    return max(low, min(centred, high - gap * (len(block) - 1)))


def fraction(axes: Axes, value: float) -> float:
    """Height of a data value on the y axis, 0 at its foot and 1 at its top."""
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
    return min(1.0, max(0.0, (value - low) / (high - low)))


def end_labels(axes: Axes, labels: Sequence[tuple[str, float, dict[str, Any]]]) -> None:
    """Write each label right of the axes at its value's height, with a thin line to where it belongs.

    Args:
        axes: limits and scale final.
        labels: text, value at the right end, and the leader's line style (colour, linestyle …).
    """
    height = axes.get_window_extent().height / axes.figure.dpi
    heights = [fraction(axes, value) for _, value, _ in labels]
    places = spread(heights, gap=0.15 / height)
    for (text, _, look), start, end in zip(labels, heights, places, strict=True):
        axes.plot(
            [1.005, 1.035, 1.065], [start, end, end],
            transform=axes.transAxes, clip_on=False, linewidth=1.0, **look,
        )  # fmt: skip
        axes.annotate(
            text, (1.075, end), xycoords="axes fraction", va="center", ha="left", fontsize=7.5,
            color=MUTED if look.get("color") == MUTED else None, annotation_clip=False,
        )  # fmt: skip


def room_for(labels: Iterable[str]) -> float:
    """Inches beside axes that labels of lines or of a legend need."""
    return max(1.75, 0.5 + 0.066 * max((len(label) for label in labels), default=0))


def new_figure(width: float, height: float, notes: Sequence[str]) -> tuple[Figure, float]:
    """A figure with footnotes, and the inches that these take at its foot."""
    lines = [line for note in notes for line in textwrap.wrap(note, int(width * 19), subsequent_indent="   ")]
    foot = len(lines) * LINE_HEIGHT + (0.12 if lines else 0.0)
    figure = Figure(figsize=(width, height + foot))
    for index, line in enumerate(lines):
        y = (foot - 0.03 - index * LINE_HEIGHT) / (height + foot)
        figure.text(0.1 / width, y, line, fontsize=NOTE_SIZE, color=MUTED, va="top")
    return figure, foot


TITLE_LINE = 0.16
"""Height of one line of a title, in inches."""


def title(axes: Axes, text: str, width: float) -> None:
    """A title over axes of so many inches, on several lines where one is too short."""
    axes.set_title(textwrap.fill(text, int(width * 14)), pad=8)


def title_lines(text: str, width: float) -> int:
    """How many lines `title` needs."""
    return len(textwrap.wrap(text, int(width * 14)))


def steps_label(value: float, _: object = None) -> str:
    """Training steps on an axis: 0, 200, 25k, 500k, 1M."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def nothing_here(axes: Axes, text: str) -> None:
    """Write in the middle of empty axes why they are empty."""
    axes.text(
        0.5, 0.5, textwrap.fill(text, 46), transform=axes.transAxes, ha="center", va="center", color=MUTED,
        bbox={"facecolor": PAPER, "edgecolor": FAINT, "boxstyle": "round,pad=0.8"},
    )  # fmt: skip


def named_ticks(axes: Axes, ticks: Mapping[float, str]) -> None:
    """A logarithmic x axis labelled at given values, thinned where labels would touch."""
    places = sorted(value for value in ticks if value > 0 and math.isfinite(value))
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(FixedLocator([]))
    if not places:
        axes.set_xlim(1, 10)
        axes.xaxis.set_major_locator(FixedLocator([]))
        return
    low, high = math.log10(places[0]), math.log10(places[-1])
    air = max(0.05 * (high - low), 0.06)
    axes.set_xlim(10 ** (low - air), 10 ** (high + air))
    points = 72 * axes.get_window_extent().width / axes.figure.dpi / (high - low + 2 * air)
    labelled: list[float] = []
    for value in places:
        room = points * (math.log10(value) - math.log10(labelled[-1])) if labelled else math.inf
        if room > 5.0 * max(3, len(ticks[value])):
            labelled.append(value)
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_major_formatter(FixedFormatter([ticks[value] for value in labelled]))
