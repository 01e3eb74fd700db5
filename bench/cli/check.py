"""`bench check`: every claim of a suite with its verdict."""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table

from bench import check as checks
from bench import results as pool_of
from bench import suite as suites
from bench.check import claims as claims_of
from bench.cli import format
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
    code = checks.exit_code(verdicts)
    if as_json:
        print(json.dumps(checks.to_json(verdicts), indent=2))
        return code
    out = format.console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("claim", "value", "expected", "tolerance", "verdict"):
        table.add_column(name, overflow="fold")
    for one in verdicts:
        style = STYLES[one.verdict]
        table.add_row(one.claim, _value(one), one.expected, one.tolerance, f"[{style}]{one.verdict}[/]")
    out.print(table)
    for one in verdicts:
        if one.verdict != "reproduced":
            out.print(f"{one.claim}: {one.statement} {one.source}: {one.reason}", markup=False)
    for problem in pool.problems:
        out.print(problem, style="yellow", markup=False)
    counts = {word: sum(one.verdict == word for one in verdicts) for word in STYLES}
    out.print(", ".join(f"{number} {word}" for word, number in counts.items() if number) + ".")
    return code


def _value(one: checks.Verdict) -> str:
    if one.value is None:
        return "–"
    error = "" if one.standard_error is None else f" ± {one.standard_error:.2g}"
    return f"{one.value:.4g}{error}"
