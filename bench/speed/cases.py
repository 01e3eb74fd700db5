"""The cases of `bench speed`: a grid of shapes from options, or the distinct shapes of a suite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bench.errors import OR_A_PLUGIN, UserError, did_you_mean
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import LARGEST, Size, size_key
from bench.paper.sizes import sizes_of
from bench.precision import PRECISIONS
from bench.run import Run
from bench.speed.records import shape_of
from bench.stack import Stack
from bench.tasks import TASKS

USUAL_ARCHITECTURES = ("transformer", "s4", "s4_mamba", "mamba", "standard_hybrid", "mambaformer")
"""The default architectures: those of the paper's figures with an axis of FLOPs."""
USUAL_PRECISIONS = ("fp32", "tf32")
USUAL_STACKS = (1, 16)
"""Numbers of members that are timed on a GPU. On a processor every run trains alone."""
MEMBERS_PER_SEED = 4
"""Members of a stack that share a seed and its prompts."""
MOST_MEMBERS = 4096
"""Largest stack that can be timed."""
STEPS = 500_000
"""Steps of a case's run, as in the paper. Only a few of them are timed."""
RATES = (1e-4, 5e-5, 1e-5, 5e-6)
"""Learning rates of the members that share a seed. Their values do not affect the time of a step."""


@dataclass(frozen=True)
class Grid:
    """Options of `bench speed`; None for an option that was not given."""

    architectures: tuple[str, ...] | None = None
    sizes: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    stacks: tuple[int, ...] | None = None


def runs_of(grid: Grid) -> list[Run]:
    """A run for each shape of a grid.

    Raises:
        UserError: a name is unknown, or an architecture cannot have a size.
    """
    _check(grid)
    return [
        _run(architecture, size, task, precision)
        for task in grid.tasks or ("linear_regression",)
        for size in _sizes(grid.sizes or ("2x128",))
        for architecture in grid.architectures or USUAL_ARCHITECTURES
        for precision in grid.precisions or USUAL_PRECISIONS
    ]


def distinct(runs: Iterable[Run], grid: Grid) -> list[Run]:
    """The first run of each shape, among the runs that a grid's options select.

    Raises:
        UserError: a name is unknown, or no run is selected.
    """
    _check(grid)
    sizes = {(size.layers, size.width) for size in _sizes(grid.sizes)} if grid.sizes else None
    by_shape: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        if (
            (grid.architectures is None or run.architecture.name in grid.architectures)
            and (grid.tasks is None or run.task.name in grid.tasks)
            and (grid.precisions is None or run.precision in grid.precisions)
            and (sizes is None or (run.size.layers, run.size.width) in sizes)
        ):
            shape = (*shape_of(run), run.task.n_inputs, run.task.n_outputs, run.task.discrete)
            by_shape.setdefault(shape, run)
    if not by_shape:
        raise UserError("no run of the suite has these architectures, sizes, tasks and precisions")
    return list(by_shape.values())


def stacks_of(grid: Grid, kind: str) -> tuple[int, ...]:
    """Numbers of members to time on a device of this kind, "cuda" or "cpu"."""
    return grid.stacks or (USUAL_STACKS if kind == "cuda" else (1,))


def stack_of(run: Run, members: int) -> Stack:
    """A stack of `members` runs of one shape: four learning rates for each seed."""
    places = (divmod(index, MEMBERS_PER_SEED) for index in range(members))
    return Stack.of(
        *(run.model_copy(update={"learning_rate": RATES[place], "seed": seed}) for seed, place in places)
    )


def _run(architecture: str, size: Size, task: str, precision: str) -> Run:
    pattern = ARCHITECTURES[architecture]
    try:
        return Run(
            task=TASKS[task].example(),
            architecture=pattern,
            size=size.of(pattern),
            learning_rate=RATES[0],
            steps=STEPS,
            checkpoints=(STEPS,),
            precision=precision,
        )
    except ValidationError as error:
        reasons = "; ".join(detail["msg"].removeprefix("Value error, ") for detail in error.errors())
        raise UserError(f"{architecture} {size_key(size)} on {task}: {reasons}") from None


def _check(grid: Grid) -> None:
    for option, words, valid, otherwise in (
        ("--architectures", grid.architectures, ARCHITECTURES, OR_A_PLUGIN),
        ("--tasks", grid.tasks, TASKS, OR_A_PLUGIN),
        ("--precisions", grid.precisions, PRECISIONS, ""),
    ):
        for word in words or ():
            if word not in valid:
                raise UserError(f"{option} {word}{did_you_mean(word, valid, otherwise)}")
    for members in grid.stacks or ():
        if members < 1:
            raise UserError(f"--stacks {members}: a stack has at least one member")
        if members > MOST_MEMBERS:
            raise UserError(f"--stacks {members}: at most {MOST_MEMBERS:,} members can be timed")


def _sizes(words: Sequence[str]) -> list[Size]:
    sizes: list[Size] = []
    for word in words:
        chosen = sizes_of(word)
        if chosen is None:
            raise UserError(
                f"--sizes {word}: expected layers x width, such as 2x128 (numbers up to {LARGEST:,}), "
                "or a size group's name"
            )
        sizes += chosen
    return list(dict.fromkeys(sizes))
