"""GPU memory, checked before anything starts: how many runs share a GPU, and which runs fit on no GPU."""

from __future__ import annotations

from collections import Counter

from bench.cli import printing
from bench.digits import count_of
from bench.dispatch.job import Machine
from bench.dispatch.slurm.site import Site
from bench.environment import gpu_memory_mib
from bench.errors import UserError
from bench.plan.memory import MOST_SIDE_BY_SIDE, Memories, Memory, side_by_side
from bench.plan.planned import Planned


def share_gpus(
    machines: list[Machine],
    workers: int | None,
    todo: list[Planned],
    memories: Memories,
    out: printing.Output,
    most: int = MOST_SIDE_BY_SIDE,
) -> list[Machine]:
    """The workers to start: as many per GPU as are expected to fit.

    A warning names runs that are expected to need more memory than a GPU has. They start nevertheless; their
    failure does not stop other runs.

    Args:
        machines: an entry per worker of `--workers`; without this option, an entry per GPU or group of GPUs.
        workers: value of `--workers`.
        todo: the runs to train.
        memories: estimates of the memory of runs.
        out: prints the warnings.
        most: largest number of runs on one GPU, without `--workers`.

    Raises:
        UserError: `--workers` is larger than fits.
    """
    if machines[0].device == "cpu" or not todo or not (gpus := gpu_memory_mib()):
        return machines
    memory, needs = min(gpus), _needs(todo, memories)
    if large := _too_large(needs, memory):
        where = f"a GPU of this machine ({memory:,} MiB)"
        out.say(f"{_described(large, where)}; it may run out of memory.", style="yellow")
    largest, need = max(needs, key=lambda entry: entry[1].mib)
    if workers is None:
        return machines * side_by_side(need.mib, memory, len(todo), len(machines), most)
    sharing = max(Counter(device for entry in machines for device in entry.devices).values())
    if sharing > 1 and sharing * need.mib > memory:
        raise UserError(
            f"--workers {workers} puts {sharing} runs on one GPU, and {largest.run.label} is expected to "
            f"take {need.mib:,} of its {memory:,} MiB: use fewer workers, or exclude large runs with --filter"
        )
    return machines


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
