"""The contents of an experiment's part of a report: its tasks with their figures, tables and warnings.

Nothing here writes or knows HTML; `bench.report.page.render` turns it into pages, `bench.report.write` into
files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bench.digits import count_of, error_text, short
from bench.paper.exhibits import named
from bench.report.data.choices import SIZE_RULE, tied_rates
from bench.report.data.estimates import FRONTIER_RULE, TaskResults, tasks_of
from bench.report.data.frame import counts, runs_of, tally, total
from bench.report.figures.drawing import Drawing
from bench.report.figures.examples import error_against_examples
from bench.report.figures.flops import error_against_flops, panel_of
from bench.report.figures.longer import longer_prompts
from bench.report.figures.panel import Panel
from bench.report.figures.rates import score_by_rate
from bench.report.figures.references import CURVES_RULE, LEVELS_RULE, not_drawn
from bench.report.figures.references import curves as grey_curves
from bench.report.figures.training import training_curves
from bench.report.style import Look
from bench.report.tables.results import rates_table, results_table
from bench.report.tables.table import Table
from bench.report.text import first_few, slug
from bench.words import title_of

if TYPE_CHECKING:
    from bench.suite import Experiment


@dataclass(frozen=True)
class TaskSection:
    """One task of one experiment. A task without results has no drawings and shows no tables.

    Attributes:
        family: the name that tasks with other settings share with it.
        state: how its runs ended, in words.
        figures: names of all drawings that it may have.
        results, rates: the tables of scores and of learning rates.
    """

    title: str
    family: str
    anchor: str
    state: str
    figures: Sequence[str]
    drawings: Sequence[Drawing]
    results: Table
    rates: Table
    warnings: Sequence[str]
    has_results: bool


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
    def title(self) -> str:
        """Its name as a heading: "Group reflections" for `group_reflections`."""
        return title_of(self.name)

    @property
    def planned(self) -> int:
        return sum(self.counts.values())

    @property
    def has_results(self) -> bool:
        """Whether a run has one. Otherwise a report has one line about the experiment."""
        return any(task.has_results for task in self.tasks)

    def tables(self) -> list[Table]:
        """The tables of the tasks that have results."""
        return [table for task in self.tasks if task.has_results for table in (task.results, task.rates)]

    def drawings(self) -> list[Drawing]:
        """Every figure, the overview first."""
        overview = [self.overview] if self.overview else []
        return overview + [drawing for task in self.tasks for drawing in task.drawings]


def section(
    experiment: Experiment,
    results: pd.DataFrame,
    references: pd.DataFrame,
    looks: Mapping[str, Look],
    names: set[str],
) -> ExperimentSection:
    """The contents of one experiment's part of the report.

    Errors against FLOPs are left out if a figure of the paper shows them.

    Args:
        experiment: what was planned.
        results: the frame of its runs.
        references: `references_frame` of its tasks.
        looks: by architecture of the whole suite. A variant can have a colour that none of these has.
        names: file names in use. Those of this experiment are added.
    """
    anchor = slug(experiment.name, names)
    drawn_elsewhere = any(name.startswith("Figure ") for name in named(experiment.rebuilds))
    tasks: list[TaskSection] = []
    panels: list[Panel] = []
    for task in tasks_of(results):
        panel = panel_of(task, references) if task.has_results and not drawn_elsewhere else None
        if panel is not None:
            panels.append(panel)
        stem = slug(f"{anchor}-{task.short_title}", names)
        kinds = ("examples", *(() if drawn_elsewhere else ("flops",)), "training", "rates", "longer")
        tasks.append(
            TaskSection(
                title=task.title,
                family=task.family,
                anchor=stem,
                state=tally(task.rows),
                figures=[f"{stem}-{kind}" for kind in kinds],
                drawings=_drawings(stem, task, references, panel, looks) if task.has_results else [],
                results=results_table(f"{stem}-results", task),
                rates=rates_table(f"{stem}-learning-rates", task.candidates),
                warnings=_warnings(task),
                has_results=task.has_results,
            )
        )
    runs = runs_of(results)
    return ExperimentSection(
        name=experiment.name,
        anchor=anchor,
        rebuilds=experiment.rebuilds,
        description=experiment.description,
        counts=counts(results),
        planned_flops=total(runs["planned_flops"]),
        done_flops=total(runs["done_flops"]),
        overview=_overview(slug(f"{anchor}-flops", names), panels, looks) if len(panels) > 1 else None,
        tasks=tasks,
    )


def _drawings(
    stem: str, task: TaskResults, references: pd.DataFrame, panel: Panel | None, looks: Mapping[str, Look]
) -> list[Drawing]:
    """The figures of a task with results; error against FLOPs if there is a panel of it."""
    drawings = [
        _by_examples(f"{stem}-examples", task, references, looks),
        None if panel is None else _by_flops(f"{stem}-flops", panel, looks),
        training_curves(f"{stem}-training", task, references, looks),
        score_by_rate(f"{stem}-rates", task, references, looks),
        longer_prompts(f"{stem}-longer", task, references, looks),
    ]
    return [drawing for drawing in drawings if drawing is not None]


def _overview(name: str, panels: Sequence[Panel], looks: Mapping[str, Look]) -> Drawing:
    numbers = pd.concat([panel.data.assign(task=panel.title) for panel in panels], ignore_index=True)
    titles = "; ".join(panel.title for panel in panels)
    figure, spots = error_against_flops(panels, looks)
    return Drawing(
        name,
        figure,
        "All tasks, mean over positions unless a title says otherwise, against training FLOPs. "
        f"{FRONTIER_RULE} {LEVELS_RULE}",
        f"One panel per task, error against training FLOPs: {titles}. Each is described in its own section.",
        numbers,
        spots,
    )


def _by_examples(
    name: str, task: TaskResults, references: pd.DataFrame, looks: Mapping[str, Look]
) -> Drawing:
    curves = task.curves(task.best_sizes)
    absent = task.absent(set(curves["series"]))
    own = task.references(references)
    panel = Panel(
        task.title, task.scale, curves, own, task.series, absent, where="at the end", task=task.family
    )  # fmt: skip
    figure, spots = error_against_examples(panel, looks)
    left_out = not_drawn(panel, grey_curves(panel))
    caption = (
        f"{task.scale.label.capitalize()} against {task.scale.positions} at the last checkpoint. {SIZE_RULE} "
        f"{CURVES_RULE} {left_out}"
    ).rstrip()
    last = curves.groupby("series", sort=False).tail(1)
    words = _in_words(panel, f"against {task.scale.positions}. At the last position", last)
    return Drawing(name, figure, caption, words, curves, spots)


def _by_flops(name: str, panel: Panel, looks: Mapping[str, Look]) -> Drawing:
    figure, spots = error_against_flops([panel], looks)
    label = panel.scale.label.capitalize()
    caption = f"{label}, {panel.scale.where}, against training FLOPs. {FRONTIER_RULE} {LEVELS_RULE}"
    best = panel.data[panel.data["on_frontier"]].sort_values("training_flops")
    last = best.groupby("series", sort=False).tail(1)
    words = _in_words(panel, "against training FLOPs. The best point", last)
    return Drawing(name, figure, caption, words, panel.data, spots)


def _in_words(panel: Panel, start: str, rows: pd.DataFrame) -> str:
    head = f"{panel.title}: {panel.scale.label} {start}"
    if rows.empty:
        return f"{head}: no finished run yet."
    ordered = rows.sort_values("value", ascending=not panel.scale.higher_is_better)
    scores = [
        f"{series} {size} {error_text(float(value))}"
        for series, size, value in zip(ordered["series"], ordered["size"], ordered["value"], strict=True)
    ]
    return f"{head}: {'; '.join(scores)}."


def _warnings(task: TaskResults) -> list[str]:
    """Choices among equals and at the edge of a grid, and runs that diverged or failed."""
    return [
        *_tied_warnings(task),
        *_edge_warnings(task),
        *(line for state in ("diverged", "failed") for line in _lost_warnings(task, state)),
    ]


def _tied_warnings(task: TaskResults) -> Iterator[str]:
    for (series, size), rates in tied_rates(task.candidates).items():
        yield (
            f"{series}: the learning rates {', '.join(map(short, rates))} have the same error on the "
            f"validation prompts for {size}; the lowest of them is reported."
        )


def _edge_warnings(task: TaskResults) -> Iterator[str]:
    edge = task.candidates[task.candidates["at_edge"]]
    for series, rows in edge.groupby("series", sort=False):
        chosen = zip(rows["size"], rows["learning_rate"], strict=True)
        listed = ", ".join(first_few([f"{size} ({short(rate)})" for size, rate in chosen]))
        yield (
            f"{series}: the chosen learning rate is the lowest or highest planned for {listed}; "
            "a better one may lie beyond."
        )


def _lost_warnings(task: TaskResults, state: str) -> Iterator[str]:
    runs = task.runs[task.runs["state"] == state]
    if len(runs):
        settings = zip(runs["series"], runs["size"], runs["learning_rate"], strict=True)
        cells = [f"{series} {size} at {short(rate)}" for series, size, rate in settings]
        listed = ", ".join(first_few(list(dict.fromkeys(cells))))
        yield f"{count_of(len(runs), 'run')} {state}: {listed}."
