"""A suite's runs with where they stand and what they will cost; and which of them are meant."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cost import Estimate, Speeds
from bench.dispatch.status import Standing, standing
from bench.errors import UserError, did_you_mean
from bench.results import Pool
from bench.run import Run, short

if TYPE_CHECKING:
    from bench.suite import Suite


@dataclass(frozen=True)
class Planned:
    """One run of a suite: the experiments it serves, its standing, its expected cost."""

    run: Run
    experiments: tuple[str, ...]
    standing: Standing
    estimate: Estimate

    @property
    def remaining_seconds(self) -> float:
        """Expected seconds of one worker still to be spent."""
        if self.standing.word in ("finished", "diverged"):
            return 0.0
        return self.estimate.seconds * (1 - min(1.0, self.standing.step / self.run.steps))


def plan(suite: Suite, results: Path, pool: Pool, speeds: Speeds) -> list[Planned]:
    """Every run of the suite once, in the order of its experiments."""
    return [
        Planned(
            run,
            tuple(each.name for each in suite.experiments_of(run.id)),
            standing(run, results, pool),
            speeds.estimate(run),
        )
        for run in suite.runs
    ]


_FIELDS: dict[str, Callable[[Planned], list[str]]] = {
    "experiment": lambda planned: list(planned.experiments),
    "task": lambda planned: [planned.run.task.name],
    "architecture": lambda planned: [planned.run.architecture.name],
    "size": lambda planned: [
        planned.run.size_group or "",
        f"{planned.run.size.layers}x{planned.run.size.width}",
    ],
    "layers": lambda planned: [str(planned.run.size.layers)],
    "width": lambda planned: [str(planned.run.size.width)],
    "learning_rate": lambda planned: [short(planned.run.learning_rate)],
    "clip": lambda planned: [short(planned.run.clip)],
    "optimizer": lambda planned: [planned.run.optimizer.name],
    "steps": lambda planned: [str(planned.run.steps)],
    "seed": lambda planned: [str(planned.run.seed)],
    "id": lambda planned: [planned.run.id],
    "state": lambda planned: [planned.standing.word],
}


def select(runs: list[Planned], terms: str | None) -> list[Planned]:
    """The runs that match every term of `task=linear_regression architecture=mamba*,s4 …`.

    A term is a field, `=`, and shell patterns separated by commas.

    Raises:
        UserError: for an unknown field, a term without `=`, or terms that match no run.
    """
    if not terms:
        return runs
    chosen = runs
    for term in terms.split():
        key, equals, patterns = term.partition("=")
        if not equals or not patterns:
            raise UserError(f"filter term '{term}' is not of the form field=pattern")
        if key not in _FIELDS:
            raise UserError(f"unknown filter field '{key}'{did_you_mean(key, _FIELDS)}")
        wanted = [_canonical(key, pattern) for pattern in patterns.split(",")]
        chosen = [
            planned
            for planned in chosen
            if any(
                fnmatch.fnmatchcase(value, pattern) for value in _FIELDS[key](planned) for pattern in wanted
            )
        ]
    if not chosen:
        raise UserError(f"filter '{terms}' matches none of the suite's {len(runs)} runs")
    return chosen


def _canonical(key: str, pattern: str) -> str:
    """Numbers however they are written: 0.0001 finds 1e-4."""
    if key in ("learning_rate", "clip"):
        try:
            return short(float(pattern))
        except ValueError:
            pass
    return pattern
