"""GPU memory, looked at before anything starts: how many runs share a GPU, and which fit on none."""

from __future__ import annotations

from collections import Counter

from bench.cli import format
from bench.cost import MOST_SIDE_BY_SIDE, Memories, Memory, side_by_side
from bench.dispatch.job import Machine
from bench.dispatch.site import Site
from bench.environment import gpu_memory_mib
from bench.errors import UserError
from bench.plan import Planned


def share_gpus(
    places: list[Machine],
    asked: int | None,
    todo: list[Planned],
    memories: Memories,
    most: int = MOST_SIDE_BY_SIDE,
) -> list[Machine]:
    """The workers to start, as many on each GPU as fit, as far as can be estimated.

    Args:
        places: as many as `--workers` asked for; where it did not, one for each GPU (or group of them).
        asked: what `--workers` said.
        todo: what they will train.
        memories: what that takes.
        most: runs on one GPU where `--workers` did not say.

    Raises:
        UserError: when more were asked for than fit.
    """
    sharing = max(Counter(device for one in places for device in one.devices).values())
    if places[0].device == "cpu" or not todo or (asked or most) == 1 or (asked and sharing == 1):
        return places
    if not (memory := gpu_memory_mib()):
        return places
    largest, taken = max(_taken(todo, memories), key=lambda one: one[1].mib)
    if asked is None:
        return places * side_by_side(taken.mib, min(memory), len(todo), len(places), most)
    if sharing * taken.mib > min(memory):
        raise UserError(
            f"--workers {asked} puts {sharing} runs on one GPU, and {largest.run.label} is expected to take "
            f"{taken.mib:,} of its {min(memory):,} MiB: ask for fewer workers, or --filter larger runs out"
        )
    return places


def check_fit(site: Site, todo: list[Planned], memories: Memories, out: format.Output) -> None:
    """Refuse runs that do not fit on a GPU of the cluster; where that is a guess, warn of them.

    Raises:
        UserError: when what was measured says that they do not fit.
    """
    if (memory := site.gpu_memory_mib) is None:
        return
    large = [(one, taken) for one, taken in _taken(todo, memories) if taken.mib > memory]
    if known := [(one, taken) for one, taken in large if taken.basis != "assumed"]:
        raise UserError(
            f"{_too_large(known, memory)}: --filter them out, spread each over several GPUs with "
            "--gpus-per-run, or name larger GPUs and their gpu_memory_gb in the site file"
        )
    if large:
        out.say(f"{_too_large(large, memory)}; a guess, nothing like it was measured.", style="yellow")


def _too_large(large: list[tuple[Planned, Memory]], memory: int) -> str:
    one, taken = max(large, key=lambda one: one[1].mib)
    verb = "is" if len(large) == 1 else "are"
    return (
        f"{format.count(len(large), 'run')} {verb} too large for GPUs of gpu_memory_gb ({memory:,} MiB): "
        f"{one.run.task.name}/{one.run.label} is expected to take {taken.mib:,} MiB ({taken.basis})"
    )


def _taken(todo: list[Planned], memories: Memories) -> list[tuple[Planned, Memory]]:
    return [(one, memories.estimate(one.run)) for one in todo]
