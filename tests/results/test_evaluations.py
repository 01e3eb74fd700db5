"""Scores of one evaluation: where they are read, and what the trivial predictor scores there."""

from __future__ import annotations

import pytest
from synthetic import record_of, result_of, run_of, task_named

from bench.results.evaluations import answers, convergence_step, independent_prompts, trivial_error
from bench.results.record import MAIN, RecordedEvaluation
from bench.tasks.word_problem import CROSS_ENTROPY, PREFIX


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
    assert answers(record, record.last, MAIN, "last") == independent
    assert answers(record, record.last, MAIN, "mean") == independent * run.task.n_points


def test_without_scores_of_prompts_every_prompt_counts() -> None:
    run = run_of(task_named("sparse_parity", subset="per_batch"))
    assert independent_prompts(record_of(result_of(run, outcome="diverged")), MAIN) == 1280
