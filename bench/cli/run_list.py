"""The list of runs that `bench plan` prints: one table, or one per experiment where that is too wide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.text import Text

from bench.cli import printing
from bench.cli.printing import Column
from bench.cli.task_names import TaskName, task_names
from bench.digits import count_of
from bench.models.sizes import size_text
from bench.plan.planned import Planned
from bench.run import SETTINGS, Run, text_of

SHORT_NAMES = {"learning_rate": "lr", "batch_size": "batch"}
EVALUATION_PROMPTS = Run.model_fields["evaluation_prompts"].default
"""The default number of evaluation prompts."""


class _Setting(NamedTuple):
    """A setting of runs: its column, and its value as text."""

    column: Column
    value: Callable[[Planned], str]


def show_runs(
    planned: Sequence[Planned], out: printing.Output, suite: Sequence[Planned] | None = None
) -> None:
    """Print a line per run with the settings in which runs differ, and the others once.

    If that is wider than the terminal, each experiment gets a table of its own, whose title states the
    settings that its runs share.

    Args:
        planned: the runs.
        out: the terminal.
        suite: all runs of the suite, among which tasks have their names; by default `planned`.
    """
    names = task_names(entry.run for entry in (planned if suite is None else suite))
    names = {entry.run.task_id: names[entry.run.task_id] for entry in planned}
    settings = _settings(names)
    varying = _varying(settings, planned)
    columns, rows = _table(settings, [*_ALWAYS, *varying], planned)
    if printing.fits(out, columns, rows):
        out.print(printing.table(out, columns, rows))
        _say_others(names, out)
    else:
        _show_experiments(planned, varying, names, out)
    # Settings that were added later are off by default: no stop rule, no other checkpoint tested.
    later = Run.later_fields.items()
    off = [name for name, value in later if all(getattr(entry.run, name) == value for entry in planned)]
    common = [name for name in settings if name not in (*_ALWAYS, *varying, *off)]
    if facts := [*_stated(settings, common, planned), *_evaluation_prompts(planned)]:
        out.say(f"Every run: {', '.join(facts)}.", style="dim")


def _show_experiments(
    planned: Sequence[Planned], varying: Sequence[str], names: Mapping[str, TaskName], out: printing.Output
) -> None:
    """Print a table per experiment. A run that several experiments share is listed under the first.

    Args:
        planned: the runs, in the order of their experiments.
        varying: the settings of training in which they differ.
        names: of their tasks.
        out: the terminal.
    """
    left_out, same_prompts = "", len({entry.run.evaluation_prompts for entry in planned}) == 1
    for experiment, members in groupby(planned, key=lambda entry: entry.experiments[0]):
        entries = list(members)
        settings = _settings(names)
        shown = [
            name for name in (*_ALWAYS, *varying) if name == "architecture" or _vary(settings[name], entries)
        ]
        shared = [name for name in (*_ALWAYS, *varying) if name not in shown]
        facts = [count_of(len(entries), "run"), *_stated(settings, shared, entries)]
        facts += [] if same_prompts else _evaluation_prompts(entries)
        out.print(Text.assemble((experiment, "bold"), ": ", ", ".join(facts)))
        _say_others({entry.run.task_id: names[entry.run.task_id] for entry in entries}, out)
        table = printing.table(out, *_table(settings, shown, entries))
        left_out = max(left_out, str(table.caption or ""), key=len)
        table.caption = None
        out.print(table)
        out.print()
    if left_out:
        out.print(Text(left_out, "dim"))


_ALWAYS = ("task", "architecture", "size")
"""Columns of a list of all runs, whether the runs differ in them or not."""


def _settings(names: Mapping[str, TaskName]) -> dict[str, _Setting]:
    """What a run may be told by, in the order of the columns; for training, the settings of `Run`."""

    def training(name: str) -> _Setting:
        is_number = Run.model_fields[name].annotation in (int, float)
        column = Column(SHORT_NAMES.get(name, name), number=is_number)
        if name == "steps":
            return _Setting(column, lambda entry: f"{entry.run.steps:,}")
        return _Setting(column, lambda entry: text_of(entry.run, name))

    return {
        "task": _Setting(Column("task", folds=True), lambda entry: names[entry.run.task_id].name),
        "architecture": _Setting(
            Column("architecture", folds=True), lambda entry: entry.run.architecture.name
        ),
        "size": _Setting(Column("size"), lambda entry: size_text(entry.run.size)),
        **{name: training(name) for name in SETTINGS},
    }


def _varying(settings: Mapping[str, _Setting], planned: Sequence[Planned]) -> list[str]:
    """The settings of training in which runs differ."""
    return [name for name, setting in settings.items() if name not in _ALWAYS and _vary(setting, planned)]


def _vary(setting: _Setting, planned: Sequence[Planned]) -> bool:
    return len({setting.value(entry) for entry in planned}) > 1


def _stated(settings: Mapping[str, _Setting], names: Sequence[str], planned: Sequence[Planned]) -> list[str]:
    """Settings that all runs share, with their values: "clip 10", "optimizer adam"."""
    return [
        f"{settings[name].column.name} {settings[name].value(entry)}"
        for entry in planned[:1]
        for name in names
    ]


def _evaluation_prompts(planned: Sequence[Planned]) -> list[str]:
    """The number of evaluation prompts that all runs share, if it is not the default."""
    numbers = {entry.run.evaluation_prompts for entry in planned} - {EVALUATION_PROMPTS}
    shared = len({entry.run.evaluation_prompts for entry in planned}) == 1
    return [f"evaluation_prompts {number}" for number in numbers] if shared else []


def _say_others(names: Mapping[str, TaskName], out: printing.Output) -> None:
    """Print the settings of tasks that their names leave out: a line for the tasks with the same ones."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for full, others in names.values():
        alike.setdefault((full.partition("+")[0], others), []).append(full)
    kinds = Counter(task for task, _ in alike)
    for (task, others), members in alike.items():
        if others:
            every = len(members) > 1 and kinds[task] == 1
            which = f"every {task}" if every else ", ".join(members)
            out.print(Text(f"{which}: {', '.join(others)}", "dim"))


def _table(
    settings: Mapping[str, _Setting], names: Sequence[str], planned: Sequence[Planned]
) -> tuple[list[Column], list[list[printing.Cell]]]:
    """The columns and the rows of some runs, with these settings."""
    columns = [Column("id"), *(settings[name].column for name in names)]
    columns += [Column("state"), Column("time", number=True)]
    columns += [
        Column(printing.FLOPS, number=True, spare=True),
        Column("parameters", number=True, spare=True),
    ]
    rows: list[list[printing.Cell]] = [
        [
            entry.run.id,
            *(settings[name].value(entry) for name in names),
            printing.state(entry.status.word),
            _time(entry),
            printing.flops(entry.axis_flops),
            printing.parameters(entry.run.parameters),
        ]
        for entry in planned
    ]
    return columns, rows


def _time(entry: Planned) -> str:
    seconds = entry.estimate.seconds
    if seconds is None:
        return "unknown"
    return ("~" if entry.estimate.basis == "scaled" else "") + printing.duration(seconds)
