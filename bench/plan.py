"""A suite's runs with where they stand and what they will cost; and which of them are meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cost import Estimate, Speeds
from bench.dispatch.queue import Queue
from bench.dispatch.status import NOBODY, WORDS, Standing, standing
from bench.filters import matching
from bench.results import Pool
from bench.run import Run, leaves, short
from bench.tasks import PROTOCOLS, Task

if TYPE_CHECKING:
    from bench.suite import Suite


@dataclass(frozen=True)
class Planned:
    """One run of a suite: the experiments it serves, its standing, its expected cost."""

    run: Run
    experiments: tuple[str, ...]
    standing: Standing
    estimate: Estimate

    @cached_property
    def training_flops(self) -> int:
        """Training FLOPs of the whole run."""
        return self.run.training_flops()

    @property
    def share_done(self) -> float:
        """The part of its steps that is known to be done, from 0 to 1."""
        return min(1.0, self.standing.step / self.run.steps)

    @property
    def remaining_seconds(self) -> float:
        """Expected seconds of one worker still to be spent."""
        if self.standing.word in ("finished", "diverged"):
            return 0.0
        return self.estimate.seconds * (1 - self.share_done)


def plan(suite: Suite, results: Path, pool: Pool, speeds: Speeds, queue: Queue = NOBODY) -> list[Planned]:
    """Every run of the suite once, in the order of its experiments."""
    return [
        Planned(
            run,
            tuple(each.name for each in suite.experiments_of(run.id)),
            standing(run, results, pool, queue),
            speeds.estimate(run),
        )
        for run in suite.runs
    ]


def task_names(runs: Iterable[Planned]) -> dict[str, str]:
    """A name for each task id: the task's, and what sets it apart from the first task of that name.

    `chain_of_thought`, then `chain_of_thought+hidden=4`, as architectures write their options; and
    `sparse_parity+released_code` where every field is as that protocol has it.
    """
    names: dict[str, str] = {}
    firsts: dict[str, dict[str, Any]] = {}
    for one in runs:
        run = one.run
        if run.task_id not in names:
            settings = {**run.task.identity(), "evaluation_prompts": run.evaluation_prompts}
            fields = {".".join(path): value for path, value in leaves(settings)}
            first = firsts.setdefault(run.task.name, fields)
            apart = {key: value for key, value in fields.items() if first.get(key) != value}
            names[run.task_id] = run.task.name + "".join(_apart(run.task, apart))
    return names


def _apart(task: Task, fields: dict[str, Any]) -> list[str]:
    """What sets a task apart, in its name: a whole protocol by its name, other fields with their values."""
    for protocol in PROTOCOLS:
        meant = {field: choices[protocol] for field, choices in task.protocol_fields.items()}
        if len(meant) > 1 and meant.items() <= fields.items():
            rest = {key: value for key, value in fields.items() if key not in meant}
            return [f"+{protocol}", *_apart(task, rest)]
    return [f"+{key}={value}" for key, value in fields.items()]


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
    return matching(runs, terms, _FIELDS, f"the suite's {len(runs):,} runs", {"state": WORDS})
