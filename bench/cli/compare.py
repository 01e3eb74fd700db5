"""`bench compare`: two results folders side by side."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from bench import results as pool_of
from bench.cli import format
from bench.cli.format import Column
from bench.results import compare as comparing

STYLES = {"same": "dim", "better": "green", "worse": "red", "not comparable": "yellow"}


def compare_folders(before: Path, after: Path, tolerance: float, as_json: bool) -> int:
    """Print every run that both folders have, and return the exit code.

    Raises:
        UserError: when a folder is not there, or holds no result.
    """
    pools = [pool_of.load(pool_of.require(folder)) for folder in (before, after)]
    found = comparing.compare(pools[0], pools[1], tolerance)
    counts: Counter[str] = Counter(each.word for each in found)
    only = [len(pools[index].runs) - len(found) for index in (0, 1)]
    code = 2 if not found else int(counts["worse"] > 0)
    out = format.Output()
    if as_json:
        listed = [asdict(each) for each in found]
        out.json({"runs": listed, "counts": {word: counts[word] for word in STYLES}, "exit_code": code})
        return code
    if found:
        columns = [Column("run", folds=True), Column("before", number=True), Column("after", number=True)]
        columns += [Column("change"), Column("is")]
        out.print(format.table(out, columns, (_row(each) for each in found)))
        out.print()
    words = ", ".join(f"{counts[word]} {word}" for word in STYLES if counts[word])
    out.say(f"{format.count(len(found), 'run')} in both: {words or 'nothing to compare'}.")
    for folder, count in zip((before, after), only, strict=True):
        if count:
            out.say(f"{format.count(count, 'run')} only in {folder}.")
    for pool in pools:
        for problem in pool.problems:
            out.say(problem, style="yellow")
    return code


def _row(one: comparing.Comparison) -> tuple[str | Text, ...]:
    change = one.reason
    if one.change is not None:
        change = f"{one.change:+.3g}" + ("" if one.half_width is None else f" ± {one.half_width:.2g}")
    return one.name, _shown(one.before), _shown(one.after), change, Text(one.word, STYLES[one.word])


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
