"""A task's reference predictors, computed on the report prompts every model is scored on."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from bench import environment
from bench.results import FORMAT, task_facts
from bench.tasks.task import Task
from bench.train.evaluate import evaluation_set


def baselines(task: Task, task_id: str, count: int) -> dict[str, Any]:
    """The baselines of `task` on its `count` report prompts, as a result (format 1)."""
    began = time.time()
    evaluation = evaluation_set(task, "report", count)
    found = [asdict(baseline) for baseline in task.baselines(evaluation.prompts)]
    return {
        "format": FORMAT,
        "kind": "baselines",
        "id": task_id,
        "task": task.identity(),
        "facts": task_facts(task, task_id),
        "prompts": {"report": {"count": evaluation.count, "sha256": evaluation.sha256}},
        "baselines": found,
        "provenance": {
            "seconds": round(time.time() - began, 3),
            "finished": round(time.time(), 3),
            **environment.describe("cpu"),
        },
    }
