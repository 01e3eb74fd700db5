"""Tables 4 and 5 of the paper, formal languages: its numbers beside ours. Floors and baselines are rows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.paper import printed
from bench.report.data.choices import best_cell, best_sizes, chosen
from bench.report.data.estimates import INTERVAL_RULE, TaskResults, at_positions
from bench.report.data.frame import tally
from bench.report.tables.table import Table, TableCell, missing_text
from bench.report.text import millions
from bench.results.evaluations import perplexity
from bench.results.record import MAIN
from bench.words import architecture_name

BEYOND = "†"


class TableColumn(NamedTuple):
    """A column of numbers.

    Attributes:
        head: its heading.
        evaluation: the evaluation that it shows.
        perplexity: whether scores are cross-entropies, shown as perplexities; else accuracies in percent.
    """

    head: str
    evaluation: str
    perplexity: bool


TABLE_4_COLUMNS = (
    TableColumn("train PPL", "training", True),
    TableColumn("valid PPL", "validation", True),
    TableColumn("ICL accuracy, %", MAIN, False),
)
TABLE_5_COLUMNS = (
    TableColumn("train PPL", "training", True),
    TableColumn("valid PPL", "cross_entropy", True),
    TableColumn("accuracy, %", MAIN, False),
)


class Ours(NamedTuple):
    """A measured number: the mean over seeds and half of its 90 % interval, None if unknown."""

    value: float
    half: float | None
    run_ids: str


def table_4(results: pd.DataFrame, references: pd.DataFrame) -> Table:
    """GINC: perplexities and in-context accuracy, the paper's / ours, then floors and baselines.

    Args:
        results: the frame of the runs.
        references: `references_frame` of their tasks.
    """
    rows, numbers = [], []
    for title, task, own_references in _tasks(results, references, ["task_id"]):
        # The paper's numbers are those of one vocabulary, 100 words.
        paper = printed.TABLE_4 if task is None or task.rows["as_defined"].all() else {}
        for architecture in _architectures(task, paper):
            parameters, *values = paper.get(architecture, ("–",) * (1 + len(TABLE_4_COLUMNS)))
            head = {"vocabulary": title, "architecture": architecture}
            cells, entry = _cells(TABLE_4_COLUMNS, values, task, architecture, own_references)
            count = TableCell(f"{parameters} / {_parameters(task, architecture)}")
            rows.append([TableCell(title), TableCell(architecture_name(architecture)), count, *cells])
            numbers.append({**head, "paper parameters": parameters, **entry})
        for name, cells, entry in _reference_rows(TABLE_4_COLUMNS, own_references):
            rows.append([TableCell(title), TableCell(name), TableCell("–"), *cells])
            numbers.append({"vocabulary": title, "architecture": name, **entry})
    heads = ["task", "architecture", "parameters", *(column.head for column in TABLE_4_COLUMNS)]
    caption = (
        "The paper's / ours on GINC; accuracies at the most examples, with 10 words each. The paper states "
        f"90 % intervals. {_notes(rows)}"
    )
    text = frozenset({"task", "architecture"})
    return Table("table-4", caption, heads, rows, pd.DataFrame(numbers), text)


def table_5(results: pd.DataFrame, references: pd.DataFrame) -> Table:
    """RegBench: perplexity and greedy accuracy by epochs, the paper's / ours, then floors and baselines.

    Args:
        results: the frame of the runs.
        references: `references_frame` of their tasks.
    """
    groups = [
        (_epochs(task), str(task.runs["settings"].iloc[0]["languages"]), task, own)
        for _, task, own in _tasks(results, references, ["task_id", "steps"])
        if task is not None
    ]
    absent = set(printed.TABLE_5) - {epochs for epochs, *_ in groups}
    rows, numbers = [], []
    for epochs, languages, task, own_references in sorted(
        [*groups, *((epochs, "–", None, references.iloc[:0]) for epochs in absent)],
        key=lambda group: (group[0], len(group[1]), group[1]),
    ):
        head = [TableCell(str(epochs)), TableCell(languages)]
        paper = printed.TABLE_5.get(epochs, {})
        for architecture in _architectures(task, paper):
            values = paper.get(architecture, ("–",) * len(TABLE_5_COLUMNS))
            cells, entry = _cells(TABLE_5_COLUMNS, values, task, architecture, own_references)
            rows.append([*head, TableCell(architecture_name(architecture)), *cells])
            numbers.append({"epochs": epochs, "languages": languages, "architecture": architecture, **entry})
        for name, cells, entry in _reference_rows(TABLE_5_COLUMNS, own_references):
            rows.append([*head, TableCell(name), *cells])
            numbers.append({"epochs": epochs, "languages": languages, "architecture": name, **entry})
    caption = (
        "The paper's / ours on RegBench. The paper does not state its number of languages. *: the paper "
        "copied this number from Akyürek et al. (2024). Perplexity in training is that of the last training "
        "batches before the tested checkpoint, with dropout; with one seed it has no interval. "
        f"{_notes(rows)}"
    )
    heads = ["epochs", "languages", "architecture", *(column.head for column in TABLE_5_COLUMNS)]
    return Table("table-5", caption, heads, rows, pd.DataFrame(numbers), frozenset({"architecture"}))


def _tasks(
    results: pd.DataFrame, references: pd.DataFrame, keys: list[str]
) -> Iterator[tuple[str, TaskResults | None, pd.DataFrame]]:
    """Title, results and references by `keys`, the first of which is the task. Without results, None."""
    if results.empty:
        yield "GINC", None, references.iloc[:0]
        return
    for _, rows in results.groupby(keys, sort=False):
        task = TaskResults(rows)
        yield task.title, task, references[references["task_id"] == task.task_id]


def _epochs(task: TaskResults) -> int:
    """Epochs of training, rounded."""
    run = task.runs.iloc[0]
    return round(int(run["steps"]) * int(run["batch_size"]) / int(run["settings"]["languages"]))


def _architectures(task: TaskResults | None, paper: Mapping[str, Any]) -> list[str]:
    """The paper's architectures in its order, then others."""
    own = [] if task is None else list(dict.fromkeys(task.runs["architecture"]))
    return [*paper, *(name for name in own if name not in paper)]


def _parameters(task: TaskResults | None, architecture: str) -> str:
    """Parameters of the architecture's models if all have one size."""
    if task is None:
        return "–"
    counts = task.runs[task.runs["architecture"] == architecture]["parameters"].unique()
    return millions(int(counts[0])) if len(counts) == 1 else "–"


def _cells(
    columns: Sequence[TableColumn],
    paper: Sequence[str],
    task: TaskResults | None,
    architecture: str,
    references: pd.DataFrame,
) -> tuple[list[TableCell], dict[str, Any]]:
    """The cells of an architecture and their numbers."""
    cells: list[TableCell] = []
    entry: dict[str, Any] = {}
    for column, value in zip(columns, paper, strict=True):
        mark = BEYOND if _beyond(column, value, references) else ""
        ours, state = _measured(task, architecture, column)
        shown = missing_text(state) if ours is None else _text(ours.value, ours.half, column)
        cells.append(TableCell(f"{value}{mark} / {shown}", absent=ours is None))
        entry |= {
            f"paper {column.head}": value,
            column.head: ours.value if ours else None,
            f"{column.head} half interval": ours.half if ours else None,
            f"{column.head} runs": ours.run_ids if ours else state,
        }
    return cells, entry


def _measured(task: TaskResults | None, architecture: str, column: TableColumn) -> tuple[Ours | None, str]:
    """The number of an architecture's best size at its chosen candidate, or None and the reason."""
    if task is None or architecture not in set(task.runs["architecture"]):
        return None, "no experiment"
    runs = task.runs[task.runs["architecture"] == architecture]
    table = task.candidates[task.candidates["series"].isin(runs["series"])]
    state = tally(runs)
    if not table["chosen"].any():
        return None, state
    best = best_cell(best_sizes(table))
    ends = task.rows[(task.rows["evaluation"] == column.evaluation) & task.rows["at_end"]]
    rows = chosen(ends, best)
    if rows.empty:
        return None, state
    scores, errors = ([[value] for value in rows[name]] for name in ("score", "score_se"))
    (score,) = at_positions(scores, errors, int(rows["independent_prompts"].min()))
    run_ids = " ".join(rows["id"])
    if column.perplexity:
        value = perplexity(score.mean)
        # A perplexity in training is one number a run: with one seed, nothing tells its spread.
        return Ours(value, value * score.half_width or None, run_ids), state
    return Ours(100 * score.mean, 100 * score.half_width, run_ids), state


def _reference_rows(
    columns: Sequence[TableColumn], references: pd.DataFrame
) -> Iterator[tuple[str, list[TableCell], dict[str, Any]]]:
    """The bound first, then baselines, then the trivial predictor: name, cells and numbers.

    The bound of perplexities may be another predictor than that of accuracies. Both are one row, and so are
    trivial predictors.
    """
    shown = {column.evaluation for column in columns}
    own = references[references["evaluation"].isin(shown)]
    for kind, word in (("floor", "bound: "), ("baseline", ""), ("trivial", "")):
        by_name = {str(name): rows for name, rows in own[own["kind"] == kind].groupby("name", sort=False)}
        groups = [[name] for name in by_name] if kind == "baseline" else _apart(by_name)
        for names in groups:
            members = [
                (column, name, _reference(by_name[name], column)) for column in columns for name in names
            ]
            values = {column: (name, value) for column, name, value in members if value is not None}
            cells = [
                TableCell(_text(values[column][1], None, column) if column in values else "–")
                for column in columns
            ]
            entry = {column.head: values[column][1] if column in values else None for column in columns}
            yield word + _joined(values), cells, entry


def _apart(by_name: Mapping[str, pd.DataFrame]) -> list[list[str]]:
    """Names in groups whose members are references of different evaluations."""
    groups: list[list[str]] = []
    for name, rows in by_name.items():
        evaluations = set(rows["evaluation"])
        free = (
            group
            for group in groups
            if not any(evaluations & set(by_name[other]["evaluation"]) for other in group)
        )
        group = next(free, None)
        groups.append([name]) if group is None else group.append(name)
    return groups


def _joined(values: Mapping[TableColumn, tuple[str, float]]) -> str:
    """One name, or those of perplexities and of accuracies: `uniform (PPL), random token (accuracy)`."""
    names = dict.fromkeys((name, column.perplexity) for column, (name, _) in values.items())
    if len({name for name, _ in names}) == 1:
        return next(iter(names))[0]
    return ", ".join(f"{name} ({'PPL' if perplexity else 'accuracy'})" for name, perplexity in names)


def _reference(rows: pd.DataFrame, column: TableColumn) -> float | None:
    """The number of a baseline for a column: over all positions, or at the headline's position, the last."""
    rows = rows[rows["evaluation"] == column.evaluation]
    if rows.empty:
        return None
    overall = float(rows["overall"].iloc[0])
    value = float(rows["value"].iloc[-1]) if math.isnan(overall) else overall
    return perplexity(value) if column.perplexity else 100 * value


def _beyond(column: TableColumn, paper: str, references: pd.DataFrame) -> bool:
    """Whether a number of the paper is better than the bound, so that no model can have it."""
    number = re.match(r"[\d.]+", paper)
    bound = _reference(references[references["kind"] == "floor"], column)
    if number is None or bound is None:
        return False
    return float(number[0]) < bound - 0.005 if column.perplexity else float(number[0]) > bound + 0.05


def _text(value: float, half: float | None, column: TableColumn) -> str:
    digits = 2 if column.perplexity else 1
    return f"{value:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def _notes(rows: Sequence[Sequence[TableCell]]) -> str:
    """Sentences for a caption: intervals, bounds, and numbers of the paper beyond them."""
    sentences = [INTERVAL_RULE]
    texts = [cell.text for row in rows for cell in row]
    if any(text.startswith("bound: ") for text in texts):
        sentences.append("Bound: no model can be better, except by chance on these prompts.")
    if any(BEYOND in text for text in texts):
        sentences.append(
            f"{BEYOND}: no model can have this number of the paper, because it is beyond the bound."
        )
    return " ".join(sentences)
