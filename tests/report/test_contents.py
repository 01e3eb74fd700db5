"""Which files a report has, how long they are, and what stands where in them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command import ROOT, bench, said
from synthetic import (
    claim_of,
    experiment_of,
    grid,
    pool_of,
    pool_with,
    result_of,
    run_of,
    suite_of,
    task_named,
)
from synthetic_paper import paper as paper_results
from synthetic_paper import paper_claims

from bench import results
from bench import suite as suites
from bench.check import check
from bench.check.claims import Claims
from bench.check.verdict import Operation
from bench.report import write
from bench.report.data.frame import results_frame
from bench.report.data.references import references_frame
from bench.report.page import exhibits
from bench.report.page.contents import _percent_of
from bench.report.page.runs import COLUMNS, MOST_POINTS, PageRuns, packed, page_runs
from bench.report.page.svg import inline
from bench.report.verdict_text import measured_text
from bench.results import Pool
from bench.suite import Suite


def small() -> tuple[Suite, Pool]:
    parity, linear = task_named("sparse_parity", n_points=8), task_named(n_points=8)
    suite = suite_of(
        experiment_of(grid(linear, sizes=((2, 128), (4, 256))), "linear", rebuilds="Figure 2"),
        experiment_of(grid(parity), "parity", rebuilds="Figures 5 and 7"),
    )
    return suite, pool_of(suite.runs)


def verdicts_on(suite: Suite, pool: Pool, source: str, count: int) -> list[Any]:
    """So many reproduced claims about one figure."""
    measure = {"experiment": "parity", "architecture": "mamba"}
    claims = {
        f"claim_{index}": claim_of(
            {"statement": "It learns.", "source": source, "measure": measure, "bound": {"at_least": 0.01}}
        )
        for index in range(count)
    }
    return check(Claims(Path("x"), claims), suite, pool, allow_synthetic=True)


def data_of(page: bytes) -> dict[str, Any]:
    """The runs that a page embeds."""
    match = re.search(rb'<script type="application/json" id="runs">(.*?)</script>', page, re.DOTALL)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


def titles(page: str) -> list[str]:
    return re.findall(r'<h2 id="([^"]+)"', page)


def test_no_file_is_there_twice(undrawn: None) -> None:
    suite, pool = small()
    files = write.contents(suite, pool, {})
    tables = {name: data for name, data in files.items() if name.startswith("tables/")}
    assert len(set(tables.values())) == len(tables)
    assert {"tables/figure-2.csv", "tables/figure-2.md", "tables/figure-2.tex"} <= files.keys()
    assert not any("-points" in name for name in files)


def test_the_figure_with_most_decided_claims_comes_first_and_table_6_in_the_appendix(undrawn: None) -> None:
    suite, pool = small()
    page = write.contents(suite, pool, {}, verdicts_on(suite, pool, "Figure 7", 2))["index.html"].decode()
    assert titles(page)[:2] == ["verdicts", "figure-7"]
    assert titles(page)[-2:] == ["provenance", "table-6"]
    assert "most decided claims" in page  # the rule
    page = write.contents(suite, pool, {})["index.html"].decode()
    assert titles(page)[0] == "figure-2"  # no claim decides: the first in the paper


def drawn_series(suite: Suite, pool: Pool, number: str) -> set[str]:
    """The architectures of a figure of a suite."""
    frame = results_frame(suite.runs, pool, {})
    drawing = exhibits.drawn_exhibit(number, suite, frame, references_frame(suite.runs, pool)).drawing
    assert drawing
    return set(drawing.numbers["architecture"])


def test_figures_2_and_8_of_one_experiment_show_what_the_papers_do(undrawn: None) -> None:
    names = ("transformer", "mamba", "s4_mamba", "s4", "standard_hybrid", "mambaformer", "mamba2")
    runs = grid(task_named(n_points=8), names, sizes=((2, 128),))
    both = suite_of(experiment_of(runs, "both", rebuilds="Figures 2 and 8"))
    pool = pool_of(runs)
    assert drawn_series(both, pool, "Figure 2") == set(names) - {"standard_hybrid", "mambaformer"}
    assert drawn_series(both, pool, "Figure 8") == set(names) - {"s4_mamba", "s4"}
    # Nothing is left out that no other figure would show.
    alone = suite_of(experiment_of(runs, "alone", rebuilds="Figure 2"))
    assert drawn_series(alone, pool, "Figure 2") == set(names)


def test_tables_beside_the_paper_have_its_number_first(undrawn: None) -> None:
    suite, pool = small()
    for exhibit in ("Table 1", "Table 3", "Table 4", "Table 5", "Table 6"):
        results = results_frame(suite.runs, pool, {})
        drawn = exhibits.drawn_exhibit(exhibit, suite, results, references_frame(suite.runs, pool))
        for table in drawn.tables:
            assert table.caption.startswith("The paper's / ours"), exhibit
            assert any(" / " in cell.text for row in table.rows for cell in row), exhibit


@pytest.mark.slow
def test_the_papers_report_is_of_a_readable_size(undrawn: None) -> None:
    suite, pool = paper_results()
    verdicts = check(paper_claims(), suite, Pool())  # as many as with results, and sooner there
    files = write.contents(suite, pool, {}, verdicts)
    assert len(files["README.md"].decode().splitlines()) < 300
    assert len(files["index.html"]) < 2_000_000  # without its figures
    data = data_of(files["index.html"])
    assert len(data["rows"]) == len(suite.runs)
    assert len(data["shared"]["settings"]) < len(suite.runs) / 2  # what runs share is there once
    assert files["index.html"].count(b"<tr") < 4000  # runs are rows of the table only when they are shown


def test_the_largest_committed_report_stays_under_a_megabyte() -> None:
    """Its figures and runs fill the page; the rest is text and tables."""
    suite, pool = suites.load(ROOT / "suites/precision.yaml"), results.load(ROOT / "results")
    plan = results_frame(suite.runs, pool, {}).drop_duplicates("id")
    runs = json.dumps(packed(page_runs(suite, pool, plan)), ensure_ascii=False, separators=(",", ":"))
    assert len(suite.runs) > 700
    assert len(runs) < 500 * len(suite.runs)
    drawn = [path.read_bytes() for path in sorted((ROOT / "reports/precision/figures").glob("*.svg"))]
    assert len(drawn) > 10
    figures = [inline(svg, f"f{number}", "what it shows") for number, svg in enumerate(drawn)]
    for before, after in zip(drawn, figures, strict=True):
        assert after.count("<text") == before.count(b"<text")
    assert sum(map(len, figures)) < 0.5 * sum(map(len, drawn))
    assert len(runs) + sum(map(len, figures)) < 800_000


def test_the_readme_begins_with_what_differs_and_links_to_the_rest(undrawn: None) -> None:
    suite, pool = small()
    many = [
        *verdicts_on(suite, pool, "Figure 7", 30),
        *check(
            Claims(
                Path("x"),
                {
                    "too_good": claim_of(
                        {
                            "statement": "It is perfect.", "source": "Figure 5",
                            "measure": {"experiment": "parity", "architecture": "mamba"},
                            "bound": {"at_least": 0.9999},
                        }
                    )
                },
            ),
            suite, pool, allow_synthetic=True,
        ),
    ]  # fmt: skip
    files = write.contents(suite, pool, {}, many)
    readme = files["README.md"].decode()
    assert "30 reproduced, 1 contradicted" in readme
    assert "20 of them, those that are not reproduced first:" in readme
    assert readme.index("It is perfect") < readme.index("It learns")
    assert readme.count("| reproduced | It learns") == 20 - 1
    assert files["verdicts.md"].decode().count("It learns") == 2 * 30  # in the table, and with its evidence
    assert {"experiments/linear.md", "experiments/parity.md", "methods.md"} <= files.keys()
    for name in ("README.md", "verdicts.md", "methods.md", "experiments/linear.md"):
        links = re.findall(r"\]\(([^)#]+)\)", files[name].decode())
        folder = Path(name).parent
        for link in links:
            path = (Path("/") / folder / link).resolve().relative_to("/").as_posix()
            assert path in files or path == "index.html", (name, link)


def test_every_run_is_on_the_page_with_its_numbers() -> None:
    suite, pool = small()
    diverged, missing = suite.runs[0], suite.runs[1]
    pool.runs[diverged.id] = pool_with({"x": result_of(diverged, outcome="diverged")}).runs["x"]
    del pool.runs[missing.id]
    plan = results_frame(suite.runs, pool, {}).drop_duplicates("id")
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in page_runs(suite, pool, plan).rows}
    assert list(rows) == [run.id for run in suite.runs]
    assert (rows[diverged.id]["state"], rows[diverged.id]["score"]) == ("diverged", None)
    assert (rows[missing.id]["state"], rows[missing.id]["evaluations"]) == ("missing", [])
    last = suite.runs[-1]
    row = rows[last.id]
    record = pool.runs[last.id]
    assert record.last is not None
    headline = record.last.evaluations["report"].headline
    assert headline is not None
    assert row["score"] == pytest.approx(headline[0], rel=1e-3)
    assert row["evaluated"][0] in ("test prompts", "validation prompts")
    assert len(row["evaluated"]) == len(row["evaluations"])
    assert ["batch size", str(last.batch_size)] in row["settings"]
    assert ["device", "no device"] in row["provenance"]
    assert row["scores_steps"] == list(last.checkpoints)
    assert len(row["scores"]) == len(row["scores_steps"])


def test_long_curves_are_thinned_and_keep_their_last_point() -> None:
    run = run_of(task_named(n_points=5))
    result = result_of(run)
    steps = list(range(10, 5001, 10))
    result["curve"] = {"step": steps, "loss": [1 / step for step in steps], "gradient_norm": [1.0] * 500}
    suite = suite_of(experiment_of([run]))
    pool = pool_with({run.id: result})
    (row,) = page_runs(suite, pool, results_frame([run], pool, {}).drop_duplicates("id")).rows
    x, y = row[COLUMNS.index("loss_steps")], row[COLUMNS.index("loss")]
    assert len(x) == len(y) <= MOST_POINTS
    assert (x[-1], y[-1]) == (5000, pytest.approx(1 / 5000))


def test_what_runs_share_is_written_once_and_read_back() -> None:
    suite, pool = small()
    del pool.runs[suite.runs[1].id]
    runs = page_runs(suite, pool, results_frame(suite.runs, pool, {}).drop_duplicates("id"))
    data = json.loads(json.dumps(packed(runs)))
    assert {"settings", "provenance", "series", "loss_steps"} <= data["shared"].keys()
    assert not {"id", "score"} & data["shared"].keys()
    read = [
        [
            data["shared"][name][cell] if name in data["shared"] else cell
            for name, cell in zip(COLUMNS, row, strict=True)
        ]
        for row in data["rows"]
    ]
    settings, loss = COLUMNS.index("settings"), COLUMNS.index("loss")
    for row in read:
        row[settings] = [data["pairs"][pair] for pair in row[settings]]
        places, *losses = row[loss]
        row[loss] = [value / 10**places for value in losses]
    assert read == json.loads(json.dumps(runs.rows))
    empty = PageRuns("suites/x.yaml", [], pd.DataFrame())
    assert packed(empty)["rows"] == []


def test_losses_are_written_in_units_of_their_last_place() -> None:
    run = run_of(task_named(n_points=5))
    result = result_of(run)
    losses = [12.3, 0.25, 1.5e-7, 3.0, 0.0]
    result["curve"] = {"step": [1, 2, 3, 4, 5], "loss": losses, "gradient_norm": [1.0] * 5}
    pool = pool_with({run.id: result})
    frame = results_frame([run], pool, {}).drop_duplicates("id")
    ((*_, packed_losses, _, _),) = packed(page_runs(suite_of(experiment_of([run])), pool, frame))["rows"]
    assert packed_losses == [8, 1_230_000_000, 25_000_000, 15, 300_000_000, 0]


@pytest.mark.slow
def test_the_command_of_a_run_starts_that_run_again(undrawn: None, tmp_path: Path) -> None:
    suite = suites.load(ROOT / "suites/quick.yaml")
    data = data_of(write.contents(suite, pool_of(suite.runs[:2]), {})["index.html"])
    run = suite.runs[1]
    path = ROOT / "suites/quick.yaml"  # the page names it from the folder in which the report was made
    assert Path(shlex.split(data["suite"])[0]).name == path.name
    words = ["run", str(path), "--filter", f"id={run.id}", "--results", data["results"], "--dry-run"]
    answer = said(bench(*words, cwd=tmp_path))
    assert run.id in answer
    assert "1 run" in answer


def test_a_figure_without_a_point_is_not_the_first(undrawn: None) -> None:
    suite, _ = small()
    pool = pool_of(suite.experiments[0].runs)
    verdicts = verdicts_on(suite, pool, "Figure 7", 2)
    page = write.contents(suite, pool, {}, verdicts)["index.html"].decode()
    assert titles(page)[:2] == ["verdicts", "figure-2"]
    page = write.contents(suite, pool_of([]), {}, verdicts)["index.html"].decode()
    assert titles(page)[:2] == ["verdicts", "all-runs"]
    assert page.index("<nav") < page.index('<p class="muted" id="figure-2">Figure 2')
    assert "None of the" in page.partition('id="figure-2"')[2].partition("</p>")[0]


@pytest.mark.parametrize(
    ("done", "words"),
    [(0, "0 %"), (1, "0.1 %"), (10**18 // 2, "50.0 %"), (10**18 - 1, "99.9 %"), (10**18, "100 %")],
)
def test_a_part_is_never_shown_as_nothing_or_as_all(done: int, words: str) -> None:
    assert _percent_of(done, 10**18) == words


def test_an_experiment_without_results_costs_a_line(undrawn: None) -> None:
    suite, _ = small()
    first, empty = suite.experiments[:2]
    files = write.contents(suite, pool_of(first.runs), {})
    page = files["index.html"].decode()
    assert f"{len(first.runs)} of {len(suite.runs)} planned runs finished, 0 diverged, 0 failed" in page
    assert f'<a href="#{first.name}">' in page
    assert f'<a href="experiments/{empty.name}.md">' in page
    assert f'id="{empty.name}"' not in page
    text = files[f"experiments/{empty.name}.md"].decode()
    assert f"None of its {len(empty.runs)} planned runs has a result yet." in text
    assert "|" not in text
    assert [name for name in files if name.startswith(f"tables/{first.name}-")]
    assert not [name for name in files if name.startswith(f"tables/{empty.name}-")]


def test_the_words_of_verdicts_are_explained_and_open_claims_say_why(undrawn: None) -> None:
    suite, pool = small()
    (verdict, *others) = verdicts_on(suite, pool, "Figure 7", 2)
    reason = "too little was learned: the best model has 0.99 of the trivial predictor's error"
    alike = replace(verdict, verdict="not comparable", value=None, reason=reason)
    files = write.contents(suite, pool, {}, [alike, *others])
    text, page = files["verdicts.md"].decode(), files["index.html"].decode()
    assert "- **Not comparable**: the models that are compared have learned too little" in text
    assert "- **Undecided**" not in text  # no claim is
    assert re.search(rf"- \*\*Not comparable\.\*\* {verdict.statement} .*{reason}\.", text)
    assert f"| {reason} |" in text
    assert "the models that are compared have learned too little" in page


def test_headings_are_words_and_a_column_of_exhibits_is_there_only_with_exhibits(undrawn: None) -> None:
    runs = grid(task_named(n_points=5))
    for rebuilds, shown in (("", False), ("Figure 2", True)):
        suite = suite_of(experiment_of(runs, "group_reflections", rebuilds=rebuilds))
        files = write.contents(suite, pool_of(runs), {})
        assert files["experiments/group_reflections.md"].decode().startswith("# Group reflections\n")
        assert ("| rebuilds |" in files["README.md"].decode()) == shown
        assert ">rebuilds</th>" in files["index.html"].decode() or not shown


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("ratio", "ratio 0.500 ± 0.010 [0.480, 0.520]"),
        ("difference", "difference 0.500 ± 0.010 [0.480, 0.520]"),
        (None, "0.500 ± 0.010 [0.480, 0.520]"),
    ],
)
def test_a_measured_ratio_or_difference_says_that_it_is_one(operation: Operation | None, text: str) -> None:
    suite, pool = small()
    verdict = verdicts_on(suite, pool, "Figure 7", 2)[0]
    numbers = {"value": 0.5, "standard_error": 0.01, "interval": (0.48, 0.52), "shown": None}
    assert measured_text(replace(verdict, operation=operation, **numbers)) == text
