"""What a worker does for architectures and tasks of a user's own: try them out, say where they came from."""

from __future__ import annotations

from typing import Any

from bench import plugins
from bench.models.architectures import Architecture
from bench.run import Run
from bench.tasks import Task


class NotComparable(Exception):
    """An architecture of a user's own is not what every run takes for granted: causal, its size as stated."""


def try_out(run: Run, device: str, scan: str) -> None:
    """Refuse to train a plugin's architecture that cannot be compared with others; bench's own pass unseen.

    Raises:
        NotComparable: what is wrong with it.
    """
    if not any("architecture" in each for each in plugins.origins(run.task, run.architecture)):
        return
    import torch

    from bench.models.verified import fault

    length = run.task.length(run.task.n_points)
    if found := fault(run.architecture, run.size, length, torch.device(device), scan):
        raise NotComparable(f"architecture '{run.architecture.name}': {found}")


def record(result: dict[str, Any], task: Task, architecture: Architecture | None = None) -> None:
    """Note in a result's provenance which plugins it rests on; nothing where there is none."""
    if found := plugins.origins(task, architecture):
        result["provenance"]["plugins"] = found
