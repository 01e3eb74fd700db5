"""The grey lines of a panel: at most two predictors that need no training, each with its name on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection

from bench.digits import error_text
from bench.report.data.references import level
from bench.report.figures.axes import SMALLEST, log_limits, logarithmic
from bench.report.figures.layout import LINE, text_width
from bench.report.figures.panel import Panel
from bench.report.style import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

CURVES_RULE = (
    "Grey: the best predictor known, and of the other predictors the one nearest to the worst model drawn "
    "(mean over positions)."
)
LEVELS_RULE = "Grey: the trivial predictor, and the best one known."


class Reference(NamedTuple):
    """A grey line.

    Attributes:
        name: what is written on it.
        kind: "floor", "reference", "baseline" or "trivial".
        x: positions of its points; None for a level, which is over the whole width.
        y: values of its points; of a level, those of its two ends, which are equal.
    """

    name: str
    kind: str
    x: Sequence[float] | None
    y: Sequence[float]

    @property
    def recorded(self) -> str:
        """The predictor's name in results."""
        return self.name.partition(": ")[2] or self.name


def bound(panel: Panel) -> tuple[str, str, float] | None:
    """What the best predictor of a panel's task is called, its name, and its score.

    It is the floor (ceiling), or the reference of tasks whose floor is not computed.
    """
    for kind, word in (("floor", panel.scale.best_word), ("reference", "reference")):
        if best := level(panel.references, kind, panel.reference_position):
            return word, *best
    return None


def levels(panel: Panel) -> list[Reference]:
    """The trivial predictor and the best one known, as levels."""
    measured = level(panel.references, "trivial", panel.reference_position)
    references = [trivial_level(measured[1] if measured else panel.scale.trivial)]
    best = bound(panel)
    if best and (panel.scale.higher_is_better or best[2] > SMALLEST):
        references.append(Reference(f"{best[0]}: {best[1]}", "floor", None, (best[2], best[2])))
    return references


def trivial_level(value: float) -> Reference:
    """The level of a predictor that has learned nothing."""
    return Reference("trivial predictor", "trivial", None, (value, value))


def curves(panel: Panel) -> list[Reference]:
    """The two predictors that CURVES_RULE chooses, by position."""
    rows = panel.references
    if rows.empty:
        return [trivial_level(panel.scale.trivial)]
    best = next((kind for kind in ("floor", "reference") if (rows["kind"] == kind).any()), None)
    chosen = [] if best is None else [str(rows.loc[rows["kind"] == best, "name"].iloc[0])]
    others = rows[~rows["kind"].isin(("floor", "reference"))].groupby("name", sort=False)["value"].mean()
    if len(others):
        chosen.append(str((others - _worst(panel)).abs().idxmin()))
    words = {"trivial": "trivial: ", "floor": f"{panel.scale.best_word}: ", "reference": "reference: "}
    references = []
    for name in chosen:
        own = rows[rows["name"] == name]
        kind = str(own["kind"].iloc[0])
        x, y = own["examples"].astype(float).tolist(), own["value"].astype(float).tolist()
        references.append(Reference(words.get(kind, "") + name, kind, x, y))
    return references


def _worst(panel: Panel) -> float:
    """The mean over positions of the worst series drawn; of the trivial predictor where there is none."""
    means = panel.data.groupby("series")["value"].mean()
    if means.empty:
        return panel.scale.trivial
    return float(means.min() if panel.scale.higher_is_better else means.max())


def not_drawn(panel: Panel, drawn: Sequence[Reference]) -> str:
    """A sentence with the scores at the last position of the predictors that are not drawn."""
    names = {reference.recorded for reference in drawn}
    others = panel.references[~panel.references["name"].isin(names)]
    ends = others.sort_values("examples").groupby("name", sort=False).tail(1)
    words = [
        f"{name} {error_text(float(value))}" for name, value in zip(ends["name"], ends["value"], strict=True)
    ]
    return f"Other predictors at their last position: {', '.join(words)}." if words else ""


def _look(kind: str) -> dict[str, Any]:
    """Grey: solid for floor and reference, dotted for baselines, else (trivial) dashed."""
    style: Any = {"floor": "-", "reference": "-", "baseline": (0, (1, 1.5))}.get(kind, (0, (6, 2)))
    return {"color": MUTED, "linestyle": style}


def draw(
    axes: Axes, references: Sequence[Reference], last: float = math.inf, foot: float = -math.inf
) -> None:
    """Draw levels, which the limits of the axes must contain, and lines.

    Args:
        axes: where.
        references: what is drawn.
        last: the last position of lines.
        foot: what is below it is drawn there, except for levels.
    """
    for reference in references:
        if reference.x is None:
            axes.axhline(reference.y[0], linewidth=0.9, label=reference.name, **_look(reference.kind))
            continue
        visible = [(x, max(y, foot)) for x, y in zip(reference.x, reference.y, strict=True) if x <= last]
        if visible:
            look = {"linewidth": 0.9, "zorder": 2, "label": reference.name, **_look(reference.kind)}
            axes.plot(*zip(*visible, strict=True), **look)


def name_lines(axes: Axes, references: Sequence[Reference]) -> list[Text]:
    """Write each name on its line, where it covers neither data nor another name.

    A thin line leads from a name to its line where the name is further from it than a line of text.
    Call this last: limits and scales must be final, and everything else must be drawn.
    """
    low, high = axes.get_ylim()
    texts: list[Text] = []
    named: list[Pixels] = []
    for reference in references:
        x = axes.get_xlim() if reference.x is None else reference.x
        clipped = np.clip(np.asarray(reference.y, float), min(low, high), max(low, high))
        line = _dense(axes.transData.transform(np.column_stack([np.asarray(x, float), clipped])))
        others = np.vstack([_points(axes, reference), *named])
        edges = _edges(axes)
        visible = line if reference.x is None else _visible(axes, line, others)
        box = _place(axes, reference.name, line, visible, others, edges)
        left, bottom = axes.transAxes.inverted().transform(box[:2])
        texts.append(
            axes.text(
                left, bottom, reference.name, transform=axes.transAxes, color=MUTED, va="bottom", zorder=5
            )
        )
        named.append(_filled(box))
        if _gap(box, visible) > LINE * axes.figure.dpi:
            _lead(axes, box, visible)
    return texts


def _lead(axes: Axes, box: Box, line: Pixels) -> None:
    """Draw a thin line from a name's box to the nearest point of its line."""
    starts = np.column_stack([line[:, 0].clip(box[0], box[2]), line[:, 1].clip(box[1], box[3])])
    nearest = int(np.hypot(*(line - starts).T).argmin())
    ends = axes.transAxes.inverted().transform([starts[nearest], line[nearest]])
    leader = LineCollection([ends], colors=MUTED, linewidths=0.5, transform=axes.transAxes, zorder=4)
    axes.add_collection(leader, autolim=False)


Pixels = np.ndarray[Any, Any]
"""Points, (N, 2)."""
Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""
STEP = 3.0
"""Pixels between sampled points of a line."""
FARTHEST = 1e5
"""Pixels. A line that goes farther, to an error of 1e300 perhaps, is sampled no farther."""


def _points(axes: Axes, without: Reference) -> Pixels:
    """Pixels of the points and lines that are drawn in axes, `without` a line."""
    parts: list[Pixels] = [np.empty((0, 2))]
    for line in axes.get_lines():
        if line.get_label() == without.name:
            continue
        points = line.get_transform().transform(np.asarray(line.get_xydata(), float))
        points = points[np.isfinite(points).all(axis=1)]
        parts.append(_dense(points.clip(-FARTHEST, FARTHEST)))
    for scatter in axes.collections:
        offsets = np.asarray(scatter.get_offsets(), float)
        if len(offsets) and scatter.get_offset_transform() is axes.transData:
            parts.append(axes.transData.transform(offsets))
    return np.vstack(parts)


def _edges(axes: Axes) -> Pixels:
    """Pixels of the edges of the bands that are drawn in axes."""
    bands = (part for part in axes.collections if isinstance(part, PolyCollection))
    paths = [path for band in bands for path in band.get_paths()]
    parts = [_dense(axes.transData.transform(np.asarray(path.vertices))) for path in paths]
    return np.vstack([np.empty((0, 2)), *parts])


def _visible(axes: Axes, line: Pixels, others: Pixels) -> Pixels:
    """The points of a line that are not at the edge of the axes, and no other line within three pixels.

    All points if there are none.
    """
    frame = axes.get_window_extent()
    inside = line[(line[:, 1] > frame.y0 + 1) & (line[:, 1] < frame.y1 - 1)]
    distances = [np.hypot(*(others - point).T).min(initial=math.inf) for point in inside]
    return inside[np.array(distances) > 3] if max(distances, default=0) > 3 else line


def _dense(points: Pixels) -> Pixels:
    if len(points) < 2:
        return points
    parts = [points[-1:]]
    for start, end in itertools.pairwise(points):
        count = max(1, int(np.hypot(*(end - start)) / STEP))
        parts.append(start + (end - start) * np.arange(count)[:, None] / count)
    return np.vstack(parts)


def _place(axes: Axes, name: str, line: Pixels, visible: Pixels, others: Pixels, edges: Pixels) -> Box:
    """The box of a name: the free one nearest to the visible part of its line, above or below it.

    Where none is close, because the line is steep or among others, the nearest free box on any side. If no
    box is free, the one that covers least. A name may cover edges of bands: each, over the whole name, counts
    as half a line of distance.
    """

    def distance(box: Box, gap: float) -> float:
        return gap + tall / 2 * _covered(box, edges) * STEP / wide

    frame, dpi = axes.get_window_extent(), axes.figure.dpi
    wide, tall = text_width(name) * dpi, LINE * dpi
    best: Box = (frame.x0, frame.y1 - tall, frame.x0 + wide, frame.y1)
    least: tuple[int, bool, float] = (len(others), True, math.inf)
    lefts = np.linspace(frame.x0 + 2, max(frame.x0 + 2, frame.x1 - wide - 2), 30)[::-1]
    for left in lefts:
        over = visible[(visible[:, 0] >= left) & (visible[:, 0] <= left + wide), 1]
        if not len(over):
            continue
        for bottom in (over.max() + 2, over.min() - 2 - tall):
            if bottom < frame.y0 or bottom + tall > frame.y1 + 1:
                continue
            box = (left, bottom, left + wide, bottom + tall)
            is_ambiguous = visible is not line and _gap(box, visible) >= _gap(box, others)
            gap = abs(bottom + tall / 2 - float(over.mean()))
            rank = (_covered(box, others), is_ambiguous, float(round(distance(box, gap))))
            if rank < least:
                least, best = rank, box
    if least[:2] == (0, False) and least[2] <= 1.5 * tall:
        return best
    every = np.vstack([others, line])
    for left in lefts[::2]:
        for bottom in np.linspace(frame.y0 + 2, frame.y1 - tall - 1, 20):
            box = (left, bottom, left + wide, bottom + tall)
            gap = _gap(box, visible)
            if (0, False, gap + tall / 2) < least:
                is_ambiguous = gap >= _gap(box, others)
                rank = (_covered(box, every), is_ambiguous, distance(box, gap + tall / 2))
                least, best = min((least, best), (rank, box))
    return best


def _covered(box: Box, points: Pixels) -> int:
    """The number of points under a box or close to it."""
    left, bottom, right, top = box
    across = (points[:, 0] > left - 3) & (points[:, 0] < right + 3)
    return int((across & (points[:, 1] > bottom - 1) & (points[:, 1] < top + 1)).sum())


def _gap(box: Box, points: Pixels) -> float:
    """The distance in pixels of the nearest point from a box: 0 inside, infinite without points."""
    across = np.maximum(0.0, np.maximum(box[0] - points[:, 0], points[:, 0] - box[2]))
    up = np.maximum(0.0, np.maximum(box[1] - points[:, 1], points[:, 1] - box[3]))
    return float(np.hypot(across, up).min(initial=math.inf))


def _filled(box: Box) -> Pixels:
    """Points all over a box, so that nothing else is placed there."""
    x, y = np.meshgrid(np.arange(box[0], box[2] + STEP, STEP), np.arange(box[1], box[3] + STEP, STEP))
    return np.column_stack([x.ravel(), y.ravel()])


def room_for_names(
    low: float, high: float, tall: float, *, logarithmic: bool, below: bool
) -> tuple[float, float]:
    """Limits of a y axis, widened by a line of text above the data.

    Args:
        low: the lower limit without names.
        high: the upper limit without names.
        tall: height of the axes in inches.
        logarithmic: whether the axis is.
        below: whether there is a line of text below the data too.
    """
    share = (LINE + 0.05) / tall
    start, end = (math.log10(low), math.log10(high)) if logarithmic else (low, high)
    span = (end - start) / (1 - share * (1 + below))
    start, end = start - span * share * below, end + span * share
    return (10**start, 10**end) if logarithmic else (start, end)


def accuracy_limits(values: Iterable[float], tall: float) -> tuple[float, float]:
    """Limits of an axis of accuracies: from just below 1/2, or the lowest of `values`, to 1, and names."""
    return room_for_names(min([0.48, *values]), 1.005, tall, logarithmic=False, below=True)


def limit_scores(
    axes: Axes, panel: Panel, values: Iterable[float], tall: float, least: float = SMALLEST
) -> None:
    """Set the y axis of scores, with room for names: of accuracies, or of errors on a logarithmic axis.

    Args:
        axes: the axes.
        panel: what is drawn; its `levels` are named.
        values: what the axis must contain.
        tall: height of the axes in inches.
        least: errors up to this are below the axis.
    """
    if panel.scale.higher_is_better:
        axes.set_ylim(*accuracy_limits(values, tall))
        return
    low, high = log_limits(value for value in values if value > least)
    logarithmic(axes, "y", *room_for_names(low, high, tall, logarithmic=True, below=len(levels(panel)) > 1))
