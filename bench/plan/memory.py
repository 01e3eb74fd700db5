"""How much GPU memory training will take: measured, scaled from a measured shape, or a general bound."""

from __future__ import annotations

from dataclasses import dataclass

from bench.plan.time import Basis, factor, members_of
from bench.results import Pool
from bench.results.record import RecordedRun
from bench.run import Run

CONTEXT_MIB = 700
"""What a process takes on a GPU before it trains anything."""


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


def _activations(run: Run | RecordedRun, tokens: int, devices: int) -> float:
    """Batch × tokens × width × layers on each of the devices that a run is spread over."""
    return run.batch_size * tokens * run.size.width * run.size.layers / devices
