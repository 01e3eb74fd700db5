"""The training prompts of a stack: which members share them, and how long they are in each step.

Members with the same task and the same seed share their prompts. Those of all seeds of a task are drawn
together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from bench.run import Run
from bench.tasks.draws import Draws
from bench.tasks.task import Prompts
from bench.train.state import State


def batch_lengths(state: State) -> Iterator[int]:
    """The length of the batch of every step from the current one on: the longest of all streams."""
    first = state.stack.first
    if not first.architecture.causal:  # such a model sees the padding
        yield from itertools.repeat(first.task.full_length)
    streams = {(run.task_id, run.seed): run for run in state.stack.members}.values()
    for step in itertools.count(int(state.step)):
        yield max(run.task.batch_length(run.seed, step, run.batch_size) for run in streams)


def training_batch(run: Run, draws: Draws, length: int) -> Prompts:
    """The training batch of a run's task and of every seed of `draws`, cut to `length` tokens."""
    if run.architecture.carries:
        return run.task.windows(draws, run.batch_size)
    return run.task.cut(run.task.batch(draws, len(draws.seeds) * run.batch_size), length)


@dataclass(frozen=True)
class TaskMembers:
    """The members of a stack that have one task. Those that have one seed as well have the same prompts.

    Attributes:
        run: one of them.
        count: number of them.
        draws: the random numbers of their S seeds: all in one pass, or of one seed after the other.
        places: (count,) int64, the number of each member's seed among the S; None if no two have one seed.
    """

    run: Run
    count: int
    draws: list[Draws]
    places: Tensor | None

    @classmethod
    def of(cls, runs: list[Run], step: Tensor) -> TaskMembers:
        """The members `runs`, before a capture, in which nothing may be copied from the host."""
        run, seeds = runs[0], tuple(dict.fromkeys(run.seed for run in runs))
        if len(seeds) > 1 and run.task.joins_seeds and not run.architecture.carries:
            draws = [Draws(seeds, "train", step, batch=run.batch_size)]
        else:
            draws = [Draws(seed, "train", step) for seed in seeds]
        places = [seeds.index(run.seed) for run in runs]
        is_own = len(seeds) == len(runs)
        return cls(run, len(runs), draws, None if is_own else torch.tensor(places, device=step.device))

    @property
    def seeds(self) -> int:
        """S, the number of different seeds."""
        return sum(len(draws.seeds) for draws in self.draws)

    @property
    def share_prompts(self) -> bool:
        """Whether all members have the same prompts."""
        return self.seeds == 1

    def prompts(self, length: int) -> Prompts:
        """The batches of all members, with a dimension of members in front; without it, if they share one."""
        batches = [training_batch(self.run, draws, length) for draws in self.draws]
        return batches[0] if self.share_prompts else batches[0].combined(self._by_member, *batches[1:])

    def _by_member(self, *values: Tensor) -> Tensor:
        """A tensor of all batches, with S·B rows in total → its rows by member, (count, B, …)."""
        rows = values[0] if len(values) == 1 else torch.cat(values)
        by_seed = torch.unflatten(rows, 0, (self.seeds, -1))
        # Contiguous in both cases, because a product with a matrix of another layout can have other bits.
        return by_seed.contiguous() if self.places is None else by_seed.index_select(0, self.places)


def members_by_task(state: State) -> list[TaskMembers]:
    """The members of a stack by task, in their order."""
    # `groupby` joins only neighbours, which suffices: a stack orders its members by task and seed.
    by_task = groupby(state.stack.members, key=lambda run: run.task_id)
    return [TaskMembers.of(list(runs), state.step) for _, runs in by_task]
