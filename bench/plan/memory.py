"""How much GPU memory training will take: measured, scaled from a measured shape, or a general bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.plan.time import Basis, factor, members_of
from bench.results import Pool
from bench.results.record import RecordedRun
from bench.run import Run

CONTEXT_MIB = 700
"""What a process takes on a GPU before it trains anything."""
MOST_SIDE_BY_SIDE = 1
"""Runs that share a GPU if `--workers` does not say how many. Without MPS, processes take turns on a
GPU: on an H100, each of two small runs (4×64, captured) had 49 % of the steps per second of one alone."""


@dataclass(frozen=True)
class Memory:
    """Memory that a run is expected to take on each GPU that it trains on.

    Attributes:
        mib: in MiB, with `CONTEXT_MIB`. Where the basis is "unknown", it is an upper bound for all
            architectures (`Run.unmeasured_bytes`).
        basis: what that rests on.
    """

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
        """Largest measured MiB of a member, by architecture, and then by activations and parameters."""
        for result in pool.runs.values():
            if (mib := result.provenance.peak_memory_mib) is not None:
                devices = result.provenance.processes or 1
                shape = (_activations(result.run, result.facts.length, devices), result.facts.parameters)
                peaks = self._peaks.setdefault(result.run.architecture.name, {})
                peaks[shape] = max(mib / members_of(result), peaks.get(shape, 0.0))

    def estimate(self, run: Run) -> Memory:
        """From the nearest measured shape of the run's architecture."""
        if peaks := self._peaks.get(run.architecture.name):
            activations, parameters = _activations(run, run.task.full_length, self.spread), run.parameters
            shape = (activations, parameters)
            near = min(peaks, key=lambda peak: (factor(peak[0], activations), peak != shape, -peaks[peak]))
            growth = max(activations / near[0], parameters / near[1])
            basis: Basis = "measured" if near == shape else "scaled"
            return Memory(round(CONTEXT_MIB + peaks[near] * growth), basis)
        return Memory(round(CONTEXT_MIB + run.unmeasured_bytes(self.spread) / 2**20), "unknown")


def side_by_side(largest_mib: int, gpu_mib: int, runs: int, gpus: int, most: int) -> int:
    """How many runs share each GPU if `--workers` does not say how many: at least one.

    Args:
        largest_mib: what the largest of them is expected to take.
        gpu_mib: memory of the smallest GPU.
        runs: how many there are.
        gpus: GPUs to share out, or groups of them where runs are spread.
        most: never more than this; `MOST_SIDE_BY_SIDE` by default of the commands.
    """
    return max(1, min(most, gpu_mib // max(1, largest_mib), math.ceil(runs / gpus)))


def _activations(run: Run | RecordedRun, tokens: int, devices: int) -> float:
    """Batch × tokens × width × layers on each of the devices that a run is spread over."""
    return run.batch_size * tokens * run.size.width * run.size.layers / devices
