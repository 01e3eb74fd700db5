"""`bench status`: one line an experiment, from files alone."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench import results as pool_of
from bench import suite as suites
from bench.cli import format
from bench.cli.format import Column
from bench.cli.plan import known_speeds
from bench.dispatch.status import WORDS
from bench.plan import Planned, plan

WATCH_SECONDS = 2.0
MOST_FAILURES = 10


def show_status(path: Path, results: Path, watch: bool, as_json: bool) -> None:
    """Print where the suite at `path` stands, once or until interrupted."""
    suite = suites.load(path)
    out = format.Output()
    if watch and not as_json:
        _watch(suite, results, out)
        return
    pool = pool_of.load(results)
    planned = plan(suite, results, pool, known_speeds(pool))
    if as_json:
        out.json({**_as_json(suite, planned), "problems": pool.problems})
        return
    out.print(_table(out, suite, planned))
    failed = [one for one in planned if one.standing.word == "failed"]
    for one in failed[:MOST_FAILURES]:
        out.say(f"failed: {one.run.task.name}/{one.run.label}: {one.standing.note}", style="red")
    if len(failed) > MOST_FAILURES:
        out.say(f"… and {len(failed) - MOST_FAILURES:,} more: bench plan {path} --filter state=failed")
    for problem in pool.problems:
        out.say(problem, style="yellow")


def _watch(suite: suites.Suite, results: Path, out: format.Output) -> None:
    def table() -> Table:
        pool = pool_of.load(results)
        return _table(out, suite, plan(suite, results, pool, known_speeds(pool)))

    try:
        with Live(table(), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(table(), refresh=True)
    except KeyboardInterrupt:
        pass


def _table(out: format.Output, suite: suites.Suite, planned: list[Planned]) -> Table:
    words = [word for word in WORDS if any(one.standing.word == word for one in planned)]
    columns = [Column("experiment", folds=True)]
    columns += [Column(name, number=True) for name in (*words, "done", "worker time left")]
    columns += [Column(name, number=True, spare=True) for name in ("FLOPs done", "of FLOPs")]
    rows = []
    for name, mine in _groups(suite, planned):
        facts = _facts(mine)
        done, total = facts["training_flops_done"], facts["training_flops"]
        states = (
            Text(f"{facts['states'][word]:,}", format.STATE_STYLES[word]) if facts["states"][word] else "·"
            for word in words
        )
        left = format.duration(facts["seconds_left"]) if facts["seconds_left"] else "–"
        rows.append(
            (name, *states, format.percent(done, total), left, format.flops(done), format.flops(total))
        )
    return format.table(out, columns, rows)


def _groups(suite: suites.Suite, planned: list[Planned]) -> list[tuple[str, list[Planned]]]:
    by_experiment = [
        (experiment.name, [one for one in planned if experiment.name in one.experiments])
        for experiment in suite.experiments
    ]
    return [*by_experiment, ("all, each run once", planned)]


def _facts(planned: list[Planned]) -> dict[str, Any]:
    words = Counter(one.standing.word for one in planned)
    return {
        "states": {word: words[word] for word in WORDS},
        "training_flops_done": sum(one.training_flops * one.share_done for one in planned),
        "training_flops": sum(one.training_flops for one in planned),
        "seconds_left": sum(_seconds_left(one) for one in planned),
    }


def _seconds_left(one: Planned) -> float:
    """Worker-seconds left of a run: at its own pace while it runs, else as expected."""
    if one.standing.word == "running" and one.standing.steps_per_second > 0:
        return max(0, one.run.steps - one.standing.step) / one.standing.steps_per_second
    return one.remaining_seconds


def _as_json(suite: suites.Suite, planned: list[Planned]) -> dict[str, Any]:
    groups = _groups(suite, planned)

    def runs(word: str) -> list[dict[str, Any]]:
        return [
            {"id": one.run.id, "label": one.run.label, **vars(one.standing)}
            for one in planned
            if one.standing.word == word
        ]

    return {
        "suite": suite.name,
        "experiments": {name: _facts(mine) for name, mine in groups[:-1]},
        "total": _facts(planned),
        "running": runs("running"),
        "failed": runs("failed"),
    }
