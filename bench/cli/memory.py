"""GPU memory, looked at before anything starts: how many runs share a GPU, and which fit on none."""

from __future__ import annotations

from collections import Counter

from bench.cli import format
from bench.cost import MOST_SIDE_BY_SIDE, Memories, Memory, side_by_side
from bench.dispatch.job import Machine
from bench.dispatch.slurm.site import Site
from bench.environment import gpu_memory_mib
from bench.errors import UserError
from bench.plan import Planned


def share_gpus(
    places: list[Machine],
    asked: int | None,
    todo: list[Planned],
    memories: Memories,
    out: format.Output,
    most: int = MOST_SIDE_BY_SIDE,
) -> list[Machine]:
    """The workers to start, as many on each GPU as fit, as far as can be estimated.

    A run that alone is expected to take more than there is gets a warning: it may try, and its failure
    stops no other.

    Args:
        places: as many as `--workers` asked for; where it did not, one for each GPU (or group of them).
        asked: what `--workers` said.
        todo: what they will train.
        memories: what that takes.
        out: where warnings go.
        most: runs on one GPU where `--workers` did not say.

    Raises:
        UserError: when more were asked for than fit.
    """
    if places[0].device == "cpu" or not todo or not (gpus := gpu_memory_mib()):
        return places
    memory, taken = min(gpus), _taken(todo, memories)
    if large := _too_large(taken, memory):
        out.say(f"{_described(large, f'a GPU here ({memory:,} MiB)')}; it may run out of it.", style="yellow")
    largest, most_taken = max(taken, key=lambda one: one[1].mib)
    if asked is None:
        return places * side_by_side(most_taken.mib, memory, len(todo), len(places), most)
    sharing = max(Counter(device for one in places for device in one.devices).values())
    if sharing > 1 and sharing * most_taken.mib > memory:
        raise UserError(
            f"--workers {asked} puts {sharing} runs on one GPU, and {largest.run.label} is expected to take "
            f"{most_taken.mib:,} of its {memory:,} MiB: ask for fewer workers, or --filter larger runs out"
        )
    return places


def check_fit(site: Site, todo: list[Planned], memories: Memories, out: format.Output) -> None:
    """Refuse runs that do not fit on a GPU of the cluster; where that is a guess, warn of them.

    Raises:
        UserError: when what was measured says that they do not fit.
    """
    if (memory := site.gpu_memory_mib) is None:
        return
    large = _too_large(_taken(todo, memories), memory)
    where = f"GPUs of gpu_memory_gb ({memory:,} MiB)"
    if known := [(one, taken) for one, taken in large if taken.basis != "unknown"]:
        raise UserError(
            f"{_described(known, where)}: --filter them out, spread each over several GPUs with "
            "--gpus-per-run, or name larger GPUs and their gpu_memory_gb in the site file"
        )
    if large:
        out.say(f"{_described(large, where)}; nothing like it was measured.", style="yellow")


def _taken(todo: list[Planned], memories: Memories) -> list[tuple[Planned, Memory]]:
    return [(one, memories.estimate(one.run)) for one in todo]


def _too_large(taken: list[tuple[Planned, Memory]], memory: int) -> list[tuple[Planned, Memory]]:
    return [(one, mine) for one, mine in taken if mine.mib > memory]


def _described(large: list[tuple[Planned, Memory]], where: str) -> str:
    one, taken = max(large, key=lambda one: one[1].mib)
    verb = "is" if len(large) == 1 else "are"
    basis = "at most; unknown" if taken.basis == "unknown" else taken.basis
    return (
        f"{format.count(len(large), 'run')} {verb} too large for {where}: "
        f"{one.run.task.name}/{one.run.label} is expected to take {taken.mib:,} MiB ({basis})"
    )
