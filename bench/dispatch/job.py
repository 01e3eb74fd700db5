"""Jobs for workers, and the settings with which a worker computes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import results as pools
from bench.kernels.backends import resolve
from bench.run import Run
from bench.tasks import Task


@dataclass(frozen=True)
class Baselines:
    """The baselines of one task on its test prompts, to be computed once."""

    task: Task
    task_id: str
    evaluation_prompts: int

    @property
    def id(self) -> str:
        return f"baselines-{self.task_id}"


Job = Run | Baselines


@dataclass(frozen=True)
class Machine:
    """Settings with which a worker computes. None of them is part of a run's identity.

    Attributes:
        devices: of one run: one device, or several of one kind that share each batch.
        threads: processor threads of each process.
        kernels: name of the backend of all kernels, or "auto".
        save_every: seconds between checkpoints.
        stack: largest number of runs in a stack; None for the number that measurements advise.
        workers: number of workers that share the list of jobs.
        keep_weights: whether the parameters of finished runs are stored beside their results.
    """

    devices: tuple[str, ...] = ("cpu",)
    threads: int = 1
    kernels: str = "sequential"
    save_every: float = 60.0
    stack: int | None = 1
    workers: int = 1
    keep_weights: bool = False

    @property
    def device(self) -> str:
        """The device of the process that leads."""
        return self.devices[0]

    def resolved(self) -> Machine:
        """The same settings with the backend that `auto` stands for on this device."""
        return replace(self, kernels=resolve(self.kernels, self.device)[0])

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read the pickles of earlier versions too, which may be in a queue. There, `kernels` was `scan`."""
        if "scan" in state:
            state = {**state, "kernels": state["scan"]}
            del state["scan"]
        self.__dict__.update(state)


@dataclass(frozen=True)
class Seat:
    """The place of a process among those that train one run together.

    Attributes:
        rank: its number; 0 leads.
        size: number of these processes.
        address: where rank 0 listens, host:port; "" for a process that trains alone.
    """

    rank: int = 0
    size: int = 1
    address: str = ""


def is_done(job: Job, results: Path) -> bool:
    """Whether the result of a job is on disk."""
    if isinstance(job, Run):
        return pools.load_run(results, job) is not None
    return pools.load_baselines(results, job.task.name, job.task_id) is not None
