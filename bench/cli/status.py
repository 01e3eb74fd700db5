"""`bench status`: one line an experiment, from files alone."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from bench import results as pool_of
from bench import suite as suites
from bench.cli import format
from bench.cli.plan import known_speeds
from bench.dispatch.status import WORDS
from bench.plan import Planned, plan

WATCH_SECONDS = 2.0


def show_status(path: Path, results: Path, watch: bool, as_json: bool) -> None:
    """Print where the suite at `path` stands, once or until interrupted."""
    suite = suites.load(path)
    if as_json:
        print(json.dumps(_as_json(suite, _read(suite, results)), indent=2))
        return
    out = format.console()
    if not watch:
        out.print(_table(suite, _read(suite, results)))
        return
    try:
        with Live(_table(suite, _read(suite, results)), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(_table(suite, _read(suite, results)), refresh=True)
    except KeyboardInterrupt:
        pass


def _read(suite: suites.Suite, results: Path) -> list[Planned]:
    pool = pool_of.load(results)
    return plan(suite, results, pool, known_speeds(pool))


def _table(suite: suites.Suite, planned: list[Planned]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("experiment", no_wrap=True)
    for name in (*WORDS, "FLOPs done", "of", "worker time left"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, mine in _groups(suite, planned):
        facts = _facts(mine)
        table.add_row(
            name,
            *(
                f"[{format.STATE_STYLES[word]}]{facts['states'][word]}[/]" if facts["states"][word] else "·"
                for word in WORDS
            ),
            format.flops(facts["training_flops_done"]),
            format.flops(facts["training_flops"]),
            format.duration(facts["seconds_left"]) if facts["seconds_left"] else "–",
        )
    return table


def _groups(suite: suites.Suite, planned: list[Planned]) -> list[tuple[str, list[Planned]]]:
    by_experiment = [
        (experiment.name, [one for one in planned if experiment.name in one.experiments])
        for experiment in suite.experiments
    ]
    return [*by_experiment, ("all, each run once", planned)]


def _facts(planned: list[Planned]) -> dict[str, Any]:
    words = Counter(one.standing.word for one in planned)
    done = sum(one.run.training_flops() * min(1.0, one.standing.step / one.run.steps) for one in planned)
    return {
        "states": {word: words[word] for word in WORDS},
        "training_flops_done": done,
        "training_flops": sum(one.run.training_flops() for one in planned),
        "seconds_left": sum(_seconds_left(one) for one in planned),
    }


def _seconds_left(one: Planned) -> float:
    """Worker-seconds left of a run: at its own pace while it runs, else as expected."""
    if one.standing.word == "running" and one.standing.steps_per_second > 0:
        return (one.run.steps - one.standing.step) / one.standing.steps_per_second
    return one.remaining_seconds


def _as_json(suite: suites.Suite, planned: list[Planned]) -> dict[str, Any]:
    groups = _groups(suite, planned)
    return {
        "suite": suite.name,
        "experiments": {name: _facts(mine) for name, mine in groups[:-1]},
        "total": _facts(planned),
        "running": [
            {"id": one.run.id, "label": one.run.label, **vars(one.standing)}
            for one in planned
            if one.standing.word == "running"
        ],
    }
