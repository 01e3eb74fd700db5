"""What workers are given: jobs to do, and how to compute them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from bench import results as pool
from bench.kernels.backends import resolve
from bench.run import Run, leaves
from bench.tasks import Task


@dataclass(frozen=True)
class Baselines:
    """Reference predictors of one task on its report prompts, to be computed once."""

    task: Task
    task_id: str
    evaluation_prompts: int

    @property
    def id(self) -> str:
        return f"baselines-{self.task_id}"


Job = Run | Baselines


@dataclass(frozen=True)
class Machine:
    """How a worker computes; nothing here is part of a run's identity.

    Attributes:
        devices: what one run trains on: one device, or several of one kind that share each batch.
        threads: processor threads of each process.
        scan: the kernels' backend, by name, or auto.
        save_every: seconds between checkpoints.
        stack: how many runs of one shape may train as one set of kernels; None for what measurements advise.
        workers: how many workers share the same list of work.
    """

    devices: tuple[str, ...] = ("cpu",)
    threads: int = 1
    scan: str = "sequential"
    save_every: float = 60.0
    stack: int | None = 1
    workers: int = 1

    @property
    def device(self) -> str:
        """The device of the process that leads."""
        return self.devices[0]

    def resolved(self) -> Machine:
        """The same with its kernels' backend by name: what `auto` means on this device."""
        return replace(self, scan=resolve(self.scan, self.device)[0])


@dataclass(frozen=True)
class Seat:
    """The place of a process among those that train one run together."""

    rank: int = 0
    of: int = 1
    address: str = ""
    """Where the first of them listens, host:port."""


def is_done(job: Job, results: Path) -> bool:
    """Whether the result of a job is on disk."""
    if isinstance(job, Run):
        return pool.load_run(results, job) is not None
    return pool.load_baselines(results, job.task.name, job.task_id) is not None


def cluster_job() -> dict[str, str]:
    """`job`: the cluster's name for the job this process is part of; nothing outside of one."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return {"job": f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"}
    return {"job": job} if (job := os.environ.get("SLURM_JOB_ID")) else {}


def has_dropout(run: Run) -> bool:
    """Whether any block of the run's architecture drops activations at random."""
    settings = leaves(run.architecture.model_dump(mode="json"))
    return any(path[-1] == "dropout" and value for path, value in settings)
