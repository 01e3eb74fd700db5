"""`bench report`: one folder of tables, figures and a page for each suite."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from bench import results as pools
from bench import suite as suites
from bench.check import claims as claims_of
from bench.check import findings as findings_of
from bench.cli import printing
from bench.cli.arguments import RESULTS, Changes, Plugins, Results, SuiteChoice
from bench.cli.check import verdicts_on
from bench.cli.completion import suite_words
from bench.digits import count_of
from bench.dispatch.status import run_statuses
from bench.errors import InvalidFile, UserError
from bench.suite import shipped
from bench.suite.owner import refuse_same_names


def command(
    plugin: Plugins,
    changes: Changes,
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUITE",
            autocompletion=suite_words,
            help="Suite files, or names of suites that ship with bench (default: every suite in suites/ "
            "with results).",
        ),
    ] = None,
    results: Results = RESULTS,
    reports: Annotated[
        Path, typer.Option("--reports", file_okay=False, help="Folder of the reports.")
    ] = Path("reports"),
) -> None:
    """Write tables, figures and a page from the results that exist."""
    if changes and not suites:
        raise UserError("--set changes a suite: name one")
    write_reports([SuiteChoice.of(word, changes, results=results) for word in suites or []], results, reports)


def write_reports(choices: list[SuiteChoice], results: Path, reports: Path) -> None:
    """Report these suites, or every suite of `suites/` that has a result.

    Without a folder `suites/`, the suites that ship with bench take its place. An unusable suite does not
    prevent the reports of the other suites.

    Raises:
        InvalidFile: a suite, a claims file or a findings file is unusable. Raised at the end, with all
            problems.
        UserError: there are no results, no suite is named and no suite has results, or two suites have the
            same name.
    """
    out = printing.Output()
    unusable: list[UserError] = []
    named = _usable(choices, unusable)
    if choices and not named:
        raise_all(unusable)
    pool = pools.load(pools.require(results))
    for problem in pool.problems:
        out.say(problem, style="yellow")
    chosen = named if choices else _with_results(pool, unusable)
    refuse_same_names(chosen)
    for suite in chosen:
        try:
            _write(suite, pool, results, reports, out)
        except UserError as error:
            unusable.append(error)
    raise_all(unusable)


def _write(suite: suites.Suite, pool: pools.Pool, results: Path, reports: Path, out: printing.Output) -> None:
    from bench.report.write import write_report

    words = {run_id: status.word for run_id, status in run_statuses(suite.runs, results, pool).items()}
    claims = claims_of.path_for(suite.path)
    verdicts = verdicts_on(claims_of.load(claims, suite), suite, results, pool) if claims.is_file() else []
    path = findings_of.path_for(suite.path)
    names = [verdict.claim for verdict in verdicts]
    findings = findings_of.load(path, suite, names) if path.is_file() else None
    written = write_report(suite, pool, reports / suite.name, words, verdicts, findings)
    complete = sum(word in ("finished", "diverged") for word in words.values())
    page = reports / suite.name / "index.html"
    out.say(
        f"{suite.name}: {complete:,} of {count_of(len(words), 'run')} have results; "
        f"{len(written)} files written. Open {page}"
    )


def raise_all(errors: list[UserError]) -> None:
    """Raise the collected errors as one, if there are any."""
    invalid = [problem for error in errors if isinstance(error, InvalidFile) for problem in error.problems]
    plain = [f"bench: {error}" for error in errors if not isinstance(error, InvalidFile)]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InvalidFile([*invalid, *plain])


def _usable(choices: Iterable[SuiteChoice], unusable: list[UserError]) -> list[suites.Suite]:
    """The chosen suites, each file once. The errors of other files are added to `unusable`."""
    loaded = []
    for choice in {os.path.realpath(choice.path): choice for choice in choices}.values():
        try:
            loaded.append(choice.load())
        except InvalidFile as error:
            unusable.append(error)
    return loaded


def _with_results(pool: pools.Pool, unusable: list[UserError]) -> list[suites.Suite]:
    """The suites of `suites/`, or those that ship, of which a run has a result."""
    folder = Path("suites")
    files = [path for path in sorted(folder.glob("*.yaml")) if shipped.is_suite(path)]
    choices = [SuiteChoice.of(file) for file in files] or [SuiteChoice.of(name) for name in shipped.paths()]
    loaded = _usable(choices, unusable)
    chosen = [suite for suite in loaded if any(run.id in pool.runs for run in suite.runs)]
    if not chosen and not unusable:
        place = f"in {folder}/" if files else "that ships with bench"
        raise UserError(f"no suite {place} has a result yet: bench run {choices[0]}")
    return chosen
