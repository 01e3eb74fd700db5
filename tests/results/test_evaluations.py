"""Scores of one evaluation: where they are read, and what the trivial predictor scores there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from synthetic import record_of, result_of, run_of, task_named

from bench.results.evaluations import answers, convergence_step, independent_prompts, trivial_error
from bench.results.record import MAIN, RecordedEvaluation
from bench.tasks.word_problem import CROSS_ENTROPY, PREFIX
from bench.uncertainty import Floats, SeedErrors, interval


def test_the_trivial_error_is_that_of_the_place_that_is_read() -> None:
    record = record_of(result_of(run_of(task_named("word_problem", group="S3", n_points=4))))
    assert trivial_error(record) == trivial_error(record, MAIN, "last") == pytest.approx(5 / 6)
    assert trivial_error(record, CROSS_ENTROPY, "last") == 1
    for at, accuracy in (("last", 6**-4), (0, 1 / 6), (2, 6**-3), ("mean", (1 - 6**-4) / 20)):
        assert trivial_error(record, PREFIX, at) == pytest.approx(1 - accuracy)
    # The task has no headline, so its headline is the mean.
    assert trivial_error(record, PREFIX, "headline") == trivial_error(record, PREFIX)


def test_a_result_from_before_trivial_scores_by_column_has_that_of_its_task() -> None:
    result = result_of(run_of(task_named("word_problem", group="S3", n_points=4)))
    del result["facts"]["evaluations"][PREFIX]["trivial"]
    assert trivial_error(record_of(result), PREFIX, "last") == pytest.approx(5 / 6)


def test_trivial_scores_are_as_many_as_columns() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        RecordedEvaluation(positions=[0, 1, 2], trivial=[0.5, 0.25])


def test_a_task_counts_as_learned_at_its_own_accuracy() -> None:
    run = run_of(task_named("word_problem", group="S3", n_points=4))
    result = result_of(run, errors=0.9)  # of a task of accuracies, these are accuracies
    assert result["facts"]["convergence_accuracy"] is None
    assert convergence_step(record_of(result)) is None, "a task without one counts as learned at 0.95"
    result["facts"]["convergence_accuracy"] = 0.85
    result["convergence_step"] = run.steps // 2
    assert convergence_step(record_of(result)) == run.steps // 2
    del result["convergence_step"]  # a result from before the field
    assert convergence_step(record_of(result)) == run.checkpoints[0]


@pytest.mark.parametrize(("subset", "independent"), [("per_prompt", 1280), ("per_batch", 20)])
def test_prompts_that_share_a_function_count_once(subset: str, independent: int) -> None:
    run = run_of(task_named("sparse_parity", subset=subset))
    record = record_of(result_of(run, 0.9))
    assert record.last is not None
    assert record.prompts[MAIN].count == 1280
    assert independent_prompts(record, MAIN) == independent


def number_of_answers(right: Floats) -> float:
    """`answers` behind the mean over positions of a model with these answers, (prompts, positions)."""
    run = run_of(task_named("sparse_parity"), evaluation_prompts=len(right))
    record = record_of(result_of(run, 0.9))
    of_prompts = right.mean(axis=1)
    overall = (float(of_prompts.mean()), float(of_prompts.std(ddof=1)) / math.sqrt(len(right)))
    assert record.last is not None
    report = record.last.evaluations[MAIN].model_copy(update={"overall": overall})
    checkpoint = record.last.model_copy(update={"evaluations": {MAIN: report}})
    return answers(record, checkpoint, MAIN, "mean")


POSITIONS = 40


def test_answers_of_a_prompt_count_as_far_as_they_are_independent() -> None:
    random = np.random.default_rng(0)
    prompts = 2000
    independent = random.random((prompts, POSITIONS)) < 0.7
    assert number_of_answers(independent) == pytest.approx(prompts * POSITIONS, rel=0.1)
    together = np.repeat(random.random((prompts, 1)) < 0.7, POSITIONS, axis=1)
    assert number_of_answers(together) == pytest.approx(prompts, rel=1e-9)
    # Ten answers at a time are right or wrong together.
    tens = np.repeat(random.random((prompts, POSITIONS // 10)) < 0.7, 10, axis=1)
    assert number_of_answers(tens) == pytest.approx(prompts * POSITIONS / 10, rel=0.1)


def test_prompts_that_are_all_alike_do_not_tell_how_many_answers_a_prompt_gets_wrong() -> None:
    perfect = np.ones((200, POSITIONS), bool)
    assert number_of_answers(perfect) == number_of_answers(~perfect) == 200
    one_wrong = perfect.copy()
    one_wrong[0, 0] = False
    assert number_of_answers(one_wrong) == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize("prompts", [50, 200])
@pytest.mark.parametrize("losing", [0.01, 0.05])
def test_a_mean_over_positions_is_not_more_certain_than_its_prompts(losing: float, prompts: int) -> None:
    """A model loses the state of a prompt with the probability `losing`, and is wrong from there on.

    With every answer counted as independent, intervals cover 0.36 (50 prompts, 0.01) to 0.88 of all trials.
    """
    random, trials, covered = np.random.default_rng(prompts), 300, 0
    truth = losing * (POSITIONS + 1) / (2 * POSITIONS)
    for trial in range(trials):
        start = np.where(random.random(prompts) < losing, random.integers(0, POSITIONS, prompts), POSITIONS)
        right = np.arange(POSITIONS) < start[:, np.newaxis]
        errors = 1 - right.mean(axis=1)
        model = SeedErrors(
            str(trial), errors.mean(keepdims=True), np.zeros(1), "prompts", errors[np.newaxis], (0, 1),
            answer=1 / number_of_answers(right),
        )  # fmt: skip
        low, high = interval(model.draws())
        covered += low <= truth <= high
    # A share of 0.9 of 300 trials has a standard error of 0.017.
    assert covered / trials >= 0.86


def test_without_scores_of_prompts_every_prompt_counts() -> None:
    run = run_of(task_named("sparse_parity", subset="per_batch"))
    assert independent_prompts(record_of(result_of(run, outcome="diverged")), MAIN) == 1280
