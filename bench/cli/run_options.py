"""The options of `bench run`, and the refusal of those that cannot be carried out."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from bench import tracking
from bench.digits import count_of
from bench.dispatch.job import Machine
from bench.errors import UserError, did_you_mean
from bench.json_data import leaves
from bench.plan.planned import Planned
from bench.run import Run

CLUSTERS = ("local", "slurm")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class RunOptions:
    """Options of the command line: which runs to start, and where.

    Attributes have the names of the options, but for `seconds`, the duration of `--for`.
    """

    limit: int | None
    dry_run: bool
    retry: str | None
    yes: bool
    device: str
    workers: int | None
    gpus_per_run: int = 1
    seconds: float | None = None
    cluster: str = "local"
    cluster_config: Path | None = None
    wait: bool = False
    snapshot: bool = False
    track: str | None = None


def check_options(options: RunOptions, machine: Machine) -> None:
    """Refuse options that are wrong, whatever the suite is.

    Raises:
        UserError: a value is unknown, options do not go together, or a package is not installed.
    """
    if options.retry not in (None, "failed"):
        raise UserError(f"--retry {options.retry}: only failed runs can be tried again (--retry failed)")
    if options.device not in DEVICES:
        # By its letters, "gpu" is closer to cpu than to cuda.
        nearest = ", did you mean 'cuda'?" if "gpu" in options.device.lower() else None
        raise UserError(f"--device {options.device}{nearest or did_you_mean(options.device, DEVICES)}")
    if options.cluster not in CLUSTERS:
        raise UserError(f"--cluster {options.cluster}{did_you_mean(options.cluster, CLUSTERS)}")
    if options.cluster == "local" and (options.cluster_config or options.wait or options.snapshot):
        raise UserError("--cluster-config, --wait and --snapshot belong to --cluster slurm")
    if options.cluster == "slurm" and options.seconds is not None:
        raise UserError(
            "--for belongs to --cluster local: the time of Slurm's jobs is timeout_min in the site file; "
            "a job saves before it is over, and its runs resume in the next one"
        )
    if options.track is not None:
        tracking.check(options.track)
        if options.cluster != "local":
            raise UserError(
                "--track belongs to --cluster local: it reads the record of this machine's workers"
            )
    if machine.keep_weights and importlib.util.find_spec("safetensors") is None:
        raise UserError("--keep-weights needs safetensors: pip install 'icl-bench[weights]'")


def check_kernels(machine: Machine) -> None:
    """Refuse a backend that does not exist.

    Raises:
        UserError: the backend is unknown.
    """
    from bench.kernels import backends

    if machine.kernels not in backends.CHOICES:
        raise UserError(f"--kernels {machine.kernels}{did_you_mean(machine.kernels, backends.CHOICES)}")


def check_spread(spread: int, todo: list[Planned]) -> None:
    """Refuse runs whose result would differ when spread over several devices.

    Raises:
        UserError: a run has dropout, carries a state, changes its learning rate at plateaus, or has fewer
            prompts in a batch than devices.
    """
    if spread == 1:
        return
    dropout = [entry for entry in todo if has_dropout(entry.run)]
    if dropout:
        names = ", ".join(sorted({entry.run.architecture.name for entry in dropout}))
        raise UserError(
            f"--gpus-per-run {spread}: {count_of(len(dropout), 'run')} of {names} have dropout, which "
            "draws other numbers on several devices; exclude them with --filter and train them on one device"
        )
    for entry in todo:
        if entry.run.architecture.carries or entry.run.optimizer.plateau_factor is not None:
            raise UserError(
                f"--gpus-per-run {spread}: {entry.run.label} carries a state or lowers its learning rate at "
                "plateaus, which one device must do; exclude it with --filter"
            )
    if small := [entry for entry in todo if entry.run.batch_size < spread]:
        run = small[0].run
        raise UserError(
            f"--gpus-per-run {spread}: {run.label} has batches of {run.batch_size} prompts, fewer than GPUs; "
            "exclude it with --filter"
        )


def has_dropout(run: Run) -> bool:
    """Whether any block of the run's architecture drops activations at random."""
    settings = leaves(run.architecture.model_dump(mode="json"))
    return any(path[-1].endswith("dropout") and value for path, value in settings)
