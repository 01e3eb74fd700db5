"""The count of training FLOPs at which models are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from bench.results.record import Checkpoint

AXIS: Literal["training_flops_full_length", "training_flops"] = "training_flops_full_length"
"""The count of training FLOPs at which models are compared: every step at the full prompt length, or each at
its curriculum's. Hardware computes the full length, because the curriculum is a mask; and five times the
steps are then five times the FLOPs. Results store both counts."""
AXIS_LABEL = {
    "training_flops_full_length": "training FLOPs at full length",
    "training_flops": "training FLOPs, curriculum counted",
}[AXIS]


def axis_flops(checkpoint: Checkpoint) -> int:
    """Training FLOPs up to a checkpoint, in the count at which models are compared (AXIS)."""
    return int(getattr(checkpoint, AXIS))


def mean_flops(flops: Iterable[int]) -> int:
    """Mean training FLOPs of several seeds, exact for equal ones. Seeds differ if they stopped early."""
    counts = [int(count) for count in flops]
    return sum(counts) // len(counts)
