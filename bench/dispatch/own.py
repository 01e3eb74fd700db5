"""What a worker does for architectures and tasks of a user's own: try them out, say where they came from."""

from __future__ import annotations

from typing import Any

from bench import plugins
from bench.dispatch.job import cluster_job
from bench.dispatch.state import Folder
from bench.models.architectures import Architecture
from bench.models.sizes import Size
from bench.run import Run
from bench.tasks import Task


class NotComparable(Exception):
    """An architecture of a user's own is not what every run takes for granted: causal, its size as stated."""


def announce(run: Run, folder: Folder, device: str) -> None:
    """Say that this process has a run, before any code of a user's runs: where it was, it still is."""
    step = int((folder.heartbeat() or {}).get("step", 0))
    folder.beat(label=run.label, device=device, step=step, steps=run.steps, **cluster_job())


_FAULTS: dict[tuple[str, Size, int, str, str], str | None] = {}
"""What was found in this process: an architecture is tried once, not with every learning rate and seed."""


def try_out(run: Run, device: str, scan: str) -> None:
    """Refuse to train a plugin's architecture that cannot be compared with others; bench's own pass unseen.

    Raises:
        NotComparable: what is wrong with it.
    """
    if not any("architecture" in each for each in plugins.origins(run.task, run.architecture)):
        return
    settings = run.architecture.model_dump_json(), run.size, run.task.length(run.task.n_points), device, scan
    if settings not in _FAULTS:
        import torch

        from bench.models.verified import fault

        _FAULTS[settings] = fault(run.architecture, run.size, settings[2], torch.device(device), scan)
    if found := _FAULTS[settings]:
        raise NotComparable(f"architecture '{run.architecture.name}': {found}")


def record(result: dict[str, Any], task: Task, architecture: Architecture | None = None) -> None:
    """Note in a result's provenance which plugins it rests on; nothing where there is none."""
    if found := plugins.origins(task, architecture):
        result["provenance"]["plugins"] = found
