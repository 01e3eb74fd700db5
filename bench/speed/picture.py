"""Summaries of a profile: the longest kernels, sums by group, and a bar chart with a bar per kernel."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.speed.records import KernelTime, Row

MOST_BARS = 20
LONGEST_NAME = 48


def short_name(name: str) -> str:
    """A kernel's name without template parameters and arguments, shortened in the middle if it is long."""
    name = re.sub(r"^void ", "", name)
    while (plain := re.sub(r"<[^<>]*>|\([^()]*\)", "", name)) != name:
        name = plain
    name = name.strip() or "(no name)"
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def largest(profile: Sequence[KernelTime], most: int = MOST_BARS) -> list[KernelTime]:
    """The `most` longest kernels, and an entry that sums up all others."""
    head, tail = list(profile[:most]), profile[most:]
    if tail:
        microseconds = sum(kernel.microseconds for kernel in tail)
        launches = sum(kernel.launches for kernel in tail)
        head.append(KernelTime(f"{len(tail)} others", "", microseconds, launches))
    return head


def by_group(profile: Sequence[KernelTime]) -> list[KernelTime]:
    """The sums of each group, the longest first."""
    groups: dict[str, list[KernelTime]] = defaultdict(list)
    for kernel in profile:
        groups[kernel.group].append(kernel)
    sums = [
        KernelTime(
            "",
            group,
            sum(kernel.microseconds for kernel in kernels),
            sum(kernel.launches for kernel in kernels),
        )
        for group, kernels in groups.items()
    ]
    return sorted(sums, key=lambda kernel: -kernel.microseconds)


def draw(row: Row, device: str, path: Path) -> None:
    """Write a horizontal bar chart of a row's profile. The suffix of `path` determines the format."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    kernels = largest(row.profile)
    groups = list(dict.fromkeys(kernel.group or "others" for kernel in kernels))
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(kernels)), layout="constrained")
    axes = figure.subplots()
    for index, group in enumerate(groups):
        places = [place for place, kernel in enumerate(kernels) if (kernel.group or "others") == group]
        times = [kernels[place].microseconds for place in places]
        axes.barh(places, times, color=colours[index % len(colours)], label=group)
    axes.set_yticks(range(len(kernels)), [short_name(kernel.name) for kernel in kernels], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("µs per step")
    axes.set_title(f"{row.label} on {device}", fontsize=9)
    axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
