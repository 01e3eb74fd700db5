"""The place of a line's name in a figure: near the visible part of the line, and clear of all else.

Lines are sampled, so that they are points in pixels like markers. A place is a box around the name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection

from bench.report.figures.layout import LINE, text_width
from bench.report.style import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pixels = np.ndarray[Any, Any]
"""Points, (N, 2)."""
Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""
STEP = 3.0
"""Pixels between sampled points of a line."""
FARTHEST = 1e5
"""Pixels. A line that goes farther, to an error of 1e300 perhaps, is sampled no farther."""


class _Rank(NamedTuple):
    """The merit of a box; the lowest is best."""

    covered: int
    """Number of points of other lines and markers under the name."""
    is_ambiguous: bool
    """Whether another line is as near as the line of the name."""
    distance: float
    """From the line, in pixels, with the edges of bands that the name covers."""


def place(axes: Axes, name: str, line: Pixels, own: Pixels, others: Pixels, edges: Pixels) -> Box:
    """The box of a name: the free one nearest to its line, above or below it.

    Where none is close, because the line is steep or among others, the nearest free box on any side. If no
    box is free, the one that covers least. A name may cover edges of bands: each, over the whole name, counts
    as half a line of distance.

    Args:
        axes: where.
        name: of the line.
        line: the whole line.
        own: the part of the line at which its name may stand.
        others: all else that is drawn.
        edges: of bands.
    """
    frame, dpi = axes.get_window_extent(), axes.figure.dpi
    wide, tall = text_width(name) * dpi, LINE * dpi

    def distance(box: Box, gap: float) -> float:
        return gap + tall / 2 * _covered(box, edges) * STEP / wide

    lefts = np.linspace(frame.x0 + 2, max(frame.x0 + 2, frame.x1 - wide - 2), 30)[::-1]
    best: Box = (frame.x0, frame.y1 - tall, frame.x0 + wide, frame.y1)
    least = _Rank(len(others), True, math.inf)
    for box, offset in _beside(own, lefts, wide, tall):
        if box[1] < frame.y0 or box[3] > frame.y1 + 1:
            continue
        is_ambiguous = own is not line and gap(box, own) >= gap(box, others)
        rank = _Rank(_covered(box, others), is_ambiguous, float(round(distance(box, offset))))
        least, best = min((least, best), (rank, box), key=lambda pair: pair[0])
    if least[:2] == (0, False) and least.distance <= 1.5 * tall:
        return best
    every = np.vstack([others, line])
    bottoms = np.linspace(frame.y0 + 2, frame.y1 - tall - 1, 20)
    for left, bottom in itertools.product(lefts[::2], bottoms):
        box = (left, bottom, left + wide, bottom + tall)
        offset = gap(box, own) + tall / 2
        if _Rank(0, False, offset) < least:  # else it cannot be better, and its points need not be counted
            is_ambiguous = gap(box, own) >= gap(box, others)
            rank = _Rank(_covered(box, every), is_ambiguous, distance(box, offset))
            least, best = min((least, best), (rank, box))
    return best


def _beside(line: Pixels, lefts: Pixels, wide: float, tall: float) -> Iterator[tuple[Box, float]]:
    """Boxes right above and below a line, each with the distance of its middle from the line."""
    for left in lefts:
        heights = line[(line[:, 0] >= left) & (line[:, 0] <= left + wide), 1]
        if len(heights):
            for bottom in (heights.max() + 2, heights.min() - 2 - tall):
                box = (left, bottom, left + wide, bottom + tall)
                yield box, abs(bottom + tall / 2 - float(heights.mean()))


def lead(axes: Axes, box: Box, line: Pixels) -> None:
    """Draw a thin line from a name's box to the nearest point of its line."""
    starts = np.column_stack([line[:, 0].clip(box[0], box[2]), line[:, 1].clip(box[1], box[3])])
    nearest = int(np.hypot(*(line - starts).T).argmin())
    ends = axes.transAxes.inverted().transform([starts[nearest], line[nearest]])
    leader = LineCollection([ends], colors=MUTED, linewidths=0.5, transform=axes.transAxes, zorder=4)
    axes.add_collection(leader, autolim=False)


def drawn_points(axes: Axes) -> list[tuple[str, Pixels]]:
    """The lines, as points, and the markers that are drawn in axes, each with its label."""
    parts: list[tuple[str, Pixels]] = []
    for line in axes.get_lines():
        ends = line.get_transform().transform(np.asarray(line.get_xydata(), float))
        ends = ends[np.isfinite(ends).all(axis=1)]
        parts.append((str(line.get_label()), dense(ends.clip(-FARTHEST, FARTHEST))))
    for scatter in axes.collections:
        offsets = np.asarray(scatter.get_offsets(), float)
        if len(offsets) and scatter.get_offset_transform() is axes.transData:
            parts.append((str(scatter.get_label()), axes.transData.transform(offsets)))
    return parts


def edges_of_bands(axes: Axes) -> Pixels:
    """The edges of the bands that are drawn in axes."""
    bands = (part for part in axes.collections if isinstance(part, PolyCollection))
    paths = [path for band in bands for path in band.get_paths()]
    parts = [dense(axes.transData.transform(np.asarray(path.vertices))) for path in paths]
    return np.vstack([np.empty((0, 2)), *parts])


def visible(axes: Axes, line: Pixels, others: Pixels) -> Pixels:
    """The points of a line that are not at the edge of the axes, and no other line within three pixels.

    All points if there are none.
    """
    frame = axes.get_window_extent()
    inside = line[(line[:, 1] > frame.y0 + 1) & (line[:, 1] < frame.y1 - 1)]
    distances = [np.hypot(*(others - point).T).min(initial=math.inf) for point in inside]
    return inside[np.array(distances) > 3] if max(distances, default=0) > 3 else line


def dense(line: Pixels) -> Pixels:
    """Points along a line, at most STEP apart."""
    if len(line) < 2:
        return line
    steps = np.diff(line, axis=0)
    counts = np.maximum(1, (np.hypot(*steps.T) / STEP).astype(int))
    # The number of each point within its segment: 0, 1, 2, 0, 1, 0, …
    within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    starts, steps = np.repeat(line[:-1], counts, axis=0), np.repeat(steps, counts, axis=0)
    between = starts + steps * within[:, None] / np.repeat(counts, counts)[:, None]
    return np.vstack([line[-1:], between])


def filled(box: Box) -> Pixels:
    """Points all over a box, so that nothing else is placed there."""
    x, y = np.meshgrid(np.arange(box[0], box[2] + STEP, STEP), np.arange(box[1], box[3] + STEP, STEP))
    return np.column_stack([x.ravel(), y.ravel()])


def gap(box: Box, points: Pixels) -> float:
    """The distance in pixels of the nearest point from a box: 0 inside, infinite without points."""
    across = np.maximum(0.0, np.maximum(box[0] - points[:, 0], points[:, 0] - box[2]))
    up = np.maximum(0.0, np.maximum(box[1] - points[:, 1], points[:, 1] - box[3]))
    return float(np.hypot(across, up).min(initial=math.inf))


def _covered(box: Box, points: Pixels) -> int:
    """The number of points under a box or close to it."""
    left, bottom, right, top = box
    across = (points[:, 0] > left - 3) & (points[:, 0] < right + 3)
    return int((across & (points[:, 1] > bottom - 1) & (points[:, 1] < top + 1)).sum())
