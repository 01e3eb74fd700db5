"""The grey lines of a panel: at most two predictors that need no training, each with its name on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.digits import error_text
from bench.report.data.references import level
from bench.report.figures.axes import SMALLEST, log_limits, logarithmic
from bench.report.figures.layout import LINE
from bench.report.figures.panel import Panel
from bench.report.figures.placement import (
    Pixels,
    dense,
    drawn_points,
    edges_of_bands,
    filled,
    gap,
    lead,
    place,
    visible,
)
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
    drawn, edges = drawn_points(axes), edges_of_bands(axes)
    texts: list[Text] = []
    named: list[Pixels] = [np.empty((0, 2))]
    for reference in references:
        x = axes.get_xlim() if reference.x is None else reference.x
        clipped = np.clip(np.asarray(reference.y, float), min(low, high), max(low, high))
        line = dense(axes.transData.transform(np.column_stack([np.asarray(x, float), clipped])))
        others = np.vstack([*(points for label, points in drawn if label != reference.name), *named])
        own = line if reference.x is None else visible(axes, line, others)
        box = place(axes, reference.name, line, own, others, edges)
        left, bottom = axes.transAxes.inverted().transform(box[:2])
        texts.append(
            axes.text(
                left, bottom, reference.name, transform=axes.transAxes, color=MUTED, va="bottom", zorder=5
            )
        )
        named.append(filled(box))
        if gap(box, own) > LINE * axes.figure.dpi:
            lead(axes, box, own)
    return texts


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
