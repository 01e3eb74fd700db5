"""Which figures and tables of the paper a suite rebuilds, each drawn from the experiments that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bench.exhibits import named
from bench.report.drawing import Drawing
from bench.report.format import first_few
from bench.report.paper import accuracy, convergence, flops, tables, varied
from bench.report.paper.flops import chosen_settings
from bench.report.paper.frame import known_frame, paper_frame
from bench.report.planned import CELL
from bench.report.table6 import table_6
from bench.report.tables import Cell, Table
from bench.results import Pool
from bench.run import short

if TYPE_CHECKING:
    from bench.suite import Experiment, Suite

FUNCTIONS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Drawing]] = {
    "Figure 2": flops.figure_2,
    "Figure 3": flops.figure_3,
    "Figure 4": varied.figure_4,
    "Figure 5": accuracy.figure_5,
    "Figure 7": convergence.figure_7,
    "Figure 8": flops.figure_8,
    "Figure 9": flops.figure_9,
    "Figure 10": varied.figure_10,
}
TITLES = {
    "Table 1": "who learns what, in symbols",
    "Figure 2": "Transformer, Mamba, S4-Mamba and S4 against training FLOPs",
    "Figure 3": "regression with outliers, and without them at test time",
    "Figure 4": "chain of thought: model size and hidden width",
    "Table 3": "vector-valued multi-query associative recall",
    "Figure 5": "accuracy on sparse parity",
    "Figure 7": "how soon sparse parity is learned",
    "Figure 8": "Transformer, Mamba and the hybrids against training FLOPs",
    "Table 4": "GINC",
    "Table 5": "RegBench",
    "Table 6": "parameters",
    "Figure 9": "linear regression with two optimisers",
    "Figure 10": "depth against width, with two optimisers",
}
"""What each shows; in the order of the paper's pages."""


SUMMED_UP = {"Figure 2", "Figure 3", "Figure 7", "Figure 8", "Table 3"}
"""What Table 1 sums up; its symbols are of all models where a suite rebuilds none of them."""
NOTHING_PLANNED = "Missing: no experiment of this suite rebuilds it."


@dataclass(frozen=True)
class Exhibit:
    """One figure or table of the paper, rebuilt.

    Attributes:
        number: "Figure 2".
        origin: the experiments it is drawn from, in words; empty for none.
        notes: what is lacking, and what to beware of.
        tasks: titles of the tasks it shows, for filtering.
    """

    number: str
    title: str
    anchor: str
    origin: str
    drawing: Drawing | None
    tables: Sequence[Table]
    notes: Sequence[str]
    tasks: Sequence[str] = ()


def exhibits(suite: Suite, pool: Pool, states: Mapping[str, str], cited: Iterable[str]) -> list[Exhibit]:
    """Every figure and table that an experiment of the suite rebuilds, or that `cited` names.

    Args:
        suite: what was planned.
        pool: the results.
        states: what is known of runs without a result.
        cited: figures and tables that claims are about: those without an experiment are listed too, as
            missing.
    """
    rebuilt = {number for each in suite.experiments for number in named(each.rebuilds)}
    wanted = rebuilt | set(cited) | {"Table 6"}
    return [exhibit(number, suite, pool, states) for number in TITLES if number in wanted]


def exhibit(number: str, suite: Suite, pool: Pool, states: Mapping[str, str]) -> Exhibit:
    """One figure or table, drawn or said to be missing."""
    kind, digits = number.split()
    anchor, title = f"{kind.lower()}-{digits}", TITLES[number]
    if number == "Table 6":
        return Exhibit(number, title, anchor, "", None, [table_6()], [])
    if number in ("Table 4", "Table 5"):
        table = tables.table_4() if number == "Table 4" else tables.table_5()
        return Exhibit(number, title, anchor, "", None, [table], [])
    experiments = [each for each in suite.experiments if number in named(each.rebuilds)]
    if number == "Table 1":
        shown_in = [each for each in suite.experiments if SUMMED_UP & {*named(each.rebuilds)}]
        runs_ = (run for each in shown_in or suite.experiments for run in each.runs)
        table = tables.table_1(paper_frame(runs_, pool, states))
        return Exhibit(number, title, anchor, "", None, [table], [])
    runs = [run for each in experiments for run in each.runs]
    if not runs and number != "Table 3":
        return Exhibit(number, title, anchor, "", None, [], [NOTHING_PLANNED])
    results = paper_frame(runs, pool, states)
    shown = list(dict.fromkeys(results["task"]))
    if number == "Table 3":
        notes = [] if runs else [NOTHING_PLANNED]
        return Exhibit(
            number, title, anchor, _origin(experiments), None, [tables.table_3(results)],
            [*notes, *choices(results)], shown,
        )  # fmt: skip
    drawing = FUNCTIONS[number](results, known_frame(results["task_id"].unique(), runs, pool))
    table = numbers_table(f"{anchor}-points", drawing)
    return Exhibit(number, title, anchor, _origin(experiments), drawing, [table], choices(results), shown)


def _origin(experiments: Sequence[Experiment]) -> str:
    """Names of experiments, with what they say they rebuild where that is more than the number."""
    parts = [
        each.name if named(each.rebuilds) == (each.rebuilds,) else f"{each.name} ({each.rebuilds})"
        for each in experiments
    ]
    return ", ".join(parts)


def choices(results: pd.DataFrame) -> list[str]:
    """What to beware of in the chosen learning rates: edges of grids, and runs that are still missing."""
    if results.empty:
        return []
    _, table = chosen_settings(results)
    count = int(table["chosen"].sum())
    notes = []
    lacking = table[table["missing"] + table["failed"] > 0][CELL].drop_duplicates()
    early = table[table["chosen"]].merge(lacking, on=CELL)
    if len(early):
        notes.append(
            f"{len(early)} of {count} choices of a learning rate are among part of the planned runs: some "
            f"are missing or failed. {_listed(early)} may change."
        )
    edge = table[table["at_edge"]]
    if len(edge):
        notes.append(
            f"{len(edge)} of {count} chosen learning rates lie at the edge of their grid: {_listed(edge)}. "
            "A better one may lie beyond."
        )
    return notes


def _listed(settings: pd.DataFrame) -> str:
    found = [
        f"{series} {size} ({short(rate)})"
        for series, size, rate in zip(
            settings["series"], settings["size"], settings["learning_rate"], strict=True
        )
    ]
    return ", ".join(first_few(list(dict.fromkeys(found))))


def numbers_table(name: str, drawing: Drawing) -> Table:
    """The numbers behind a figure, for reading; the CSV beside the figure has them in full."""
    return points_table(name, drawing.numbers)


def points_table(name: str, numbers: pd.DataFrame) -> Table:
    """A row a point: what it is and what it scored."""
    columns = [(key, head) for key, head in READABLE.items() if key in numbers]
    rows = [[Cell(_readable(key, row[key])) for key, _ in columns] for row in numbers.to_dict("records")]
    text = frozenset(head for key, head in columns if key in ("panel", "series", "size", "learned"))
    caption = (
        "The points of the figure. Standard errors: over seeds where three or more finished, else prompts."
    )
    return Table(name, caption, [head for _, head in columns], rows, numbers, text)


READABLE = {
    "panel": "panel",
    "series": "architecture",
    "size": "size",
    "seed": "seed",
    "learning_rate": "learning rate",
    "step": "step",
    "training_flops": "training FLOPs",
    "value": "score",
    "standard_error": "standard error",
    "seeds": "seeds",
    "learned": "learned",
    "convergence_step": "step at which learned",
}
"""Columns of numbers that people read, and their headings."""


def _readable(key: str, value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if key in ("step", "convergence_step", "seeds", "seed"):
        return f"{int(value):,}"  # type: ignore[call-overload]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return short(float(value)) if key == "learning_rate" else f"{float(value):.3g}"
    return str(value)
