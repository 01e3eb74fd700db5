"""The prompts of evaluations: the bits of committed results, drawn again; each evaluation has its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import ROOT

from bench.tasks import TASKS, Task
from bench.tasks.longer import longer_by_position
from bench.tasks.outliers import CLEAN, OrthogonalOutlierRegression
from bench.tasks.regression import LinearRegression
from bench.tasks.task import LONGER, MAIN, SELECTION, Prompts
from bench.train.evaluation_prompts import LongerPrompts, evaluation_set


def digest(task: Task, name: str, count: int) -> str:
    """SHA-256 of the prompts of an evaluation of `task`."""
    if longer := task.longer_evaluations().get(name):
        prompts = LongerPrompts(task, name, longer, count)
        assert sum(len(part.targets) for part in prompts) == count
        return prompts.sha256
    return evaluation_set(task, name, count).sha256


def recorded(folder: Path, evaluation: str) -> tuple[Task, dict[str, Any]]:
    """A task of committed results in its present version, and their prompts, `evaluation` among them."""
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_bytes())
        if result["kind"] == "run" and evaluation in result["prompts"]:
            fields = {name: value for name, value in result["run"]["task"].items() if name != "version"}
            task = TASKS[fields["name"]].model_validate(fields)
            if task.identity() == result["run"]["task"]:
                return task, result["prompts"]
    raise AssertionError(f"{folder}: no result of the present version with the evaluation '{evaluation}'")


@pytest.mark.parametrize(
    ("name", "evaluation"),
    [
        ("decision_tree", MAIN),
        ("memorisation", MAIN),
        ("vector_mqar", "4x_pairs"),
        ("token_mqar", MAIN),
        ("word_problem", "longer_prompts"),
    ],
)
def test_the_prompts_of_committed_results_are_drawn_again_to_the_bit(name: str, evaluation: str) -> None:
    task, prompts = recorded(ROOT / "results" / name, evaluation)
    assert {MAIN, SELECTION} <= prompts.keys()
    assert {key: digest(task, key, value["count"]) for key, value in prompts.items()} == {
        key: value["sha256"] for key, value in prompts.items()
    }


def misfit(prompts: Prompts) -> float:
    """Largest residual of a linear fit to all points of a prompt: zero for a linear function."""
    x, y = prompts.inputs.double(), prompts.targets.double().unsqueeze(2)
    return float((y - x @ torch.linalg.lstsq(x, y).solution).abs().max())


def test_an_evaluation_on_other_prompts_has_those_prompts() -> None:
    task = OrthogonalOutlierRegression(n_dims=3, n_points=102)
    clean, main = evaluation_set(task, CLEAN, 4), evaluation_set(task, MAIN, 4)
    assert (clean.evaluation, main.evaluation, evaluation_set(task, SELECTION, 4).evaluation) == (
        CLEAN,
        MAIN,
        MAIN,
    )
    assert misfit(clean.prompts) < 1e-4 < 0.1 < misfit(main.prompts)


def test_the_longest_prompts_are_drawn_one_by_one() -> None:
    """Of 4 tokens 64 prompts are evaluated together, so of 800 not even one."""
    task = LinearRegression(n_dims=2, n_points=2)
    longer = longer_by_position(task, (2, 200))[LONGER]
    parts = [len(part.targets) for part in LongerPrompts(task, LONGER, longer, 3)]
    assert parts == [1, 1, 1]
