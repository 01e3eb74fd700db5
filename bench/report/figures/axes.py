"""What figures share: panels, the looks of lines, logarithmic axes, readable ticks, and notes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

from bench.digits import superscript
from bench.report.data.frame import ScoreScale
from bench.report.figures.drawing import tag
from bench.report.style import FAINT, LINES, LOOKS, MUTED, PAPER, Look
from bench.report.text import first_few
from bench.results.evaluations import AXIS_LABEL
from bench.words import architecture_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SMALLEST = 1e-6
"""No logarithmic axis starts below this: it is the resolution of single precision."""


BUDGETS = {"training_flops": AXIS_LABEL, "state_numbers": "numbers in the state"}
"""What the score of a model is held against, by column, and the label of the axis."""


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
        where: where in the prompt scores are read, in words; empty if the title says it.
        task: the task's family, for filtering: "Sparse parity".
        budget: the column of `data` on the x axis of a figure against a budget, a key of BUDGETS.
        trainings: single seeds that are drawn beside their means: columns `series`, `value` and that of
            `budget`; None to draw none.
    """

    title: str
    scale: ScoreScale
    data: pd.DataFrame
    references: pd.DataFrame
    series: Mapping[str, str]
    absent: Sequence[str] = ()
    reference_position: int | None = None
    where: str = ""
    task: str = ""
    budget: str = "training_flops"
    trainings: pd.DataFrame | None = None

    @property
    def heading(self) -> str:
        """The title drawn over the panel: the task, the size if all models have one, and the evaluation."""
        sizes = list(self.data["size"].unique()) if "size" in self.data else []
        name = f"{self.title}, {sizes[0]}" if len(sizes) == 1 else self.title
        return f"{name}: {self.where}" if self.where else name

    def styles(self, looks: Mapping[str, Look]) -> dict[str, dict[str, Any]]:
        """Line colour and style of each series.

        A series has its architecture's colour and marker. Its dashes tell variants of the architecture apart.
        Where architectures have no variants in common, the further variants of an architecture also have
        colours and markers of their own: those that no architecture has, as long as there are any.
        """
        taken = {look.colour for look in looks.values()}
        free = [] if common_variants(self.series) else [look for look in LOOKS if look.colour not in taken]
        counts: dict[str, int] = {}
        styles = {}
        for series, architecture in self.series.items():
            own = looks[architecture]
            count = counts[architecture] = counts.get(architecture, -1) + 1
            look = free.pop(0) if count and free else own
            dashes = LINES[(own.turn + count) % len(LINES)]
            styles[series] = {"color": look.colour, "linestyle": dashes, "marker": look.marker}
        return styles


def common_variants(series: Mapping[str, str]) -> list[str]:
    """The variants that all architectures have, in the order of the plan: "precision tf32".

    Empty for one architecture, where no architecture has two, and where some differ in their variants.
    """
    by_architecture: dict[str, list[str]] = {}
    for name, architecture in series.items():
        by_architecture.setdefault(architecture, []).append(variant(name, architecture))
    first, *others = by_architecture.values() or [[]]
    return first if others and len(first) > 1 and all(other == first for other in others) else []


def variant(series: str, architecture: str) -> str:
    """What a series is beside its architecture: "precision tf32"."""
    return series.removeprefix(architecture_name(architecture)).lstrip(", ")


def of_one_plan(panels: Sequence[Panel]) -> list[Panel]:
    """Panels of one figure, with the series of all of them, so that a series looks the same in each."""
    series = {name: architecture for panel in panels for name, architecture in panel.series.items()}
    return [replace(panel, series=series) for panel in panels]


def reference_look(kind: str) -> dict[str, Any]:
    """Grey: solid for floor and reference, dotted for baselines, else (trivial) dashed."""
    style: Any = {"floor": "-", "reference": "-", "baseline": (0, (1, 1.5))}.get(kind, (0, (6, 2)))
    return {"color": MUTED, "linestyle": style}


def marker_size(marker: str) -> float:
    """Size in points. Stars and crosses need more to look as large as squares."""
    return {"*": 7.0, "P": 5.4, "X": 5.4}.get(marker, 4.2)


def draw_curve(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    look: Mapping[str, Any],
    architecture: str,
    limits: tuple[float, float],
    **more: Any,
) -> None:
    """Draw a line with markers and the band of its intervals.

    Args:
        axes: where.
        rows: the points in order, with value, low and high.
        x: the column of their positions.
        look: of `Panel.styles`.
        architecture: what the line is of, for the page's filters.
        limits: the lowest and the highest score that is possible (`ScoreScale.limits`). The band ends there.
        more: further settings of the line, as matplotlib has them.
    """
    places, value, low, high = (rows[name].to_numpy(dtype=float) for name in (x, "value", "low", "high"))
    band = axes.fill_between(
        places, low.clip(*limits), high.clip(*limits), color=look["color"], alpha=0.16, linewidth=0
    )
    line = axes.plot(
        places, value, **look, markersize=marker_size(look["marker"]), markeredgecolor=PAPER,
        markeredgewidth=0.5, zorder=3, clip_on=False, **more,
    )  # fmt: skip
    tag([band, *line], "architecture", architecture)


def absence_notes(panels: Sequence[Panel]) -> list[str]:
    """A footnote for each panel that cannot show every planned model."""
    notes = []
    for panel in panels:
        if panel.absent:
            prefix = f"{panel.heading}, not drawn" if len(panels) > 1 else "Not drawn"
            notes.append(f"{prefix}: {'; '.join(first_few(panel.absent))}.")
    return notes


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


def logarithmic(axes: Axes, which: Literal["x", "y"], low: float, high: float, most: int = 5) -> None:
    """Make the x or y axis logarithmic from `low` to `high`, ticks at powers of ten, or between few.

    Args:
        axes: the axes.
        which: the axis.
        low: its lower limit.
        high: its upper limit.
        most: ticks that have room.
    """
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
        if len(chosen) < 3 and len(chosen) < len(inside) <= most:
            chosen = inside
    if not chosen:  # more powers of ten than have room
        powers = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
        chosen = powers[:: math.ceil(len(powers) / most) or 1]
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
        if room > 6.0 * max(2, len(ticks[value])) + 4:
            labelled.append(value)
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_major_formatter(FixedFormatter([ticks[value] for value in labelled]))
