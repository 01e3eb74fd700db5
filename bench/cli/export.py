"""`bench export`: tables of all results as Parquet or CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import printing
from bench.cli.arguments import RESULTS, Results
from bench.cli.printing import Column
from bench.digits import count_of
from bench.errors import UserError, did_you_mean


def command(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            dir_okay=False,
            help="The file to write: x.csv, or x.parquet (pip extra: parquet).",
        ),
    ] = None,
    results: Results = RESULTS,
    table: Annotated[
        str,
        typer.Option(
            "--table",
            help="Table: results (a row per run and checkpoint), positions (scores by position), curves "
            "(training curves), prompts (scores of single prompts), pieces (the processes that trained a run "
            "one after another), evaluations (of bench evaluate --store) or baselines.",
        ),
    ] = "results",
    describe: Annotated[
        bool, typer.Option("--describe", help="Print the meaning of every column, and stop.")
    ] = False,
) -> None:
    """Write all results as a table: runs and checkpoints, or one of the tables in long form."""
    if describe and file is not None:
        raise UserError(f"export: --describe prints the columns and writes no file: leave out {file}")
    if describe:
        describe_columns(table)
    else:
        export_results(file, results, table)


def export_results(path: Path | None, results: Path, table: str = "results") -> None:
    """Write a table and print its size.

    Raises:
        UserError: there is no file name, no such table, there are no results, or the file cannot be written.
    """
    from bench.results import export

    if path is None:
        raise UserError("the file to write is missing: bench export results.parquet (or .csv)")
    frame = export.load_table(table, results)
    try:
        export.write(frame, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    out = printing.Output()
    for problem in frame.attrs["problems"]:
        out.say(problem, style="yellow")
    key, noun = ("id", "run") if "id" in frame else ("task_id", "task")
    out.say(f"{count_of(len(frame), 'row')} of {count_of(frame[key].nunique(), noun)} in {path}.")


def describe_columns(table: str = "results") -> None:
    """Print the meaning of every column of a table.

    Raises:
        UserError: there is no such table.
    """
    from bench.results.export import TABLES

    if table not in TABLES:
        raise UserError(f"unknown table '{table}'{did_you_mean(table, TABLES)}")
    out = printing.Output()
    columns = [Column("column"), Column("meaning", folds=True, prose=True)]
    out.print(printing.table(out, columns, TABLES[table].columns.items()))
