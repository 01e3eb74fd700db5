"""How long a run will take: measured on its device, scaled from a measured shape, or unknown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.results import Pool, RunRecord
from bench.run import Run
from bench.speed.records import Record, Shape, flops_per_step, shape_of

Basis = Literal["measured", "scaled", "unknown"]
"""What an estimate rests on: the same shape, a similar one, or nothing."""

MOST_FLOPS_FACTOR = 8.0
"""Times are scaled to shapes whose FLOPs per step are within this factor of a measured shape's."""
MOST_LENGTH_FACTOR = 2.0
"""Times are scaled to shapes whose prompts' length is within this factor of a measured shape's."""
LEAST_STEPS_PER_SECOND = 1e-6
"""A slower result, one step in eleven days, measured nothing: a damaged file or a stopped clock."""
CAUTIOUS_FLOPS_PER_SECOND = {"cpu": 1e9, "gpu": 1e12}
"""Slower than devices usually are. Work of unknown duration is divided into jobs at this rate, and confirmed
before it starts; it is never shown as a time."""


@dataclass(frozen=True)
class TimeEstimate:
    """What a run is expected to take.

    Attributes:
        seconds: wall-clock seconds of one worker: the run's share of those of its stack; None when unknown.
        basis: what the time of the steps rests on.
        members: of the stack that the run is expected to train in.
        evaluation_seconds: the part of `seconds` that evaluations take. Where no similar run has measured it,
            their FLOPs take as long as those of steps.
    """

    seconds: float | None
    basis: Basis
    members: int = 1
    evaluation_seconds: float = 0.0


class Speeds:
    """Measured training speeds of one device, from results and from the records of `bench speed`.

    Args:
        pool: results.
        device: the device's name; None takes the device that was measured most (`most_measured`).
        kind: "cpu" or "gpu": the kind of the device if no measurement shows it.
        records: of `bench speed`, of any devices.
        memory_mib: of the GPU; None takes what the record says.

    Attributes:
        device: its name; None where nothing was measured and none was named.
        kind: "cpu" or "gpu".
        record: of `bench speed` on this device; None where there is none.
        memory_mib: of the GPU; None where that is not known.
    """

    def __init__(
        self,
        pool: Pool,
        device: str | None = None,
        kind: str = "cpu",
        records: Sequence[Record] = (),
        memory_mib: int | None = None,
    ) -> None:
        results = [result for result in pool.runs.values() if _seconds_per_member(result) is not None]
        self.device = most_measured(pool, records) if device is None else device
        results = [result for result in results if result.provenance.device == self.device]
        self.kind = kind
        self.record = next((record for record in records if record.device == self.device), None)
        if self.record is not None:
            self.kind = self.record.device_kind
        elif any(result.provenance.captured for result in results):
            self.kind = "gpu"
        self.memory_mib = memory_mib or (self.record.memory_mib if self.record else None)
        self._times: dict[Shape, dict[int, list[float]]] = {}
        """Seconds per step and member, by shape and members."""
        self._evaluation_times: dict[Shape, dict[int, list[float]]] = {}
        """Seconds of evaluations per FLOP and member, by shape and members."""
        self._flops: dict[Shape, float] = {}
        for result in results:
            self._add_result(result)
        for row in self.record.rows if self.record else ():
            if row.ms_per_member is not None:
                self._add(row.shape, row.stack, row.ms_per_member / 1e3, row.flops_per_step)

    def __bool__(self) -> bool:
        return bool(self._times)

    def estimate(self, run: Run, members: int = 1, last_step: int | None = None) -> TimeEstimate:
        """Seconds for a run as one of `members` of a stack: for its first `last_step` steps, or for all."""
        shape, steps = shape_of(run), run.steps if last_step is None else last_step
        per_step = max(1, flops_per_step(run))
        near = self._nearest(self._times, shape, per_step)
        if near is None:
            return TimeEstimate(None, "unknown", members)
        by_stack = self._times[near]
        basis: Basis = "measured" if near == shape and members in by_stack else "scaled"
        # Less work per step need not be faster: small steps are mostly overhead.
        growth = 1.0 if near == shape else max(1.0, per_step / self._flops[near])
        seconds_per_step = growth * _seconds_in_stack(by_stack, members)
        seconds_per_flop = self._evaluation_seconds_per_flop(shape, members, per_step)
        if seconds_per_flop is None:
            seconds_per_flop = seconds_per_step / per_step
        evaluations = run.evaluation_flops(last_step) * seconds_per_flop
        return TimeEstimate(steps * seconds_per_step + evaluations, basis, members, evaluations)

    def _evaluation_seconds_per_flop(self, shape: Shape, members: int, per_step: int) -> float | None:
        """Seconds per FLOP of evaluations, from those of the nearest shape; None where none was measured.

        A prompt takes no less than one of a larger shape.
        """
        near = self._nearest(self._evaluation_times, shape, per_step)
        if near is None:
            return None
        growth = max(1.0, self._flops[near] / per_step)
        return growth * _seconds_in_stack(self._evaluation_times[near], members)

    def _nearest(
        self, measured: Mapping[Shape, dict[int, list[float]]], shape: Shape, per_step: float
    ) -> Shape | None:
        """The measured shape whose time may be scaled to another; None where none is close enough."""
        if shape in measured:
            return shape
        close = [
            candidate
            for candidate in measured
            if (candidate.architecture, candidate.precision) == (shape.architecture, shape.precision)
            and factor(candidate.length, shape.length) <= MOST_LENGTH_FACTOR
            and factor(self._flops[candidate], per_step) <= MOST_FLOPS_FACTOR
        ]
        return min(close, key=lambda candidate: factor(self._flops[candidate], per_step), default=None)

    def _add_result(self, result: RunRecord) -> None:
        run, last, seconds = result.run, result.last, _seconds_per_member(result)
        if last is None or seconds is None:
            return
        per_step = last.training_flops_full_length / max(1, last.step)
        shape, members = Shape.of(run, result.facts.length), members_of(result)
        self._add(shape, members, seconds, per_step)
        origin = result.provenance
        if origin.evaluation_seconds and origin.evaluation_flops:
            per_flop = origin.evaluation_seconds / origin.evaluation_flops
            self._evaluation_times.setdefault(shape, {}).setdefault(members, []).append(per_flop)

    def _add(self, shape: Shape, members: int, seconds: float, per_step: float) -> None:
        self._times.setdefault(shape, {}).setdefault(members, []).append(seconds)
        self._flops[shape] = per_step


def cautious_seconds(run: Run, kind: str, step: int = 0, evaluation_flops: int = 0) -> float:
    """Seconds to reckon with for a run of unknown duration: see `CAUTIOUS_FLOPS_PER_SECOND`.

    Args:
        run: the run.
        kind: of the device, "cpu" or "gpu".
        step: optimisation steps done.
        evaluation_flops: FLOPs of the evaluations done.
    """
    steps = max(0, run.steps - step) * flops_per_step(run)
    evaluations = max(0, run.evaluation_flops() - evaluation_flops)
    return (steps + evaluations) / CAUTIOUS_FLOPS_PER_SECOND[kind]


def most_measured(pool: Pool, records: Sequence[Record], preferred: str | None = None) -> str | None:
    """The name of the device with the most measurements; None without any.

    Args:
        pool: results.
        records: of `bench speed`.
        preferred: "cpu" or "gpu": if a device of this kind was measured, only those of this kind count.
    """
    results = [result for result in pool.runs.values() if _seconds_per_member(result) is not None]
    names = Counter(result.provenance.device for result in results)
    names.update(record.device for record in records for row in record.rows if row.ms_per_step is not None)
    gpus = {result.provenance.device for result in results if result.provenance.captured}
    gpus |= {record.device for record in records if record.device_kind == "gpu"}
    of_kind = Counter({name: names[name] for name in names if (name in gpus) == (preferred == "gpu")})
    counts = of_kind if preferred and of_kind else names
    return counts.most_common(1)[0][0] if counts else None


def _seconds_in_stack(by_stack: dict[int, list[float]], members: int) -> float:
    """Seconds per step and member in a stack of `members`, from measured ones by the size of their stack.

    Seconds of evaluations per FLOP and member are bounded in the same way.

    For a stack that was not measured, this is the lowest of two kinds of upper bounds. A member of a larger
    stack costs no more than one of a smaller stack, and a step of a smaller stack takes no longer than one of
    a larger stack.
    """
    medians = {stack: statistics.median(seconds) for stack, seconds in by_stack.items()}
    if members in medians:
        return medians[members]
    return min(seconds * max(1.0, stack / members) for stack, seconds in medians.items())


def members_of(result: RunRecord) -> int:
    """Members of the stack that a result comes from; 1 for results from the time before stacks."""
    stack = result.provenance.stack
    return stack.members if stack else 1


def _seconds_per_member(result: RunRecord) -> float | None:
    """Measured seconds per step and member; None where there are none, as in made-up results."""
    speed = result.provenance.steps_per_second
    if result.provenance.synthetic or not result.checkpoints or not speed or speed < LEAST_STEPS_PER_SECOND:
        return None
    return 1 / (speed * members_of(result))


def factor(a: float, b: float) -> float:
    """The larger of two positive numbers divided by the smaller."""
    return max(a, b) / max(min(a, b), 1e-300)
