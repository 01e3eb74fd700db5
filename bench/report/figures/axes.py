"""What figures draw on axes in the same way: curves with their bands, logarithmic axes, readable ticks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.collections import PolyCollection
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

from bench.digits import superscript
from bench.report.data.estimates import FEWEST_FOR_BANDS
from bench.report.figures.drawing import tag
from bench.report.style import FAINT, LINES, MARKER_FILLS, MUTED, PAPER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SMALLEST = 1e-6
"""No logarithmic axis starts below this: it is the resolution of single precision."""


def marker_size(marker: str) -> float:
    """Size in points. Stars and crosses need more to look as large as squares."""
    return {"*": 7.0, "P": 5.4, "X": 5.4}.get(marker, 4.2)


ON_LONGEST, ON_SHORTEST = 7, 3
"""Markers that the longest and the shortest line of a panel have at least, where points suffice."""


def markers(styles: Mapping[str, Mapping[str, Any]], counts: Mapping[str, int]) -> dict[str, list[int]]:
    """The points of each series' line that have a marker, staggered: on lines that coincide they alternate.

    Args:
        styles: of `Panel.styles`.
        counts: by series that is drawn, the number of points of its line (`lengths`).

    Returns:
        Indices of points by series, in the order of `styles`.
    """
    drawn = [name for name in styles if name in counts]
    # Line style by line style, so that the markers of one architecture's variants are far from each other.
    ordered = sorted(drawn, key=lambda name: LINES.index(styles[name]["linestyle"]))
    longest, shortest = max(counts.values(), default=0), min(counts.values(), default=0)
    every = max(1, min(longest // ON_LONGEST, shortest // ON_SHORTEST), min(len(drawn), longest))
    places = {}
    for name in drawn:
        index = ordered.index(name)
        start = (2 * index + 1) * every // (2 * len(drawn)) if every >= len(drawn) else index % every
        places[name] = list(range(start, counts[name], every)) or [counts[name] - 1]
    return places


def marker_fill(look: Mapping[str, Any]) -> dict[str, Any]:
    """How the markers of a line are filled: each line style in its own way (`MARKER_FILLS`).

    A solid line hides dashes of its own colour below it, but not their markers.

    Args:
        look: of `Panel.styles`.

    Returns:
        Settings of the line, as matplotlib has them.
    """
    fill = MARKER_FILLS[LINES.index(look["linestyle"])]
    if fill == "full":
        return {"markeredgecolor": PAPER, "markeredgewidth": 0.5}
    hollow = {"markerfacecolor": PAPER} if fill == "hollow" else {"fillstyle": fill}
    return {"markerfacecoloralt": PAPER, "markeredgecolor": look["color"], "markeredgewidth": 0.8, **hollow}


def lengths(points: pd.DataFrame) -> dict[str, int]:
    """The number of points of each series."""
    return {str(series): len(rows) for series, rows in points.groupby("series")}


BAND, DARKEST = 0.16, 0.8
"""Opacity of a band, and of all bands of a panel together where these are many."""


def fade_bands(axes: Axes) -> None:
    """Make bands fainter where they are so many that lines would not stand out from them."""
    bands = [part for part in axes.collections if isinstance(part, PolyCollection)]
    for band in bands:
        band.set_alpha(min(BAND, DARKEST / len(bands)))


def draw_curve(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    look: Mapping[str, Any],
    architecture: str,
    limits: tuple[float, float],
    **more: Any,
) -> None:
    """Draw a line with markers and the band of its intervals, or the seeds where these are two.

    Args:
        axes: where.
        rows: the points in order, with value, low and high.
        x: the column of their positions.
        look: of `Panel.styles`.
        architecture: what the line is of, for the page's filters.
        limits: the lowest and the highest score that is possible (`ScoreScale.limits`). The band ends there.
        more: further settings of the line, as matplotlib has them.
    """
    spread = draw_spread(axes, rows, x, look["color"], limits)
    line = draw_line(axes, rows, x, look, clip_on=False, **more)
    tag([*spread, *line], "architecture", architecture)


def draw_line(axes: Axes, rows: pd.DataFrame, x: str, look: Mapping[str, Any], **more: Any) -> list[Any]:
    """Draw a line with markers, without a band; the arguments are those of `draw_curve`."""
    places, value = (rows[name].to_numpy(dtype=float) for name in (x, "value"))
    return axes.plot(
        places, value, **look, **marker_fill(look), markersize=marker_size(look["marker"]), zorder=3, **more
    )


def draw_spread(
    axes: Axes, rows: pd.DataFrame, x: str, colour: str, limits: tuple[float, float]
) -> list[Any]:
    """Draw the band of the intervals of a line, or its seeds as thin lines where it has two (`shows_seeds`).

    Args:
        axes: where.
        rows: the points in order, with low, high, seed_values and run_ids.
        x: the column of their positions.
        colour: of the line.
        limits: nothing is drawn beyond these scores.

    Returns:
        What is drawn.
    """
    if not shows_seeds(rows).any():
        places, low, high = (rows[name].to_numpy(dtype=float) for name in (x, "low", "high"))
        band = axes.fill_between(
            places, low.clip(*limits), high.clip(*limits), color=colour, alpha=BAND, linewidth=0
        )
        return [band]
    seeds: dict[str, list[tuple[float, float]]] = {}
    for place, runs, values in zip(rows[x].astype(float), rows["run_ids"], rows["seed_values"], strict=True):
        for run_id, value in zip(runs.split(), values, strict=True):
            seeds.setdefault(run_id, []).append((place, min(max(value, limits[0]), limits[1])))
    return [
        line
        for points in seeds.values()
        for line in axes.plot(
            *zip(*points, strict=True), color=colour, linewidth=0.6, alpha=0.7, zorder=2.5,
            solid_capstyle="butt",
        )
    ]  # fmt: skip


def shows_seeds(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether the seeds of each point are shown in place of its interval: where these are two."""
    return (rows["seeds"] > 1) & (rows["seeds"] < FEWEST_FOR_BANDS)


def shown_spread(rows: pd.DataFrame) -> pd.DataFrame:
    """The points with low and high of what is drawn: the lowest and highest seed where `shows_seeds`."""
    two = shows_seeds(rows)
    if not two.any():
        return rows
    ends = {"low": rows["seed_values"].map(min), "high": rows["seed_values"].map(max)}
    return rows.assign(**{name: rows[name].where(~two, values) for name, values in ends.items()})


def seed_values(rows: pd.DataFrame) -> list[float]:
    """The scores of single seeds that are drawn in place of intervals."""
    return [value for values in rows.loc[shows_seeds(rows), "seed_values"] for value in values]


def seeds_notes(parts: Iterable[pd.DataFrame]) -> list[str]:
    """A note where points of figures show seeds in place of intervals."""
    if any(shows_seeds(rows).any() for rows in parts if len(rows)):
        return ["Thin lines: the seeds of models with two, from which an interval would say little."]
    return []


def bands_notes(parts: Iterable[pd.DataFrame]) -> list[str]:
    """A note on what the bands of figures are over; none where points show seeds in place of intervals."""
    kinds = {kind for rows in parts if len(rows) for kind in rows.loc[~shows_seeds(rows), "interval"]}
    if not kinds:
        return []
    over = kinds.pop() if len(kinds) == 1 else "prompts and, with several seeds, over seeds"
    return [f"Bands: 90 % intervals over {over}."]


def spans_decades(values: Iterable[float]) -> bool:
    """Whether positive values differ by more than a factor of 30: then an axis is logarithmic."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > 30


MOST_DECADES = 200
"""Powers of ten that a logarithmic axis reaches to either side of 1."""


def log_limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits of a logarithmic axis that shows the positive `values` with some air.

    Values beyond `MOST_DECADES` are outside: floats would have no room for limits around them.
    """
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [0.1, 1.0]
    low, high = (
        min(max(math.log10(end), -MOST_DECADES), MOST_DECADES) for end in (min(positive), max(positive))
    )
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
        if which == "x":
            inside = _apart(inside, (high / low) ** (1 / most))
        if len(chosen) < 3 and len(chosen) < len(inside) <= most:
            chosen = inside
    if not chosen:  # more powers of ten than have room
        powers = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
        chosen = powers[:: math.ceil(len(powers) / most) or 1]
    axis.set_major_locator(FixedLocator(chosen))
    axis.set_minor_locator(FixedLocator([]))
    axis.set_major_formatter(FuncFormatter(tick_label))


def _apart(ticks: Iterable[float], ratio: float) -> list[float]:
    """Rising ticks without those that are less than `ratio` times the one before: labels would touch."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick >= ratio * kept[-1]:
            kept.append(tick)
    return kept


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
    widths = {value: 6.0 * max(2, len(ticks[value])) for value in places}
    labelled = places[:1]
    for value in places[1:]:
        room = points * (math.log10(value) - math.log10(labelled[-1]))
        if room > (widths[value] + widths[labelled[-1]]) / 2 + 4:
            labelled.append(value)
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_major_formatter(FixedFormatter([ticks[value] for value in labelled]))
