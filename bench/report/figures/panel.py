"""What one panel of a figure shows, and what both kinds of figure do the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.report.data.frame import ScoreScale
from bench.report.style import LINES, MUTED, Look
from bench.report.text import first_few

SMALLEST = 1e-6
"""No logarithmic axis starts below this: single precision has nothing to say there."""


@dataclass(frozen=True)
class Panel:
    """What is drawn for one task.

    Attributes:
        title: the task, for people.
        measure: how its scores are shown.
        data: `estimates.curves` (one size a series) or `estimates.points`.
        known: `references_frame` of the task.
        series: every planned series and its architecture, in the order of the plan.
        absent: what was planned and cannot be drawn, one phrase each.
        known_at: the position at which the floor and the trivial predictor are read beside a headline;
            None for their mean over positions.
        label: of the axis that shows scores, where it is not that of the measure.
        task: whose panel it is, where the title says something else.
    """

    title: str
    measure: ScoreScale
    data: pd.DataFrame
    known: pd.DataFrame
    series: Mapping[str, str]
    absent: Sequence[str] = ()
    known_at: int | None = None
    label: str = ""
    task: str = ""

    @property
    def score_label(self) -> str:
        return self.label or self.measure.label

    def styles(self, looks: Mapping[str, Look]) -> dict[str, dict[str, Any]]:
        """Line colour and style of each series: its architecture's colour, variants told by dashes."""
        seen: dict[str, int] = {}
        styles = {}
        for series, architecture in self.series.items():
            variant = seen.setdefault(architecture, 0)
            seen[architecture] += 1
            styles[series] = {
                "color": looks[architecture].colour, "linestyle": LINES[variant % len(LINES)],
                "marker": looks[architecture].marker,
            }  # fmt: skip
        return styles


def known_look(kind: str, dashes: Iterator[Any] | None = None) -> dict[str, Any]:
    """Grey: solid for the floor, the next of `dashes` for practical baselines, else (trivial) long ones."""
    if kind == "floor":
        return {"color": MUTED, "linestyle": "-"}
    if kind == "baseline" and dashes is not None:
        return {"color": MUTED, "linestyle": next(dashes)}
    return {"color": MUTED, "linestyle": (0, (6, 2))}


def marker_size(marker: str) -> float:
    """Points; stars and crosses need more to look as large as squares."""
    return {"*": 7.0, "P": 5.4, "X": 5.4}.get(marker, 4.2)


def absence_notes(panels: Sequence[Panel]) -> list[str]:
    """One footnote a panel that cannot show everything that was planned."""
    notes = []
    for panel in panels:
        if panel.absent:
            prefix = f"{panel.title}, not drawn" if len(panels) > 1 else "Not drawn"
            notes.append(f"{prefix}: {'; '.join(first_few(panel.absent))}.")
    return notes
