"""A task's reference predictors, computed on the very prompts that every model is scored on."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from bench import environment
from bench.results import FORMAT, task_facts
from bench.tasks.task import MAIN, Task
from bench.train.evaluate import evaluation_set


def baselines(task: Task, task_id: str, count: int) -> dict[str, Any]:
    """The baselines of `task` on the `count` prompts of each evaluation, as a result (format 1)."""
    began = time.time()
    sets = {name: evaluation_set(task, name, count) for name in (MAIN, *task.other_evaluations)}
    found = task.baselines(sets[MAIN].prompts)
    for name in task.other_evaluations:
        found += [replace(one, evaluation=name) for one in task.other_baselines(sets[name].prompts, name)]
    return {
        "format": FORMAT,
        "kind": "baselines",
        "id": task_id,
        "task": task.identity(),
        "facts": task_facts(task, task_id),
        "prompts": {name: {"count": one.count, "sha256": one.sha256} for name, one in sets.items()},
        "baselines": [asdict(baseline) for baseline in found],
        "provenance": {
            "seconds": round(time.time() - began, 3),
            "finished": round(time.time(), 3),
            **environment.describe("cpu"),
        },
    }
