"""Names of tasks in lists of runs: the fewest settings that tell tasks of one name apart.

A name is what a suite has to state, so it counts the settings that differ from the defaults, and has a
protocol where every field is as in it. Reports have names of their own (`bench.report.data.naming`): words,
for which all fields count, and a protocol wherever tasks of a suite differ in it, the default one too. So
`sparse_parity` and `sparse_parity+released_code` are "Sparse parity, as in the text" and "Sparse parity, as
in the released code", and `sparse_parity+subset=per_batch` is "Sparse parity, in part as in the text".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bench.differences import telling_fields
from bench.json_data import leaves
from bench.run import Run
from bench.tasks import PROTOCOLS, Task


class TaskName(NamedTuple):
    """A task's name among the tasks of a plan.

    Attributes:
        name: the task's name with settings, as architectures are named: `chain_of_thought+hidden=4`;
            `sparse_parity+released_code` if every field is as in that protocol. It has only as many settings
            as tell tasks of one name apart. All tasks of that name show these settings, also those that have
            the default.
        others: the other settings that differ from the defaults.
    """

    name: str
    others: tuple[str, ...]


def task_names(runs: Iterable[Run]) -> dict[str, TaskName]:
    """A name for each task id. A number of evaluation prompts that all runs share is left out."""
    tasks = {run.task_id: run for run in runs}
    settings = [_own_settings(run) for run in tasks.values()]
    if len({run.evaluation_prompts for run in tasks.values()}) == 1:
        for own in settings:
            own.pop("evaluation_prompts", None)
    groups = [run.task.name for run in tasks.values()]
    return {
        task_id: TaskName(
            "+".join([run.task.name, *filter(None, (own.get(key) or _usual(run, key) for key in telling))]),
            tuple(text for key, text in own.items() if key not in telling),
        )
        for (task_id, run), own, telling in zip(
            tasks.items(), settings, telling_fields(settings, groups, _precedence), strict=True
        )
    }


def _own_settings(run: Run) -> dict[str, str]:
    """The settings in which a run's task differs from its defaults, as text by name."""
    task = run.task
    stated = _task_fields(task, run.evaluation_prompts)
    usual = _task_fields(type(task).example(), Run.model_fields["evaluation_prompts"].default)
    own = {
        ".".join(path): value
        for path, value in stated.items()
        if path[0] in task.example_fields or _replaces(value, path, usual)
    }
    followed = {}
    for protocol in PROTOCOLS:
        choices = {field: values[protocol] for field, values in task.protocol_fields.items()}
        if len(choices) > 1 and choices.items() <= own.items():
            own = {key: value for key, value in own.items() if key not in choices}
            followed[protocol] = protocol
    return {**followed, **{key: f"{key}={value}" for key, value in own.items()}}


def _usual(run: Run, key: str) -> str:
    """A setting of a run's task that has the default, as text; empty if the task has no such field."""
    value = _task_fields(run.task, run.evaluation_prompts).get(tuple(key.split(".")))
    return "" if value is None else f"{key}={value}"


def _task_fields(task: Task, evaluation_prompts: int) -> dict[tuple[str, ...], Any]:
    """Every field of a task that a suite may set."""
    fields = {**task.later_fields, **task.identity(), "evaluation_prompts": evaluation_prompts}
    return {path: value for path, value in leaves(fields) if path != ("version",)}


def _replaces(value: Any, path: tuple[str, ...], usual: Mapping[tuple[str, ...], Any]) -> bool:
    """Whether a value differs from the usual one; None stands for fields that are not there."""
    if value is None:
        return any(other[: len(path)] == path and usual[other] is not None for other in usual)
    return bool(usual.get(path) != value)


def _precedence(key: str) -> tuple[bool, bool, bool, int, str]:
    """Protocols first, then the group, and fields of the task before fields of its fields."""
    return key not in PROTOCOLS, key != "group", key == "evaluation_prompts", key.count("."), key
