"""The number of runs of a stack: by measurements of `bench speed`, or else by width, and by memory."""

from __future__ import annotations

from pathlib import Path

from bench.environment import device_name
from bench.run import Run
from bench.speed.records import Record, of_device, shape_of
from bench.stack import stackable

ADVISED = ((128, 16), (256, 8), (512, 2))
"""Up to this width, so many members of a stack are advised if `bench speed` has not compared sizes."""
MEMORY_SHARE = 0.8
"""Largest part of the memory that a stack is planned to use."""


def advised_members(run: Run, kind: str, record: Record | None, memory_bytes: float | None) -> int:
    """The advised number of members of a stack: the fastest size that fits into memory.

    Args:
        run: a member.
        kind: of the device, "gpu" or "cpu". On a CPU runs train alone.
        record: measurements of `bench speed` on the device.
        memory_bytes: memory of the device; None if unknown.
    """
    if kind != "gpu" or not stackable(run):
        return 1
    width = run.architecture.actual_width(run.size.width)
    size = next((members for largest, members in ADVISED if width <= largest), 1)
    per_member = run.unmeasured_bytes()
    if record is not None and (best := record.best_stack(shape_of(run))) is not None:
        size, row = best, record.times(shape_of(run))[best]
        per_member = (row.peak_memory_mib << 20) / best if row.peak_memory_mib else per_member
    if memory_bytes is None:
        return size
    return max(1, min(size, int(MEMORY_SHARE * memory_bytes / per_member)))


def advised_members_on(device: str, run: Run, results: Path) -> int:
    """`advised_members` for a device of this process, with its record in `results` and its free memory."""
    if not device.startswith("cuda"):
        return 1
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return advised_members(run, "gpu", of_device(results, device_name(device)), free)
