"""GPU memory, checked before anything starts: whether runs fit on a GPU together, and alone."""

from __future__ import annotations

from collections import Counter

from bench.cli import printing
from bench.digits import count_of
from bench.dispatch.job import Machine
from bench.dispatch.slurm.site import Site
from bench.environment import gpu_memory_mib
from bench.errors import UserError
from bench.plan.memory import Memories, Memory
from bench.plan.planned import Planned


def check_workers_fit(
    machines: list[Machine], todo: list[Planned], memories: Memories, out: printing.Output
) -> None:
    """Refuse workers that are expected not to fit on their GPU together.

    A warning names runs that are expected to need more memory than a GPU has. They start nevertheless; their
    failure does not stop other runs.

    Args:
        machines: an entry per worker of `--workers`; without this option, an entry per GPU or group of GPUs.
        todo: the runs to train.
        memories: estimates of the memory of runs.
        out: prints the warnings.

    Raises:
        UserError: `--workers` is larger than fits.
    """
    if machines[0].device == "cpu" or not todo or not (gpus := gpu_memory_mib()):
        return
    memory, needs = min(gpus), _needs(todo, memories)
    if large := _too_large(needs, memory):
        where = f"a GPU of this machine ({memory:,} MiB)"
        out.say(f"{_described(large, where)}; it may run out of memory.", style="yellow")
    largest, need = max(needs, key=lambda entry: entry[1].mib)
    sharing = max(Counter(device for entry in machines for device in entry.devices).values())
    if sharing > 1 and sharing * need.mib > memory:
        raise UserError(
            f"--workers {len(machines)} puts {sharing} runs on one GPU, and {largest.run.label} is expected "
            f"to take {need.mib:,} of its {memory:,} MiB: use fewer workers, or exclude large runs with "
            "--filter"
        )


def check_fit(site: Site, todo: list[Planned], memories: Memories, out: printing.Output) -> None:
    """Refuse runs that do not fit on a GPU of the cluster; only warn if their memory is a guess.

    Raises:
        UserError: runs do not fit, by measurements.
    """
    if (memory := site.gpu_memory_mib) is None:
        return
    large = _too_large(_needs(todo, memories), memory)
    where = f"GPUs of gpu_memory_gb ({memory:,} MiB)"
    if measured := [(entry, need) for entry, need in large if need.basis != "unknown"]:
        raise UserError(
            f"{_described(measured, where)}: exclude them with --filter, spread each over several GPUs with "
            "--gpus-per-run, or request larger GPUs and state their gpu_memory_gb in the site file"
        )
    if large:
        out.say(f"{_described(large, where)}; no similar run was measured.", style="yellow")


def _needs(todo: list[Planned], memories: Memories) -> list[tuple[Planned, Memory]]:
    return [(entry, memories.estimate(entry.run)) for entry in todo]


def _too_large(needs: list[tuple[Planned, Memory]], memory: int) -> list[tuple[Planned, Memory]]:
    return [(entry, need) for entry, need in needs if need.mib > memory]


def _described(large: list[tuple[Planned, Memory]], where: str) -> str:
    entry, need = max(large, key=lambda entry: entry[1].mib)
    verb = "is" if len(large) == 1 else "are"
    basis = "at most; unknown" if need.basis == "unknown" else need.basis
    return (
        f"{count_of(len(large), 'run')} {verb} too large for {where}: "
        f"{entry.run.task.name}/{entry.run.label} is expected to take {need.mib:,} MiB ({basis})"
    )
