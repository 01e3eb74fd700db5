"""A suite's runs with their states and their expected costs, and the selection of some by `--filter`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.digits import count_of
from bench.dispatch.stack_sizes import advised_members
from bench.dispatch.stacking import interrupted_stacks
from bench.dispatch.status import NO_QUEUE, WORDS, Queue, RunStatus, run_status
from bench.filters import RUN_FIELDS, matching
from bench.models.sizes import size_key
from bench.plan.time import Speeds, TimeEstimate, cautious_seconds
from bench.results import Pool
from bench.results.flops_axis import AXIS
from bench.results.record import RecordedRun
from bench.run import Run
from bench.speed.records import flops_per_step
from bench.stack import form_stacks, stackable

if TYPE_CHECKING:
    from bench.suite import Suite


@dataclass(frozen=True)
class Planned:
    """One run of a suite: the experiments it serves, its status, its expected cost.

    Attributes:
        stack: number of the stack in which the run trains, among the runs that were planned together.
    """

    run: Run
    experiments: tuple[str, ...]
    status: RunStatus
    estimate: TimeEstimate
    stack: int = 0

    @cached_property
    def training_flops(self) -> int:
        """Training FLOPs of the whole run, curriculum counted; before its end, with a stop rule, the most."""
        return self.run.training_flops(self.last_step)

    @cached_property
    def training_flops_full_length(self) -> int:
        """The same with every step at full length: the count at which models are compared."""
        return self.run.training_flops_full_length(self.last_step)

    @property
    def axis_flops(self) -> int:
        """Training FLOPs in the count at which models are compared (`AXIS`), which the commands print."""
        return int(getattr(self, AXIS))

    @property
    def last_step(self) -> int | None:
        """The step at which it ended: `run.steps`, or earlier by its stop rule. None unless it finished."""
        finished = self.status.word == "finished" and self.status.step
        return self.status.step if finished else None

    @property
    def share_done(self) -> float:
        """The part of its steps that is known to be done, from 0 to 1."""
        return 1.0 if self.status.word == "finished" else min(1.0, self.status.step / self.run.steps)

    @property
    def has_ended(self) -> bool:
        """Whether it has a result."""
        return self.status.word in ("finished", "diverged")

    @property
    def remaining_seconds(self) -> float | None:
        """Expected seconds of one worker still to be spent; None when unknown."""
        if self.has_ended:
            return 0.0
        if self.estimate.seconds is None:
            return None
        steps = self.estimate.seconds - self.estimate.evaluation_seconds
        return steps * (1 - self.share_done) + self.evaluation_seconds_left

    @property
    def evaluation_seconds_left(self) -> float:
        """Expected seconds of one worker in the evaluations still to come; 0 where nothing was measured.

        A run that was evaluated before has measured it itself: its FLOPs left, at its seconds per FLOP. In a
        running run without an estimate, a FLOP of an evaluation takes as long as one of its steps.
        """
        if self.has_ended or not (total := self.run.evaluation_flops()):
            return 0.0
        status = self.status
        if status.evaluation_flops:
            per_flop = status.evaluation_seconds / status.evaluation_flops
        elif self.estimate.seconds is None and status.steps_per_second > 0:
            per_flop = 1 / (status.steps_per_second * status.stack * max(1, flops_per_step(self.run)))
        else:
            per_flop = self.estimate.evaluation_seconds / total
        return max(0, total - status.evaluation_flops) * per_flop

    def cautious_seconds(self, kind: str) -> float:
        """`remaining_seconds`, or seconds to reckon with on a "cpu" or "gpu" where they are unknown."""
        if self.remaining_seconds is not None:
            return self.remaining_seconds
        return cautious_seconds(self.run, kind, self.status.step, self.status.evaluation_flops)


@dataclass(frozen=True)
class Total:
    """A sum of seconds of which some may be unknown.

    Attributes:
        seconds: of those that are known; None when none is.
        unknown: runs whose seconds are not.
    """

    seconds: float | None
    unknown: int

    @classmethod
    def of(cls, seconds: Iterable[float | None]) -> Total:
        """The sum of what is known."""
        values = list(seconds)
        numbers = [value for value in values if value is not None]
        return cls(sum(numbers) if numbers or not values else None, len(values) - len(numbers))


def plan(
    suite: Suite,
    results: Path,
    pool: Pool,
    speeds: Speeds,
    queue: Queue = NO_QUEUE,
    largest: int | None = None,
) -> list[Planned]:
    """Every run of the suite once, in the order of its experiments; `largest` as in `stacked`."""
    unknown = TimeEstimate(None, "unknown")
    planned = [
        Planned(
            run,
            tuple(experiment.name for experiment in suite.experiments_of(run.id)),
            run_status(run, results, pool, queue),
            unknown,
        )
        for run in suite.runs
    ]
    return stacked(planned, results, speeds, largest)


def stacked(
    planned: Sequence[Planned], results: Path, speeds: Speeds, largest: int | None = None
) -> list[Planned]:
    """The same runs with the stacks that they form among themselves, and with their costs in these stacks.

    Args:
        planned: the selected runs; a part of a plan forms other stacks than the whole.
        results: where stacks that were begun left their checkpoints.
        speeds: of the device.
        largest: members of a stack at most (`--stack`); None for what is advised for the device.
    """
    memory = None if speeds.memory_mib is None else float(speeds.memory_mib << 20)

    def size(run: Run) -> int:
        if largest is not None:
            return largest if stackable(run) else 1
        return advised_members(run, speeds.kind, speeds.record, memory)

    ended = [entry.run for entry in planned if entry.has_ended]
    missing = [entry.run for entry in planned if not entry.has_ended]
    stacks = [*form_stacks(missing, size, interrupted_stacks(results)), *form_stacks(ended, size)]
    places = {run.id: (number, len(stack)) for number, stack in enumerate(stacks) for run in stack}
    return [
        replace(entry, estimate=speeds.estimate(entry.run, members, entry.last_step), stack=number)
        for entry in planned
        for number, members in [places[entry.run.id]]
    ]


def longest_first(planned: Sequence[Planned], kind: str) -> list[Planned]:
    """Runs by stack, the stack with the most remaining time first.

    Several workers that take stacks in this order end at about the same time.

    Args:
        planned: the runs. Those of a stack keep their order.
        kind: of the device, "gpu" or "cpu": for runs whose time is unknown.
    """
    seconds: defaultdict[int, float] = defaultdict(float)
    for entry in planned:
        seconds[entry.stack] += entry.cautious_seconds(kind)
    return sorted(planned, key=lambda entry: (-seconds[entry.stack], entry.stack))


def _of_run(value: Callable[[Run | RecordedRun], str]) -> Callable[[Planned], list[str]]:
    return lambda planned: [value(planned.run)]


FILTER_FIELDS: dict[str, Callable[[Planned], list[str]]] = {
    "experiment": lambda planned: list(planned.experiments),
    **{name: _of_run(value) for name, value in RUN_FIELDS.items()},
    "size": lambda planned: [planned.run.size_group or "", size_key(planned.run.size)],
    "id": lambda planned: [planned.run.id],
    "state": lambda planned: [planned.status.word],
}
"""Fields of `--filter` in plan, run and status, with a run's values."""


def select(runs: list[Planned], terms: str | None) -> list[Planned]:
    """The runs that match every term of `task=linear_regression architecture=mamba*,s4 …`.

    A term is a field, `=`, and shell patterns separated by commas.

    Raises:
        UserError: for an unknown field, a term without `=`, or terms that match no run.
    """
    if terms is None:
        return runs
    return matching(runs, terms, FILTER_FIELDS, f"the suite's {count_of(len(runs), 'run')}", {"state": WORDS})
