"""`bench compare`: two results folders side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bench import results as pools
from bench.cli import printing
from bench.cli.arguments import Json
from bench.cli.printing import Column
from bench.digits import count_of
from bench.results import compare as comparing

STYLES = {"same": "dim", "better": "green", "worse": "red", "not comparable": "yellow"}
ALWAYS = ("task", "architecture", "size")
"""Settings that name a run in every row."""


def command(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", file_okay=False, help="A results folder.")],
    after: Annotated[
        Path,
        typer.Argument(
            metavar="AFTER", file_okay=False, help="A results folder of another machine or commit."
        ),
    ],
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Ignore changes below this fraction of the error.")
    ] = 0.05,
    every: Annotated[
        bool,
        typer.Option("--all", help="Also show runs that did not change, and settings that all runs share."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two results folders run by run, with paired 90 % intervals.

    A row shows a run that changed, with the settings in which the compared runs differ.

    Exit code 0: no run is worse. 1: a run is worse. 2: the folders have no run in common.
    """
    raise typer.Exit(compare_folders(before, after, tolerance, every, as_json))


def compare_folders(before: Path, after: Path, tolerance: float, every: bool, as_json: bool) -> int:
    """Print the runs that both folders have and that changed, and return the exit code.

    Args:
        before: the folder to compare with.
        after: the folder that is judged.
        tolerance: as in `bench.results.compare.compare`.
        every: print every run that both folders have, with all its settings.
        as_json: print every run as JSON.

    Raises:
        UserError: a folder does not exist, or has no result.
    """
    compared = [pools.load(pools.require(folder)) for folder in (before, after)]
    comparisons = comparing.compare(compared[0], compared[1], tolerance)
    counts: Counter[str] = Counter(comparison.word for comparison in comparisons)
    only = [len(compared[index].runs) - len(comparisons) for index in (0, 1)]
    code = 2 if not comparisons else int(counts["worse"] > 0)
    out = printing.Output()
    if as_json:
        listed = [asdict(comparison) for comparison in comparisons]
        out.json({"runs": listed, "counts": {word: counts[word] for word in STYLES}, "exit_code": code})
        return code
    shown = [comparison for comparison in comparisons if every or comparison.word != "same"]
    varying = comparing.differing(comparisons)
    if shown:
        columns = [Column("is"), Column("run", folds=True), Column("before", number=True)]
        columns += [Column("after", number=True), Column("change ± 90 %", folds=True)]
        rows = (_row(comparison, None if every else varying) for comparison in shown)
        out.print(printing.table(out, columns, rows))
        out.print()
    words = ", ".join(f"{counts[word]} {word}" for word in STYLES if counts[word])
    out.say(f"{count_of(len(comparisons), 'run')} in both: {words or 'nothing to compare'}.")
    for folder, count in zip((before, after), only, strict=True):
        if count:
            out.say(f"{count_of(count, 'run')} only in {folder}.")
    for pool in compared:
        for problem in pool.problems:
            out.say(problem, style="yellow")
    return code


def _row(comparison: comparing.Comparison, names: Collection[str] | None) -> tuple[str | Text, ...]:
    """A run with the settings of these names, or with all; task, architecture and size always."""
    change = comparison.reason
    if comparison.change is not None:
        change = f"{comparison.change:+.3g}" + (
            "" if comparison.half_width is None else f" ± {comparison.half_width:.2g}"
        )
    settings = comparison.settings
    words = [settings[name] for name in ALWAYS]
    words += [
        f"{name.removeprefix('task.')} {value}"
        for name, value in settings.items()
        if name not in ALWAYS and (names is None or name in names)
    ]
    return (
        Text(comparison.word, STYLES[comparison.word]),
        ", ".join(words),
        _shown(comparison.before),
        _shown(comparison.after),
        change,
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
