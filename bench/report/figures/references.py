"""The grey lines of a panel: at most two predictors that need no training, each with its name on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

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
            axes.axhline(reference.y[0], linewidth=0.9, **_look(reference.kind))
            continue
        visible = [(x, max(y, foot)) for x, y in zip(reference.x, reference.y, strict=True) if x <= last]
        if visible:
            axes.plot(*zip(*visible, strict=True), linewidth=0.9, zorder=2, **_look(reference.kind))


def name_lines(axes: Axes, references: Sequence[Reference]) -> list[Text]:
    """Write each name on its line, where it covers neither data nor another name.

    Call this last: limits and scales must be final, and everything else must be drawn.
    """
    crowd = _points(axes)
    low, high = axes.get_ylim()
    texts: list[Text] = []
    for reference in references:
        x = axes.get_xlim() if reference.x is None else reference.x
        clipped = np.clip(np.asarray(reference.y, float), min(low, high), max(low, high))
        line = axes.transData.transform(np.column_stack([np.asarray(x, float), clipped]))
        box = _place(axes, reference.name, line, crowd)
        left, bottom = axes.transAxes.inverted().transform(box[:2])
        texts.append(
            axes.text(
                left, bottom, reference.name, transform=axes.transAxes, color=MUTED, va="bottom", zorder=5
            )
        )
        crowd = np.vstack([crowd, _filled(box)])
    return texts


Pixels = np.ndarray[Any, Any]
"""Points, (N, 2)."""
STEP = 3.0
"""Pixels between sampled points of a line."""
FARTHEST = 1e5
"""Pixels. A line that goes farther, to an error of 1e300 perhaps, is sampled no farther."""


def _points(axes: Axes) -> Pixels:
    """Pixels of everything drawn in axes: points of scatters, and of lines at short distances."""
    parts: list[Pixels] = [np.empty((0, 2))]
    for line in axes.get_lines():
        points = line.get_transform().transform(np.asarray(line.get_xydata(), float))
        points = points[np.isfinite(points).all(axis=1)]
        parts.append(_dense(points.clip(-FARTHEST, FARTHEST)))
    for scatter in axes.collections:
        offsets = np.asarray(scatter.get_offsets(), float)
        if len(offsets) and scatter.get_offset_transform() is axes.transData:
            parts.append(axes.transData.transform(offsets))
    return np.vstack(parts)


def _dense(points: Pixels) -> Pixels:
    if len(points) < 2:
        return points
    parts = [points[-1:]]
    for start, end in itertools.pairwise(points):
        count = max(1, int(np.hypot(*(end - start)) / STEP))
        parts.append(start + (end - start) * np.arange(count)[:, None] / count)
    return np.vstack(parts)


def _place(axes: Axes, name: str, line: Pixels, crowd: Pixels) -> tuple[float, ...]:
    """The box (left, bottom, right, top; pixels) of a name beside a line: the free one nearest to the line.

    If none is free, the one that covers least.
    """
    frame, dpi = axes.get_window_extent(), axes.figure.dpi
    wide, tall = text_width(name) * dpi, LINE * dpi
    dense = _dense(line)
    own = {tuple(point) for point in np.round(dense).astype(int).tolist()}
    best: tuple[float, ...] = (frame.x0, frame.y1 - tall, frame.x0 + wide, frame.y1)
    least = (math.inf, math.inf)
    for left in np.linspace(frame.x0 + 2, max(frame.x0 + 2, frame.x1 - wide - 2), 30)[::-1]:
        over = dense[(dense[:, 0] >= left) & (dense[:, 0] <= left + wide), 1]
        if not len(over):
            continue
        for bottom in (over.max() + 2, over.min() - 2 - tall):
            if bottom < frame.y0 or bottom + tall > frame.y1 + 1:
                continue
            inside = (
                (crowd[:, 0] > left - 3) & (crowd[:, 0] < left + wide + 3)
                & (crowd[:, 1] > bottom - 1) & (crowd[:, 1] < bottom + tall + 1)
            )  # fmt: skip
            covered = sum(tuple(point) not in own for point in np.round(crowd[inside]).astype(int).tolist())
            gap = abs(bottom + tall / 2 - float(over.mean()))
            if (covered, round(gap)) < least:
                least = (covered, round(gap))
                best = (left, bottom, left + wide, bottom + tall)
    return best


def _filled(box: tuple[float, ...]) -> Pixels:
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
