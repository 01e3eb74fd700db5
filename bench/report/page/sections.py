"""What a report says, gathered: an experiment's tasks with their figures, tables and warnings.

Nothing here writes or knows HTML; `bench.report.page.render` turns it into pages, `bench.report.write` into
files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bench.paper.exhibits import named
from bench.report.data import estimates, planned, select
from bench.report.figures.drawing import Drawing
from bench.report.figures.examples import error_against_examples
from bench.report.figures.flops_panels import error_against_flops
from bench.report.figures.panel import Panel
from bench.report.style import Look, looks
from bench.report.tables.results import rates_table, results_table
from bench.report.tables.table import Table
from bench.report.text import error_text, first_few, slug
from bench.results import Pool
from bench.run import short

if TYPE_CHECKING:
    from bench.suite import Experiment


@dataclass(frozen=True)
class TaskSection:
    """One task of one experiment."""

    title: str
    anchor: str
    state: str
    drawings: Sequence[Drawing]
    results: Table
    rates: Table
    warnings: Sequence[str]


@dataclass(frozen=True)
class ExperimentSection:
    """One experiment.

    Attributes:
        counts: planned runs by state.
        overview: all tasks side by side, where there are several.
    """

    name: str
    anchor: str
    rebuilds: str
    description: str
    counts: Mapping[str, int]
    planned_flops: int
    done_flops: int
    overview: Drawing | None
    tasks: Sequence[TaskSection]

    @property
    def planned(self) -> int:
        return sum(self.counts.values())

    def drawings(self) -> list[Drawing]:
        """Every figure, the overview first."""
        overview = [self.overview] if self.overview else []
        return overview + [drawing for task in self.tasks for drawing in task.drawings]


def section(
    experiment: Experiment,
    pool: Pool,
    states: Mapping[str, str],
    architectures: Sequence[str],
    taken: set[str],
) -> ExperimentSection:
    """Everything a report says about one experiment.

    Errors against FLOPs are left out where a figure of the paper shows them.

    Args:
        experiment: what was planned.
        pool: the results.
        states: what is known of runs without a result.
        architectures: of the whole suite, so that each looks the same throughout.
        taken: file names in use; receives those of this experiment.
    """
    plan = planned.planned(experiment.runs, pool, states)
    scores = planned.measured(plan, pool)
    settings = select.settings(plan, scores)
    styles = looks(architectures)
    anchor = slug(experiment.name, taken)
    drawn_elsewhere = any(name.startswith("Figure ") for name in named(experiment.rebuilds))
    tasks: list[TaskSection] = []
    panels: list[Panel] = []
    for task_id, runs in planned.tasks_of(experiment).items():
        content = _Task(plan, scores, settings, task_id, estimates.ScoreScale.of(runs[0].task), pool)
        stem = slug(f"{anchor}-{content.title}", taken)
        drawings = [content.by_examples(f"{stem}-examples", styles)]
        if not drawn_elsewhere:
            panels.append(content.flops_panel())
            drawings.append(content.by_flops(f"{stem}-flops", panels[-1], styles))
        tasks.append(
            TaskSection(
                content.title,
                stem,
                planned.tally(content.plan),
                drawings,
                results_table(f"{stem}-results", content.plan, content.settings, pool, content.measure),
                rates_table(f"{stem}-learning-rates", content.settings),
                content.warnings(),
            )
        )
    return ExperimentSection(
        experiment.name,
        anchor,
        experiment.rebuilds,
        experiment.description,
        planned.counts(plan),
        planned.total(plan["planned_flops"]),
        planned.total(plan["done_flops"]),
        _overview(slug(f"{anchor}-flops", taken), panels, architectures) if len(panels) > 1 else None,
        tasks,
    )


def _overview(name: str, panels: Sequence[Panel], architectures: Sequence[str]) -> Drawing:
    numbers = pd.concat([panel.data.assign(task=panel.title) for panel in panels], ignore_index=True)
    titles = ", ".join(panel.title for panel in panels)
    figure, spots = error_against_flops(panels, looks(architectures))
    return Drawing(
        name,
        figure,
        f"All tasks: mean over positions, where nothing else is said, against training FLOPs. "
        f"{select.FRONTIER_RULE}",
        f"One panel per task, error against training FLOPs: {titles}. Each is described in its own section.",
        numbers,
        spots,
    )


class _Task:
    """The frames of one task of an experiment, and what is said of them."""

    def __init__(
        self,
        plan: pd.DataFrame,
        scores: pd.DataFrame,
        settings: pd.DataFrame,
        task_id: str,
        measure: estimates.ScoreScale,
        pool: Pool,
    ) -> None:
        self.plan, self.scores, self.settings = (
            frame[frame["task_id"] == task_id].reset_index(drop=True) for frame in (plan, scores, settings)
        )
        self.title = str(self.plan["task"].iloc[0])
        self.measure = measure
        self.known = estimates.baselines(pool, task_id, measure)
        self.series = dict(zip(self.plan["series"], self.plan["architecture"], strict=True))
        best = select.best_sizes(self.settings)
        standing = estimates.with_curves(select.chosen(self.plan, best), pool)
        self.curves = estimates.curves(standing, measure)
        seeds = select.seeds_planned(self.plan)
        self.points = select.on_frontier(
            estimates.points(select.chosen(self.scores, self.settings), measure, seeds)
        )

    def by_examples(self, name: str, styles: Mapping[str, Look]) -> Drawing:
        figure, spots = error_against_examples(self.examples_panel(), styles)
        caption = f"{self.measure.label.capitalize()} against in-context examples. {select.SIZE_RULE}"
        return Drawing(name, figure, caption, self.examples_in_words(), self.curves, spots)

    def by_flops(self, name: str, panel: Panel, styles: Mapping[str, Look]) -> Drawing:
        figure, spots = error_against_flops([panel], styles)
        label = self.measure.label.capitalize()
        caption = f"{label}, {self.measure.where}, against training FLOPs. {select.FRONTIER_RULE}"
        return Drawing(name, figure, caption, self.flops_in_words(), self.points, spots)

    def examples_panel(self) -> Panel:
        absent = [
            f"{series}: {planned.tally(runs)}"
            for series, runs in self.plan.groupby("series", sort=False)
            if series not in set(self.curves["series"])
        ]
        return Panel(self.title, self.measure, self.curves, self.known, self.series, absent)

    def flops_panel(self) -> Panel:
        drawn = set(zip(self.points["series"], self.points["size"], strict=True))
        absent = [
            f"{series} {size}: {planned.tally(runs)}"
            for (series, size), runs in self.plan.groupby(["series", "size"], sort=False)
            if (series, size) not in drawn
        ]
        return Panel(self.title, self.measure, self.points, self.known, self.series, absent)

    def examples_in_words(self) -> str:
        last = self.curves.groupby("series", sort=False).tail(1)
        return self._in_words("against in-context examples. At the last position", last)

    def flops_in_words(self) -> str:
        best = self.points[self.points["on_frontier"]].sort_values("training_flops")
        last = best.groupby("series", sort=False).tail(1)
        return self._in_words("against training FLOPs. The best point", last)

    def _in_words(self, start: str, rows: pd.DataFrame) -> str:
        head = f"{self.title}: {self.measure.label} {start}"
        if rows.empty:
            return f"{head}: no finished run yet."
        ordered = rows.sort_values("value", ascending=not self.measure.higher_is_better)
        found = [
            f"{series} {size} {error_text(float(value))}"
            for series, size, value in zip(ordered["series"], ordered["size"], ordered["value"], strict=True)
        ]
        return f"{head}: {', '.join(found)}."

    def warnings(self) -> list[str]:
        """Choices at the edge of a grid, and runs that diverged or failed."""
        found = []
        edge = self.settings[self.settings["at_edge"]]
        for series, rows in edge.groupby("series", sort=False):
            chosen = zip(rows["size"], rows["learning_rate"], strict=True)
            listed = ", ".join(first_few([f"{size} ({short(rate)})" for size, rate in chosen]))
            found.append(
                f"{series}: the chosen learning rate is the lowest or highest planned for {listed}; "
                "a better one may lie beyond."
            )
        for state in ("diverged", "failed"):
            runs = self.plan[self.plan["state"] == state]
            if len(runs):
                named = zip(runs["series"], runs["size"], runs["learning_rate"], strict=True)
                cells = [f"{series} {size} at {short(rate)}" for series, size, rate in named]
                listed = ", ".join(first_few(list(dict.fromkeys(cells))))
                found.append(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} {state}: {listed}.")
        return found
