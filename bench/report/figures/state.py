"""Score against the numbers of a prompt that a model keeps: what a recurrent state of this size can hold."""

from __future__ import annotations

import pandas as pd

from bench.report.data.estimates import BANDS_RULE, TaskResults, on_frontier, tasks_of
from bench.report.data.frame import looks_in
from bench.report.figures.drawing import Drawing
from bench.report.figures.flops import drawing
from bench.report.figures.panel import Panel, variant
from bench.report.figures.references import LEVELS_RULE
from bench.words import architecture_name

BUDGET = "state_numbers"


def score_by_state(results: pd.DataFrame, references: pd.DataFrame) -> Drawing:
    """The final score of every model against its state, a panel per task.

    An architecture is one series, whichever option of its blocks sets the size of the state.
    """
    panels = [_panel(task, references) for task in tasks_of(results)]
    caption = (
        "Score at the last checkpoint against the state: how many numbers of a prompt a model keeps to read "
        "the next token. It grows with the prompt for attention, and for no other block. Points: every model "
        "at its chosen learning rate, the mean over seeds; small circles: single seeds, of which the best "
        "says how much a state can hold at least. Line: for each architecture, the best of its models with "
        f"no larger state. {BANDS_RULE} {LEVELS_RULE}"
    )
    return drawing("score-by-state", panels, looks_in(results), caption)


def _panel(task: TaskResults, references: pd.DataFrame) -> Panel:
    """The panel of one task. A model without a stated state is named below the figure."""
    ends = task.end_points()
    stated = ends[ends[BUDGET] > 0]  # a logarithmic axis has no 0, which is a model without memory
    unstated = [
        f"{series} {size}: its blocks state no state"
        for series, size in zip(ends["series"], ends["size"], strict=True)
        if series not in set(stated["series"])
    ]
    options = map(variant, stated["series"], stated["architecture"])
    points = stated.assign(
        size=[", ".join(filter(None, parts)) for parts in zip(stated["size"], options, strict=True)],
        series=stated["architecture"].map(architecture_name),
    )
    families = {architecture_name(name): name for name in task.series.values()}
    seeds = task.ends()
    seeds = seeds[seeds[BUDGET] > 0]
    trainings = pd.DataFrame(
        {
            "series": seeds["architecture"].map(architecture_name),
            BUDGET: seeds[BUDGET],
            "value": task.scale.score_of(seeds["error"]),
        }
    )
    return Panel(
        task.title, task.scale, on_frontier(points, BUDGET), task.references(references), families,
        [*task.absent(set(ends["series"])), *unstated],
        reference_position=task.headline_position(), where=task.scale.where, task=task.family,
        budget=BUDGET, trainings=trainings,
    )  # fmt: skip
