"""`bench report`: one folder of tables, figures and a page for each suite."""

from __future__ import annotations

from pathlib import Path

from bench import results as pool_of
from bench import suite as suites
from bench.check import claims as claims_of
from bench.cli import format
from bench.cli.check import verdicts_on
from bench.dispatch.status import standings
from bench.errors import UserError


def write_reports(paths: list[Path], results: Path, reports: Path) -> None:
    """Report the suites at `paths`, or every suite of `suites/` that has a result.

    Raises:
        UserError: when there are no results, or none is named and none has results.
    """
    out = format.Output()
    named = [suites.load(path) for path in paths]
    pool = pool_of.load(pool_of.require(results))
    for problem in pool.problems:
        out.say(problem, style="yellow")
    chosen = named or _with_results(pool)
    from bench.report import write_report

    for suite in chosen:
        words = {run_id: found.word for run_id, found in standings(suite.runs, results, pool).items()}
        claimed = claims_of.path_for(suite.path).is_file()
        verdicts = verdicts_on(suite, results, pool) if claimed else []
        written = write_report(suite, pool, reports / suite.name, words, verdicts)
        have = sum(word in ("finished", "diverged") for word in words.values())
        page = reports / suite.name / "index.html"
        out.say(
            f"{suite.name}: {have:,} of {format.count(len(words), 'run')} have results; "
            f"{len(written)} files written. Open {page}"
        )


def _with_results(pool: pool_of.Pool) -> list[suites.Suite]:
    folder = Path("suites")
    files = [path for path in sorted(folder.glob("*.yaml")) if not path.name.endswith(".claims.yaml")]
    if not files:
        raise UserError("no suite named, and no suites/*.yaml here: bench report SUITE")
    found = [suites.load(path) for path in files]
    chosen = [suite for suite in found if any(run.id in pool.runs for run in suite.runs)]
    if not chosen:
        raise UserError(f"no suite in {folder}/ has a result yet: bench run {files[0]}")
    return chosen
