"""Runs that end some steps after convergence: their identity, their training, and their readers."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import bench, said
from pydantic import ValidationError
from toy import toy_suite

from bench import results as pools
from bench import suite as suites
from bench.check.readiness import _state
from bench.dispatch.status import run_status
from bench.errors import InvalidFile
from bench.report.data.estimates import TaskResults
from bench.report.data.frame import results_frame
from bench.report.figures.convergence import convergence
from bench.results.evaluations import convergence_step
from bench.run import Run, Stop
from bench.stack import Stack
from bench.tasks.parity import SparseParity
from bench.train import Interrupted, loop
from bench.train.loop import Progress, TrainingOptions, train_stack

CPU = torch.device("cpu")
EASY = {"name": "sparse_parity", "n_dims": 1, "sparsity": 1, "n_points": 6}
"""y is the input itself: a model learns it in a few steps."""
SETTINGS: dict[str, Any] = {
    "tasks": [EASY],
    "architectures": ["s4"],
    "sizes": [{"layers": 1, "width": 16, "heads": None}],
    "learning_rates": [1e-2, 1e-6],
    "clip": 10,
    "steps": 90,
    "checkpoints": [15, 60],
    "stop": {"after_convergence": 20, "every": 5},
}


def runs(tmp_path: Path, **settings: Any) -> tuple[Run, ...]:
    path = tmp_path / "tiny.yaml"
    given = {key: value for key, value in {**SETTINGS, **settings}.items() if value is not None}
    path.write_text(toy_suite(**given), encoding="utf-8")
    return suites.load(path).runs


def numbers(result: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in result.items() if key != "provenance"}, sort_keys=True)


def test_the_rule_is_part_of_the_identity_only_where_it_is_given(tmp_path: Path) -> None:
    (plain, _), (stopping, _) = runs(tmp_path, stop=None), runs(tmp_path)
    assert "stop" not in plain.identity()
    assert stopping.identity()["stop"] == {"after_convergence": 20, "every": 5}
    assert plain.id != stopping.id
    (default, _) = runs(tmp_path, stop={"after_convergence": 20})
    assert default.stop == Stop(after_convergence=20, every=1_000)


def test_tasks_without_a_criterion_refuse_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="'linear_regression' has no criterion"):
        runs(tmp_path, tasks=["linear_regression", EASY])
    run = runs(tmp_path)[0]
    other = suites.load(_plain(tmp_path)).runs[0]
    with pytest.raises(ValidationError, match="no criterion"):
        Run.model_validate({**fields_of(other), "stop": run.stop})


def _plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.yaml"
    path.write_text(toy_suite(steps=10), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "stop", [{"every": 5}, {"after_convergence": 0}, {"after_convergence": 5, "each": 1}, 20]
)
def test_mistakes_in_the_rule_are_named(tmp_path: Path, stop: Any) -> None:
    with pytest.raises(InvalidFile, match=r"tiny\.yaml:1:"):
        runs(tmp_path, stop=stop)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A run that converges soon, and one that never does."""
    return Stack.of(*runs(tmp_path))


def trained(stack: Stack, folder: Path, **options: Any) -> dict[float, dict[str, Any]]:
    results = json.loads(json.dumps(train_stack(stack, folder, TrainingOptions(CPU, **options))))
    return {run.learning_rate: result for run, result in zip(stack.members, results, strict=True)}


def test_a_member_stops_and_the_others_are_untouched(stack: Stack, tmp_path: Path) -> None:
    ended: list[str] = []
    results = trained(stack, tmp_path / "stack", ended=lambda k, result: ended.append(result["id"]))
    early, late = results[1e-2], results[1e-6]
    assert ended == [early["id"], late["id"]]
    converged = early["stop"]["converged_step"]
    assert converged % 5 == 0
    assert early["stop"]["step"] == converged + 20 < 90
    assert early["convergence_step"] == converged
    steps = [checkpoint["step"] for checkpoint in early["checkpoints"]]
    assert steps == [step for step in (15, 60) if step < converged + 20] + [converged + 20]
    run = next(run for run in stack.members if run.learning_rate == 1e-2)
    assert early["checkpoints"][-1]["training_flops"] == run.training_flops(converged + 20)
    assert early["curve"]["step"][-1] <= converged + 20
    assert early["per_prompt"]["report"]
    assert late["stop"] == {"step": 90, "converged_step": None}
    assert late["convergence_step"] is None
    assert [checkpoint["step"] for checkpoint in late["checkpoints"]] == [15, 60, 90]
    slowest = next(run for run in stack.members if run.learning_rate == 1e-6)
    assert late["provenance"]["evaluation_flops"] == slowest.evaluation_flops()  # with all checks
    assert early["provenance"]["evaluation_flops"] < run.evaluation_flops(early["stop"]["step"])
    for result in results.values():
        pools.read_run(result)
    never = Stack.of(*(other for other in stack.members if other.learning_rate == 1e-6), slow(stack))
    others = trained(never, tmp_path / "never")
    assert numbers(others[1e-6]) == numbers(late)


@pytest.mark.parametrize("questions", [1, 2, 3])
@pytest.mark.parametrize("least_steps_left", [loop.LEAST_STEPS_LEFT, 1])
def test_a_stack_that_is_stopped_again_and_again_ends_with_the_same_bytes(
    least_steps_left: int, questions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process is stopped at its next question, or a later one: at steps, and in evaluations and checks.

    Members end at different steps, and later steps compute those that have ended, or leave them out.
    """
    monkeypatch.setattr(loop, "LEAST_STEPS_LEFT", least_steps_left)
    stack = Stack.of(*runs(tmp_path, learning_rates=[1e-2, 2e-3, 1e-6], evaluation_prompts=150))
    straight = trained(stack, tmp_path / "straight")
    assert len({result["stop"]["step"] for result in straight.values()}) == 3
    stored: dict[str, str] = {}
    results: list[dict[str, Any]] = []
    processes = 0
    while not results:
        processes += 1
        asked = iter(range(1000))
        options = TrainingOptions(
            CPU,
            asked_to_stop=lambda asked=asked: next(asked) >= questions,
            ended=lambda k, result: stored.setdefault(result["id"], numbers(result)) and None,
        )
        with contextlib.suppress(Interrupted):
            results = train_stack(stack, tmp_path / "again", options)
        assert processes < 500
    expected = {result["id"]: numbers(result) for result in straight.values()}
    assert stored == expected
    assert {result["id"]: numbers(json.loads(json.dumps(result))) for result in results} == expected


def test_checkpoints_at_the_checks_do_not_move_the_end(tmp_path: Path) -> None:
    """A check at a checkpoint takes the accuracy from there; elsewhere it measures it."""
    ends = []
    for name, checkpoints in (("none", None), ("early", [5]), ("all", list(range(5, 90, 5)))):
        (run,) = runs(tmp_path, learning_rates=[2e-3], checkpoints=checkpoints)
        result = trained(Stack.of(run), tmp_path / name)[2e-3]
        ends.append(result["stop"])
    assert ends[0] == ends[1] == ends[2]
    step = ends[0]["converged_step"]
    assert step > 5
    accuracies = {
        checkpoint["step"]: checkpoint["evaluations"]["selection"]["overall"][0]
        for checkpoint in result["checkpoints"]
    }
    assert accuracies[step] >= 0.95
    assert all(accuracy < 0.95 for earlier, accuracy in accuracies.items() if earlier < step)


def fields_of(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.model_fields}


def slow(stack: Stack) -> Run:
    return Run.model_validate({**fields_of(stack.first), "learning_rate": 2e-6})


def test_resumed_it_stops_at_the_same_step_with_the_same_bits(stack: Stack, tmp_path: Path) -> None:
    straight = trained(stack, tmp_path / "straight")
    end = straight[1e-2]["stop"]["step"]
    for place, at in enumerate((straight[1e-2]["stop"]["converged_step"], end - 3, end, end + 7)):
        seen: list[Progress] = []
        folder = tmp_path / f"resumed-{place}"
        with pytest.raises(Interrupted):
            trained(
                stack, folder, report=seen.append, asked_to_stop=lambda seen=seen, at=at: seen[-1].step >= at
            )
        resumed = trained(stack, folder)
        for rate, result in straight.items():
            assert numbers(resumed[rate]) == numbers(result), f"stopped at step {at}"


def test_a_single_run_stops_its_training(tmp_path: Path) -> None:
    (run,) = runs(tmp_path, learning_rates=[1e-2])
    seen: list[Progress] = []
    weights: list[int] = []
    (result,) = train_stack(
        Stack.of(run),
        tmp_path / "run",
        TrainingOptions(CPU, report=seen.append, keep_weights=lambda k, tensors: weights.append(k)),
    )
    assert seen[-1].step == result["stop"]["step"] < run.steps
    assert weights == [0]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda value: value["stop"].update(step=value["stop"]["step"] + 1), "where the run has"),
        (lambda value: value["stop"].update(converged_step=None), "at its last step|stop rule ends it"),
        (lambda value: value.pop("stop"), "where the run has"),
    ],
)
def test_a_result_whose_end_is_not_explained_is_refused(tmp_path: Path, change: Any, fault: str) -> None:
    (run,) = runs(tmp_path, learning_rates=[1e-2])
    value = trained(Stack.of(run), tmp_path / "run")[1e-2]
    pools.read_run(value)
    change(value)
    with pytest.raises(pools.NotARecord, match=fault):
        pools.read_run(value)


def test_readers_take_it_as_finished(tmp_path: Path) -> None:
    grid = runs(tmp_path, learning_rates=[1e-2], seeds=[0, 1, 2])
    pool = pools.Pool()
    for run in grid:
        value = trained(Stack.of(run), tmp_path / run.id)[1e-2]
        pool.add(pools.path_of(tmp_path, run), pools.read_run(value))
    ends = {run.id: pool.runs[run.id].last_step for run in grid}
    assert max(ends.values()) < 90
    for run in grid:
        status = run_status(run, tmp_path, pool)
        assert (status.word, status.step) == ("finished", ends[run.id])
        assert "after convergence" in status.note
        assert _state(run, None, pool, {}) == "finished"
        assert _state(run, 60, pool, {}) == "stopped before step 60"
        assert convergence_step(pool.runs[run.id]) == ends[run.id] - 20
    frame = results_frame(grid, pool, {})
    assert set(frame["planned_flops"]) == {run.training_flops_full_length(ends[run.id]) for run in grid}
    task = TaskResults(frame)
    assert len(task.ends()) == 3
    points = task.points()
    last = points[points["at_end"]]
    assert list(last["seeds"]) == [3]
    flops = [run.training_flops_full_length(ends[run.id]) for run in grid]
    assert list(last["step"]) == [round(sum(ends.values()) / 3)]
    assert list(last["training_flops"]) == [sum(flops) // 3]
    assert (points["seeds"] == 3).all()
    data, absent = convergence(frame)
    assert absent == []
    assert sorted(data["convergence_step"]) == sorted(end - 20 for end in ends.values())


def test_commands_plan_train_and_export_it(tmp_path: Path) -> None:
    runs(tmp_path, stop={"after_convergence": 20, "every": 5})
    assert "2 runs may stop earlier" in said(bench("plan", "tiny.yaml", cwd=tmp_path))
    assert "Done: 2 finished." in said(bench("run", "tiny.yaml", "--stack", 2, "--workers", 1, cwd=tmp_path))
    assert "Nothing to do." in said(bench("run", "tiny.yaml", cwd=tmp_path))
    plan = json.loads(said(bench("plan", "tiny.yaml", "--json", cwd=tmp_path)))["runs"]
    assert {entry["state"] for entry in plan} == {"finished"}
    pool = pools.load(tmp_path / "results")
    assert {entry["training_flops"] for entry in plan} == {
        result.last.training_flops for result in pool.runs.values() if result.last
    }
    status = json.loads(said(bench("status", "tiny.yaml", "--json", cwd=tmp_path)))["total"]
    assert status["training_flops_done"] == status["training_flops"]
    said(bench("export", "out.csv", cwd=tmp_path))
    text = (tmp_path / "out.csv").read_text()
    assert '"after_convergence=20,every=5"' in text
    only = said(bench("plan", "tiny.yaml", "--filter", "stop=after_convergence*", cwd=tmp_path))
    assert "2 finished" in only or "finished" in only
    said(bench("report", "tiny.yaml", cwd=tmp_path))


def test_the_criterion_is_the_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (run,) = runs(tmp_path, learning_rates=[1e-2])
    monkeypatch.setattr(SparseParity, "convergence_accuracy", 2.0)
    (result,) = train_stack(Stack.of(run), tmp_path / "run", TrainingOptions(CPU))
    assert result["stop"] == {"step": 90, "converged_step": None}
