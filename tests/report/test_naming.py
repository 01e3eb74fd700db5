"""Names of tasks in a report: they tell apart what differs, in words."""

from __future__ import annotations

from synthetic import run_of, task_named

from bench.report.data.frame import results_frame
from bench.results import Pool
from bench.tasks import Task


def names(*tasks: Task) -> list[str]:
    runs = [run_of(task, "mamba", 2, 64) for task in tasks]
    return list(dict.fromkeys(results_frame(runs, Pool(), {})["task"]))


def test_a_task_without_a_setting_that_another_has_does_not_name_it() -> None:
    growing = {"points": {"start": 4, "increment": 4, "every": 250}}
    plain = task_named("word_problem", group="Z2")
    assert names(plain, task_named("word_problem", group="Z2", curriculum=growing)) == [
        "Word problem",
        "Word problem, curriculum points every 250",
    ]
    assert names(plain, task_named("word_problem", group="Z2", alphabet="generators")) == [
        "Word problem",
        "Word problem, alphabet generators",
    ]


def test_a_single_task_has_its_name_alone() -> None:
    assert names(task_named("word_problem", group="A5", alphabet="generators")) == ["Word problem"]
