"""Baselines of committed results, computed again: the same rows with the same scores."""

from __future__ import annotations

import json

import pytest
from command import ROOT

from bench.results.reading import read
from bench.tasks import TASKS, Task
from bench.train.baselines import baselines

SAME = ("name", "kind", "evaluation", "prompts", "positions")
SCORES = ("mean", "standard_error")


@pytest.mark.parametrize(
    "name",
    ["linear_regression", "sparse_parity", "vector_mqar", "token_mqar", "memorisation", "word_problem"],
)
def test_baselines_of_committed_results_are_computed_again(name: str) -> None:
    committed = [json.loads(path.read_bytes()) for path in (ROOT / "results" / name).glob("baselines-*.json")]
    tasks: list[Task] = [
        TASKS[name].model_validate({key: value for key, value in result["task"].items() if key != "version"})
        for result in committed
    ]
    # The shortest prompts of a task whose version is the present one.
    task, result = min(
        (pair for pair in zip(tasks, committed, strict=True) if pair[0].identity() == pair[1]["task"]),
        key=lambda pair: (pair[0].full_length, pair[1]["id"]),
    )
    again = baselines(task, result["id"], result["prompts"]["report"]["count"])
    assert again["prompts"] == result["prompts"]
    facts = ("metric", "error_scale", "trivial", "headline", "length")
    assert [again["facts"].get(key) for key in facts] == [result["facts"].get(key) for key in facts]
    assert len(again["baselines"]) == len(result["baselines"]) > 3
    for row, expected in zip(again["baselines"], result["baselines"], strict=True):
        assert [row.get(key) for key in SAME] == [expected.get(key) for key in SAME]
        for key in SCORES:
            # Another processor sums products in another order.
            assert row[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), row["name"]
    read(json.loads(json.dumps(again)))
