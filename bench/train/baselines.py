"""Baselines of a task, computed on the same prompts on which models are scored."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from bench import environment
from bench.results import FORMAT, task_facts
from bench.tasks.task import MAIN, Task
from bench.train.evaluation_prompts import evaluation_set


def baselines(task: Task, task_id: str, count: int) -> dict[str, Any]:
    """Compute the baselines of a task and return them as a result (format 1).

    Args:
        task: the task.
        task_id: id of the task, which becomes the result's id.
        count: prompts of each evaluation.
    """
    began = time.time()
    sets = {name: evaluation_set(task, name, count) for name in (MAIN, *task.other_evaluations)}
    rows = task.baselines(sets[MAIN].prompts)
    for name in task.other_evaluations:
        rows += [replace(row, evaluation=name) for row in task.other_baselines(sets[name].prompts, name)]
    return {
        "format": FORMAT,
        "kind": "baselines",
        "id": task_id,
        "task": task.identity(),
        "facts": task_facts(task, task_id),
        "prompts": {
            name: {"count": prompts.count, "sha256": prompts.sha256} for name, prompts in sets.items()
        },
        "baselines": [
            {name: value for name, value in asdict(baseline).items() if value is not None}
            for baseline in rows
        ],
        "provenance": {
            "seconds": round(time.time() - began, 3),
            "finished": round(time.time(), 3),
            **environment.describe("cpu"),
        },
    }
