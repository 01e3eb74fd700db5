"""Two results folders side by side, and all results as one table."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import bench as bench_command
from synthetic import grid, pool_with, result_of, run_of, task_named, write_pool

import bench
from bench.errors import UserError
from bench.results import Pool, path_of, store
from bench.results.compare import compare, differing
from bench.run import Run

LINEAR = task_named(n_points=5)


def with_prompts(run: Run, scores: Any, **fields: Any) -> dict[str, Any]:
    """A result with these raw scores, one a prompt, and their mean everywhere else."""
    scores = np.asarray(scores, dtype="<f4")
    result = result_of(run, float(scores.mean()) / run.task.error_scale, **fields)
    report = result["checkpoints"][-1]["evaluations"]["report"]
    report["overall"][0] = report["headline"][0] = float(scores.mean())
    result["per_prompt"]["report"] = base64.b64encode(scores.tobytes()).decode()
    return result


def pool(*found: dict[str, Any]) -> Pool:
    return pool_with(runs={each["id"]: each for each in found})


RUN = run_of(LINEAR)
HARD = np.random.default_rng(0).lognormal(1.0, 1.0, 400)  # some prompts are much harder than others


def test_a_change_much_smaller_than_the_spread_over_prompts_shows_because_prompts_are_paired() -> None:
    (one,) = compare(pool(with_prompts(RUN, HARD)), pool(with_prompts(RUN, 1.1 * HARD)), 0.05)
    assert one.word == "worse"
    assert one.change == pytest.approx(0.1 * HARD.mean() / 20, rel=1e-4)
    # The interval of the difference is a tenth of what either mean's would be.
    spread = 1.645 * HARD.std(ddof=1) / np.sqrt(400) / 20
    assert one.half_width == pytest.approx(0.1 * spread, rel=5e-3)


@pytest.mark.parametrize(
    ("factor", "tolerance", "word"),
    [(1.0, 0.05, "same"), (1.04, 0.05, "same"), (1.04, 0.0, "worse"), (0.8, 0.05, "better")],
)
def test_a_change_counts_beyond_its_tolerance(factor: float, tolerance: float, word: str) -> None:
    (one,) = compare(pool(with_prompts(RUN, HARD)), pool(with_prompts(RUN, factor * HARD)), tolerance)
    assert one.word == word


def test_noise_is_no_change() -> None:
    noisy = HARD * np.random.default_rng(1).normal(1.0, 0.8, 400).clip(0.01)
    (one,) = compare(pool(with_prompts(RUN, HARD)), pool(with_prompts(RUN, noisy)), 0.0)
    assert one.word == "same"
    assert one.half_width is not None
    assert abs(one.change or 0.0) < one.half_width


def test_a_run_that_diverges_is_worse_and_one_that_no_longer_does_is_better() -> None:
    fine, broken = with_prompts(RUN, HARD), result_of(RUN, outcome="diverged")
    assert [each.word for each in compare(pool(fine), pool(broken), 0.05)] == ["worse"]
    assert [each.word for each in compare(pool(broken), pool(fine), 0.05)] == ["better"]
    assert [each.word for each in compare(pool(broken), pool(broken), 0.05)] == ["same"]


def test_accuracy_that_falls_is_worse() -> None:
    run = run_of(task_named("sparse_parity", n_points=5))
    high, low = np.full(100, 0.9), np.full(100, 0.8)
    (one,) = compare(pool(with_prompts(run, high)), pool(with_prompts(run, low)), 0.05)
    assert one.word == "worse"
    assert one.before == pytest.approx(0.1, rel=1e-5)
    assert one.after == pytest.approx(0.2, rel=1e-5)


def test_runs_scored_on_other_prompts_are_not_compared() -> None:
    other = {"report": {"count": 1280, "sha256": "c" * 64}, "selection": {"count": 1280, "sha256": "b" * 64}}
    changed = with_prompts(RUN, 9 * HARD, prompts=other)
    (one,) = compare(pool(with_prompts(RUN, HARD)), pool(changed), 0.05)
    assert (one.word, one.change) == ("not comparable", None)


@pytest.mark.slow
def test_the_command_says_which_runs_are_worse_and_fails(tmp_path: Path) -> None:
    runs = grid(LINEAR, ("mamba", "s4", "transformer"))
    for folder, factor in (("a", 1.0), ("b", 1.5)):
        for run in runs[:2]:
            worse = factor if run.architecture.name == "s4" else 1.0
            store(path_of(tmp_path / folder, run), with_prompts(run, worse * HARD))
    store(path_of(tmp_path / "b", runs[2]), with_prompts(runs[2], HARD))
    found = bench_command("compare", tmp_path / "a", tmp_path / "b")
    assert found.returncode == 1, found.stderr
    assert "2 runs in both: 1 same, 1 worse." in found.stdout
    assert f"1 run only in {tmp_path / 'b'}." in found.stdout
    as_json = json.loads(bench_command("compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert as_json["counts"]["worse"] == 1
    assert bench_command("compare", tmp_path / "a", tmp_path / "a").returncode == 0
    (tmp_path / "empty").mkdir()
    assert bench_command("compare", tmp_path / "a", tmp_path / "empty").returncode == 2
    missing = bench_command("compare", tmp_path / "a", tmp_path / "nowhere")
    assert (missing.returncode, "no such folder" in missing.stderr) == (2, True)


@pytest.mark.slow
def test_a_row_has_the_settings_that_tell_runs_apart(tmp_path: Path) -> None:
    harder = task_named(n_points=5, n_dims=3)
    runs = [run_of(LINEAR, learning_rate=rate) for rate in (1e-3, 2e-3)] + [run_of(harder)]
    for folder, factor in (("a", 1.0), ("b", 1.5)):
        for index, run in enumerate(runs):
            store(path_of(tmp_path / folder, run), with_prompts(run, (factor if index else 1.0) * HARD))
    done = bench_command("compare", tmp_path / "a", tmp_path / "b", COLUMNS="100")
    rows = [line for line in done.stdout.splitlines() if line.startswith(("worse", "same"))]
    assert len(rows) == 2, "the run that did not change is only counted"
    assert max(map(len, done.stdout.splitlines())) <= 100
    first = next(row for row in rows if "learning_rate 2e-3" in row)
    assert "n_dims" in first
    assert "seed" not in done.stdout, "all runs have one seed"
    assert "3 runs in both: 1 same, 2 worse." in done.stdout
    every = bench_command("compare", tmp_path / "a", tmp_path / "b", "--all").stdout
    assert len(re.findall("seed 0", every)) == 3
    assert "same " in every


def test_settings_that_differ_are_found() -> None:
    runs = [run_of(LINEAR), run_of(LINEAR, seed=1), run_of(task_named("sparse_parity", n_points=5))]
    results = pool_with(runs={run.id: result_of(run) for run in runs})
    names = differing(compare(results, results, 0.05))
    assert {"seed", "task"} <= set(names)
    assert not {"clip", "architecture", "precision"} & set(names)
    assert differing([]) == []


def test_an_interval_is_as_wide_as_student_says() -> None:
    few = HARD[:5]
    changed = np.array(few) + np.arange(5) / 100
    (comparison,) = compare(pool(with_prompts(RUN, few)), pool(with_prompts(RUN, changed)), 0.05)
    assert comparison.change == pytest.approx(0.02 / RUN.task.error_scale, rel=1e-3)
    standard_error = np.std(np.arange(5) / 100 / RUN.task.error_scale, ddof=1) / 5**0.5
    assert comparison.half_width == pytest.approx(2.1318 * standard_error, rel=1e-3)


# --- export -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    runs = [*grid(LINEAR, ("mamba", "transformer")), *grid(task_named("sparse_parity", n_points=5), ("s4",))]
    write_pool(tmp_path / "results", runs)
    return tmp_path / "results"


def test_results_load_in_a_notebook_with_what_was_left_out(folder: Path) -> None:
    (folder / "half.json").write_text("{")
    frame = bench.load_results(folder)
    assert len(frame) == 9
    assert "half.json" in frame.attrs["problems"][0]
    best = frame[frame["step"] == frame["steps"]].set_index("architecture")["error"]
    assert best.between(0, 1).all()
    with pytest.raises(UserError, match="no such folder"):
        bench.load_results(folder / "nowhere")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.txt"], "x.txt: expected a name that ends in .parquet or .csv"),
        ([], "the file to write is missing: bench export results.parquet (or .csv)"),
        (["README.md/x.csv"], "README.md/x.csv: cannot be written: Not a directory"),
    ],
)
def test_an_export_that_cannot_be_made_says_why(folder: Path, arguments: list[str], words: str) -> None:
    found = bench_command("export", *arguments, "--results", folder)
    assert found.returncode == 2
    assert words in found.stderr
    assert "Traceback" not in found.stderr
