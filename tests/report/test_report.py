"""The report: what is chosen, what is counted, what is said when something is not there."""

from __future__ import annotations

import base64
import html.parser
import itertools
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import ROOT
from hypothesis import given
from hypothesis import strategies as st
from synthetic import (
    baselines_of,
    baselines_record_of,
    experiment_of,
    grid,
    pool_of,
    pool_with,
    result_of,
    run_of,
    suite_of,
    task_named,
    write_pool,
)

from bench.digits import error_text
from bench.report.data import choices, estimates
from bench.report.data.choices import tied_rates
from bench.report.data.estimates import TaskResults
from bench.report.data.frame import ResultRow, counts, of_runs, results_frame, total
from bench.report.data.provenance import summarise
from bench.report.data.references import level, references_frame
from bench.report.figures.accuracy import figure_5
from bench.report.figures.axes import tick_label
from bench.report.style import INK, LOOKS, MUTED, looks
from bench.report.tables.deviations import deviations
from bench.report.tables.parameters import comparison
from bench.report.tables.results import points_table, rates_table, results_table
from bench.report.tables.table import Table
from bench.report.text import latex, markdown, millions, slug, unbroken
from bench.report.write import contents, write_report
from bench.results import Pool, load, per_prompt
from bench.run import Run, Stop
from bench.uncertainty import student_95

LINEAR = task_named(n_points=5)


def task_of(runs: Sequence[Run], pool: Pool, states: dict[str, str] | None = None) -> TaskResults:
    return TaskResults(results_frame(runs, pool, states or {}))


def chosen_rates(runs: Sequence[Run], pool: Pool) -> list[float]:
    table = task_of(runs, pool).candidates
    return table.loc[table["chosen"], "learning_rate"].tolist()


def results_of(runs: Sequence[Run], pool: Pool, states: dict[str, str] | None = None) -> Table:
    return results_table("results", task_of(runs, pool, states))


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


# --- choice ------------------------------------------------------------------------------------


def test_learning_rate_is_chosen_on_selection_prompts_and_reported_on_the_others() -> None:
    low, high = grid(LINEAR, ["mamba"], learning_rates=(1e-4, 4e-4))
    pool = pool_with(
        runs={
            low.id: result_of(low, 0.30, selection=0.20),  # better where it is chosen
            high.id: result_of(high, 0.10, selection=0.25),  # better where it is reported
        }
    )
    table = results_of([low, high], pool)
    assert table.numbers["learning_rate"].tolist() == [1e-4]
    assert table.numbers["normalised_error"].tolist() == pytest.approx([0.30])


@pytest.mark.parametrize(
    ("accuracy", "fields", "text"),
    [
        (1.0, {}, "1 (> 0.9976)"),  # 0.05 to the power of 1/1280 is 0.99766
        (1.0, {"evaluation_prompts": 640}, "1 (> 0.9953)"),
        (1.0, {"evaluation_prompts": 640, "subset": "per_batch"}, "1 (> 0.74)"),  # ten subsets
        (0.0, {"evaluation_prompts": 640}, "0 (< 0.0047)"),
        (0.5, {"evaluation_prompts": 640}, "0.5 ± 0"),
    ],
)
def test_an_accuracy_of_1_or_0_has_a_bound_in_place_of_a_standard_error_of_0(
    accuracy: float, fields: dict[str, Any], text: str
) -> None:
    fields = dict(fields)
    task = task_named("sparse_parity", **{key: fields.pop(key) for key in ("subset",) if key in fields})
    runs = grid(task, ["mamba"], seeds=(0, 1), **fields)
    results = {run.id: result_of(run, accuracy, noise=0) for run in runs}
    prompts = np.full(runs[0].evaluation_prompts // task.dependent_prompts, accuracy, "<f4")
    for result in results.values():
        result["per_prompt"] = {"report": base64.b64encode(prompts.tobytes()).decode()}
        scores = result["checkpoints"][-1]["evaluations"]["report"]
        scores |= {"mean": [accuracy] * task.n_points, "overall": [accuracy, 0], "headline": [accuracy, 0]}
    table = results_of(runs, pool_with(runs=results))
    (row,) = table.rows
    for column in ("accuracy", "at the last position"):
        assert row[list(table.columns).index(column)].text == text
    assert ("With 95 % confidence" in table.caption) == (accuracy != 0.5)
    assert table.numbers["accuracy_se"].tolist() == [0]
    assert "prompts" not in table.numbers


@pytest.mark.parametrize("column", ["standard_error", "convergence_step"])
def test_a_table_of_points_speaks_of_standard_errors_only_if_it_has_them(column: str) -> None:
    table = points_table("x", pd.DataFrame({"series": ["Mamba"], column: [1000.0]}))
    assert ("Standard errors" in table.caption) == (column == "standard_error")


def test_diverged_run_is_never_chosen_and_is_shown_as_diverged() -> None:
    low, high = grid(LINEAR, ["mamba"], learning_rates=(1e-4, 4e-4))
    broken = result_of(high, 0.01)
    broken.update(outcome="diverged", reason="too steep")  # excellent checkpoints do not help it
    pool = pool_with(runs={low.id: result_of(low, 0.9), high.id: broken})
    assert chosen_rates([low, high], pool) == [1e-4]
    table = task_of([low, high], pool).candidates
    assert texts(rates_table("rates", table)) == [["Mamba", "4×256", "0.9", "diverged (1 of 1 run)"]]


def test_cell_whose_runs_all_diverged_has_no_choice() -> None:
    runs = grid(LINEAR, ["mamba"], learning_rates=(1e-4, 4e-4))
    pool = pool_with(runs={run.id: result_of(run, outcome="diverged") for run in runs})
    assert chosen_rates(runs, pool) == []
    assert "diverged (2 of 2 runs)" in texts(results_of(runs, pool))[0]


def test_rate_that_finished_for_more_seeds_wins() -> None:
    runs = grid(LINEAR, ["mamba"], learning_rates=(1e-4, 4e-4), seeds=(0, 1))
    pool = pool_with(
        runs={run.id: result_of(run, 0.5 if run.learning_rate == 1e-4 else 0.1) for run in runs[:3]}
    )
    assert chosen_rates(runs, pool) == [1e-4]


@pytest.mark.parametrize(
    ("rates", "best", "edge"),
    [
        ((1e-4,), 1e-4, False),
        ((1e-4, 2e-4, 4e-4), 2e-4, False),
        ((1e-4, 2e-4, 4e-4), 4e-4, True),
        ((1e-4, 2e-4, 4e-4), 1e-4, True),
    ],
)
def test_choice_at_the_edge_of_several_rates_is_marked(
    rates: tuple[float, ...], best: float, edge: bool
) -> None:
    runs = grid(LINEAR, ["mamba"], learning_rates=rates)
    pool = pool_with(runs={run.id: result_of(run, 0.1 if run.learning_rate == best else 0.5) for run in runs})
    table = task_of(runs, pool).candidates
    assert table["at_edge"].any() == edge
    assert ("edge of its grid" in texts(results_of(runs, pool))[0][4]) == edge


@pytest.mark.parametrize(
    ("errors", "tied"),
    [((0.1, 0.1, 0.5), [1e-4, 2e-4]), ((0.5, 0.1, 0.1), [2e-4, 4e-4]), ((0.1, 0.2, 0.5), None)],
)
def test_learning_rates_that_the_validation_prompts_cannot_tell_apart_are_named(
    errors: tuple[float, ...], tied: list[float] | None
) -> None:
    runs = grid(LINEAR, ["mamba"], learning_rates=(1e-4, 2e-4, 4e-4))
    pool = pool_with(runs={run.id: result_of(run, error) for run, error in zip(runs, errors, strict=True)})
    table = task_of(runs, pool).candidates
    assert tied_rates(table) == ({("Mamba", "4×256"): tied} if tied else {})
    if tied:
        assert table.loc[table["chosen"], "learning_rate"].tolist() == tied[:1]


def test_size_that_stands_for_an_architecture_is_chosen_on_selection_prompts() -> None:
    small, large = grid(LINEAR, ["mamba"], sizes=((2, 128), (8, 512)))
    pool = pool_with(
        runs={
            small.id: result_of(small, 0.9, selection=0.1),
            large.id: result_of(large, 0.1, selection=0.9),
        }
    )
    table = task_of([small, large], pool).candidates
    assert choices.best_sizes(table)["size"].tolist() == ["2×128"]


points = st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1) | st.just(math.nan)), max_size=30)


@given(points)
def test_frontier_falls_strictly_and_nothing_lies_below_it(pairs: list[tuple[int, float]]) -> None:
    flops = pd.Series([float(x) for x, _ in pairs], dtype=float)
    errors = pd.Series([y for _, y in pairs], dtype=float)
    one = pd.DataFrame({"series": "one", "training_flops": flops, "error": errors})
    other = one.assign(series="other", error=0.5 * errors)  # each series has a frontier of its own
    both = estimates.on_frontier(pd.concat([one, other], ignore_index=True))
    marked = both["on_frontier"].iloc[: len(one)]
    assert marked.dtype == bool
    best = sorted(zip(flops[marked], errors[marked], strict=True))
    assert all(x < u and y > v for (x, y), (u, v) in itertools.pairwise(best))
    for x, y in pairs:
        assert math.isnan(y) or any(u <= x and v <= y for u, v in best)


# --- numbers -----------------------------------------------------------------------------------


def test_table_agrees_with_a_hand_computation() -> None:
    run = run_of(LINEAR, "mamba")
    pool = pool_with(runs={run.id: result_of(run, [1.0, 0.8, 0.6, 0.4, 0.2])})
    row = results_of([run], pool).numbers.iloc[0]
    assert row["normalised_error"] == pytest.approx(0.6)
    errors = per_prompt(pool.runs[run.id]) / 20
    assert row["normalised_error_se"] == pytest.approx(errors.std(ddof=1) / math.sqrt(len(errors)))
    assert row["normalised_error_last"] == pytest.approx(0.2)
    assert row["normalised_error_last_se"] == pytest.approx(0.008)
    assert row["training_flops"] == run.training_flops_full_length()
    assert row["parameters"] == run.parameters
    assert row["state_numbers"] == run.state_numbers
    assert row["interval"] == "prompts only"


def test_three_seeds_are_averaged_with_an_interval_over_prompts_and_seeds() -> None:
    runs = grid(LINEAR, ["mamba"], seeds=(0, 1, 2))
    values = [0.1, 0.2, 0.6]
    exact = {run.id: result_of(run, value, noise=0) for run, value in zip(runs, values, strict=True)}
    pool = pool_with(runs=exact)
    table = results_of(runs, pool)
    row = table.numbers.iloc[0]
    assert row["normalised_error"] == pytest.approx(mean(values))
    assert row["normalised_error_se"] == pytest.approx(stdev(values) / math.sqrt(3))
    assert row["interval"] == "prompts and seeds"
    assert texts(table)[0][-1] == "3 of 3"


def test_one_seed_has_an_interval_over_prompts_and_a_second_seed_widens_it() -> None:
    (single,) = estimates.at_positions([[0.5]], [[0.02]], 20)
    (pair,) = estimates.at_positions([[0.4], [0.6]], [[0.02], [0.02]], 20)
    assert single[1:] == (pytest.approx(0.02), pytest.approx(1.7291 * 0.02), "prompts only")
    assert pair.standard_error == pytest.approx(math.hypot(0.1, 0.02))
    assert pair.half_width > 3 * pair.standard_error
    assert pair.interval == "prompts and seeds"


def test_prompts_that_seeds_share_are_in_the_interval() -> None:
    runs = grid(LINEAR, ["mamba"], seeds=(0, 1, 2))
    pool = pool_with(runs={run.id: result_of(run, 0.2) for run in runs})
    (point,) = task_of(runs, pool).end_points().to_dict("records")
    errors = np.stack([per_prompt(pool.runs[run.id]) / 20 for run in runs])
    of_prompts = errors.mean(axis=0).std(ddof=1) / math.sqrt(errors.shape[1])
    # The seeds agree in their mean, so all that varies is the prompts.
    assert point["standard_error"] == pytest.approx(of_prompts, rel=1e-6)
    half_width = float(student_95(errors.shape[1] - 1)) * of_prompts
    assert point["high"] - point["value"] == pytest.approx(half_width, rel=1e-6)


def test_five_times_the_steps_are_five_times_the_flops() -> None:
    run = run_of(task_named(), "mamba")
    points = task_of([run], pool_of([run])).points()
    flops = dict(zip(points["step"], points["training_flops"], strict=True))
    assert flops[500_000] == 5 * flops[100_000]
    assert run.training_flops() != 5 * run.training_flops(100_000)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("after 8 000 steps", "after 8_000 steps"),
        ("of 4 095 keys, 1 024 tokens", "of 4_095 keys, 1_024 tokens"),
        ("an error of 0.64 ± 0.12 with 90 %", "an error of 0.64_±_0.12 with 90_%"),
        ("(1.2 ± 0.3) × 10⁻⁴", "(1.2_±_0.3) ×_10⁻⁴"),
        ("of 4 models 128 learn", "of 4 models 128 learn"),
        ("5 of 12 runs", "5 of 12 runs"),
        ("ratio ≤ 0.5", "ratio ≤_0.5"),
    ],
)
def test_numbers_stay_on_one_line(text: str, shown: str) -> None:
    assert unbroken(text).replace("\u00a0", "_") == shown


def stopped_at(run: Run, step: int) -> dict[str, Any]:
    """A made-up result of a run that learned the task two checks earlier and stopped."""
    result = result_of(run, 0.99)
    result["checkpoints"] = [entry for entry in result["checkpoints"] if entry["step"] <= step]
    result["convergence_step"] = step - 2_000
    result["stop"] = {"step": step, "converged_step": step - 2_000}
    return result


def test_points_of_runs_that_stopped_early_have_their_true_step() -> None:
    checks = tuple(range(1_000, 10_001, 1_000))
    rule = Stop(after_convergence=2_000, every=1_000)
    parity = task_named("sparse_parity", n_points=5)
    runs = grid(parity, ["mamba"], seeds=(0, 1), steps=10_000, checkpoints=checks, stop=rule)
    pool = pool_with(runs={run.id: stopped_at(run, 5_000 + 2_000 * run.seed) for run in runs})
    rows = results_frame(runs, pool, {})
    assert rows.groupby("id", sort=False)["step"].max().tolist() == [5_000, 7_000]
    assert rows[rows["at_end"]]["step"].tolist() == [5_000, 7_000]
    points = TaskResults(rows).points()
    assert points["step"].tolist() == [1_000, 2_000, 3_000, 4_000, 6_000]  # the mean of both ends
    assert points["at_end"].tolist() == [False] * 4 + [True]
    assert set(points["seeds"]) == {2}  # and none over the seed alone that trained longer
    first, second = figure_5(rows, references_frame([], pool)).figure.axes
    assert first.get_xlim() == (0, 4)
    assert second.get_xlim() == (0, 6_000)  # not the 10,000 that were planned


def test_trivial_line_is_the_one_measured_on_the_prompts_of_the_models() -> None:
    run = run_of(LINEAR, "mamba")
    stored = baselines_of(run)
    stored["baselines"][0]["mean"] = [0.7 * value for value in stored["baselines"][0]["mean"]]
    pool = pool_with(baselines={run.task_id: stored})
    assert level(references_frame([run], pool), "trivial") == ("zero", pytest.approx(0.7))


def test_baseline_that_skipped_positions_has_no_level() -> None:
    run = run_of(LINEAR, "mamba")
    references = references_frame([run], pool_of([run]))
    assert level(references, "floor") is not None
    assert level(references, "baseline") is None


def test_the_level_of_a_mean_leaves_out_the_zero_shot_position_where_the_task_does() -> None:
    means = {}
    for choice in ("counted", "left_out"):
        run = run_of(task_named("linear_regression", n_points=4, zero_shot=choice), "mamba")
        stored = baselines_of(run)
        (floor,) = (row for row in stored["baselines"] if row["kind"] == "floor")
        floor["mean"] = [run.task.error_scale * value for value in (1.0, 0.5, 0.4, 0.3)]
        references = references_frame([run], pool_with(baselines={run.task_id: stored}))
        floor_level = level(references, "floor")
        assert floor_level is not None
        means[choice] = floor_level[1]
        assert stored["facts"].get("first_position") == run.task.first_position
    assert means == pytest.approx({"counted": 0.55, "left_out": 0.4})


def test_accuracy_is_shown_as_accuracy_and_higher_is_better() -> None:
    task = task_named("sparse_parity", n_points=5)
    runs = grid(task, ["mamba", "s4"])
    pool = pool_with(runs={runs[0].id: result_of(runs[0], 0.9), runs[1].id: result_of(runs[1], 0.6)})
    table = results_of(runs, pool)
    assert table.numbers["accuracy"].tolist() == pytest.approx([0.9, 0.6])
    column = table.columns.index("accuracy")
    assert [row[column].best for row in table.rows] == [True, False]


def test_best_of_each_size_is_bold() -> None:
    runs = grid(LINEAR, ["mamba", "s4"], sizes=((2, 128), (8, 512)))
    values = {("mamba", 2): 0.5, ("mamba", 8): 0.2, ("s4", 2): 0.4, ("s4", 8): 0.3}
    pool = pool_with(
        runs={run.id: result_of(run, values[run.architecture.name, run.size.layers]) for run in runs}
    )
    table = results_of(runs, pool)
    column = table.columns.index("normalised error")
    bold = [(row[0].text, row[1].text) for row in table.rows if row[column].best]
    assert bold == [("Mamba", "8×512 (medium)"), ("S4", "2×128 (x-small)")]


def test_flops_beyond_64_bits_are_summed_exactly() -> None:
    assert total(pd.Series([2**62, 2**62, 2**62])) == 3 * 2**62


def test_table_6_agrees_with_the_paper_in_23_of_24_cells() -> None:
    """One-digit cells within half a million, the others within 1.6 %; rounded or cut off as printed."""
    table = comparison()
    table = table[(table["source"] == "Table 6") & table["widest"] & table["paper"].notna()]
    assert len(table) == 24
    one_digit = table["paper_printed"] == "3M"
    assert ((table["ours"] - table["paper"]).abs()[one_digit] <= 5.2e5).all()
    assert (table["deviation_percent"].abs()[~one_digit] <= 1.6).all()

    def as_printed(row: Any) -> bool:
        unit = {"K": 1e4, "M": 1e6}[row.paper_printed[-1]] / (10 if "." in row.paper_printed else 1)
        return row.paper in (round(row.ours / unit) * unit, math.floor(row.ours / unit) * unit)

    wrong = [(row.architecture, row.size_group) for row in table.itertuples() if not as_printed(row)]
    assert wrong == [("transformer", "large")]


# --- what is not there -------------------------------------------------------------------------


def test_missing_failed_and_diverged_are_counted_apart_and_never_shown_as_numbers() -> None:
    runs = grid(LINEAR, ["mamba"], learning_rates=(5e-5, 1e-4, 2e-4, 4e-4))
    pool = pool_with(runs={runs[0].id: result_of(runs[0], outcome="diverged")})
    states = {runs[1].id: "failed", runs[2].id: "running"}
    assert counts(results_frame(runs, pool, states)) == {
        "finished": 0,
        "diverged": 1,
        "failed": 1,
        "missing": 2,
    }
    row = texts(results_of(runs, pool, states))[0]
    tally = "diverged (1), failed (1), missing (2 of 4 runs)"
    assert row[4:] == ["none chosen", "none done", tally, tally, tally, "0 of 1"]


def test_partial_cell_shows_its_number_and_what_is_missing() -> None:
    runs = grid(LINEAR, ["mamba"], learning_rates=(5e-5, 1e-4, 2e-4, 4e-4))
    pool = pool_with(runs={runs[1].id: result_of(runs[1], 0.5)})
    row = texts(results_of(runs, pool))[0]
    assert row[6] == "0.500 ± 0.017"
    assert row[8] == "finished (1), missing (3 of 4 runs)"


@pytest.mark.slow
def test_suite_without_any_result_gives_a_whole_report(tmp_path: Path) -> None:
    suite = suite_of(experiment_of(grid(LINEAR)))
    written = write_report(suite, Pool(), tmp_path)
    assert all(path.stat().st_size for path in written)
    page = (tmp_path / "index.html").read_text()
    assert "0 of 2 planned runs finished" in page
    assert "None of the 2 planned runs has a result yet." in page
    assert not [path.name for path in written if path.suffix == ".png"]
    assert "Synthetic" not in page


@pytest.mark.usefixtures("undrawn")
def test_synthetic_results_are_called_so_on_every_page(tmp_path: Path) -> None:
    runs = grid(LINEAR)
    write_report(suite_of(experiment_of(runs)), pool_of(runs), tmp_path)
    for name in ("index.html", "README.md"):
        assert "made up for tests" in (tmp_path / name).read_text()


@pytest.mark.usefixtures("undrawn")
def test_results_of_other_suites_are_left_out() -> None:
    mine, other = run_of(LINEAR, "mamba"), run_of(LINEAR, "s4")
    files = contents(suite_of(experiment_of([mine])), pool_of([mine, other]), {})
    assert b"1 of 1 planned runs finished" in files["index.html"]
    assert b"S4" not in files["tables/figure2-linear-regression-results.csv"]


# --- variants ----------------------------------------------------------------------------------


def test_runs_that_differ_in_more_than_rate_and_seed_are_never_pooled() -> None:
    adam = run_of(LINEAR, "mamba")
    adamw = Run.model_validate(
        {
            **adam.model_dump(),
            "architecture": adam.architecture,
            "task": LINEAR,
            "optimizer": {"name": "adamw"},
        }
    )
    task = task_of([adam, adamw], pool_of([adam, adamw]))
    assert list(task.series) == ["Mamba, adam", "Mamba, adamw"]
    assert task.candidates["chosen"].tolist() == [True, True]


def test_variants_are_named_by_their_options_in_words_and_the_plain_one_by_its_name() -> None:
    plain = run_of(LINEAR, "gated_deltanet")
    options: list[dict[str, Any]] = [{}, {"negative_eigenvalues": True}, {"gate": False, "householders": 2}]
    runs = [
        plain.model_copy(update={"architecture": plain.architecture.with_options(chosen)})
        for chosen in options
    ]
    assert list(task_of(runs, pool_of(runs)).series) == [
        "Gated DeltaNet",
        "Gated DeltaNet, β < 2",
        "Gated DeltaNet, without gate, 2 Householder products",
    ]


def test_rows_of_some_runs_are_named_among_these_runs_alone_and_stand_in_their_order() -> None:
    mamba, s4 = grid(LINEAR, ["mamba", "s4"])
    variant = run_of(LINEAR, "mamba", batch_size=32)
    results = results_frame([mamba, variant, s4], pool_of([mamba, variant, s4]), {})
    assert set(results["series"]) == {"Mamba, batch size 64", "Mamba, batch size 32", "S4"}
    rows = of_runs(results, [s4, mamba])
    assert list(rows["series"].unique()) == ["S4", "Mamba"]
    assert list(rows["id"].unique()) == [s4.id, mamba.id]


def test_every_column_of_the_frame_is_explained() -> None:
    explained = re.findall(r"^ {4,8}([a-z_, ]+): ", ResultRow.__doc__ or "", re.MULTILINE)
    assert {name for names in explained for name in names.split(", ")} == set(ResultRow._fields)


def test_heads_that_follow_from_the_size_make_no_variant() -> None:
    base = run_of(LINEAR, "transformer", 4, 256)
    few = Run.model_validate(
        {
            **base.model_dump(),
            "architecture": base.architecture,
            "task": LINEAR,
            "size": {"layers": 2, "width": 64, "heads": 2},
        }
    )
    assert list(task_of([base, few], Pool()).series) == ["Transformer"]


def test_tasks_of_one_name_are_told_apart_by_what_differs() -> None:
    runs = [run_of(task_named("sparse_linear_regression", n_points=n)) for n in (41, 101)]
    names = results_frame(runs, Pool(), {})["task"].tolist()
    assert len(set(names)) == 2
    assert all(name.startswith("Sparse linear regression, ") for name in names)


# --- files -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    runs = grid(LINEAR, ["mamba", "mambaformer"], learning_rates=(1e-4, 2e-4))
    write_pool(tmp_path / "results", runs)
    suite = suite_of(experiment_of(runs))
    first = contents(suite, load(tmp_path / "results"), {})
    assert contents(suite, load(tmp_path / "results"), {}) == first
    assert {Path(name).suffix for name in first} == {".html", ".md", ".csv", ".tex", ".svg", ".png", ".pdf"}


@pytest.mark.usefixtures("undrawn")
def test_numbers_behind_a_figure_are_beside_it() -> None:
    runs = grid(LINEAR, ["mamba", "s4"])
    files = contents(suite_of(experiment_of(runs)), pool_of(runs), {})
    for name in [name for name in files if name.startswith("figures/")]:
        assert f"tables/{Path(name).stem}.csv" in files


@pytest.mark.usefixtures("undrawn")
def test_a_later_report_removes_its_own_old_files_and_no_others(tmp_path: Path) -> None:
    runs = grid(LINEAR, ["mamba"])
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.svg").write_text("kept")
    write_report(suite_of(experiment_of(runs, name="old")), pool_of(runs), tmp_path)
    write_report(suite_of(experiment_of(runs, name="new")), pool_of(runs), tmp_path)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "mine.svg" in names
    assert not any(name.startswith("old") for name in names)
    assert any(name.startswith("new") for name in names)


@pytest.mark.usefixtures("undrawn")
def test_a_manifest_that_points_elsewhere_removes_nothing_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "files.txt").write_text(f"../outside.txt\n{outside}\n")
    write_report(suite_of(experiment_of(grid(LINEAR, ["mamba"]))), Pool(), folder)
    assert outside.read_text() == "kept"


class _Page(html.parser.HTMLParser):
    """Tags, ids, and every attribute that makes a browser fetch something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.labels = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.labels += tag == "svg" and bool(attributes.get("aria-label"))
        self.links += [value for key, value in attrs if tag == "a" and key == "href" and value]
        if tag != "a":
            self.loads += [
                value
                for key, value in attrs
                if key in ("src", "href", "srcset", "data", "poster", "xlink:href") and value
            ]


@pytest.fixture(scope="module")
def page() -> str:
    tasks = [LINEAR, task_named("sparse_parity", n_points=5)]
    runs = [run for task in tasks for run in grid(task, ["mamba", "s4"], learning_rates=(1e-4, 2e-4))]
    files = contents(suite_of(experiment_of(runs)), pool_of(runs), {})
    return files["index.html"].decode()


@pytest.mark.slow
def test_page_fetches_nothing_and_runs_its_own_script_alone(page: str) -> None:
    parsed = _Page(page)
    assert all(load.startswith(("#", "data:,")) for load in parsed.loads)
    assert parsed.tags.count("script") == 2  # the runs as data, and what tells of them
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert not any("//" in link for link in parsed.links)


def test_page_has_unique_ids_and_describes_its_figures(page: str) -> None:
    parsed = _Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.labels == parsed.tags.count("svg") == 7  # Figure 2, and three for each of two tasks
    targets = {link[1:] for link in parsed.links if link.startswith("#")}
    assert targets <= set(parsed.ids)
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert references <= set(parsed.ids)


@pytest.mark.usefixtures("undrawn")
def test_links_lead_to_files_that_are_written(tmp_path: Path) -> None:
    runs = grid(LINEAR, ["mamba"])
    write_report(suite_of(experiment_of(runs)), pool_of(runs), tmp_path)
    links = [link for link in _Page((tmp_path / "index.html").read_text()).links if not link.startswith("#")]
    links += re.findall(r"\]\(([^)#]+)\)", (tmp_path / "README.md").read_text())
    assert links
    assert all((tmp_path / link).is_file() for link in links)


NASTY = "<script>alert(1)</script> $x^{ | `_*"


@pytest.mark.slow
def test_malicious_names_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    run = run_of(LINEAR, "mamba")
    evil = run.model_copy(update={"architecture": run.architecture.model_copy(update={"name": NASTY})})
    pool = pool_with(
        runs={evil.id: result_of(evil, 0.5, provenance={"device": NASTY, "commit": NASTY})},
    )
    pool.problems.append(NASTY)
    experiment = experiment_of([evil], name="../../" + NASTY, description=NASTY, rebuilds=NASTY)
    suite = suite_of(experiment, name=NASTY, description=NASTY)
    written = write_report(suite, pool, tmp_path / "report")
    assert all(path.resolve().is_relative_to(tmp_path / "report") for path in written)
    page = (tmp_path / "report" / "index.html").read_text()
    assert _Page(page).tags.count("script") == 2
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "<script>" not in (tmp_path / "report" / "README.md").read_text()


def test_dark_and_light_pages_have_readable_colours() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert all(contrast(look.colour, "#ffffff") >= 3 for look in LOOKS)
    assert all(contrast(look.dark, "#0d1117") >= 3 for look in LOOKS)
    assert contrast(INK, "#ffffff") >= 4.5
    assert contrast(MUTED, "#ffffff") >= 4.5


def test_an_architecture_keeps_its_look_whatever_stands_beside_it() -> None:
    alone, together = looks(["mamba"]), looks(["mamba", "another", "s4"])
    assert alone["mamba"] == together["mamba"]
    assert len({look.marker for look in together.values()}) == 3


# --- provenance --------------------------------------------------------------------------------


def test_results_on_different_prompts_are_warned_about() -> None:
    one, two = grid(LINEAR, ["mamba", "s4"])
    other = {"report": {"count": 1280, "sha256": "c" * 64}, "selection": {"count": 1280, "sha256": "b" * 64}}
    pool = pool_with(runs={one.id: result_of(one), two.id: result_of(two, prompts=other)})
    tasks = {one.task_id: "Linear regression"}
    warnings = summarise(pool, [one.id, two.id], tasks).warnings
    assert len(warnings) == 1
    assert "2 different sets of test prompts" in warnings[0]
    same = pool_of([one, two])
    same.baselines[one.task_id] = baselines_record_of(baselines_of(one))
    assert summarise(same, [one.id, two.id], tasks).warnings == []


def test_uncommitted_code_is_flagged() -> None:
    run = run_of(LINEAR)
    pool = pool_with(runs={run.id: result_of(run, provenance={"dirty": True})})
    summary = summarise(pool, [run.id], {run.task_id: "Linear regression"})
    assert "1 of 1 results come from code with uncommitted changes." in summary.warnings
    assert ("commit", [("0123456789ab with uncommitted changes", 1)]) in summary.rows


def test_provenance_without_any_known_field_is_no_error() -> None:
    run = run_of(LINEAR)
    result = result_of(run)
    result["provenance"] = {}
    summary = summarise(pool_with(runs={run.id: result}), [run.id], {run.task_id: "Linear regression"})
    assert summary.newest is None


def test_training_hours_are_summed_by_device() -> None:
    one, two, three = grid(LINEAR, ["mamba", "s4", "transformer"])
    spent = {one: ("H100", 3600.0), two: ("H100", 7200.0), three: ("CPU", 1800.0)}
    pool = pool_with(
        runs={
            run.id: result_of(run, provenance={"device": device, "train_seconds": seconds})
            for run, (device, seconds) in spent.items()
        }
    )
    rows = dict(summarise(pool, [run.id for run in spent], {one.task_id: "Linear regression"}).rows)
    assert rows["training hours, H100"] == [("3.00", 2)]
    assert rows["training hours, CPU"] == [("0.50", 1)]
    assert rows["seeds"] == [("0", 3)]


def test_deviations_are_those_of_the_suites_tasks_and_say_which_side_its_runs_take() -> None:
    text, code = (
        run_of(task_named("sparse_parity", subset=subset, cross_entropy=entropy))
        for subset, entropy in (("per_prompt", "logits"), ("per_batch", "sigmoid"))
    )
    mixed = run_of(task_named("sparse_parity", subset="per_batch", cross_entropy="logits"))
    table = deviations(suite_of(experiment_of([text, code, mixed])))
    assert {"subset", "cross_entropy"} <= {row[1].text for row in table.rows}
    assert "evaluation_pattern" not in {row[1].text for row in table.rows}  # of outlier tasks
    assert "paper 1, released code 1, mixed 1" in table.caption


@pytest.mark.usefixtures("undrawn")
def test_files_set_aside_are_listed(tmp_path: Path) -> None:
    runs = grid(LINEAR, ["mamba"])
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "half.json").write_text('{"format": 1,')
    write_report(suite_of(experiment_of(runs)), load(tmp_path / "results"), tmp_path / "report")
    assert "half.json" in (tmp_path / "report" / "index.html").read_text()


# --- small things ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (0.01, "0.01"), (1e-3, "10⁻³"), (2e-5, "2×10⁻⁵"), (1e17, "10¹⁷")]
)
def test_ticks_are_written_as_people_do(value: float, text: str) -> None:
    assert tick_label(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (4000.0, "4000"),
        (7412.0, "7410"),
        (12340.0, "1.23 × 10⁴"),
        (9.9999e-5, "1.00 × 10⁻⁴"),
        (-0.01234, "−0.0123"),
        (-9.9999e-5, "−1.00 × 10⁻⁴"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert error_text(value) == text


def test_text_is_escaped_for_markdown_and_latex() -> None:
    assert markdown("a|b\n<c>") == r"a\|b \<c\>"
    assert latex("50 % of x_1 × 10⁻³") == r"50 \% of x\_1 $\times$ 10$^{-3}$"


def test_slugs_are_safe_and_unique() -> None:
    names: set[str] = set()
    assert [slug(name, names) for name in ("A b", "a/b", "../..", "")] == [
        "a-b",
        "a-b-2",
        "unnamed",
        "unnamed-2",
    ]


def test_parameters_are_written_with_three_digits() -> None:
    assert [millions(n) for n in (999, 467_200, 3_211_264, 85_211_136)] == ["999", "467K", "3.21M", "85.2M"]


@pytest.mark.slow
def test_reporting_imports_no_torch_and_importing_it_loads_nothing(tmp_path: Path) -> None:
    script = f"""
import sys
import bench.cli.report, bench.report.text
assert not {{"pandas", "matplotlib", "torch"}} & sys.modules.keys()
sys.path.insert(0, {str(ROOT / "tests/support")!r})
from pathlib import Path
from synthetic import experiment_of, grid, pool_of, suite_of, task_named
runs = grid(task_named(n_points=5), ["mamba"])
from bench.report.write import write_report
write_report(suite_of(experiment_of(runs)), pool_of(runs), Path({str(tmp_path)!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
