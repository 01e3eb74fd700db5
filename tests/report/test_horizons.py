"""Horizons in tables of results: how far beyond the trained length models stay accurate."""

from __future__ import annotations

from typing import Any

from synthetic import grid, pool_with, result_of, task_named

from bench.report.data.estimates import TaskResults
from bench.report.data.frame import results_frame
from bench.report.tables.results import results_table
from bench.report.tables.table import Table
from bench.run import Run

PARITY = task_named("word_problem", group="Z2", n_points=4)
END = 32
"""Positions of the longest prompts: 8 times the trained length."""


def followed(run: Run, horizon: int) -> dict[str, Any]:
    """A result whose accuracy is 0.95 at the first `horizon` positions and 0.5 behind them."""
    result = result_of(run, 0.6)
    for checkpoint in result["checkpoints"]:
        for name in ("report", "longer_prompts"):
            scores = checkpoint["evaluations"].get(name)
            if scores:
                places = result["facts"]["evaluations"][name]["positions"]
                scores["mean"] = [0.95 if place < horizon else 0.5 for place in places]
    return result


def table_of(horizons: dict[str, list[int]]) -> Table:
    """The table of results of architectures with these horizons, one per seed."""
    results = {}
    runs: list[Run] = []
    for architecture, of_seeds in horizons.items():
        seeds = grid(PARITY, (architecture,), ((1, 64),), (1e-3,), range(len(of_seeds)))
        runs += seeds
        results |= {run.id: followed(run, horizon) for run, horizon in zip(seeds, of_seeds, strict=True)}
    return results_table("x", TaskResults(results_frame(runs, pool_with(runs=results), {})))


def shown(table: Table) -> list[str]:
    place = list(table.columns).index("horizon")
    return [row[place].text for row in table.rows]


def test_a_horizon_is_a_mean_over_seeds_with_its_spread_and_reaches_the_end_or_not() -> None:
    table = table_of({"mamba": [10, 12, 17], "lstm": [END] * 3, "s4": [END, 20, 20], "mamba2": [6]})
    assert shown(table) == ["13.0 ± 2.1", f"all {END}", "≥ 24.0 ± 4.0", "6.0 ± 0.0"]
    assert table.numbers["horizon"].tolist() == [13, END, 24, 6]
    assert table.numbers["horizon_seeds_at_end"].tolist() == [0, 3, 1, 0]
    assert f"of the {END} of the longest prompts" in table.caption


def test_equal_horizons_have_the_standard_error_of_one_position_among_them() -> None:
    assert shown(table_of({"mamba": [5, 5, 5], "s4": [5, 5, 6]})) == ["5.0 ± 0.3", "5.3 ± 0.3"]


def test_the_longest_horizons_of_a_size_are_bold_equal_ones_alike() -> None:
    table = table_of({"mamba": [10], "lstm": [END], "s4": [END]})
    place = list(table.columns).index("horizon")
    assert [row[place].best for row in table.rows] == [False, True, True]


def test_a_model_without_longer_prompts_has_no_horizon_and_says_so() -> None:
    assert shown(table_of({"mamba": [10], "transformer": [4]})) == ["10.0 ± 0.0", "not evaluated"]


def test_tables_of_errors_and_of_tasks_without_longer_prompts_have_no_horizon() -> None:
    assert "horizon" not in table_of({"transformer": [4]}).columns
    runs = grid(task_named(n_points=5), ("mamba",))
    table = results_table(
        "x", TaskResults(results_frame(runs, pool_with(runs={run.id: result_of(run) for run in runs}), {}))
    )
    assert "horizon" not in table.columns
    assert not any("horizon" in column for column in table.numbers)
