"""Facts of the runs behind the points of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.report.style import architecture_name, scientific
from bench.report.text import heading, millions
from bench.results import Pool, Provenance
from bench.run import short


@dataclass(frozen=True)
class PointFacts:
    """What the page shows of the runs behind its points.

    Attributes:
        labels: names of the facts, in order.
        values: by run id, a value for each label.
    """

    labels: Sequence[str]
    values: Mapping[str, Sequence[str]]


def run_facts(pool: Pool, plan: pd.DataFrame, ids: Iterable[str]) -> PointFacts:
    """The facts of some runs that have results. A page with hundreds of runs contains each label once."""
    rows = plan.set_index("id", drop=False).loc[list(dict.fromkeys(ids))].to_dict("records")
    values = {}
    for row in rows:
        result = pool.runs[row["id"]]
        origin = result.provenance
        row["architecture"] = result.run.architecture.name  # with its options
        values[row["id"]] = [
            *(text(row[column]) for column, text in _TEXTS.items()),
            _duration(origin.train_seconds),
            "not recorded" if origin.device is None else origin.device,
            _commit(origin),
        ]
    labels = [*map(heading, _TEXTS), "wall time", "device", "commit"]
    return PointFacts(labels if values else [], values)


def _architecture(name: str) -> str:
    base, _, options = name.partition("+")
    return architecture_name(base) + (f" ({options.replace('+', ', ')})" if options else "")


_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "id": str,
    "task": str,
    "architecture": _architecture,
    "size": str,
    "parameters": millions,
    "learning_rate": short,
    "clip": short,
    "seed": str,
    "optimizer": str,
    "planned_flops": scientific,
}
"""Columns of the frame that are facts of a run, and how they are written."""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    if seconds < 5400:
        return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _commit(origin: Provenance) -> str:
    if not origin.commit:
        return "not recorded"
    return origin.commit[:12] + (" (changed)" if origin.dirty else "")
