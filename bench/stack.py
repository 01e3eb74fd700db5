"""A stack: runs of one shape that train together, as one set of kernels.

The runs of a stack differ in learning rate, clip, seed, or in a task whose prompts have the same shape. A
small model leaves most of a GPU idle, so a stack of K small models takes little longer than one model. This
module does not import torch, because plans and reports name stacks too.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from bench.json_data import digest
from bench.models.sizes import size_key
from bench.run import Run

T = TypeVar("T")

MEMBER_FIELDS = ("task", "learning_rate", "clip", "seed")
"""Fields of a run that may differ between the members of a stack."""
STACK_PREFIX = "stack-"
"""Beginning of the id of a stack of several runs."""


@dataclass(frozen=True)
class Stack:
    """Runs that train together. Runs with the same task and seed are neighbours.

    Attributes:
        members: the runs, all with the same `stack_shape`, in the order of `Stack.of`.
    """

    members: tuple[Run, ...]

    @classmethod
    def of(cls, *runs: Run) -> Stack:
        """A stack of runs, ordered so that members with the same stream of prompts are neighbours.

        Raises:
            ValueError: the runs have different shapes, or a run occurs twice.
        """
        if len({stack_shape(run) for run in runs}) != 1:
            raise ValueError("the runs of a stack must have one shape")
        if len({run.id for run in runs}) != len(runs):
            raise ValueError("a run can be only once in a stack")
        return cls(tuple(sorted(runs, key=lambda run: (run.task_id, run.seed, run.id))))

    def __len__(self) -> int:
        return len(self.members)

    @property
    def first(self) -> Run:
        """The first member. All members share its architecture, size and steps."""
        return self.members[0]

    @cached_property
    def id(self) -> str:
        """A digest of the members' ids; for a single run, the run's id."""
        if len(self) == 1:
            return self.first.id
        return STACK_PREFIX + digest([run.id for run in self.members])

    def halves(self) -> tuple[Stack, Stack]:
        """Two stacks with about half of the members each. The stack must have at least two members."""
        middle = len(self) // 2
        return Stack(self.members[:middle]), Stack(self.members[middle:])

    @property
    def label(self) -> str:
        """A name for messages, such as `4 x mamba-2x128`."""
        if len(self) == 1:
            return self.first.label
        return f"{len(self)} x {self.first.architecture.name}-{size_key(self.first.size)}"


def stack_shape(run: Run) -> str:
    """The shape of a run as text: runs with equal shapes can train in one stack."""
    shared = {name: value for name, value in run.identity().items() if name not in MEMBER_FIELDS}
    task = run.task
    prompts = [task.full_length, task.n_inputs, task.n_outputs, task.discrete]
    return json.dumps([shared, prompts], sort_keys=True)


def even_parts(items: Sequence[T], most: int) -> list[list[T]]:
    """Items in their order, split into as few parts of at most `most` items as possible.

    Sizes of parts differ by at most one. The time of a stack grows with its members, so workers finish equal
    stacks sooner than several full stacks and a small one.
    """
    parts = math.ceil(len(items) / most)
    ends = [len(items) * part // parts for part in range(parts + 1)] if items else []
    return [list(items[begin:end]) for begin, end in itertools.pairwise(ends)]


def form_stacks(
    runs: Sequence[Run], most: Callable[[Run], int], interrupted: Sequence[Sequence[str]] = ()
) -> list[list[Run]]:
    """The stacks that one worker forms: interrupted stacks, and the other runs by shape, in order.

    Args:
        runs: the runs to train.
        most: largest number of members of a stack with a given run, at least 1.
        interrupted: ids of the members of interrupted stacks (`bench.dispatch.stacking`).
    """
    places = {identifier: number for number, ids in enumerate(interrupted) for identifier in ids}
    groups: dict[int | str, list[Run]] = {}
    for run in runs:
        groups.setdefault(places.get(run.id, stack_shape(run)), []).append(run)
    stacks = []
    for key, group in groups.items():
        stacks += even_parts(group, len(group) if isinstance(key, int) else most(group[0]))
    return stacks


def stackable(run: Run) -> bool:
    """Whether every block of the run's architecture can be computed for a stack of models."""
    return all(block.stackable for block in run.architecture.pattern)
