"""Tables 4 and 5: the paper's numbers beside ours, floors as rows, numbers beyond a floor."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from synthetic import pool_with, result_of, run_of, task_named

from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.tables.languages import table_4, table_5
from bench.report.tables.table import Table
from bench.results import Pool
from bench.run import Run
from bench.tasks import Task

GINC, REGBENCH = task_named("ginc"), task_named("regbench", languages=5000)


def runs_on(task: Task, steps: int, architectures: tuple[str, ...], seeds: int = 3) -> list[Run]:
    fields: dict[str, Any] = {"batch_size": 32, "steps": steps, "evaluation_prompts": 100}
    return [
        run_of(task, architecture, 4, 64, seed=seed, checkpoints=(steps,), **fields)
        for architecture in architectures
        for seed in range(seeds)
    ]


def pool_of(runs: list[Run], evaluation: str, nats: float, standard_error: float = 0.002) -> Pool:
    """Results with an accuracy of 0.8, and a cross-entropy that differs between seeds by 0.01."""
    results = {}
    for run in runs:
        result = result_of(run, 0.8)
        scores = result["checkpoints"][-1]["evaluations"][evaluation]
        scores["overall"] = scores["headline"] = [nats + 0.01 * run.seed, standard_error]
        results[run.id] = result
    return pool_with(runs=results)


def references_of(task_id: str, rows: list[tuple[str, str, str, float, float]]) -> pd.DataFrame:
    """References from (evaluation, name, kind, value at the last position, overall)."""
    blank = references_frame([], Pool())
    entries = [
        (task_id, evaluation, name, kind, 64, value, 0.0, overall, True)
        for evaluation, name, kind, value, overall in rows
    ]
    return pd.DataFrame(entries, columns=blank.columns)


def cell(table: Table, architecture: str, column: str) -> str:
    index, name = table.columns.index(column), table.columns.index("architecture")
    (text,) = (row[index].text for row in table.rows if row[name].text == architecture)
    return text


def test_table_4_shows_perplexities_accuracies_and_bounds() -> None:
    runs = runs_on(GINC, 6250, ("transformer", "lstm"))
    pool = pool_of(runs, "validation", math.log(4.2))
    references = references_of(
        runs[0].task_id,
        [
            ("validation", "Bayes rule", "floor", 1.5, math.log(4.097)),
            ("report", "Bayes rule with layout", "floor", 1.0, math.nan),
            ("training", "Bayes rule", "floor", 1.4, math.log(4.023)),
            ("validation", "word frequencies", "baseline", 3.9, math.log(52.6)),
            ("report", "random token", "trivial", 0.01, math.nan),
            ("validation", "uniform", "trivial", 4.6, math.log(101)),
        ],
    )
    table = table_4(results_frame(runs, pool, {}), references)
    own = 4.2 * math.exp(0.01)  # the mean over seeds is of cross-entropies
    half = 2.92 * 0.01 / math.sqrt(3) * own
    assert cell(table, "Transformer", "valid PPL") == f"4.14 / {own:.2f} ± {half:.2f}"
    assert cell(table, "LSTM", "valid PPL").startswith("3.71† / ")
    assert cell(table, "Transformer", "ICL accuracy, %") == "84.2 ± 5.1 / 80.0 ± 5.3"
    assert cell(table, "Mamba", "valid PPL") == "4.57 / missing: no experiment"
    bound = "bound: Bayes rule (PPL), Bayes rule with layout (accuracy)"
    assert cell(table, bound, "train PPL") == "4.02"
    assert cell(table, bound, "valid PPL") == "4.10"
    assert cell(table, bound, "ICL accuracy, %") == "100.0"
    assert cell(table, "uniform (PPL), random token (accuracy)", "valid PPL") == "101.00"
    assert cell(table, "uniform (PPL), random token (accuracy)", "ICL accuracy, %") == "1.0"
    assert cell(table, "word frequencies", "valid PPL") == "52.60"
    assert "†" in table.caption
    (row,) = table.numbers[table.numbers["architecture"] == "transformer"].to_dict("records")
    assert row["valid PPL"] == pytest.approx(own)
    assert set(row["valid PPL runs"].split()) == {
        run.id for run in runs if run.architecture.name == "transformer"
    }


def test_the_papers_numbers_are_not_shown_beside_another_vocabulary() -> None:
    runs = runs_on(task_named("ginc", symbols=150), 6250, ("lstm",))
    table = table_4(results_frame(runs, pool_of(runs, "validation", 1.3), {}), references_frame([], Pool()))
    assert cell(table, "LSTM", "valid PPL").startswith("– / 3.7")
    assert len(table.rows) == 1


@pytest.mark.parametrize(("seeds", "shown"), [(1, "2.50"), (3, "2.53 ± 0.04")])
def test_a_perplexity_in_training_has_an_interval_over_seeds_only(seeds: int, shown: str) -> None:
    runs = runs_on(REGBENCH, 2344, ("transformer",), seeds)
    results = results_frame(runs, pool_of(runs, "training", math.log(2.5), standard_error=0.0), {})
    table = table_5(results, references_frame([], Pool()))
    assert [row[3].text for row in table.rows if row[0].text == "15" and row[2].text == "Transformer"] == [
        f"4.20 / {shown}"
    ]


def test_table_5_has_rows_by_epochs_and_marks_what_no_model_can_have() -> None:
    runs = [*runs_on(REGBENCH, 2344, ("transformer",)), *runs_on(REGBENCH, 4688, ("transformer", "s4"))]
    pool = pool_of(runs, "cross_entropy", math.log(3))
    references = references_of(
        runs[0].task_id,
        [
            ("report", "learner told the state", "floor", 0.999, 0.987),
            ("cross_entropy", "learner told the state", "floor", 0.6, math.log(1.95)),
        ],
    )
    table = table_5(results_frame(runs, pool, {}), references)
    shown = [(row[0].text, row[2].text, row[4].text, row[5].text) for row in table.rows]
    (fifteen,) = (row for row in shown if row[:2] == ("15", "Transformer"))
    assert fifteen[2].startswith("4.17 / 3.0")
    assert fifteen[3] == "92.6* / 80.0 ± 1.3"
    (hybrid,) = (row for row in shown if row[:2] == ("15", "Standard Hybrid"))
    assert hybrid[2:] == ("1.01† / missing: no experiment", "99.9† / missing: no experiment")
    assert [row[1] for row in shown if row[0] == "30"] == [
        "Transformer",
        "S4",
        "bound: learner told the state",
    ]
    (bound,) = {row[2:] for row in shown if row[1].startswith("bound") and row[0] == "30"}
    assert bound == ("1.95", "98.7")
    (missing,) = (row for row in shown if row[:2] == ("120", "Mamba"))
    assert missing[3] == "87.8 / missing: no experiment"


def test_runs_without_results_are_missing_and_nothing_planned_is_said() -> None:
    runs = runs_on(REGBENCH, 2344, ("mamba",))
    table = table_5(results_frame(runs, Pool(), {}), references_frame(runs, Pool()))
    assert "5.69 / missing (3 of 3 runs)" in [row[4].text for row in table.rows]
    empty = table_4(results_frame([], Pool(), {}), references_frame([], Pool()))
    assert cell(empty, "LSTM", "train PPL") == "3.53 / missing: no experiment"
    assert "†" not in empty.caption
