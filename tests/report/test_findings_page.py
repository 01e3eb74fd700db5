"""Findings in a report: on the page, in its README and in their own file, with numbers from verdicts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import ROOT
from synthetic import claim_of, experiment_of, grid, pool_of, suite_of, task_named, write_pool

from bench import suite as suites
from bench.check import check
from bench.check import claims as claims_of
from bench.check import findings as findings_of
from bench.check.claims import Claims
from bench.cli.arguments import SuiteChoice
from bench.cli.report import write_reports
from bench.errors import InvalidFile
from bench.report import write
from bench.results import Pool
from bench.suite import Suite

SUITE = suite_of(
    experiment_of(grid(task_named("sparse_parity", n_points=8)), "parity", rebuilds="Figure 5"),
    experiment_of(grid(task_named(n_points=8)), "linear", rebuilds=""),
)
MEASURE = {"experiment": "linear", "architecture": "mamba"}
SHIPPED = sorted((ROOT / "suites").glob("*.findings.yaml"))
CLAIMS = {
    "mamba_learns": claim_of({"statement": "Mamba <learns>.", "measure": MEASURE, "bound": {"at_most": 0.5}}),
    "mamba_is_perfect": claim_of(
        {"statement": "Mamba is perfect.", "measure": MEASURE, "bound": {"at_most": 1e-9}}
    ),
}
FINDINGS = """\
suite: synthetic
findings:
  learns:
    title: Mamba & others learn.
    text: The error is {mamba_learns.measured}, where {mamba_is_perfect.expected} is *refuted*.
    claims: [mamba_learns]
    contradicted: [mamba_is_perfect]
    figure: linear-linear-regression-examples
  perfect:
    title: Mamba is perfect.
    text: The error is {mamba_is_perfect}.
    claims: [mamba_is_perfect]
    figure: Figure 5
  longer:
    title: Mamba reads on.
    text: It does.
    claims: [mamba_learns]
    figure: linear-linear-regression-longer
"""


def files_of(
    tmp_path: Path, text: str = FINDINGS, suite: Suite = SUITE, missing: bool = False
) -> dict[str, str]:
    """The report's text files."""
    path = tmp_path / "synthetic.findings.yaml"
    path.write_text(text, encoding="utf-8")
    pool = pool_of(() if missing else suite.runs)
    verdicts = check(Claims(Path("x"), CLAIMS), suite, pool, allow_synthetic=True)
    read = findings_of.load(path, suite, CLAIMS)
    files = write.contents(suite, pool, {}, verdicts, read)
    return {name: files[name].decode() for name in ("index.html", "README.md", "findings.md")}


def part(text: str, start: str, end: str) -> str:
    """What stands between two texts."""
    return text.partition(start)[2].partition(end)[0]


@pytest.mark.usefixtures("undrawn")
def test_a_supported_finding_is_shown_with_its_numbers_claims_and_figure(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    learns = part(files["findings.md"], "## Mamba \\& others learn", "\n## ")
    assert re.search(
        r"\*\*Supported\.\*\* The error is 0\.\d+ ± 0\.\d+, where at most 1e-9 is \\\*refuted\\\*\.", learns
    )
    assert "](figures/linear-linear-regression-examples.png)" in learns
    assert re.search(
        r"\| reproduced \| Mamba \\<learns\\>\. \*normalised error, mean over positions: Linear, Mamba\* \| "
        r"0\.\d+ ± 0\.\d+ \\\[.*\\\] "
        r"\| prompts \| ≤ 0\.5 \| 100 % \|",
        learns,
    )
    assert "| contradicted | Mamba is perfect. *" in learns
    page = part(files["index.html"], 'id="finding-learns"', "</section>")
    assert re.search(
        r"supported</span> The error is 0\.\d+\u00a0±\u00a00\.\d+, where at most 1e-9 is \*refuted\*\.", page
    )
    assert "<svg" in page
    assert "Mamba &lt;learns&gt;." in page


@pytest.mark.usefixtures("undrawn")
def test_a_refuted_finding_has_no_text_and_says_why(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    for shown in (
        part(files["findings.md"], "## Mamba is perfect", "\n## "),
        part(files["index.html"], 'id="finding-perfect"', "</section>"),
    ):
        assert "ot supported" in shown
        assert "The error is" not in shown
        assert (
            "Results say otherwise: “Mamba is perfect.” is contradicted, the text says reproduced." in shown
        )


@pytest.mark.usefixtures("undrawn")
def test_without_results_every_finding_says_that_it_is_not_decided_yet(tmp_path: Path) -> None:
    files = files_of(tmp_path, missing=True)
    for shown in (files["findings.md"], part(files["index.html"], 'id="findings"', 'id="all-runs"')):
        assert shown.count("ot decided yet: “") == 4
        assert "lacks 1 of 1 run" in shown
        assert "The error is" not in shown
        assert "upported" not in shown
    assert (
        "Its figure, linear-linear-regression-longer, needs results that do not exist yet."
        in files["findings.md"]
    )


@pytest.mark.usefixtures("undrawn")
def test_titles_with_their_marks_come_first(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    readme = files["README.md"]
    assert readme.index("## Findings") < readme.index("## Verdicts")
    assert "- Mamba \\& others learn. **Supported.**\n- Mamba is perfect. **Not supported.**\n" in readme
    assert "](findings.md)" in readme
    page = files["index.html"]
    short = part(page, 'id="findings-in-short"', "</ul>")
    assert re.findall(r'">([\w ]+)</span> <a href="#([^"]+)">', short) == [
        ("supported", "finding-learns"),
        ("not supported", "finding-perfect"),
        ("supported", "finding-longer"),
    ]
    assert page.index('id="findings-in-short"') < page.index('id="verdicts"') < page.index('id="findings"')


@pytest.mark.usefixtures("undrawn")
def test_a_figure_that_is_on_the_page_twice_has_ids_of_its_own(tmp_path: Path) -> None:
    page = files_of(tmp_path)["index.html"]
    ids = re.findall(r'\bid="([^"]*)"', page)
    figures = [name for name in ids if re.fullmatch(r"f\d+-1", name)]
    again = re.findall(r'<use href="#(f\d+)"/>', page)
    assert set(again) <= set(ids)
    assert (len(again) > 0, len(figures) + len(again)) == (True, page.count("<svg "))
    assert len(set(ids)) == len(ids)


@pytest.mark.usefixtures("undrawn")
def test_a_report_without_findings_has_no_part_for_them() -> None:
    files = write.contents(SUITE, pool_of(SUITE.runs), {})
    assert "findings.md" not in files
    assert b"indings" not in files["README.md"]
    assert b'id="findings' not in files["index.html"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Figure 6", "the report has no figure 'Figure 6', did you mean 'Figure 5'?"),
        ("linear-linear-regression-exmples", "did you mean 'linear-linear-regression-examples'?"),
        ("Table 6", "the report has no figure 'Table 6'"),
    ],
)
def test_a_figure_that_the_report_does_not_have_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(InvalidFile, match=re.escape(problem)) as caught:
        files_of(tmp_path, FINDINGS.replace("figure: Figure 5", f"figure: {name}"))
    assert str(caught.value).startswith(f"{tmp_path}/synthetic.findings.yaml:13:13: ")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name.partition(".")[0])
def test_shipped_findings_name_figures_of_their_reports(path: Path) -> None:
    suite = suites.load(path.with_name(f"{path.name.partition('.')[0]}.yaml"))
    claims = claims_of.load(claims_of.path_for(suite.path), suite)
    read = findings_of.load(path, suite, claims.claims)
    page = write.contents(suite, Pool(), {}, check(claims, suite, Pool()), read)["findings.md"].decode()
    assert page.count("**Not decided yet.**") == len(read.findings)


TINY = """\
name: tiny
experiments:
  regression:
    tasks: [{name: linear_regression, n_points: 5}]
    architectures: [mamba]
    sizes: [{layers: 2, width: 32}]
    learning_rates: [1e-3]
    steps: 100
"""
TINY_CLAIMS = """\
suite: tiny
claims:
  learns:
    statement: Mamba learns.
    measure: {experiment: regression}
    bound: {at_most: 2}
"""
TINY_FINDINGS = """\
suite: tiny
findings:
  learns:
    title: Mamba learns.
    text: It has {learns.measured}.
    claims: [learns]
"""


@pytest.mark.usefixtures("undrawn")
def test_the_command_reads_the_file_beside_the_suite(tmp_path: Path) -> None:
    suite, results, reports = tmp_path / "suites/tiny.yaml", tmp_path / "results", tmp_path / "reports"
    suite.parent.mkdir()
    for ending, text in ((".yaml", TINY), (".claims.yaml", TINY_CLAIMS), (".findings.yaml", TINY_FINDINGS)):
        suite.with_suffix(ending).write_text(text, encoding="utf-8")
    write_pool(results, suites.load(suite).runs)
    write_reports([SuiteChoice.of(str(suite))], results, reports)
    text = (reports / "tiny/findings.md").read_text(encoding="utf-8")
    assert "**Not decided yet.**" in text
    assert "synthetic: made up, not measured" in text  # made-up results decide nothing
    suite.with_suffix(".findings.yaml").write_text(TINY_FINDINGS.replace("[learns]", "[lerns]"))
    with pytest.raises(
        InvalidFile, match=r"tiny\.findings\.yaml:6:14: there is no claim 'lerns', did you mean"
    ):
        write_reports([SuiteChoice.of(str(suite))], results, reports)
