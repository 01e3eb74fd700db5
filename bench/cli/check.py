"""`bench check`: print the verdict on every claim of a suite, and what changed since the last check.

With `--null` or `--reversed` it tries the claims themselves (`bench.cli.try_claims`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import check as checks
from bench import results as pools
from bench.check import changes as changes_of
from bench.check import claims as claims_of
from bench.check.junit import junit as junit_xml
from bench.cli import printing
from bench.cli.arguments import RESULTS, Changes, Json, Plugins, Results, SuiteChoice, SuiteWord
from bench.cli.try_claims import try_claims
from bench.cli.verdicts import show_changes, show_counts, show_in_full, show_lines
from bench.digits import count_of
from bench.dispatch.status import run_statuses
from bench.errors import UserError
from bench.files import write_atomically, write_json
from bench.suite import Suite, owner


@dataclass(frozen=True)
class CheckOptions:
    """Options of `bench check`.

    Attributes:
        as_json: print JSON instead of tables.
        junit: a file to write for continuous integration.
        against: the file of an earlier check, which the exit code then is about (`changes.exit_code`).
        allow_synthetic: judge synthetic results as if they were measured (tests).
        verbose: print each claim with its statement, source, reason and runs.
    """

    as_json: bool = False
    junit: Path | None = None
    against: Path | None = None
    allow_synthetic: bool = False
    verbose: bool = False


def command(
    suite: SuiteWord,
    plugin: Plugins,
    changes: Changes,
    results: Results = RESULTS,
    as_json: Json = False,
    junit: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the verdicts as JUnit XML, for CI.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="The file of an earlier check (a report's verdicts.json, or the output of --json): print "
            "what changed; exit code 1 if a claim that passed there fails now, 2 if no claim is decided, "
            "else 0.",
        ),
    ] = None,
    allow_synthetic: Annotated[
        bool, typer.Option("--allow-synthetic", hidden=True, help="Judge synthetic results (tests).")
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            help="Try the claims: judge made-up results in which nothing was learned, and list the claims "
            "that would still pass. Results are not read.",
        ),
    ] = False,
    reverse: Annotated[
        bool,
        typer.Option(
            "--reversed",
            help="Try the claims: judge made-up results in which every order that the claims state is "
            "reversed, and list the claims that would still pass.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Print the statement, source, reason and runs of every claim."),
    ] = False,
) -> None:
    """Compare results with a suite's claims (suites/x.claims.yaml); list changes since last time.

    Exit code 0: every claim that a model can reproduce is reproduced. 1: a claim is contradicted. 2: claims
    are missing, undecided or not comparable, or no model can reproduce any. 3: the suite or its claims file
    is wrong. With --null or --reversed: 0, whatever passes.
    """
    choice = SuiteChoice.of(suite, changes, results=results)
    if not (null or reverse):
        options = CheckOptions(as_json, junit, against, allow_synthetic, verbose)
        raise typer.Exit(check_suite(choice, options))
    if null and reverse:
        raise UserError("check: --null and --reversed are two worlds: give only one of them")
    if junit or against:
        raise UserError("check: --junit and --against are about results, --null and --reversed are not")
    try_claims(choice, null=null, as_json=as_json, verbose=verbose)


def check_suite(choice: SuiteChoice, options: CheckOptions) -> int:
    """Print the verdicts and return the exit code."""
    suite, results = choice.load(), choice.results
    against = changes_of.read(options.against) if options.against else None
    # Claims are read before results: a mistake in the file matters more than results that are missing.
    claims = claims_of.load(claims_of.path_for(suite.path), suite)
    pool = pools.load(pools.require(results))
    verdicts = verdicts_on(claims, suite, results, pool, allow_synthetic=options.allow_synthetic)
    file = _last_check_file(results, suite)
    last = _last_check(file)
    owner.refuse_other(suite, file.parent, last.get("suite"))
    before = changes_of.verdicts_in(last) if against is None else against
    changes = [] if before is None else changes_of.changes(before, verdicts)
    code = checks.exit_code(verdicts) if against is None else changes_of.exit_code(changes, verdicts)
    if options.junit:
        write_atomically(options.junit, junit_xml(suite.name, verdicts))
    out = printing.Output()
    if options.as_json:
        listed = [
            {"claim": change.claim, "before": change.before, "after": change.after} for change in changes
        ]
        data = {**checks.to_json(verdicts), "changes": listed, "problems": pool.problems}
        out.json({**data, "exit_code": code})
    else:
        _show(claims, verdicts, changes, options, out)
        for problem in pool.problems:
            out.say(problem, style="yellow")
    # A comparison with a file, or of synthetic results, is not the check that the next one continues.
    if against is None and not options.allow_synthetic:
        _store_check(file, suite, verdicts)
    return code


def _show(
    claims: claims_of.Claims,
    verdicts: Sequence[checks.Verdict],
    changes: Sequence[changes_of.Change],
    options: CheckOptions,
    out: printing.Output,
) -> None:
    """Print every claim; with `--against`, the claims that changed, in full."""
    if options.against is not None and not options.verbose:
        before = {change.claim: change.before for change in changes}
        show_in_full([verdict for verdict in verdicts if verdict.claim in before], claims.claims, out, before)
        show_changes([change for change in changes if change.after is None], str(options.against), out)
        changed = f"{len(changes)} changed" if changes else "Nothing changed"
        show_counts(verdicts, out, f" {changed} since {options.against}.")
        return
    if options.verbose:
        show_in_full(verdicts, claims.claims, out)
    else:
        show_lines(verdicts, claims.claims, out)
    show_changes(changes, "the last check" if options.against is None else str(options.against), out)
    if mixed := sum(verdict.note is not None for verdict in verdicts):
        named = "" if options.verbose else " (--verbose names them)"
        claimed = count_of(mixed, "claim")
        out.say(f"{claimed} read from runs of several devices, kernels or precisions{named}.", style="yellow")
    show_counts(verdicts, out)
    if not options.verbose and any(verdict.verdict != "reproduced" for verdict in verdicts):
        out.say("--verbose gives the reason of each verdict, and the runs behind it.", style="dim")


def verdicts_on(
    claims: claims_of.Claims,
    suite: Suite,
    results: Path,
    pool: pools.Pool,
    *,
    allow_synthetic: bool = False,
) -> list[checks.Verdict]:
    """The verdicts on a suite's claims."""
    states = {run_id: status.word for run_id, status in run_statuses(suite.runs, results, pool).items()}
    return checks.check(claims, suite, pool, states, allow_synthetic=allow_synthetic)


def _last_check_file(results: Path, suite: Suite) -> Path:
    """The file with the last check of a suite on these results."""
    return results / pools.STATE / "checks" / f"{suite.name}.json"


def _last_check(file: Path) -> dict[str, Any]:
    """The last check; empty if there was none or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(file.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def _store_check(file: Path, suite: Suite, verdicts: Sequence[checks.Verdict]) -> None:
    """Keep the verdicts for the next check, if the folder of results can be written."""
    with contextlib.suppress(OSError):
        write_json(file, {"suite": owner.note(suite, file.parent), **checks.to_json(verdicts)})
