"""What a reader is told of the run behind a point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.style import architecture_name, scientific
from bench.report.text import millions
from bench.results import Pool, Provenance
from bench.run import short

if TYPE_CHECKING:
    import pandas as pd

    from bench.suite import Suite


@dataclass(frozen=True)
class PointFacts:
    """What the page tells of the runs behind its points.

    Attributes:
        labels: what is told, in order.
        values: by run id, a value for each label.
    """

    labels: Sequence[str]
    values: Mapping[str, Sequence[str]]


def run_facts(suite: Suite, pool: Pool, plan: pd.DataFrame, ids: Iterable[str]) -> PointFacts:
    """The facts of some runs that have results. A page with hundreds of runs contains each label once."""
    runs = {run.id: run for run in suite.runs}
    tasks = dict(zip(plan["id"], plan["task"], strict=True))
    values = {}
    labels: list[str] = []
    for key in dict.fromkeys(ids):
        run, result = runs[key], pool.runs[key]
        origin = result.provenance
        facts = {
            "run": key,
            "task": tasks[key],
            "architecture": architecture_name(run.architecture.base_name) + _options(run.architecture.name),
            "size": f"{run.size.layers}×{run.size.width}",
            "parameters": millions(run.parameters),
            "learning rate": short(run.learning_rate),
            "clip": short(run.clip),
            "seed": str(run.seed),
            "optimizer": run.optimizer.name,
            "training FLOPs, whole run": scientific(run.training_flops()),
            "wall time": _duration(origin.train_seconds),
            "device": _text(origin.device),
            "commit": _commit(origin),
        }
        labels, values[key] = list(facts), list(facts.values())
    return PointFacts(labels, values)


def _options(name: str) -> str:
    options = name.partition("+")[2]
    return f" ({options.replace('+', ', ')})" if options else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    if seconds < 5400:
        return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _text(value: str | None) -> str:
    return "not recorded" if value is None else value


def _commit(origin: Provenance) -> str:
    commit = origin.commit
    return "not recorded" if not commit else commit[:12] + (" (changed)" if origin.dirty else "")
