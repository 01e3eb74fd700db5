"""`bench check`: every claim of a suite with its verdict."""

from __future__ import annotations

from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from bench import check as checks
from bench import results as pool_of
from bench import suite as suites
from bench.check import claims as claims_of
from bench.cli import format
from bench.cli.format import Column
from bench.dispatch.status import standings

STYLES = {
    "reproduced": "green",
    "not reproduced": "red",
    "not comparable": "yellow",
    "missing": "dim",
}


def check_suite(path: Path, results: Path, as_json: bool) -> int:
    """Print the verdicts and return the exit code."""
    suite = suites.load(path)
    claims = claims_of.load(claims_of.path_for(path), suite)
    pool = pool_of.load(results)
    words = {run_id: found.word for run_id, found in standings(suite.runs, results, pool).items()}
    verdicts = checks.check(claims, suite, pool, words)
    out = format.Output()
    if as_json:
        out.json({**checks.to_json(verdicts), "problems": pool.problems})
    else:
        _show(verdicts, out)
        for problem in pool.problems:
            out.say(problem, style="yellow")
    return checks.exit_code(verdicts)


def _show(verdicts: list[checks.Verdict], out: format.Output) -> None:
    columns = [Column("verdict"), Column("claim", folds=True), Column("value")]
    columns += [Column("expected", spare=True), Column("tolerance", spare=True)]
    rows = (
        (Text(one.verdict, STYLES[one.verdict]), one.claim, _value(one), one.expected, one.tolerance)
        for one in verdicts
    )
    out.print(format.table(out, columns, rows))
    out.print()
    for one in verdicts:
        if one.verdict != "reproduced":
            source = f" ({one.source})" if one.source else ""
            head = Text.assemble((one.verdict, STYLES[one.verdict]), f" {one.claim}: {one.statement}{source}")
            out.print(head)
            out.print(Padding(Text(one.reason), (0, 0, 0, 4), expand=False))
    counts = {word: sum(one.verdict == word for one in verdicts) for word in STYLES}
    found = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    out.say(f"{format.count(len(verdicts), 'claim')}: {found or 'nothing was checked'}.")


def _value(one: checks.Verdict) -> str:
    if one.value is None:
        return "–"
    error = "" if one.standard_error is None else f" ± {one.standard_error:.2g}"
    return f"{one.value:.4g}{error}"
