"""`bench compare`: two results folders side by side."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from bench import results as pool_of
from bench.cli import printing
from bench.cli.arguments import Json
from bench.cli.printing import Column
from bench.results import compare as comparing

STYLES = {"same": "dim", "better": "green", "worse": "red", "not comparable": "yellow"}


def command(
    before: Annotated[Path, typer.Argument(file_okay=False, help="A results folder.")],
    after: Annotated[Path, typer.Argument(file_okay=False, help="Another, of another machine or commit.")],
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Ignore changes below this fraction of the error.")
    ] = 0.05,
    as_json: Json = False,
) -> None:
    """Compare two results folders run by run, with paired 90 % intervals.

    Exit code 0: no run is worse. 1: a run is worse. 2: the folders have no run in common.
    """
    raise typer.Exit(compare_folders(before, after, tolerance, as_json))


def compare_folders(before: Path, after: Path, tolerance: float, as_json: bool) -> int:
    """Print every run that both folders have, and return the exit code.

    Raises:
        UserError: a folder does not exist, or has no result.
    """
    pools = [pool_of.load(pool_of.require(folder)) for folder in (before, after)]
    comparisons = comparing.compare(pools[0], pools[1], tolerance)
    counts: Counter[str] = Counter(comparison.word for comparison in comparisons)
    only = [len(pools[index].runs) - len(comparisons) for index in (0, 1)]
    code = 2 if not comparisons else int(counts["worse"] > 0)
    out = printing.Output()
    if as_json:
        listed = [asdict(comparison) for comparison in comparisons]
        out.json({"runs": listed, "counts": {word: counts[word] for word in STYLES}, "exit_code": code})
        return code
    if comparisons:
        columns = [Column("run", folds=True), Column("before", number=True), Column("after", number=True)]
        columns += [Column("change"), Column("is")]
        out.print(printing.table(out, columns, (_row(comparison) for comparison in comparisons)))
        out.print()
    words = ", ".join(f"{counts[word]} {word}" for word in STYLES if counts[word])
    out.say(f"{printing.count(len(comparisons), 'run')} in both: {words or 'nothing to compare'}.")
    for folder, count in zip((before, after), only, strict=True):
        if count:
            out.say(f"{printing.count(count, 'run')} only in {folder}.")
    for pool in pools:
        for problem in pool.problems:
            out.say(problem, style="yellow")
    return code


def _row(comparison: comparing.Comparison) -> tuple[str | Text, ...]:
    change = comparison.reason
    if comparison.change is not None:
        change = f"{comparison.change:+.3g}" + (
            "" if comparison.half_width is None else f" ± {comparison.half_width:.2g}"
        )
    return (
        comparison.name,
        _shown(comparison.before),
        _shown(comparison.after),
        change,
        Text(comparison.word, STYLES[comparison.word]),
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
