"""The site file: cluster settings. None of them affects results.

# ~/.config/bench/cluster.yaml
partition: gpu
account: my-project
gpus_per_node: 1
gpu_memory_gb: 80
cpus_per_task: 4
mem_gb: 32
array_parallelism: 64
setup: [module load cuda/12.4]
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from bench.errors import UserError
from bench.frozen import Frozen
from bench.strict_yaml.document import read, validate

SET_BY_BENCH: Mapping[str, str] = {
    "array": "array_parallelism limits how many jobs run at a time",
    "error": "bench logs reads this file",
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task", "gres"), "use gpus_per_node or gres"),
    "job-name": "bench status and bench cancel find jobs by their names",
    "nodes": "a job runs on one node",
    "ntasks": "--gpus-per-run sets the number of tasks",
    "ntasks-per-node": "--gpus-per-run sets the number of tasks",
    "open-mode": "a job that is requeued appends to its output",
    "output": "bench logs reads this file",
    "signal": "use signal_delay_s",
    "time": "use timeout_min",
}
"""Options of sbatch that `sbatch` must not change, and why, or what to use instead."""
_SBATCH_OPTIONS = ("partition", "account", "qos", "constraint", "exclude", "gres", "cpus_per_task", "mem_gb")
"""Settings that are options of sbatch, by the same names but for `mem`."""
LARGEST = 10_000_000
"""Largest count, and the largest time limit in minutes (19 years), that a setting takes."""
LONGEST_DELAY_SECONDS = 65_535
"""Largest time of sbatch's option `--signal`."""


def _one_line(text: str) -> str:
    if "\n" in text:
        raise ValueError("must be one line")
    return text


def _option(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError(f"sbatch has no option '{name}': write its long name without dashes before it")
    return name


Line = Annotated[str, StringConstraints(min_length=1), AfterValidator(_one_line)]
"""A value in a line `#SBATCH --option=value`. What follows a line break would be a command."""
Option = Annotated[str, AfterValidator(_option)]
Command = Annotated[str, StringConstraints(min_length=1)]
Number = Annotated[int, Field(ge=1, le=LARGEST)]


class Site(Frozen):
    """Settings of jobs on a cluster. Every setting has a default.

    `job_hours` is the expected duration of a job, for which runs are gathered. `timeout_min` is its time
    limit (by default an hour more) and may be shorter than a run: at the limit a job saves, is requeued, and
    resumes. `sbatch` takes any further option of sbatch by its long name: true is an option without a value,
    and false leaves an option out, such as `requeue`, which bench sets.

    `gpu_memory_gb` is the memory of one GPU of the cluster, which a login node cannot measure. It limits how
    many runs share a GPU. `workers` is the number of runs that a job trains at a time (by default one per
    GPU); jobs of large runs get fewer.
    """

    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    exclude: Line | None = None
    gres: Line | None = None
    gpus_per_node: int | None = Field(default=None, ge=0, le=LARGEST)
    gpu_memory_gb: float | None = Field(default=None, gt=0, le=1e6)
    cpus_per_task: Number | None = None
    mem_gb: float | None = Field(default=None, ge=0.001, le=1e6)  # sbatch takes 0 for all memory
    timeout_min: Number | None = None
    signal_delay_s: int = Field(default=120, ge=1, le=LONGEST_DELAY_SECONDS)
    array_parallelism: Number = 256
    setup: tuple[Command, ...] = ()
    teardown: tuple[Command, ...] = ()
    srun_args: tuple[Line, ...] = ()
    python: Line | None = None
    sbatch: Mapping[Option, Line | int | bool] = Field(default_factory=dict)
    job_hours: float = Field(default=4.0, gt=0, le=1e5)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Number | None = None

    @field_validator("sbatch")
    @classmethod
    def _options_are_free(cls, options: Mapping[str, str | int | bool]) -> Mapping[str, str | int | bool]:
        for option in options:
            if reason := SET_BY_BENCH.get(option.replace("_", "-")):
                raise ValueError(f"sbatch option {option} is set by bench: {reason}")
        return options

    @model_validator(mode="after")
    def _gpus_are_requested_once(self) -> Self:
        if self.device == "cuda" and self.gpus_per_node == 0:
            raise ValueError("device cuda needs a GPU, but gpus_per_node is 0: leave out one of them")
        if self.gpus_per_node and self._gpus_in_gres:
            raise ValueError(f"gres {self.gres} and gpus_per_node both request GPUs: leave out one of them")
        return self

    @model_validator(mode="after")
    def _options_are_stated_once(self) -> Self:
        for option in self.sbatch:
            key = {"mem": "mem_gb"}.get(option, option.replace("-", "_"))
            if key in self.model_fields_set and key in _SBATCH_OPTIONS:
                raise ValueError(f"sbatch option {option} and {key} state the same: leave out one of them")
        return self

    @model_validator(mode="after")
    def _a_job_has_time_to_train(self) -> Self:
        if self.signal_delay_s >= 60 * self.minutes:
            raise ValueError(
                f"signal_delay_s {self.signal_delay_s} is no less than the time limit of a job "
                f"({self.minutes} min), so a job would save as soon as it starts"
            )
        return self

    @property
    def _gpus_in_gres(self) -> int:
        """GPUs that `gres` requests: `gpu`, `gpu:2` or `gpu:h100:8(S:0)`, among others such as `nvme:3`.

        `mps:50` and `shard:2` are parts of one GPU.
        """
        for entry in (self.gres or "").split(","):
            name, *rest = entry.partition("(")[0].split(":")
            if name in ("gpu", "mps", "shard"):
                return int(rest[-1]) if name == "gpu" and rest and rest[-1].isdigit() else 1
        return 0

    @property
    def wants_gpus(self) -> bool:
        """Whether jobs train on GPUs. They do unless `device` is cpu or `gpus_per_node` is 0."""
        return self.device != "cpu" and self.gpus_per_node != 0

    @property
    def gpus(self) -> int:
        """GPUs of a job, from `gres` or `gpus_per_node`; 0 if it trains on none."""
        return (self._gpus_in_gres or self.gpus_per_node or 1) if self.wants_gpus else 0

    @property
    def gpu_memory_mib(self) -> int | None:
        """Memory of one GPU; None if it is not stated, or if jobs train on none."""
        return round(1024 * self.gpu_memory_gb) if self.gpu_memory_gb and self.gpus else None

    @property
    def minutes(self) -> int:
        """Time limit of a job."""
        return self.timeout_min or round(60 * self.job_hours) + 60

    def parameters(self, name: str, spread: int) -> dict[str, Any]:
        """Parameters of submitit's Slurm executor.

        Args:
            name: the jobs' name.
            spread: GPUs (or processes) that each run is spread over, one task each.
        """
        plain = (key for key in _SBATCH_OPTIONS if key != "mem_gb")
        parameters: dict[str, Any] = {
            key: value for key in plain if (value := getattr(self, key)) is not None
        }
        if self.mem_gb is not None:
            parameters["mem"] = f"{round(1024 * self.mem_gb)}MB"
        if self.wants_gpus and not self._gpus_in_gres:
            parameters["gpus_per_node"] = max(self.gpus_per_node or 1, spread)
        if spread > 1:
            parameters["ntasks_per_node"] = spread
        return {
            **parameters,
            "job_name": name,
            "nodes": 1,
            "time": self.minutes,
            "signal_delay_s": self.signal_delay_s,
            "setup": list(self.setup),
            # When a rank dies, the job ends: the other ranks would wait for it forever.
            "srun_args": ["--kill-on-bad-exit=1", *self.srun_args],
            "additional_parameters": {
                option: value
                for option, value in {"requeue": True, **self.sbatch}.items()
                if value is not False
            },
        }


def default_path() -> Path:
    """The site file that is read if none is named. A user may have no home, as in a container."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home) / "bench" / "cluster.yaml"


def load_site(path: Path | None) -> Site:
    """Read a site file; without one, or without a setting in it, every setting has its default.

    Raises:
        UserError: the named file does not exist.
        InvalidFile: keys or values are wrong; each is listed with its place.
    """
    if path is None:
        path = default_path()
        if not path.is_file():
            return Site()
    elif not path.is_file():
        fault = "is a folder, expected a YAML file" if path.is_dir() else "no such file"
        raise UserError(f"--cluster-config {path}: {fault}")
    document = read(path)
    return Site() if document.data is None else validate(document, Site)
