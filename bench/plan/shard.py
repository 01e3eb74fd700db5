"""Shares of a suite for machines that do not see each other: `--shard 2/4` takes the second of four.

A share follows from the suite's runs alone. It does not depend on results, devices or the order of the file,
so every machine finds its own share, and finds it again after a stop. Runs of one shape stay together in
groups as large as their stacks. The groups are spread so that all shares take about as many FLOPs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bench.dispatch.stack_sizes import advised_members
from bench.errors import UserError
from bench.run import Run
from bench.stack import even_parts, stack_shape


@dataclass(frozen=True)
class Shard:
    """One of several shares.

    Attributes:
        index: from 1 to `count`.
        count: number of shares.
    """

    index: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """The share of a text such as `2/4`.

        Raises:
            UserError: for other texts, and for a share that does not exist.
        """
        match = re.fullmatch(r"(\d{1,6})/([1-9]\d{0,5})", text.strip())
        if match is None:
            raise UserError(f"--shard {text}: expected a share such as 2/4, the second of four")
        index, count = map(int, match.groups())
        if not 1 <= index <= count:
            raise UserError(f"--shard {text}: there is no such share; they are 1/{count} to {count}/{count}")
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def ids(self, runs: Iterable[Run]) -> set[str]:
        """The ids of the runs in this share of a suite's runs."""
        loads = [0] * self.count
        share: set[str] = set()
        for group in sorted(_groups(runs), key=lambda members: (-_flops(members), members[0].id)):
            lightest = loads.index(min(loads))
            loads[lightest] += _flops(group)
            if lightest == self.index - 1:
                share |= {run.id for run in group}
        return share


def _groups(runs: Iterable[Run]) -> list[list[Run]]:
    """The stacks that runs form if no speed was measured."""
    by_shape: dict[str, list[Run]] = {}
    for run in {run.id: run for run in runs}.values():
        by_shape.setdefault(stack_shape(run), []).append(run)
    groups = []
    for members in by_shape.values():
        members.sort(key=lambda run: (run.task_id, run.seed, run.id))  # one stream of prompts side by side
        size = advised_members(members[0], "gpu", None, None)
        groups += even_parts(members, size)
    return groups


def _flops(runs: Iterable[Run]) -> int:
    return sum(run.training_flops_full_length() for run in runs)
