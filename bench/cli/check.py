"""`bench check`: every claim of a suite with its verdict, and what changed since the last time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.text import Text

from bench import check as checks
from bench import results as pool_of
from bench import suite as suites
from bench.check import changes as changes_of
from bench.check import claims as claims_of
from bench.check.junit import junit
from bench.cli import printing
from bench.cli.printing import Column
from bench.dispatch.status import run_statuses
from bench.files import write_atomically, write_json
from bench.suite import Suite, owner

STYLES = {
    "reproduced": "green",
    "not reproduced": "red",
    "undecided": "yellow",
    "not comparable": "yellow",
    "missing": "dim",
}


@dataclass(frozen=True)
class Options:
    """What is asked for beside the verdicts.

    Attributes:
        junit: a file to write for continuous integration.
        against: an earlier check; only a claim that it reproduced and this one does not is an error.
        allow_synthetic: judge results made up for tests as if they were measured.
    """

    as_json: bool = False
    junit: Path | None = None
    against: Path | None = None
    allow_synthetic: bool = False


def check_suite(path: Path, results: Path, options: Options) -> int:
    """Print the verdicts and return the exit code."""
    suite = suites.load(path)
    before = changes_of.read(options.against) if options.against else None
    claims = claims_of.load(claims_of.path_for(suite.path), suite)  # before results: a fault is named first
    pool = pool_of.load(pool_of.require(results))
    verdicts = verdicts_on(claims, suite, results, pool, allow_synthetic=options.allow_synthetic)
    owner.refuse_other(suite, _memory(results, suite).parent, _remembered(results, suite).get("suite"))
    last = _last(results, suite) if before is None else before
    changed = [] if last is None else changes_of.changes(last, verdicts)
    lost = [each for each in changed if each.lost]
    code = checks.exit_code(verdicts) if before is None else int(bool(lost))
    if options.junit:
        write_atomically(options.junit, junit(suite.name, verdicts))
    out = printing.Output()
    if options.as_json:
        listed = [{"claim": each.claim, "before": each.before, "after": each.after} for each in changed]
        found = {**checks.to_json(verdicts), "changes": listed, "problems": pool.problems}
        out.json({**found, "exit_code": code})
    else:
        _show(verdicts, out)
        _show_changes(changed, "the last check" if before is None else str(options.against), out)
        _show_counts(verdicts, out)
        for problem in pool.problems:
            out.say(problem, style="yellow")
    if before is None and not options.allow_synthetic:
        _remember(results, suite, verdicts)
    return code


def verdicts_on(
    claims: claims_of.Claims,
    suite: Suite,
    results: Path,
    pool: pool_of.Pool,
    *,
    allow_synthetic: bool = False,
) -> list[checks.Verdict]:
    """The verdicts on a suite's claims."""
    words = {run_id: found.word for run_id, found in run_statuses(suite.runs, results, pool).items()}
    return checks.check(claims, suite, pool, words, allow_synthetic=allow_synthetic)


def _memory(results: Path, suite: Suite) -> Path:
    return results / pool_of.STATE / "checks" / f"{suite.name}.json"


def _last(results: Path, suite: Suite) -> dict[str, str] | None:
    """The verdicts of the last check on these results; None without one."""
    return changes_of.verdicts_in(_remembered(results, suite))


def _remembered(results: Path, suite: Suite) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(_memory(results, suite).read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def _remember(results: Path, suite: Suite, verdicts: Sequence[checks.Verdict]) -> None:
    """Keep the verdicts for the next check; results that cannot be written to are no error."""
    if not results.is_dir():
        return
    path = _memory(results, suite)
    with contextlib.suppress(OSError):
        write_json(path, {"suite": owner.note(suite, path.parent), **checks.to_json(verdicts)})


def _show(verdicts: Sequence[checks.Verdict], out: printing.Output) -> None:
    columns = [Column("verdict"), Column("claim", folds=True), Column("value")]
    columns += [Column("expected", spare=True, folds=True), Column("tolerance", spare=True)]
    rows = (
        (Text(one.verdict, STYLES[one.verdict]), one.claim, _value(one), one.expected, one.tolerance)
        for one in verdicts
        if one.verdict != "missing"
    )
    if any(one.verdict != "missing" for one in verdicts):
        out.print(printing.table(out, columns, rows))
        out.print()
    for one in verdicts:
        if one.verdict not in ("reproduced", "missing"):
            source = f" ({one.source})" if one.source else ""
            head = Text.assemble((one.verdict, STYLES[one.verdict]), f" {one.claim}: {one.statement}{source}")
            out.print(head)
            out.print(Padding(Text(one.reason), (0, 0, 0, 4), expand=False))
    for note, claims in _by_note(verdicts).items():
        out.print(Text.assemble(("mixed", "yellow"), f" {', '.join(claims)}"))
        out.print(Padding(Text(note), (0, 0, 0, 4), expand=False))
    for reason, claims in _by_reason(verdicts).items():
        out.print(Text.assemble(("missing", STYLES["missing"]), f" {', '.join(claims)}"))
        out.print(Padding(Text(reason), (0, 0, 0, 4), expand=False))


def _show_counts(verdicts: Sequence[checks.Verdict], out: printing.Output) -> None:
    counts = {word: sum(one.verdict == word for one in verdicts) for word in STYLES}
    found = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    out.say(f"{printing.count(len(verdicts), 'claim')}: {found or 'nothing was checked'}.")


def _by_reason(verdicts: Sequence[checks.Verdict]) -> Mapping[str, list[str]]:
    """Missing claims by why they are missing: many wait for the same runs."""
    found: dict[str, list[str]] = {}
    for one in verdicts:
        if one.verdict == "missing":
            found.setdefault(one.reason, []).append(one.claim)
    return found


def _by_note(verdicts: Sequence[checks.Verdict]) -> Mapping[str, list[str]]:
    """Decided claims by what the runs behind them differ in, where they do."""
    found: dict[str, list[str]] = {}
    for one in verdicts:
        if one.note:
            found.setdefault(one.note, []).append(one.claim)
    return found


def _show_changes(changed: Sequence[changes_of.Change], since: str, out: printing.Output) -> None:
    for each in changed:
        style = "red" if each.lost else "green" if each.after == "reproduced" else ""
        before, after = each.before or "not claimed", each.after or "no longer claimed"
        out.print(Text(f"Since {since}: {each.claim}: {before} → {after}", style))


def _value(one: checks.Verdict) -> str:
    if one.value is None:
        return "–"
    if one.comparison and one.comparison.ratio:
        return f"{one.value:.4g} [{one.comparison.ratio.low:.4g}, {one.comparison.ratio.high:.4g}]"
    error = "" if one.standard_error is None else f" ± {one.standard_error:.2g}"
    symbol = f"{one.shown} " if one.shown else ""
    return f"{symbol}{one.value:.4g}{error}"
