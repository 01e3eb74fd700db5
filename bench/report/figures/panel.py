"""What a figure draws for one task, and how its series look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.report.data.scale import ScoreScale
from bench.report.style import LINES, LOOKS, Look
from bench.report.text import first_few
from bench.results.flops_axis import AXIS_LABEL
from bench.words import architecture_name

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
    def has_data(self) -> bool:
        """Whether there is anything to draw but grey lines."""
        return not self.data.empty

    @property
    def heading(self) -> str:
        """The title drawn over the panel: the task, the size if all models have one, and the evaluation."""
        sizes = list(self.data["size"].unique()) if "size" in self.data else []
        name = f"{self.title}, {sizes[0]}" if len(sizes) == 1 else self.title
        return f"{name}: {self.where}" if self.where else name

    def words(self, point: Mapping[Any, Any]) -> str:
        """The score of a row of `estimates.points`: "Mamba 4×256, step 1,000: accuracy 0.912 ± 0.003"."""
        return f"{point['series']} {point['size']}, step {point['step']:,}: {self.score(point)}"

    def score(self, point: Mapping[Any, Any]) -> str:
        """The score of a row of `data` alone: "accuracy 0.912 ± 0.003"."""
        words = self.scale.text(point["value"], point["standard_error"], point["independent_prompts"])
        return f"{self.scale.label} {words}"

    def styles(self, looks: Mapping[str, Look]) -> dict[str, dict[str, Any]]:
        """Line colour and style of each series.

        A series has its architecture's colour and marker. Its dashes tell variants of the architecture apart.
        Where architectures have no variants in common, the further variants of an architecture also have
        colours and markers of their own, as long as there are any: first those that no architecture has, then
        those of architectures that are not in the panel.
        """
        present = {looks[architecture].colour for architecture in self.series.values()}
        used = {look.colour for look in looks.values()}
        free = [look for look in LOOKS if look.colour not in present]
        free = [] if common_variants(self.series) else sorted(free, key=lambda look: look.colour in used)
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


def grouped(absent: Sequence[str]) -> str:
    """Phrases of `Panel.absent` as one text. Three or more models with the same reason share it."""
    models: dict[str, list[str]] = {}
    for phrase in absent:
        model, _, reason = phrase.rpartition(": ")
        models.setdefault(reason, []).append(model)
    phrases = []
    for reason, names in models.items():
        if len(names) > 2:
            phrases.append(f"{'; '.join(first_few(names))}: each {reason}")
        else:
            phrases += [f"{name}: {reason}" for name in names]
    return "; ".join(first_few(phrases))


def absence_notes(panels: Sequence[Panel]) -> list[str]:
    """A footnote for each planned panel that lacks models, and one for all that wait for results."""
    notes, waiting = [], []
    for panel in panels:
        if len(panels) > 1 and panel.data.empty and all(": missing (" in phrase for phrase in panel.absent):
            waiting.append(panel.title)
        elif panel.absent:
            prefix = f"{panel.heading}, not drawn" if len(panels) > 1 else "Not drawn"
            notes.append(f"{prefix}: {grouped(panel.absent)}.")
    if waiting:
        notes.append(f"All runs are missing: {', '.join(first_few(waiting))}.")
    return notes
