"""What a result states of a training, by hand: scores with errors, the step of convergence, the curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small_run

from bench.results import FORMAT
from bench.run import Run, Stop
from bench.stack import Stack
from bench.tasks.languages.ginc import GINC, VALIDATION
from bench.tasks.parity import SparseParity
from bench.tasks.task import MAIN
from bench.train import loop
from bench.train.evaluate import ModelScores
from bench.train.loop import Progress, TrainingOptions, train
from bench.train.notes import MemberNotes
from bench.train.results import run_result
from bench.train.state import initial_state
from bench.train.step import eager_step
from bench.train.summaries import headline, rounded, summary

CPU = torch.device("cpu")


def test_a_standard_error_is_that_of_the_mean_of_independent_prompts() -> None:
    # Of 1, 2, 3 the variance is (1 + 0 + 1)/2 = 1; of 10, 20, 60 it is (400 + 100 + 900)/2 = 700.
    columns, overall = np.array([[10.0, 1.0], [20.0, 2.0], [60.0, 3.0]]), np.array([3.0, 1.0, 2.0])
    scores = ModelScores(columns, overall)
    assert summary(scores, columns[:, 0], positions=True) == {
        "mean": [30.0, 2.0],
        "standard_error": [15.275, 0.57735],  # √(700/3) and √(1/3)
        "overall": [2.0, 0.57735],
        "headline": [30.0, 15.275],
    }
    assert set(summary(scores, overall, positions=False)) == {"overall", "headline"}


def test_the_headline_is_at_the_tasks_mark_and_a_mean_for_other_metrics() -> None:
    scores = ModelScores(np.arange(8.0).reshape(2, 4), np.array([9.0, 8.0]))
    ginc = GINC(block=64, documents=3)  # its headline is the last column, the accuracy after 4 examples
    assert headline(ginc, MAIN, scores).tolist() == [3, 7]
    assert headline(ginc, VALIDATION, scores).tolist() == [9, 8], "a cross-entropy of documents"
    assert headline(PARITY, MAIN, scores).tolist() == [9, 8]


def result(run: Run, notes: MemberNotes) -> dict[str, Any]:
    return run_result(run, notes, {"report": {"count": 4, "sha256": "0"}}, {"device": "cpu"})


def notes_of(*accuracies: tuple[int, float], **fields: Any) -> MemberNotes:
    checkpoints = [
        {"step": step, "evaluations": {"report": {"overall": [accuracy, 0.0]}}}
        for step, accuracy in accuracies
    ]
    return MemberNotes(checkpoints=checkpoints, **fields)


PARITY = SparseParity(n_dims=3, n_points=4)


def test_a_run_converges_at_its_first_checkpoint_with_the_tasks_accuracy() -> None:
    run = small_run(task=PARITY)
    assert result(run, notes_of((10, 0.9499), (20, 0.95), (30, 0.99)))["convergence_step"] == 20
    assert result(run, notes_of((10, 0.96), (20, 0.5), (30, 0.5)))["convergence_step"] == 10
    assert result(run, notes_of((10, 0.9), (30, 0.94)))["convergence_step"] is None


def test_with_a_stop_rule_the_run_converges_at_the_check_and_ends_where_the_rule_says() -> None:
    run = small_run(task=PARITY, stop=Stop(after_convergence=10, every=5))
    # The validation prompts decide, and the checks are between the checkpoints.
    ended = result(run, notes_of((10, 0.99), (25, 0.99), converged=15))
    assert (ended["convergence_step"], ended["stop"]) == (15, {"step": 25, "converged_step": 15})
    late = result(run, notes_of((10, 0.99), (30, 0.99), converged=25))
    assert late["stop"] == {"step": 30, "converged_step": 25}
    never = result(run, notes_of((10, 0.99), (30, 0.99)))
    assert (never["convergence_step"], never["stop"]) == (None, {"step": 30, "converged_step": None})


def test_a_result_states_its_outcome_and_leaves_out_what_did_not_happen() -> None:
    finished = result(small_run(), notes_of((30, 0.1)))
    assert (finished["format"], finished["outcome"], finished["reason"]) == (FORMAT, "finished", None)
    assert {"stop", "not_evaluated"}.isdisjoint(finished)
    stopping = small_run(task=PARITY, stop=Stop(after_convergence=10, every=5))
    diverged = result(stopping, notes_of(diverged="why", not_evaluated={"longer": "too long"}))
    assert (diverged["outcome"], diverged["reason"]) == ("diverged", "why")
    assert "stop" not in diverged, "no rule ended it"
    assert diverged["not_evaluated"] == {"longer": "too long"}
    assert diverged["per_prompt"] == {"report": None}


def test_a_point_of_the_curve_is_a_windows_mean_loss_and_largest_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 13 steps for 5 points a window has two, and the last one has only one."""
    monkeypatch.setattr(loop, "CURVE_POINTS", 5)
    run = small_run(steps=13, checkpoints=(13,))
    state = initial_state(Stack.of(run), CPU, "sequential")
    step, losses, norms = eager_step(state), [], []
    for _ in range(13):
        step()
        losses.append(float(state.meters.loss_sum))
        norms.append(float(state.meters.gradient_norm_max))
        state.meters.reset()
    seen: list[Progress] = []
    curve = train(run, tmp_path, TrainingOptions(CPU, report=seen.append))["curve"]
    windows = [slice(begin, begin + 2) for begin in range(0, 13, 2)]
    assert curve["step"] == [2, 4, 6, 8, 10, 12, 13]
    assert curve["loss"] == [rounded(np.mean(losses[window])) for window in windows]
    assert curve["gradient_norm"] == [rounded(max(norms[window]), 4) for window in windows]
    assert min(np.diff(norms)) < 0 < max(np.diff(norms)), "the largest is sometimes the first, sometimes not"
    assert (seen[0].step, seen[0].losses) == (1, (None,)), "no window is over after the first step"
    assert seen[-1].losses == (curve["loss"][-1],)
