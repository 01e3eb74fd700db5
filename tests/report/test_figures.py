"""The paper's figures and tables: what they are drawn from, what they show, and what they say is missing."""

from __future__ import annotations

import inspect
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from synthetic import (
    baselines_of,
    experiment_of,
    grid,
    pool_of,
    pool_with,
    prompts_of,
    record_of,
    result_of,
    run_of,
    scores_of,
    suite_of,
    task_named,
)
from synthetic_paper import paper as paper_results
from synthetic_paper import paper_claims, paper_verdicts

from bench import suite as suites
from bench.check import check
from bench.errors import InvalidFile
from bench.optimizers import AdamW
from bench.paper.exhibits import EXHIBITS, Exhibit
from bench.report import figures
from bench.report.data import budgets
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.figures import drawing
from bench.report.figures.convergence import convergence, figure_7
from bench.report.figures.drawing import all_encoded
from bench.report.figures.flops import figure_2, figure_3, figure_9
from bench.report.figures.state import score_by_state
from bench.report.figures.varied import figure_4, figure_10
from bench.report.page.exhibits import DrawnExhibit, _function, drawn_exhibit, exhibits
from bench.report.page.sections import section
from bench.report.page.svg import inline
from bench.report.style import looks
from bench.report.tables.equal_flops import matching_table, ranking_table
from bench.report.tables.languages import table_4, table_5
from bench.report.tables.parameters import table_6
from bench.report.tables.printed import table_1, table_3
from bench.report.tables.table import as_latex, as_markdown
from bench.report.write import write_report
from bench.results import Pool
from bench.run import Run
from bench.suite import Suite
from bench.uncertainty import SeedErrors

LINEAR = task_named(n_points=5)


def frame_of(runs: Any, pool: Pool | None = None) -> pd.DataFrame:
    runs = list(runs)
    return results_frame(runs, pool_of(runs) if pool is None else pool, {})


def nothing_known() -> pd.DataFrame:
    return references_frame([], Pool())


def drawn(suite: Suite, pool: Pool, cited: Sequence[str] = ()) -> dict[str, DrawnExhibit]:
    results, references = results_frame(suite.runs, pool, {}), references_frame(suite.runs, pool)
    return {exhibit.number: exhibit for exhibit in exhibits(suite, results, references, cited)}


# --- which experiments ------------------------------------------------------------------------


def test_figures_are_drawn_from_the_experiments_that_name_them_whatever_they_are_called() -> None:
    suite = suite_of(
        experiment_of(grid(LINEAR), "surprise", rebuilds="Figures 2 and 9, left"),
        experiment_of(grid(task_named("decision_tree")), "another", rebuilds="Figure 2"),
        experiment_of(grid(task_named("sparse_parity")), "figure2_by_name_only", rebuilds=""),
    )
    by_number = drawn(suite, Pool())
    assert list(by_number) == ["Figure 2", "Table 6", "Figure 9"]
    assert by_number["Figure 2"].tasks == ["Linear regression", "Decision tree"]
    assert by_number["Figure 2"].origin == "surprise (Figures 2 and 9, left), another"


def test_what_claims_are_about_is_listed_as_missing_when_nothing_rebuilds_it() -> None:
    suite = suite_of(experiment_of(grid(LINEAR)))
    by_number = drawn(suite, Pool(), ["Figure 3", "Table 4", "Table 5"])
    assert by_number["Figure 3"].notes == ["Missing: no experiment of this suite rebuilds it."]
    assert by_number["Figure 3"].drawing is None
    for number in ("Table 4", "Table 5"):
        (table,) = by_number[number].tables
        assert by_number[number].notes == ["Missing: no experiment of this suite rebuilds it."]
        assert all(row[-1].text.endswith("missing: no experiment") and row[-1].absent for row in table.rows)


@pytest.mark.parametrize("name", EXHIBITS)
def test_every_exhibit_has_a_function_that_takes_its_data(name: str) -> None:
    exhibit = EXHIBITS[name]
    data = {"none": 0, "summed up": 2, "own": 2 if exhibit.is_figure or exhibit.baselines else 1}
    assert len(inspect.signature(_function(exhibit)).parameters) == data[exhibit.data]


def test_a_figure_that_returns_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_of(experiment_of(grid(LINEAR), rebuilds="Figure 2"))
    monkeypatch.setattr("bench.report.figures.flops.figure_2", lambda results, references: {})
    with pytest.raises(TypeError, match=r"figures\.flops\.figure_2 returned a dict, expected a Drawing"):
        drawn(suite, pool_of(suite.runs), ["Figure 2"])


def test_a_figure_of_ones_own_is_a_file_and_a_line_in_the_list_of_exhibits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "error_by_width.py").write_text(OWN_FIGURE, encoding="utf-8")
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    exhibit = Exhibit("error against width", "figures.error_by_width.draw")
    monkeypatch.setitem(EXHIBITS, "error_by_width", exhibit)
    (tmp_path / "x.yaml").write_text(OWN_SUITE, encoding="utf-8")
    suite = suites.load(tmp_path / "x.yaml")
    write_report(suite, pool_of(suite.runs), tmp_path / "report")
    assert (tmp_path / "report/figures/error_by_width.svg").exists()
    for page in ("index.html", "README.md"):
        text = (tmp_path / "report" / page).read_text(encoding="utf-8").replace("\\_", "_")
        assert "error against width" in text
        assert "figures/error_by_width.png" in text
    monkeypatch.delitem(EXHIBITS, "error_by_width")
    monkeypatch.setitem(EXHIBITS, "error_by_widths", exhibit)
    with pytest.raises(InvalidFile) as refused:
        suites.load(tmp_path / "x.yaml")
    (problem,) = refused.value.problems
    assert "x.yaml:5:15: rebuilds: there is no 'error_by_width'" in problem
    assert "did you mean 'error_by_widths'?" in problem


OWN_FIGURE = """
from matplotlib.figure import Figure
from bench.report.figures.drawing import Drawing

def draw(results, references):
    figure = Figure()
    figure.add_subplot().plot(results["width"], results["error"], "o")
    return Drawing("own", figure, "Caption.", "In words.", results[["width", "error"]])
"""
OWN_SUITE = """name: x
defaults: {tasks: linear_regression, learning_rates: 1e-3, steps: 10}
experiments:
  widths:
    rebuilds: error_by_width
    architectures: mamba
    sizes: [{layers: 2, width: 16}, {layers: 2, width: 32}]
"""


# --- what is not there ------------------------------------------------------------------------


def test_a_figure_names_what_was_planned_and_is_not_drawn() -> None:
    runs = grid(LINEAR, ("transformer", "mamba", "s4"), ((2, 128), (4, 256)))
    pool = pool_with(runs={run.id: result_of(run, 0.5) for run in runs[:3]})
    drawn = figure_2(frame_of(runs, pool), nothing_known())
    texts = " ".join(text.get_text() for text in drawn.figure.texts)
    assert "Mamba 4×256: missing (1 of 1 run)" in texts
    assert "S4: missing (2 of 2 runs)" in texts
    assert set(zip(drawn.numbers["series"], drawn.numbers["size"], strict=True)) == {
        ("Transformer", "2×128"), ("Transformer", "4×256"), ("Mamba", "2×128"),
    }  # fmt: skip


def test_points_that_lack_seeds_are_hollow_and_said_to_be() -> None:
    runs = grid(LINEAR, ("mamba",), seeds=(0, 1, 2))
    complete = figure_2(frame_of(runs), nothing_known())
    part = figure_2(frame_of(runs, pool_of(runs[:2])), nothing_known())
    noted = [
        any("Hollow" in text.get_text() for text in drawing.figure.texts) for drawing in (complete, part)
    ]
    assert noted == [False, True]
    assert set(part.numbers["seeds"]) == {2}
    assert set(part.numbers["seeds_planned"]) == {3}

    def hollow(drawing: Any) -> int:
        artists = drawing.figure.axes[0].collections
        points = [a for a in artists if isinstance(a, PathCollection) and len(a.get_offsets()) == 1]
        return sum(bool((point.get_facecolor()[:, :3] == 1).all()) for point in points)

    assert (hollow(complete), hollow(part)) == (0, 3)


def test_an_unknown_architecture_and_a_diverged_run_are_drawn_and_named() -> None:
    plain, other = grid(LINEAR, ("mamba", "s4"))
    odd = other.model_copy(update={"architecture": other.architecture.model_copy(update={"name": "retnet"})})
    pool = pool_with(runs={plain.id: result_of(plain, outcome="diverged"), odd.id: result_of(odd, 0.3)})
    drawn = figure_2(frame_of([plain, odd], pool), nothing_known())
    assert set(drawn.numbers["series"]) == {"retnet"}
    assert "Mamba 4×256: diverged (1 of 1 run)" in " ".join(text.get_text() for text in drawn.figure.texts)


# --- what they show ---------------------------------------------------------------------------


def test_the_rate_is_chosen_on_other_prompts_than_the_figure_shows() -> None:
    low, high = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 4e-4))
    results = {low.id: result_of(low, 0.3, selection=0.2), high.id: result_of(high, 0.1, selection=0.25)}
    drawn = figure_2(frame_of([low, high], pool_with(runs=results)), nothing_known())
    assert set(drawn.numbers["learning_rate"]) == {1e-4}
    assert drawn.numbers["value"].tolist() == pytest.approx([0.3] * 3)


def test_figure_3_shows_the_headline_on_the_left_and_clean_prompts_on_the_right() -> None:
    run = run_of(task_named("many_outlier_regression"))
    result = result_of(run, [1.0] * 49 + [0.25, 1.0])
    for checkpoint in result["checkpoints"]:
        clean = [20 * 0.9] * 512
        clean[49] = 20 * 0.4
        checkpoint["evaluations"]["clean_prompts"] = scores_of(run.task, clean, "clean_prompts")
    drawn = figure_3(frame_of([run], pool_with(runs={run.id: result})), nothing_known())
    by_panel = drawn.numbers.groupby("panel", sort=False)["value"].first()
    assert by_panel.tolist() == pytest.approx([0.25, 0.4])
    left, right = drawn.figure.axes
    assert "at the 50th clean example" in left.get_title("left").replace("\n", " ")
    assert "clean prompts" in right.get_title("left").replace("\n", " ")
    assert left.get_ylabel() == "normalised error"


def test_the_floor_beside_a_headline_is_read_at_the_position_of_the_headline() -> None:
    run = run_of(task_named("many_outlier_regression"))
    baselines = baselines_of(run)
    floor = next(baseline for baseline in baselines["baselines"] if baseline["kind"] == "floor")
    at_headline = run.task.evaluations()["report"].positions[49]
    floor["mean"] = [
        run.task.error_scale * (0.1 if place == at_headline else 0.5) for place in floor["positions"]
    ]
    pool = pool_with({run.id: result_of(run, 0.3)}, {run.task_id: baselines})
    results, references = results_frame([run], pool, {}), references_frame([run], pool)
    experiment = experiment_of([run], rebuilds="")
    drawings = section(experiment, results, references, looks(["transformer", "mamba"]), set()).drawings()
    shown = [drawing.figure for drawing in drawings if drawing.name.endswith(("-flops", "-training"))]
    assert len(shown) == 2
    for figure in (*shown, score_by_state(results, references).figure):
        lines = figure.axes[-1].get_lines()
        levels = [line.get_ydata()[0] for line in lines if list(line.get_xdata()) == [0, 1]]
        assert levels == pytest.approx([1.0, 0.1])


def test_figure_3_says_which_runs_were_not_evaluated_on_clean_prompts() -> None:
    run = run_of(task_named("many_outlier_regression"))
    result = result_of(run, 0.5)
    for checkpoint in result["checkpoints"]:
        del checkpoint["evaluations"]["clean_prompts"]
    drawn = figure_3(frame_of([run], pool_with(runs={run.id: result})), nothing_known())
    assert "not evaluated on clean prompts" in " ".join(text.get_text() for text in drawn.figure.texts)


def test_figure_4_reads_the_hidden_width_from_the_tasks() -> None:
    tasks = [task_named("chain_of_thought", hidden=hidden) for hidden in (4, 8, 16)]
    sizes = ((3, 64), (6, 128), (12, 256))
    runs = [*grid(tasks[1], sizes=sizes), *(run for task in tasks for run in grid(task, sizes=sizes[1:2]))]
    drawn = figure_4(frame_of({run.id: run for run in runs}.values()), nothing_known())
    left, right = (part for _, part in drawn.numbers.groupby("panel", sort=False))
    assert sorted(set(left["size"])) == ["12×256", "3×64", "6×128"]
    assert sorted(set(right["x"])) == [4, 8, 16]
    assert set(right["size"]) == {"6×128"}


def test_figure_7_takes_means_of_seeds_that_all_learned_and_counts_those_that_did_not() -> None:
    parity = task_named("sparse_parity")
    runs = grid(parity, ("mamba", "s4_mamba", "transformer"), seeds=(0, 1, 2))
    steps = {
        "mamba": (100_000, 300_000, 500_000),
        "s4_mamba": (100_000, 300_000, None),
        "transformer": (None, None, None),
    }
    pool = pool_of(runs)
    for run in runs:
        learned = steps[run.architecture.name][run.seed]
        pool.runs[run.id] = pool.runs[run.id].model_copy(update={"convergence_step": learned})
    data, absent = convergence(frame_of(runs, pool))
    assert absent == []
    assert data.drop_duplicates("series").set_index("series")["mean"].to_dict() == {
        "Mamba": 300_000,
        "S4-Mamba": 500_000,
        "Transformer": 500_000,
    }
    drawn = figure_7(frame_of(runs, pool), nothing_known())
    written = {text.get_text() for text in drawn.figure.axes[0].texts}
    assert written == {"300k", "1 of 3 never", "never"}
    assert len(drawn.spots) == 9
    assert drawn.figure.axes[0].get_xlim() == (0, 500_000)


def test_figure_7_has_no_empty_axis_behind_the_last_seed_if_all_learned() -> None:
    runs = grid(task_named("sparse_parity"), ("mamba",), seeds=(0, 1))
    pool = pool_of(runs)
    for run in runs:
        pool.runs[run.id] = pool.runs[run.id].model_copy(update={"convergence_step": 10_000 * (1 + run.seed)})
    drawn = figure_7(frame_of(runs, pool), nothing_known())
    assert drawn.figure.axes[0].get_xlim() == (0, pytest.approx(21_000))
    assert "Training may take 500k steps." in " ".join(text.get_text() for text in drawn.figure.texts)


def test_figures_9_and_10_have_an_optimizer_a_side() -> None:
    adam = grid(LINEAR, ("mamba",), ((2, 128), (8, 64)))
    adamw = [Run.model_validate({**dict(run), "optimizer": AdamW()}) for run in adam]
    frame = frame_of([*adam, *adamw])
    nine, ten = figure_9(frame, nothing_known()), figure_10(frame, nothing_known())
    titles = [axes.get_title(loc="left").partition(":")[0] for axes in nine.figure.axes]
    assert titles == ["Adam", "AdamW with schedule"]
    assert set(nine.numbers["series"]) == {"Mamba"}
    assert ten.numbers["series"].unique().tolist() == ["393K"]  # 12 · 2 · 128² = 12 · 8 · 64²
    assert sorted(set(ten.numbers["x"])) == [64, 128]
    assert ten.numbers["value"].tolist() == pytest.approx(
        [error for optimizer in ("adam", "adamw") for error in frame[
            (frame["optimizer"] == optimizer) & frame["at_end"] & (frame["evaluation"] == "report")
        ]["error_last"]]
    )  # fmt: skip


def test_table_1_puts_our_symbol_beside_the_papers_and_none_without_all_three_models() -> None:
    runs = grid(task_named("decision_tree"), ("transformer", "mamba", "mambaformer"))
    errors = dict(zip(runs, (0.01, 0.2, 0.012), strict=True))
    results = {run.id: result_of(run, error) for run, error in errors.items()}
    pool = pool_with(results, {run.task_id: baselines_of(run) for run in runs})
    complete = table_1(frame_of(runs, pool), references_frame(runs, pool))
    row = next(row for row in complete.rows if row[0].text == "Decision tree")
    assert [cell.text for cell in row[1:]] == ["✓ / ✓ 0.01", "▲ / ▲ 0.2", "✓ / ✓ 0.012"]
    assert all(cell.best for cell in row[1:])
    unbounded = table_1(frame_of(runs, pool_with(results)), references_frame(runs, Pool()))
    row = next(row for row in unbounded.rows if row[0].text == "Decision tree")
    assert [cell.text for cell in row[1:]] == [f"{mark} / missing: no floor is recorded" for mark in "✓▲✓"]
    part = table_1(frame_of(runs, pool_of(runs[:2])), references_frame(runs, pool))
    row = next(row for row in part.rows if row[0].text == "Decision tree")
    assert [cell.text for cell in row[1:]] == [
        "✓ / missing: compared with missing models",
        "▲ / missing: compared with missing models",
        "✓ / missing (1 of 1 run)",
    ]
    assert len(complete.rows) == 9
    assert len(complete.numbers) == 27


def test_table_3_finds_its_cells_by_queries_and_width() -> None:
    runs = [
        run
        for m in (4, 16)
        for run in grid(task_named("vector_mqar", queries=m), ("mamba",), ((4, 64), (4, 128)))
    ]
    pool = pool_with(runs={run.id: result_of(run, 0.1 * (index + 1)) for index, run in enumerate(runs)})
    table = table_3(frame_of(runs, pool))
    mamba = table.numbers[table.numbers["architecture"] == "mamba"]
    assert mamba["ours"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert mamba["paper"].tolist() == [0.864, 0.164, 0.723, 0.15]
    other_rows = table.numbers[table.numbers["architecture"] != "mamba"]
    assert set(other_rows["state"]) == {"no experiment"}
    assert other_rows["ours"].isna().all()


# --- spots and files --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_spot_lies_where_its_point_is_drawn() -> None:
    """The circle of the page against matplotlib's own line through a lone point."""
    run = run_of(LINEAR, "mamba")
    result = result_of(run, 0.3)
    result["checkpoints"] = result["checkpoints"][-1:]
    drawn = figure_2(frame_of([run], pool_with(runs={run.id: result})), nothing_known())
    svg = all_encoded({"f": drawn.figure})["f"]["svg"]
    page = inline(svg, "f", "what it shows", drawn.spots)
    circle = re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)
    colour = looks(["mamba"])["mamba"].colour.removeprefix("#")
    line = r'd="M([\d.]+) ([\d.]+)" clip-path="[^"]*" style="fill:none;stroke:var\(--f-'
    point = re.search(line + colour, page)
    assert circle
    assert point  # a line of one point
    drawn_at = (float(point[1]), float(point[2]))
    assert (float(circle[1]), float(circle[2])) == pytest.approx(drawn_at, abs=0.1)
    assert f'data-first="{run.id}"' in page
    assert 'data-architecture="mamba"' in page


@pytest.mark.slow
def test_figures_are_the_same_whoever_encodes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frame_of(grid(LINEAR, ("mamba",)))
    figures = {f"f{index}": figure_2(frame, nothing_known()).figure for index in range(2)}
    alone = all_encoded({"f1": figures["f1"]})  # here, not in another process
    monkeypatch.setattr(drawing, "FIGURES_A_WORKER", 1)
    together = all_encoded(figures)
    assert list(together) == list(figures)
    assert together["f0"] == together["f1"] == alone["f1"]


OF_THE_PAPER = [name for name in EXHIBITS if name.startswith(("Figure ", "Table "))]


@pytest.fixture(scope="module")
def paper() -> tuple[Suite, Pool]:
    return paper_results()


@pytest.mark.slow
def test_with_every_run_there_every_figure_and_table_is_filled(paper: tuple[Suite, Pool]) -> None:
    suite, pool = paper
    assert all(result.provenance.synthetic for result in pool.runs.values())
    for number, exhibit in drawn(suite, pool, OF_THE_PAPER).items():
        absent = [cell.text for table in exhibit.tables for row in table.rows for cell in row if cell.absent]
        if number in ("Table 4", "Table 5"):
            assert absent
            continue
        assert absent == [], number
        assert exhibit.tables[0].rows
        if number.startswith("Figure"):
            assert exhibit.drawing is not None
            texts = " ".join(text.get_text() for text in exhibit.drawing.figure.texts)
            assert "not drawn" not in texts.lower()
            assert len(exhibit.drawing.spots) >= 12
            assert all(0 <= spot.x <= 1 and 0 <= spot.y <= 1 for spot in exhibit.drawing.spots)
            assert all(key in pool.runs for spot in exhibit.drawing.spots for key in spot.run_ids)


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 7])
def test_whatever_part_of_the_runs_is_there_every_figure_is_drawn_and_says_what_is_missing(
    paper: tuple[Suite, Pool], every: int
) -> None:
    """Of every so many runs one has a result (of none for 0), and some of those diverged."""
    suite, pool = paper
    keys = list(pool.runs)[::every] if every else []
    part = {key: pool.runs[key] for key in keys}
    for key in keys[::5]:
        part[key] = part[key].model_copy(update={"outcome": "diverged", "checkpoints": []})
    for number, exhibit in drawn(suite, Pool(runs=part), OF_THE_PAPER).items():
        if not every and EXHIBITS[number].is_figure:
            assert exhibit.drawing is None
            assert "planned runs has a result yet" in " ".join(exhibit.notes)
        if exhibit.drawing is None or number == "Table 6":
            continue
        texts = " ".join([*(text.get_text() for text in exhibit.drawing.figure.texts), *exhibit.notes])
        assert "missing" in texts, number


@pytest.mark.slow
def test_made_up_results_are_refused_by_every_claim(paper: tuple[Suite, Pool]) -> None:
    suite, pool = paper
    refused = check(paper_claims(), suite, pool)
    assert {verdict.verdict for verdict in refused} <= {"not comparable", "missing"}
    allowed = paper_verdicts()
    assert sum(verdict.verdict == "reproduced" for verdict in allowed) > 100
    assert not any(verdict.verdict == "not comparable" for verdict in allowed), [
        verdict.reason for verdict in allowed if verdict.verdict == "not comparable"
    ]


@pytest.mark.slow
def test_table_1_and_the_claims_about_it_find_the_same_symbols(paper: tuple[Suite, Pool]) -> None:
    suite, pool = paper
    symbols = {verdict.claim: verdict.shown for verdict in paper_verdicts()}
    results, references = results_frame(suite.runs, pool, {}), references_frame(suite.runs, pool)
    (table,) = drawn_exhibit("Table 1", suite, results, references).tables
    for row in table.numbers.to_dict("records"):
        assert symbols[f"table1_{row['task']}_{row['architecture']}"] == row["ours"]


# --- at equal FLOPs ---------------------------------------------------------------------------


def standing(factor: float = 2.0, seeds: tuple[int, ...] = (0, 1, 2)) -> budgets.FrontierComparison:
    """Two architectures on one power law, the second moved to `factor` times the FLOPs."""
    runs = grid(LINEAR, ("transformer", "mamba"), ((2, 128), (4, 256), (8, 512)), seeds=seeds)
    results = {}
    for run in runs:
        slow = 1.0 if run.architecture.name == "transformer" else factor
        error = (run.training_flops_full_length() / slow / 1e13) ** -0.25
        results[run.id] = result_of(run, error)
    (comparison,) = budgets.comparisons(frame_of(runs, pool_with(runs=results)))
    return comparison


@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 2)])
def test_times_the_flops_are_those_of_a_shifted_power_law(seeds: tuple[int, ...]) -> None:
    pairs = budgets.matching(standing(2.0, seeds)).set_index(["a", "b"])
    forth, back = pairs.loc["Transformer", "Mamba"], pairs.loc["Mamba", "Transformer"]
    assert forth["factor"] == pytest.approx(2.0, rel=1e-6)
    assert back["factor"] == pytest.approx(0.5, rel=1e-6)
    assert bool(forth["falls_short"]) is True
    assert bool(back["falls_short"]) is False
    assert forth["factor_low"] < 2.0 < forth["factor_high"]


def test_one_seed_gives_times_the_flops_no_interval_and_ranks_one_over_prompts_only() -> None:
    comparison = standing(2.0, (0,))
    pairs = budgets.matching(comparison)
    assert pairs["factor"].notna().all()
    assert pairs["one_seed"].all()
    assert pairs[["factor_low", "factor_high"]].isna().all(axis=None)
    assert "one seed: no interval" in matching_table([comparison]).rows[0][2].text
    ranks = budgets.ranking(comparison)
    assert set(ranks["rank_interval"]) == set(ranks["error_interval"]) == {"prompts only"}
    assert ranks["rank_low"].notna().any()
    assert "prompts only" in ranking_table(comparison, set()).caption
    assert set(budgets.ranking(standing())["rank_interval"]) == {"prompts and seeds"}


@pytest.mark.parametrize(("seeds", "variation"), [(3, 0.1), (5, 0.02)])
def test_the_interval_of_times_the_flops_covers_the_truth_as_often_as_it_says(
    seeds: int, variation: float
) -> None:
    """Two power laws, the second at twice the FLOPs, on shared prompts: the factor is 2."""
    random = np.random.default_rng(1000 * seeds + round(100 * variation))
    trials, covered = 60, 0
    for trial in range(trials):
        prompts = random.gamma(2.0, 0.5, 320)
        models = []
        for series, slow in (("a", 1.0), ("b", 2.0)):
            for flops in (1e15, 1e16, 1e17):
                mean = (flops / slow / 1e13) ** -0.25
                training = mean * np.exp(variation * random.standard_normal((seeds, 1)) - variation**2 / 2)
                errors = training * prompts * random.gamma(4.0, 0.25, (seeds, len(prompts)))
                spread = errors.std(axis=1, ddof=1) / math.sqrt(len(prompts))
                key = f"{trial} {series} {flops}"
                model = SeedErrors(key, errors.mean(axis=1), spread, f"prompts of {trial}", errors)
                models.append(budgets.TrainedModel(series, flops, model))
        comparison = budgets.FrontierComparison("", "", {"a": "a", "b": "b"}, models)
        pair = budgets.matching(comparison).iloc[0]
        covered += pair["factor_low"] <= 2 <= pair["factor_high"]
    # A share of 0.9 of 60 trials has a standard error of 0.04; somewhat conservative is allowed.
    assert 0.85 <= covered / trials <= 0.99


def test_an_architecture_that_stops_improving_stays_in_the_ranking() -> None:
    runs = grid(LINEAR, ("transformer", "mamba"), ((2, 128), (4, 256), (8, 512)), seeds=(0, 1))
    errors = {"transformer": {128: 0.5, 256: 0.2, 512: 0.1}, "mamba": {128: 0.5, 256: 0.15, 512: 0.3}}
    results = {run.id: result_of(run, errors[run.architecture.name][run.size.width]) for run in runs}
    (comparison,) = budgets.comparisons(frame_of(runs, pool_with(runs=results)))
    table = budgets.ranking(comparison)
    last = table[table["budget"] == table["budget"].max()].set_index("series")
    assert last["error"]["Mamba"] == pytest.approx(0.15)
    assert last["rank"].notna().all()


def test_ranks_at_a_budget_are_paired_and_nothing_is_said_beyond_a_frontier() -> None:
    table = budgets.ranking(standing())
    inside = table[table["error"].notna()]
    assert set(inside[inside["series"] == "Transformer"]["rank"]) == {1.0}
    both = inside.groupby("budget").filter(lambda rows: len(rows) == 2)
    errors = both.pivot_table(index="budget", columns="series", values="error")
    assert (errors["Mamba"] / errors["Transformer"]).tolist() == pytest.approx([2**0.25] * len(errors))
    outside = table[table["error"].isna()]
    assert outside["rank"].isna().all()


def test_models_scored_on_different_prompts_get_no_intervals() -> None:
    runs = grid(LINEAR, ("transformer", "mamba"), ((2, 128), (4, 256)))
    pool = pool_of(runs)
    other = {**prompts_of(runs[0]), "report": {"count": 1280, "sha256": "c" * 64}}
    pool.runs[runs[0].id] = record_of(result_of(runs[0], prompts=other))
    (comparison,) = budgets.comparisons(frame_of(runs, pool))
    assert not comparison.paired
    assert budgets.matching(comparison)["factor_low"].isna().all()
    assert "No intervals" in ranking_table(comparison, set()).caption


def test_the_summary_has_the_transformer_as_its_measure() -> None:
    table = matching_table([standing()])
    assert table.columns == ["task", "Transformer", "Mamba"]
    assert table.rows[0][1].text == "×1"
    assert re.fullmatch(r"×2 \([\d.]+–[\d.]+\)†", table.rows[0][2].text)
    assert math.isfinite(table.numbers["factor"].iloc[0])


# --- LaTeX ------------------------------------------------------------------------------------


def test_tables_compile_in_latex(tmp_path: Path) -> None:
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on the PATH")
    found = subprocess.run(["kpsewhich", "booktabs.sty", "amssymb.sty"], capture_output=True, text=True)
    if len(found.stdout.split()) < 2:
        pytest.skip("no booktabs or amssymb")
    runs = grid(task_named("decision_tree"), ("transformer", "mamba", "mambaformer"))
    nothing = frame_of([]), references_frame([], Pool())
    tables = [
        table_1(frame_of(runs), nothing[1]), table_3(frame_of([])), table_4(*nothing), table_5(*nothing),
        table_6(),
        matching_table([standing()]), ranking_table(standing(), set()),
    ]  # fmt: skip
    body = "\n".join(as_latex(table) for table in tables)
    head = r"\documentclass{article}\usepackage{booktabs,amssymb}\begin{document}"
    (tmp_path / "all.tex").write_text(head + body + r"\end{document}", encoding="utf-8")
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-2000:]
    assert all(len(as_markdown(table).splitlines()) == len(table.rows) + 2 for table in tables)
