"""The commands that start nothing and read results: report, check, compare and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.arguments import RESULTS, Json, Plugins, Results, SuitePath


def report(
    plugin: Plugins,
    suites: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SUITE]...", help="Suite files; all of suites/ with results when none is named."
        ),
    ] = None,
    results: Results = RESULTS,
    reports: Annotated[
        Path, typer.Option("--reports", file_okay=False, help="Folder the reports are written to.")
    ] = Path("reports"),
) -> None:
    """Write tables, figures and a page from the results there are."""
    from bench.cli.report import write_reports

    write_reports(suites or [], results, reports)


def check(
    suite: SuitePath,
    plugin: Plugins,
    results: Results = RESULTS,
    json: Json = False,
    junit: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the verdicts as JUnit XML, for CI.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="An earlier check (a report's verdicts.json, or the output of --json): the exit code is 1 "
            "when a claim that it reproduced no longer is, else 0.",
        ),
    ] = None,
    allow_synthetic: Annotated[
        bool, typer.Option("--allow-synthetic", hidden=True, help="Judge results made up for tests.")
    ] = False,
) -> None:
    """Hold results against a suite's claims (suites/x.claims.yaml), and say what changed since last time.

    Exit code 0: every claim holds. 1: one is out of tolerance. 2: results are missing,
    undecided or not comparable. 3: the suite or its claims file is wrong.
    """
    from bench.cli.check import Options, check_suite

    raise typer.Exit(check_suite(suite, results, Options(json, junit, against, allow_synthetic)))


def compare(
    before: Annotated[Path, typer.Argument(file_okay=False, help="A results folder.")],
    after: Annotated[Path, typer.Argument(file_okay=False, help="Another: of another machine or commit.")],
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Changes up to this fraction of the error are none.")
    ] = 0.05,
    json: Json = False,
) -> None:
    """Hold two results folders side by side, run by run, with paired 90 % intervals.

    Exit code 0: no run is worse. 1: one is. 2: the folders have no run in common.
    """
    from bench.cli.compare import compare_folders

    raise typer.Exit(compare_folders(before, after, tolerance, json))


def export(
    file: Annotated[
        Path | None, typer.Argument(dir_okay=False, help="x.parquet (extra parquet) or x.csv.")
    ] = None,
    results: Results = RESULTS,
    describe: Annotated[
        bool, typer.Option("--describe", help="Print what each column means, and stop.")
    ] = False,
) -> None:
    """Write all results as one table, a row a run and checkpoint."""
    from bench.cli.export import describe_columns, export_results

    if describe:
        describe_columns()
    else:
        export_results(file, results)
