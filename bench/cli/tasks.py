"""`bench tasks`: what can be learned here, one task whole, and where text and released code differ."""

from __future__ import annotations

import inspect

from bench import plugins
from bench.cli import format
from bench.cli.format import Column
from bench.errors import UserError, did_you_mean
from bench.paper import protocol
from bench.tasks import TASKS, Task


def show_tasks(name: str | None, differences: bool, as_json: bool) -> None:
    """Print all tasks, or one by name, or the table of differences as Markdown."""
    plugins.load_installed()
    out = format.Output()
    if name is not None and name not in TASKS:
        raise UserError(f"unknown task '{name}'{did_you_mean(name, TASKS)}")
    if as_json:
        out.json(
            {each: _facts(kind.model_validate({})) for each, kind in TASKS.items() if name in (None, each)}
        )
    elif differences:
        out.say(protocol.markdown())
    elif name is None:
        _list(out)
    else:
        _one(out, TASKS[name])


def _facts(task: Task) -> dict[str, object]:
    return {
        "fields": task.model_dump(mode="json"),
        "metric": task.metric,
        "length": task.length(task.n_points),
        "n_inputs": task.n_inputs,
        "n_outputs": task.n_outputs,
        "trivial": task.trivial,
        "headline": task.headline,
        "evaluations": {each: one._asdict() for each, one in task.evaluations().items()},
        "protocol": {field: dict(choices) for field, choices in task.protocol_fields.items()},
    }


def _list(out: format.Output) -> None:
    columns = [
        Column("task"),
        Column("d", number=True),
        Column("points", number=True),
        Column("tokens", number=True),
        Column("score"),
        Column("evaluations", folds=True),
    ]
    rows = []
    for name, kind in TASKS.items():
        task = kind.model_validate({})
        mark = task.headline.replace("_", " ") if task.headline else "mean over points"
        score = f"{task.metric.replace('_', ' ')}, {mark}"
        others = ", ".join(task.evaluations())
        rows.append(
            [name, str(task.n_dims), str(task.n_points), str(task.length(task.n_points)), score, others]
        )
    out.print(format.table(out, columns, rows))
    out.say("bench tasks NAME draws one prompt; bench tasks --differences compares text and code.", "dim")


def _one(out: format.Output, kind: type[Task]) -> None:
    task = kind.model_validate({})
    out.say(inspect.cleandoc(kind.__doc__ or ""))
    fields = task.model_dump(mode="json")
    out.say("")
    columns = [Column("field"), Column("default", folds=True), Column("text"), Column("released code")]
    rows = []
    for field, value in fields.items():
        differs = protocol.sides(kind, field)
        rows.append([field, protocol.shown(value), *(differs or ("", ""))])
    out.print(format.table(out, columns, rows))
    out.say(
        f"A prompt has {task.length(task.n_points)} tokens; a predictor that has learned nothing scores "
        f"{task.trivial:g} ({task.metric.replace('_', ' ')}).",
        "dim",
    )
