"""What a run will cost in hours and memory: measured here, or scaled from that, or assumed and said so."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from bench import flops
from bench.results import Pool, RunRecord
from bench.run import Run

Basis = Literal["measured", "scaled", "assumed"]

ASSUMED_FLOPS_PER_SECOND = {"cpu": 4e9, "gpu": 5e12}
"""Per worker, where nothing was measured: one core; a recent GPU at this study's small shapes."""


@dataclass(frozen=True)
class Estimate:
    """Expected wall-clock seconds of a run on one worker, and what that expectation rests on."""

    seconds: float
    basis: Basis


@dataclass(frozen=True)
class _Speed:
    architecture: str
    flops_per_step: float
    steps_per_second: float


class Speeds:
    """Measured training speeds of one kind of device.

    Args:
        pool: results to learn from.
        device: the device's name; None takes the device with the most results.
        kind: "cpu" or "gpu": what to assume where nothing was measured.
    """

    def __init__(self, pool: Pool, device: str | None = None, kind: str = "cpu") -> None:
        measured = [result for result in pool.runs.values() if _speed(result) is not None]
        if device is None:
            names = Counter(result.provenance.device for result in measured)
            device = names.most_common(1)[0][0] if names else None
        self.device, self.kind = device, kind
        self._exact: dict[tuple[Any, ...], list[float]] = {}
        self._all: list[_Speed] = []
        for result in measured:
            speed = _speed(result)
            if result.provenance.device != device or speed is None or (last := result.last) is None:
                continue
            self._exact.setdefault(_shape_of_record(result), []).append(speed)
            per_step = last.training_flops_full_length / last.step
            self._all.append(_Speed(result.run.architecture.name, per_step, speed))

    def __bool__(self) -> bool:
        return bool(self._all)

    def estimate(self, run: Run) -> Estimate:
        """Seconds for the whole of `run`."""
        if exact := self._exact.get(_shape_of_run(run)):
            return Estimate(run.steps / statistics.median(exact), "measured")
        size = run.size
        per_step = flops.training_flops_full_length(
            run.architecture, size.layers, size.width, run.task, run.batch_size, 1
        )
        if self._all:
            same = [speed for speed in self._all if speed.architecture == run.architecture.name]
            near = min(same or self._all, key=lambda speed: abs(_log_ratio(speed.flops_per_step, per_step)))
            return Estimate(run.steps * self._scaled(near, per_step), "scaled")
        return Estimate(run.steps * per_step / ASSUMED_FLOPS_PER_SECOND[self.kind], "assumed")

    def _scaled(self, near: _Speed, flops_per_step: float) -> float:
        """Seconds a step, from the nearest measured shape.

        A small shape's step is mostly overhead, which does not grow with its FLOPs: a larger one takes
        longer in proportion at most, and no longer than its further FLOPs take at the assumed speed.
        """
        seconds = 1 / near.steps_per_second
        further = max(0.0, flops_per_step - near.flops_per_step)
        return min(
            seconds * max(1.0, flops_per_step / near.flops_per_step),
            seconds + further / ASSUMED_FLOPS_PER_SECOND[self.kind],
        )


ASSUMED_BYTES = 1000
"""Activations of one token, channel and layer, where nothing was measured: what Mamba's scan keeps."""
CONTEXT_MIB = 700
"""What a process takes on a GPU before it trains anything."""
MOST_SIDE_BY_SIDE = 1
"""Runs that share a GPU where nobody says how many. Processes without MPS take turns on it: on an H100,
two small runs (4×64, captured) had 49 % of the steps a second each that one alone had."""


@dataclass(frozen=True)
class Memory:
    """Memory that a run is expected to take on each GPU it trains on, and what that rests on."""

    mib: int
    basis: Basis


class Memories:
    """Measured GPU memory of training, by architecture.

    Activations grow with batch × tokens × width × layers; weights, gradients and Adam's two moments with
    the parameters. What is scaled from another shape grows (or shrinks) as the faster of the two.

    Args:
        pool: results to learn from.
        spread: GPUs that each run is spread over.
    """

    def __init__(self, pool: Pool, spread: int = 1) -> None:
        self.spread = spread
        self._peaks: dict[str, dict[tuple[float, int], float]] = {}
        """MiB by architecture, and there by activations and parameters: the most that such runs ever took."""
        for result in pool.runs.values():
            if (mib := result.provenance.peak_memory_mib) is not None:
                shape = (_activations_of_record(result), result.facts.parameters)
                peaks = self._peaks.setdefault(result.run.architecture.name, {})
                peaks[shape] = max(mib, peaks.get(shape, 0.0))

    def estimate(self, run: Run) -> Memory:
        """From the nearest measured shape of the run's architecture."""
        length, parameters = run.task.length(run.task.n_points), run.parameters
        activations = run.batch_size * length * run.size.width * run.size.layers / self.spread
        if peaks := self._peaks.get(run.architecture.name):
            shape = (activations, parameters)
            near = min(
                peaks, key=lambda one: (abs(_log_ratio(one[0], activations)), one != shape, -peaks[one])
            )
            growth = max(activations / near[0], parameters / near[1])
            basis: Basis = "measured" if near == shape else "scaled"
            return Memory(round(CONTEXT_MIB + peaks[near] * growth), basis)
        taken = ASSUMED_BYTES * activations + 16 * parameters
        return Memory(round(CONTEXT_MIB + taken / 2**20), "assumed")


def side_by_side(largest_mib: int, gpu_mib: int, runs: int, gpus: int, most: int = MOST_SIDE_BY_SIDE) -> int:
    """How many runs share each GPU where nobody says: at least one.

    Args:
        largest_mib: what the largest of them is expected to take.
        gpu_mib: memory of the smallest GPU.
        runs: how many there are.
        gpus: GPUs to share out, or groups of them where runs are spread.
        most: never more than this.
    """
    return max(1, min(most, gpu_mib // max(1, largest_mib), math.ceil(runs / gpus)))


def _activations_of_record(result: RunRecord) -> float:
    """Batch × tokens × width × layers on each of the devices it trained on."""
    run, size = result.run, result.run.size
    whole = run.batch_size * result.facts.length * size.width * size.layers
    return whole / (result.provenance.processes or 1)


def _speed(result: RunRecord) -> float | None:
    """Measured steps per second; None where none was (made-up results, runs that diverged at once)."""
    if result.provenance.synthetic or not result.checkpoints:
        return None
    return result.provenance.steps_per_second or None


def _shape_of_run(run: Run) -> tuple[Any, ...]:
    length = run.task.length(run.task.n_points)
    return (run.architecture.name, run.size.layers, run.size.width, length, run.batch_size, run.precision)


def _shape_of_record(result: RunRecord) -> tuple[Any, ...]:
    run, length = result.run, result.facts.length
    return (run.architecture.name, run.size.layers, run.size.width, length, run.batch_size, run.precision)


def _log_ratio(a: float, b: float) -> float:
    return math.log(a / b)
