"""Facts about a task and a model, as a result stores them. `bench.results.record` reads them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from bench.errors import raised_in
from bench.results.reading import in_words
from bench.results.record import TaskFacts
from bench.run import Run
from bench.tasks import Task


def task_facts(task: Task, task_id: str) -> dict[str, Any]:
    """Facts that a reader of a task's scores needs, stored so that a report need not draw prompts."""
    return {
        "task_id": task_id,
        "metric": task.metric,
        "error_scale": task.error_scale,
        "trivial": task.trivial,
        "n_points": task.n_points,
        "length": task.full_length,
        "headline": task.headline,
        "first_position": task.first_position,
        "convergence_accuracy": task.convergence_accuracy,
        "evaluations": {name: described.facts() for name, described in task.evaluations().items()},
    }


def facts_fault(task: Task) -> str | None:
    """Why no result of a task could be stored, for example an error scale of 0; None if one can."""
    try:
        TaskFacts.model_validate(task_facts(task, ""), strict=False)
        _ = task.n_inputs, task.n_outputs, task.discrete  # `run_facts` counts parameters by them
    except ValidationError as error:
        return in_words(error)
    except Exception as error:  # a property of a plugin may raise anything
        return raised_in(error, type(task).__module__)
    return None


def run_facts(run: Run) -> dict[str, Any]:
    """`task_facts`, the size group, and the parameter counts with and without read-in and read-out."""
    return {
        **task_facts(run.task, run.task_id),
        "evaluations": {name: described.facts() for name, described in run.evaluations().items()},
        "parameters": run.parameters,
        "table_parameters": run.architecture.parameters(run.size.layers, run.size.width),
        "size_group": run.size_group,
    }
