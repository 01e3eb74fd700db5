"""Tables of all results: nothing of a result is lost, and each figure of the paper follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command import bench as bench_command
from synthetic import baselines_of, grid, pool_with, run_of, task_named
from synthetic_paper import paper_result

from bench.json_data import digest, leaves
from bench.optimizers import AdamW
from bench.report.data.estimates import TaskResults
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.figures.accuracy import figure_5
from bench.report.figures.convergence import convergence
from bench.report.figures.flops import figure_2, figure_3, figure_8, figure_9
from bench.report.figures.varied import figure_4, figure_10
from bench.report.tables.printed import table_1, table_3
from bench.results import Pool, path_of, path_of_baselines, store
from bench.results.export import TABLES, load_table, write
from bench.results.long import POSITIONS
from bench.results.table import DESCRIBED, FURTHER, frame
from bench.run import Run, Stop
from bench.uncertainty import SeedErrors
from bench.words import architecture_name

LINEAR, TREE = task_named(n_points=6), task_named("decision_tree", n_points=8)
MANY = task_named("many_outlier_regression", n_points=80, n_dims=4, outlier_probability=0.75)
ORTHOGONAL = task_named("orthogonal_outlier_regression", n_points=104, n_dims=4)
PARITY = task_named("sparse_parity", n_points=12)
CHAINS = [task_named("chain_of_thought", n_points=6, n_dims=4, hidden=hidden) for hidden in (4, 8)]
RECALL = [task_named("vector_mqar", n_dims=4, queries=queries) for queries in (16, 32)]
SIZES, RATES, SEEDS = ((2, 64), (2, 128)), (1e-4, 3e-4), (0, 1)


def some(task: Any, *architectures: str, **fields: Any) -> list[Run]:
    usual = {"sizes": SIZES, "learning_rates": RATES, "seeds": SEEDS}
    return list(grid(task, architectures, **{**usual, **fields}))


PLANS: dict[str, list[Run]] = {
    "Figure 2": [*some(LINEAR, "transformer", "mamba"), *some(TREE, "mamba", "s4")],
    "Figure 3": [*some(MANY, "transformer", "mambaformer"), *some(ORTHOGONAL, "mamba")],
    "Figure 4": [run for task in CHAINS for run in some(task, "transformer", "mamba")],
    "Figure 5": some(PARITY, "transformer", "mamba", sizes=((2, 128),)),
    "Figure 8": some(LINEAR, "mambaformer", "standard_hybrid"),
    "Figure 9": [
        run
        for adam in some(LINEAR, "mamba")
        for run in (adam, Run.model_validate({**dict(adam), "optimizer": AdamW()}))
    ],
    "Table 3": [
        run for task in RECALL for run in some(task, "mamba", "transformer", sizes=((4, 64), (4, 128)))
    ],
}


class Case:
    """Made-up results of an exhibit: as the report reads them, and as their exported tables have them."""

    def __init__(self, runs: Iterable[Run], folder: Path) -> None:
        self.runs = list(runs)
        results = {run.id: paper_result(run) for run in self.runs}
        baselines = {run.task_id: baselines_of(run) for run in self.runs}
        pool = pool_with(results, baselines)
        self.frame, self.references = results_frame(self.runs, pool, {}), references_frame(self.runs, pool)
        for run in self.runs:
            store(path_of(folder / "results", run), results[run.id])
            path = path_of_baselines(folder / "results", run.task.name, run.task_id)
            store(path, baselines[run.task_id])
        self.tables = {}
        for name in TABLES:
            load_table(name, folder / "results").to_csv(folder / f"{name}.csv", index=False)
            self.tables[name] = pd.read_csv(folder / f"{name}.csv")
        self.results = self.tables["results"]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(PLANS[request.param], tmp_path)


CELL = ["task_id", "architecture", "layers", "width", "optimizer"]


def chosen(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's chosen learning rate: the lowest mean error on the validation prompts."""
    ends = results[results["is_last"]]
    means = ends.groupby([*CELL, "learning_rate"])["selection_error"].mean().reset_index()
    best = means.sort_values("selection_error").drop_duplicates(CELL)
    return results.merge(best[[*CELL, "learning_rate"]], on=[*CELL, "learning_rate"])


def means(rows: pd.DataFrame, value: str, keys: tuple[str, ...] = ("step",)) -> dict[tuple[Any, ...], float]:
    """The mean over seeds of a column, by series, size and `keys`."""
    named = rows.assign(
        series=rows["architecture"].map(architecture_name),
        size=rows["layers"].astype(str) + "×" + rows["width"].astype(str),
    )
    return named.groupby(["series", "size", *keys])[value].mean().to_dict()  # type: ignore[no-any-return]


def shown(numbers: pd.DataFrame, keys: tuple[str, ...] = ("step",), value: str = "value") -> dict[Any, float]:
    """The numbers that a report draws, by series, size and `keys`."""
    table = {
        tuple(row[key] for key in ("series", "size", *keys)): float(row[value])
        for row in numbers.to_dict("records")
    }
    assert len(table) == len(numbers) > 0
    return table


@pytest.mark.parametrize("case", ["Figure 2", "Figure 8"], indirect=True)
def test_figures_2_and_8_error_against_flops_follow_from_the_tables(case: Case) -> None:
    figure = figure_2 if "s4" in set(case.results["architecture"]) else figure_8
    numbers = figure(case.frame, case.references).numbers
    for panel, drawn in numbers.groupby("panel"):
        name = "linear_regression" if str(panel).startswith("Linear regression") else "decision_tree"
        rows = chosen(case.results[case.results["task"] == name])
        assert shown(drawn) == pytest.approx(means(rows, "error"))
        flops = shown(drawn, value="training_flops")
        assert flops == pytest.approx(means(rows, "training_flops_full_length"))
        assert shown(drawn, value="learning_rate") == pytest.approx(means(rows, "learning_rate"))


@pytest.mark.parametrize("case", ["Figure 2"], indirect=True)
def test_intervals_over_prompts_and_seeds_follow_from_the_tables(case: Case) -> None:
    numbers = figure_2(case.frame, case.references).numbers
    ends = numbers[numbers["step"] == numbers["steps"]]
    prompts = case.tables["prompts"].pivot(index="id", columns="prompt", values="error")
    results = case.results[case.results["is_last"]].set_index("id")
    for row in ends.to_dict("records"):
        seeds = row["run_ids"].split()
        runs = results.loc[seeds]
        model = SeedErrors(
            "", runs["error"].to_numpy(), runs["error_se"].to_numpy(), "", prompts.loc[seeds].to_numpy()
        )
        assert row["standard_error"] == pytest.approx(model.standard_error)
        assert (row["high"] - row["low"]) / 2 == pytest.approx(model.half_width)


@pytest.mark.parametrize("case", ["Figure 3"], indirect=True)
def test_both_halves_of_figure_3_follow_from_the_tables(case: Case) -> None:
    numbers = figure_3(case.frame, case.references).numbers
    assert numbers["panel"].nunique() == 4
    for panel, drawn in numbers.groupby("panel"):
        kind = "many" if str(panel).startswith("Many") else "orthogonal"
        rows = chosen(case.results[case.results["task"].str.startswith(kind)])
        column = "clean_prompts.error" if "clean prompts" in str(panel) else "error"
        assert shown(drawn) == pytest.approx(means(rows, column))


@pytest.mark.parametrize("case", ["Figure 4"], indirect=True)
def test_figure_4_follows_from_the_tables(case: Case) -> None:
    numbers = figure_4(case.frame, case.references).numbers
    ends = chosen(case.results[case.results["is_last"]])
    first = ends[ends["task_id"] == case.runs[0].task_id]
    by_size = numbers[numbers["panel"] == "Model size"]
    assert shown(by_size, ("x",)) == pytest.approx(means(first, "error", ("parameters",)))
    by_width = numbers[numbers["panel"] != "Model size"]
    one_size = ends[ends["width"] == int(by_width["size"].iloc[0].split("×")[1])]
    assert shown(by_width, ("x",)) == pytest.approx(means(one_size, "error", ("task.hidden",)))


@pytest.mark.parametrize("case", ["Figure 5"], indirect=True)
def test_both_halves_of_figure_5_and_figure_7_follow_from_the_tables(case: Case) -> None:
    steps = shown(figure_5(case.frame, case.references).numbers)
    rows = chosen(case.results)
    assert steps == pytest.approx(means(rows, "score"))
    left = TaskResults(case.frame).curves()
    ends = rows[rows["is_last"]]
    curves = ends.merge(case.tables["positions"].query("evaluation == 'report'"), on=["id", "step"])
    assert shown(left, ("examples",)) == pytest.approx(means(curves, "score_y", ("position",)))
    learned, _ = convergence(case.frame)
    expected = ends.set_index("id")["convergence_step"]
    for row in learned.to_dict("records"):
        step = expected[row["id"]]
        assert row["learned"] == (not math.isnan(step))
        assert row["shown"] == (500_000 if math.isnan(step) else step)


@pytest.mark.parametrize("case", ["Figure 9"], indirect=True)
def test_figures_9_and_10_follow_from_the_tables(case: Case) -> None:
    nine, ten = (figure(case.frame, case.references).numbers for figure in (figure_9, figure_10))
    for panel, optimizer in (("Adam", "adam"), ("AdamW with schedule", "adamw")):
        rows = chosen(case.results[case.results["optimizer"] == optimizer])
        assert shown(nine[nine["panel"].str.partition(":")[0] == panel]) == pytest.approx(
            means(rows, "error")
        )
        drawn = ten[ten["panel"] == f"Mamba, {panel}"]
        last = means(rows[rows["is_last"]], "last_error", ("width",))
        found = {(row["size"], row["x"]): row["value"] for row in drawn.to_dict("records")}
        assert found == pytest.approx({(size, width): value for (_, size, width), value in last.items()})


@pytest.mark.parametrize("case", ["Table 3"], indirect=True)
def test_table_3_follows_from_the_tables(case: Case) -> None:
    numbers = table_3(case.frame).numbers.dropna(subset="ours")
    ends = chosen(case.results[case.results["is_last"]])
    expected = ends.groupby(["architecture", "task.queries", "width"])["error"].mean().to_dict()
    found = numbers.set_index(["architecture", "queries", "width"])["ours"].to_dict()
    assert found
    assert found == pytest.approx({key: expected[key] for key in found})


@pytest.mark.parametrize("case", ["Figure 2"], indirect=True)
def test_symbols_of_table_1_follow_from_the_tables(case: Case) -> None:
    """Each architecture's best size, between the floor and the trivial predictor."""
    baselines = case.tables["baselines"]
    ends = chosen(case.results[case.results["is_last"]])
    cells = ends.groupby(["task", "architecture", "layers", "width"])[["error", "selection_error"]].mean()
    best = cells.sort_values("selection_error").groupby(["task", "architecture"]).head(1).reset_index()
    drawn = table_1(case.frame, case.references).numbers.dropna(subset="error")
    found = drawn.set_index(["task", "architecture"])["error"].to_dict()
    expected = best.set_index(["task", "architecture"])["error"].to_dict()
    assert len(found) == 3  # S4 has no column
    assert found == pytest.approx({key: expected[key] for key in found})
    for task_id in case.results["task_id"].unique():
        own = baselines[(baselines["task_id"] == task_id) & baselines["in_mean"]]
        means_of = own.groupby("kind")["error"].mean()
        references = case.references[case.references["task_id"] == task_id]
        assert means_of["floor"] == pytest.approx(references.query("kind == 'floor'")["value"].mean())
        assert means_of["trivial"] == pytest.approx(1.0)


@pytest.mark.parametrize("case", ["Figure 2"], indirect=True)
def test_errors_beyond_the_trained_length_are_in_the_table_of_positions(case: Case) -> None:
    longer = case.tables["positions"].query("evaluation == 'longer_prompts'")
    lengths = case.results.set_index("id")["n_points"].to_dict()
    assert set(case.results.set_index("id").loc[longer["id"], "architecture"]) == {"mamba", "s4"}
    assert (longer["position"] >= longer["id"].map(lengths)).all()
    ends = longer[longer["mark"] == "4x_length"]
    assert (ends["position"] == 4 * ends["id"].map(lengths) - 1).all()
    assert set(longer["step"]) == {500_000}


# --- what the tables are ----------------------------------------------------------------------


@pytest.fixture
def pool() -> Pool:
    stopped = run_of(PARITY, stop=Stop(after_convergence=1000), checkpoints=(500_000,), evaluation_prompts=8)
    runs = [
        run_of(LINEAR, "transformer"),
        run_of(MANY, optimizer=AdamW()),
        run_of(task_named("regbench", languages=5)),
        stopped,
    ]
    results = {run.id: paper_result(run) for run in runs}
    results[stopped.id]["stop"] = {"step": 500_000, "converged_step": None}
    results[runs[0].id]["curve"] = {"step": [5, 10], "loss": [2.0, 1.0], "gradient_norm": [3.0, 4.0]}
    return pool_with(results, {run.task_id: baselines_of(run) for run in runs})


def test_columns_are_those_that_are_described(pool: Pool) -> None:
    for name, table in TABLES.items():
        columns = list(table.build(pool).columns)
        stated = [*DESCRIBED] if name == "results" else [*table.columns]
        assert columns[: len(stated)] == stated
        kinds = [kind.strip("*") for kind in FURTHER] if name == "results" else []
        for column in columns[len(stated) :]:
            assert any(column.startswith(kind) or column.endswith(kind) for kind in kinds), column


def test_every_setting_of_a_run_is_in_the_table_of_results(pool: Pool) -> None:
    table = TABLES["results"].build(pool).set_index("id")
    for result in pool.runs.values():
        row = table.loc[[result.id]].iloc[-1]
        for kind in ("task", "optimizer"):
            settings = getattr(result.run, kind).settings
            assert settings
            for path, value in leaves(settings):
                stored = row.get(".".join((kind, *path)))
                assert pd.isna(stored) if value is None else stored == value
    assert table["stop.after_convergence"].dropna().tolist() == [1000]
    assert table["task.curriculum.points.start"].dtype == "Int64"
    assert table["task.outlier_probability"].dropna().unique().tolist() == [0.75]


def test_the_state_of_a_model_follows_from_its_architecture_and_size() -> None:
    mamba, transformer = (run_of(LINEAR, name, 2, 64) for name in ("mamba", "transformer"))
    elsewhere = paper_result(mamba)
    elsewhere["run"]["architecture"]["name"] = "of_a_plugin"
    changed = paper_result(transformer)
    changed["run"]["architecture"]["layer"][0]["dropout"] = 0.5  # no longer what its name stands for
    results = [paper_result(mamba), paper_result(transformer), elsewhere, changed]
    states = []
    for result in results:
        result["id"] = digest(result["run"])
        table = frame(pool_with({result["id"]: result}))
        assert table["state"].dtype == "Int64"
        states.append(table["state"].iloc[0])
    assert states[:2] == [mamba.state_numbers, transformer.state_numbers] == [4 * 128 * 16, 2 * 2 * 12 * 64]
    assert all(state is pd.NA for state in states[2:])


def test_every_number_by_position_is_in_the_table_of_positions(pool: Pool) -> None:
    table = TABLES["positions"].build(pool)
    count = 0
    for result in pool.runs.values():
        for checkpoint in result.checkpoints:
            at = table[(table["id"] == result.id) & (table["step"] == checkpoint.step)]
            for name, scores in checkpoint.evaluations.items():
                rows = at[at["evaluation"] == name]
                assert rows["score"].tolist() == scores.mean
                assert rows["score_se"].tolist() == scores.standard_error
                count += len(rows)
    assert count == len(table) > 0
    named = table[(table["evaluation"] == "clean_prompts") & table["mark"].notna()]
    assert dict(zip(named["mark"], named["position"], strict=True)) == {
        "50th_clean": 49, "after_50_clean": 50, "last": 79,
    }  # fmt: skip


def test_training_curves_and_scores_of_prompts_are_tables(pool: Pool) -> None:
    curves = TABLES["curves"].build(pool)
    first = next(iter(pool.runs))
    assert curves[curves["id"] == first].values.tolist() == [[first, 5, 2.0, 3.0], [first, 10, 1.0, 4.0]]
    prompts = TABLES["prompts"].build(pool)
    means_of = prompts.groupby("id")["error"].mean()
    ends = TABLES["results"].build(pool).query("is_last").set_index("id")["error"]
    assert means_of.to_dict() == pytest.approx(ends.to_dict(), rel=1e-5)


def test_an_empty_pool_has_empty_tables() -> None:
    for table in TABLES.values():
        assert len(table.build(Pool())) == 0


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_read_back_as_they_were(pool: Pool, tmp_path: Path, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    for name, table in TABLES.items():
        frame = table.build(pool)
        write(frame, tmp_path / f"{name}.{ending}")
        read = pd.read_csv if ending == "csv" else pd.read_parquet
        back = read(tmp_path / f"{name}.{ending}")
        assert list(back.columns) == list(frame.columns)
        for column in frame.columns:
            assert plain(back[column]) == plain(frame[column]), column


def plain(values: pd.Series[Any]) -> list[Any]:
    return [None if pd.isna(value) else value for value in values]


@pytest.mark.slow
def test_the_command_writes_a_table(tmp_path: Path) -> None:
    run = run_of(MANY)
    store(path_of(tmp_path / "results", run), paper_result(run))
    file = tmp_path / "positions.csv"
    done = bench_command("export", file, "--table", "positions", "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    frame = load_table("positions", tmp_path / "results")
    assert f"{len(frame)} rows of 1 run" in done.stdout
    assert len(pd.read_csv(file)) == len(frame)
    described = bench_command("export", "--describe", "--table", "positions").stdout
    assert all(column in described for column in POSITIONS)
    unknown = bench_command("export", tmp_path / "x.csv", "--table", "position")
    assert unknown.returncode == 2
    assert "unknown table 'position', did you mean 'positions'?" in unknown.stderr
