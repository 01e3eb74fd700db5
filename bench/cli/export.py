"""`bench export`: all results as one Parquet or CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import printing
from bench.cli.arguments import RESULTS, Results
from bench.cli.printing import Column
from bench.errors import UserError


def command(
    file: Annotated[
        Path | None, typer.Argument(dir_okay=False, help="x.parquet (extra parquet) or x.csv.")
    ] = None,
    results: Results = RESULTS,
    describe: Annotated[
        bool, typer.Option("--describe", help="Print the meaning of every column, and stop.")
    ] = False,
) -> None:
    """Write all results as one table, with a row per run and checkpoint."""
    if describe:
        describe_columns()
    else:
        export_results(file, results)


def export_results(path: Path | None, results: Path) -> None:
    """Write the table and print its size.

    Raises:
        UserError: there is no file name, there are no results, or the file cannot be written.
    """
    from bench.results import export

    if path is None:
        raise UserError("the file to write is missing: bench export results.parquet (or .csv)")
    frame = export.load_results(results)
    try:
        export.write(frame, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    out = printing.Output()
    for problem in frame.attrs["problems"]:
        out.say(problem, style="yellow")
    out.say(
        f"{printing.count(len(frame), 'row')} of {printing.count(frame['id'].nunique(), 'run')} in {path}."
    )


def describe_columns() -> None:
    """Print the meaning of every column."""
    from bench.results.table import DESCRIBED

    out = printing.Output()
    columns = [Column("column"), Column("meaning", folds=True)]
    out.print(printing.table(out, columns, DESCRIBED.items()))
