"""`bench tasks`: list the tasks, show one task, or list differences between the paper and its code."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer
from rich.text import Text

from bench import plugins
from bench.cli import printing
from bench.cli.arguments import Json, Plugins
from bench.cli.completion import task_names
from bench.cli.printing import Column
from bench.docstrings import paragraphs
from bench.errors import OR_A_PLUGIN, UserError, did_you_mean
from bench.paper import protocol
from bench.tasks import TASKS, Task


def command(
    plugin: Plugins,
    name: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="Show this task in full.", autocompletion=task_names),
    ] = None,
    differences: Annotated[
        bool,
        typer.Option(
            "--differences", help="Where the paper's text and its released code differ, in Markdown."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """List the tasks; show one task's prompt, fields and evaluations."""
    show_tasks(name, differences, json)


def show_tasks(name: str | None, differences: bool, as_json: bool) -> None:
    """Print all tasks, or one by name, or the table of differences as Markdown.

    Raises:
        UserError: the task is unknown, or options do not go together.
    """
    if differences and (name is not None or as_json):
        raise UserError("tasks: --differences is a table of all tasks: leave out TASK and --json")
    plugins.load_installed()
    out = printing.Output()
    if name is not None and name not in TASKS:
        raise UserError(f"unknown task '{name}'{did_you_mean(name, TASKS, OR_A_PLUGIN)}")
    if as_json:
        out.json(
            {
                task_name: _facts(kind.example())
                for task_name, kind in TASKS.items()
                if name in (None, task_name)
            }
        )
    elif differences:
        out.say(protocol.markdown())
    elif name is None:
        _list(out)
    else:
        _show(out, TASKS[name])


def _facts(task: Task) -> dict[str, object]:
    return {
        "fields": task.model_dump(mode="json"),
        "metric": task.metric,
        "length": task.full_length,
        "n_inputs": task.n_inputs,
        "n_outputs": task.n_outputs,
        "trivial": task.trivial,
        "headline": task.headline,
        "evaluations": {name: evaluation._asdict() for name, evaluation in task.evaluations().items()},
        "protocol": {field: dict(choices) for field, choices in task.protocol_fields.items()},
    }


def _list(out: printing.Output) -> None:
    columns = [
        Column("task"),
        Column("d", number=True),
        Column("points", number=True),
        Column("tokens", number=True),
        Column("score", folds=True),
        Column("evaluations", folds=True),
    ]
    rows = []
    for name, kind in TASKS.items():
        task = kind.example()
        mark = task.headline.replace("_", " ") if task.headline else "mean over points"
        score = f"{task.metric.replace('_', ' ')}, {mark}"
        sizes = (str(number) for number in (task.n_dims, task.n_points, task.full_length))
        rows.append([name, *sizes, score, ", ".join(task.evaluations())])
    out.print(printing.table(out, columns, rows))
    out.say("d: coordinates of an input. Points: examples and queries in a prompt.", "dim")
    out.say(
        "bench tasks NAME shows one with a prompt; bench tasks --differences compares text and code.", "dim"
    )


def _show(out: printing.Output, kind: type[Task]) -> None:
    task = kind.example()
    out.print(Text(paragraphs(inspect.cleandoc(kind.__doc__ or ""))))
    fields = task.model_dump(mode="json")
    out.say("")
    columns = [Column("field"), Column("default", folds=True), Column("text"), Column("released code")]
    rows = []
    for field, value in fields.items():
        differs = protocol.sides(kind, field)
        shown = protocol.shown(value)
        rows.append(
            [
                field,
                f"required, {shown} here" if field in kind.example_fields else shown,
                *(differs or ("", "")),
            ]
        )
    out.print(printing.table(out, columns, rows))
    out.say(
        f"A prompt has {task.full_length} tokens; a predictor that has learned nothing scores "
        f"{task.trivial:g} ({task.metric.replace('_', ' ')}).",
        "dim",
    )
