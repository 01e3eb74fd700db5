"""Frontiers on plain numbers, what figures and tables are called in words, and scores read from results."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import grid, record_of, result_of, run_of, task_named

from bench.frontier import DrawnFrontiers, error_at, flops_at, frontier
from bench.paper.exhibits import named
from bench.results import RunRecord, evaluations

FLOPS = st.floats(1e12, 1e20)
POINTS = st.lists(st.tuples(FLOPS, st.just(0.0) | st.floats(1e-8, 1.0)), min_size=1, max_size=12)
"""Errors of 0 among them: a task can be solved exactly."""


@given(POINTS)
def test_along_a_frontier_flops_rise_and_errors_fall_and_no_point_is_below_it(
    points: list[tuple[float, float]],
) -> None:
    line = frontier(points)
    steps = list(itertools.pairwise(line))
    assert all(x < u for (x, _), (u, _) in steps)
    assert all(y > v for (_, y), (_, v) in steps[:-1])
    assert all(y >= v for (_, y), (_, v) in steps[-1:])
    for x, y in points:
        error = error_at(line, x)
        assert error is not None
        assert error <= y


@given(POINTS)
def test_a_frontier_spans_every_budget_that_was_trained_to(points: list[tuple[float, float]]) -> None:
    line = frontier(points)
    budgets = [flops for flops, _ in points]
    assert (line[0][0], line[-1][0]) == (min(budgets), max(budgets))
    assert line[-1][1] == min(error for _, error in points)
    assert error_at(line, max(budgets)) == line[-1][1]
    assert error_at(line, 1.01 * max(budgets)) is None
    assert error_at(line, 0.99 * min(budgets)) is None


@given(POINTS, st.floats(0, 1), st.floats(0, 1))
def test_more_flops_never_give_a_higher_error(
    points: list[tuple[float, float]], first: float, second: float
) -> None:
    line = frontier(points)
    errors = [error_at(line, _budget(line, share)) for share in sorted((first, second))]
    low, high = errors[1], errors[0]
    assert low is not None
    assert high is not None
    assert low <= high * (1 + 1e-12)


@given(POINTS, st.floats(0, 1))
def test_the_fewest_flops_for_an_error_reach_it(points: list[tuple[float, float]], share: float) -> None:
    line = frontier(points)
    budget = _budget(line, share)
    error = error_at(line, budget)
    assert error is not None
    fewest = flops_at(line, error)
    assert fewest is not None
    # Where the frontier is nearly flat, a rounding of the error is a long way along it.
    assert error_at(line, fewest) == pytest.approx(error, rel=1e-6)


def _budget(line: list[tuple[float, float]], share: float) -> float:
    budget = line[0][0] ** (1 - share) * line[-1][0] ** share
    return min(max(budget, line[0][0]), line[-1][0])


def test_a_power_law_is_met_exactly_between_its_points_and_nowhere_beyond() -> None:
    line = frontier([(x, x**-0.5) for x in (1e2, 1e4, 1e6)])
    assert error_at(line, 1e3) == pytest.approx(1e3**-0.5)
    assert flops_at(line, 1e5**-0.5) == pytest.approx(1e5)
    assert error_at(line, 99.0) is None
    assert error_at(line, 1.1e6) is None
    assert flops_at(line, 0.2) is None
    assert flops_at(line, 1e-4) is None
    assert error_at([], 1e3) is None
    assert flops_at([], 0.1) is None


def test_a_frontier_goes_on_flat_to_the_largest_budget_that_did_not_help() -> None:
    line = frontier([(1e3, 0.4), (1e4, 0.1), (1e5, 0.2), (1e6, 0.1)])
    assert line == [(1e3, 0.4), (1e4, 0.1), (1e6, 0.1)]
    assert error_at(line, 1e5) == 0.1
    assert error_at(line, 1e6) == 0.1
    assert error_at(line, 1.1e6) is None
    assert flops_at(line, 0.1) == 1e4


def test_before_an_error_of_zero_nothing_better_than_the_last_positive_one_is_known() -> None:
    line = frontier([(1e3, 0.4), (1e4, 0.0), (1e5, 0.01)])
    assert line == [(1e3, 0.4), (1e4, 0.0), (1e5, 0.0)]
    assert error_at(line, 9e3) == 0.4
    assert error_at(line, 1e4) == 0.0
    assert error_at(line, 1e5) == 0.0
    assert flops_at(line, 0.4) == 1e3
    assert flops_at(line, 0.01) == 1e4
    assert flops_at(line, 0.0) == 1e4


BUDGETS = st.sampled_from([1e12, 3e13, 1e15, 2e15, 7e19])  # few, so that models share them
ERRORS = st.sampled_from([0.0, 1e-3, 0.2]) | st.floats(1e-8, 1.0)


@given(
    st.lists(BUDGETS, min_size=1, max_size=6).flatmap(
        lambda flops: st.tuples(
            st.just(flops),
            st.lists(st.lists(ERRORS, min_size=len(flops), max_size=len(flops)), min_size=1, max_size=5),
        )
    ),
    BUDGETS | st.floats(5e11, 1e20),
    ERRORS,
)
def test_frontiers_of_many_draws_at_once_are_those_of_each_draw(
    models: tuple[list[float], list[list[float]]], budget: float, target: float
) -> None:
    flops, draws = models
    together = DrawnFrontiers(np.array(flops), np.array(draws))
    lines = [frontier(zip(flops, errors, strict=True)) for errors in draws]
    assert together.best.tolist() == [line[-1][1] for line in lines]
    errors = np.array([error_at(line, budget) for line in lines], float)
    assert together.error_at(budget) == pytest.approx(errors, rel=1e-12, nan_ok=True)
    for aim in ([target] * len(lines), together.best.tolist(), [line[0][1] for line in lines]):
        fewest = np.array([flops_at(line, error) for line, error in zip(lines, aim, strict=True)], float)
        assert together.flops_at(np.array(aim)) == pytest.approx(fewest, rel=1e-12, nan_ok=True)


def test_what_is_not_a_number_or_below_zero_is_no_point() -> None:
    points = [(1e3, math.nan), (math.inf, 0.5), (1e3, -0.1), (2e3, 0.4), (3e3, math.nan)]
    assert frontier(points) == [(2e3, 0.4)]
    assert frontier([(1e3, math.inf), (2e3, 0.4), (0.0, 0.5), (3e3, 0.0)]) == [(2e3, 0.4), (3e3, 0.0)]
    assert frontier([(3e3, 0.1), (math.nan, 0.9), (1e3, 0.5)]) == [(1e3, 0.5), (3e3, 0.1)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Figure 2", ("Figure 2",)),
        ("Figures 9 and 10, left", ("Figure 9", "Figure 10")),
        ("Table 5b of another paper", ()),
        ("Section 4.3 and Figure 5, the Transformer of 24 layers", ("Figure 5",)),
        ("Figures 2, 3 and 8; Table 1", ("Figure 2", "Figure 3", "Figure 8", "Table 1")),
        ("§4.1, Finding 1", ()),
        ("", ()),
    ],
)
def test_figures_and_tables_are_found_in_words(words: str, found: tuple[str, ...]) -> None:
    assert named(words) == found


# --- reading an evaluation --------------------------------------------------------------------


def outliers() -> RunRecord:
    run = run_of(task_named("orthogonal_outlier_regression"))
    return record_of(result_of(run, [1 - i / 100 for i in range(50)]))


def test_marks_and_positions_are_found_by_name_and_number() -> None:
    result = outliers()
    last = result.checkpoints[-1]
    mark = evaluations.number(result, last, "report", "50th_clean")
    assert mark is not None
    position = evaluations.positions(result, "report", 50)[49]
    assert mark == evaluations.number(result, last, "report", position)
    assert mark == evaluations.number(result, last, "report", "headline")
    assert mark[0] == pytest.approx(20 * 0.51)
    assert evaluations.normalised(result, "report", mark)[0] == pytest.approx(0.51)
    assert evaluations.number(result, last, "report", "nowhere") is None
    assert evaluations.number(result, last, "absent", "mean") is None


def test_a_result_from_before_evaluations_were_recorded_reads_as_it_did() -> None:
    result = result_of(run_of(), [1 - i / 41 for i in range(41)])
    for key in ("evaluations", "headline", "convergence_accuracy"):
        del result["facts"][key]
    for checkpoint in result["checkpoints"]:
        for scores in checkpoint["evaluations"].values():
            scores.pop("headline")
    record = record_of(result)
    last = record.checkpoints[-1]
    overall = tuple(last.evaluations["report"].overall)
    assert evaluations.number(record, last, "report", "headline") == overall
    third = evaluations.number(record, last, "report", 3)
    assert third is not None
    assert third[0] == pytest.approx(20 * (1 - 3 / 41))


def test_convergence_is_stored_or_else_found_in_the_checkpoints() -> None:
    (run,) = grid(task_named("sparse_parity"), ["mamba"])
    result = result_of(run, 0.97)
    assert evaluations.convergence_step(record_of(result)) == 100_000
    del result["convergence_step"]
    result["checkpoints"][0]["evaluations"]["report"]["overall"][0] = 0.94
    assert evaluations.convergence_step(record_of(result)) == 300_000
    assert evaluations.convergence_step(record_of(result_of(run, 0.5))) is None
    of_an_error = record_of(result_of(run_of(), 0.001))
    assert evaluations.convergence_step(of_an_error) is None


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (None, "mean over positions"),
        ("last", "at the last position"),
        ("50th_clean", "at the 50th clean example"),
        ("40_examples", "after 40 examples"),
        ("after_50_clean", "after 50 clean examples"),
    ],
)
def test_a_headline_says_where_it_is_read(mark: str | None, words: str) -> None:
    assert evaluations.headline_words(mark) == words
