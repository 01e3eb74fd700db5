"""`bench plan`: every run of a suite, and totals by experiment."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import results as pool_of
from bench import suite as suites
from bench.cli import format
from bench.cost import Speeds
from bench.dispatch.status import WORDS
from bench.environment import local_device
from bench.plan import Planned, plan, select
from bench.run import short


def show_plan(path: Path, results: Path, terms: str | None, as_json: bool) -> None:
    """Print the plan of the suite at `path`."""
    suite = suites.load(path)
    pool = pool_of.load(results)
    speeds = known_speeds(pool)
    planned = select(plan(suite, results, pool, speeds), terms)
    if as_json:
        print(json.dumps(_as_json(suite.name, planned, speeds), indent=2))
        return
    out = format.console()
    out.print(_runs(planned))
    out.print(_totals(suite, planned))
    out.print(f"Hours are those of one worker, {_basis(planned, speeds)}.", style="dim")
    for problem in pool.problems:
        out.print(problem, style="yellow")


def known_speeds(pool: pool_of.Pool) -> Speeds:
    """Speeds measured on this machine's device, or else on the device with the most results."""
    name, kind = local_device()
    here = Speeds(pool, name, kind)
    return here if here else Speeds(pool, None, kind)


def _runs(planned: list[Planned]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("id", no_wrap=True)
    for name in ("task", "architecture", "layers×width"):
        table.add_column(name, no_wrap=True)
    for name in ("lr", "clip", "seed", "steps", "parameters", "FLOPs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("hours", justify="right", no_wrap=True)
    for one in planned:
        run, standing = one.run, one.standing
        table.add_row(
            run.id,
            run.task.name,
            run.architecture.name,
            f"{run.size.layers}×{run.size.width}",
            short(run.learning_rate),
            short(run.clip),
            str(run.seed),
            f"{run.steps:,}",
            format.parameters(run.parameters),
            format.flops(run.training_flops()),
            f"[{format.STATE_STYLES[standing.word]}]{standing.word}[/]",
            _hours(one),
        )
    return table


def _totals(suite: suites.Suite, planned: list[Planned]) -> Table:
    table = Table(
        box=None, header_style="bold", pad_edge=False, title="\nBy experiment", title_justify="left"
    )
    table.add_column("experiment", no_wrap=True)
    table.add_column("rebuilds")
    for name in ("runs", *WORDS, "FLOPs", "hours"):
        table.add_column(name, justify="right", no_wrap=True)
    for experiment in suite.experiments:
        mine = [one for one in planned if experiment.name in one.experiments]
        if mine:
            table.add_row(experiment.name, experiment.rebuilds, *_sums(mine))
    table.add_section()
    table.add_row("all, each run once", "", *_sums(planned), style="bold")
    return table


def _sums(planned: list[Planned]) -> list[str]:
    words = Counter(one.standing.word for one in planned)
    return [
        str(len(planned)),
        *(str(words[word]) if words[word] else "·" for word in WORDS),
        format.flops(sum(one.run.training_flops() for one in planned)),
        f"{sum(one.estimate.seconds for one in planned) / 3600:,.1f}",
    ]


def _hours(one: Planned) -> str:
    mark = {"measured": "", "scaled": "~", "assumed": "?"}[one.estimate.basis]
    return f"{mark}{one.estimate.seconds / 3600:,.2f}"


def _basis(planned: list[Planned], speeds: Speeds) -> str:
    bases = Counter(one.estimate.basis for one in planned)
    if not speeds:
        return "assumed (?): nothing was measured yet"
    return (
        f"from results on {speeds.device}: {bases['measured']} measured, "
        f"{bases['scaled']} scaled from the nearest measured (~)"
    )


def _as_json(name: str, planned: list[Planned], speeds: Speeds) -> dict[str, Any]:
    return {
        "suite": name,
        "device": speeds.device,
        "runs": [
            {
                "id": one.run.id,
                "experiments": list(one.experiments),
                "run": one.run.identity(),
                "parameters": one.run.parameters,
                "training_flops": one.run.training_flops(),
                "state": one.standing.word,
                "step": one.standing.step,
                "note": one.standing.note,
                "estimated_hours": one.estimate.seconds / 3600,
                "estimate": one.estimate.basis,
            }
            for one in planned
        ],
    }
