"""The world in which every comparison that a claims file states is reversed.

`ReversedShares` ranks the compared values, such as architectures, by the stated comparisons on each task. The
best gets the largest unlearned share.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.check.comparisons import Level, StatedComparison, Values, level_of, values_of
from bench.check.quantity import FREE
from bench.run import Run

Context = tuple[Hashable, ...]
"""Values of the fields that are not compared."""
NOT_CONTEXT = (*FREE, "step", "stop")
"""Fields that do not separate contexts. Rates, clips and seeds are chosen or averaged, and a ranking holds at
all checkpoints."""
BROAD_CONTEXT = ("task", "evaluation")
"""Fields that alone separate rankings, unless the claims about a task contradict each other."""
WORST, BEST, MIDDLE = 0.5, 0.02, 0.1
"""Unlearned share of the worst and the best architecture, and of architectures that no claim compares."""
LEAST, MOST = 0.004, 0.9
"""The unlearned share stays between these."""
LARGEST_MOVE = 0.35
"""Largest power of two by which a comparison of ratios or differences moves a share. It is less than the
factor of two between neighbours of a ranking, so that both can be reversed."""


@dataclass
class _Ranking:
    """How often the values of the compared fields are stated to be better or worse in one context.

    Attributes:
        net_wins: by level, how often it is stated to be better, less how often it is stated to be worse.
        wins: how often the first of a pair is stated to be better than the second.
    """

    net_wins: Counter[Level] = field(default_factory=Counter)
    wins: Counter[tuple[Level, Level]] = field(default_factory=Counter)

    def add(self, sides: Sequence[tuple[int, Level]]) -> None:
        for sign, level in sides:
            self.net_wins[level] += sign
        lower = [level for sign, level in sides if sign > 0]
        higher = [level for sign, level in sides if sign < 0]
        self.wins.update(itertools.product(lower, higher))

    def net_win_share(self, level: Level) -> float:
        """Net wins over the largest number of any level, −1 to 1."""
        return self.net_wins[level] / max(1, *map(abs, self.net_wins.values()))

    @cached_property
    def _beats(self) -> set[tuple[Level, Level]]:
        """Pairs of which the first is better, by the statements and by what follows from them."""
        beats = {(low, high) for (low, high), count in self.wins.items() if count > self.wins[high, low]}
        for middle, low, high in itertools.product(self.net_wins, repeat=3):
            if (low, middle) in beats and (middle, high) in beats:
                beats.add((low, high))
        return beats

    @cached_property
    def is_contradictory(self) -> bool:
        """Whether two statements, or what follows from them, exclude each other."""
        return any((high, low) in self.wins for low, high in self.wins) or any(
            (level, level) in self._beats for level in self.net_wins
        )

    @cached_property
    def ranks(self) -> dict[Level, int]:
        """The rank of each level, 0 for the best. Equal levels share a rank."""
        # Wins less losses, including those that follow from others: given a < b and b < c, c has two losses.
        # If the statements form a circle, these cancel, and the net wins of the statements decide.
        score = {
            level: (
                sum((level, other) in self._beats for other in self.net_wins)
                - sum((other, level) in self._beats for other in self.net_wins),
                self.net_wins[level],
            )
            for level in self.net_wins
        }
        order = sorted(set(score.values()), reverse=True)
        return {level: order.index(value) for level, value in score.items()}


@dataclass
class ReversedShares:
    """The unlearned share of every run in a world in which each stated comparison is reversed.

    Attributes:
        stated: the comparisons. Without one between checkpoints, earlier checkpoints have learned less.
    """

    stated: list[StatedComparison]
    _rankings: dict[tuple[tuple[str, ...], bool], dict[Context, _Ranking]] = field(default_factory=dict)
    _shares: dict[tuple[str, int | None, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for comparison in self.stated:
            entries = list(comparison.values)
            levels = comparison.levels
            by_context = self._rankings.setdefault((comparison.fields, comparison.ranked), {})
            contexts = {_context(values, comparison.fields) for _, values in entries}
            if comparison.ranked:
                contexts |= {_broad_context(values, comparison.fields) for _, values in entries}
            for context in contexts:
                by_context.setdefault(context, _Ranking()).add(levels)

    def __call__(self, run: Run, step: int, evaluation: str) -> float:
        """What the run has not learned at a checkpoint: 1 for nothing learned, 0 for everything learned."""
        key = (run.id, step if self._ranks_steps else None, evaluation)
        if key not in self._shares:
            self._shares[key] = self._share(run, step, evaluation)
        share = self._shares[key]
        return share if self._ranks_steps else float(share ** ((step / run.steps) ** 0.3))

    @property
    def _ranks_steps(self) -> bool:
        return any("step" in fields and is_ranked for fields, is_ranked in self._rankings)

    def _share(self, run: Run, step: int, evaluation: str) -> float:
        """The unlearned share, moved by every ranking to which the run belongs, between LEAST and MOST."""
        values = values_of(run, step, evaluation)
        share, ranked = MIDDLE, set[str]()
        for (fields, is_ranked), by_context in self._rankings.items():
            ranking = by_context.get(_broad_context(values, fields)) if is_ranked else None
            if ranking is None or ranking.is_contradictory:
                ranking = by_context.get(_context(values, fields))
            if ranking is None:
                continue
            level = level_of(values, fields)
            if not is_ranked:
                share *= 2 ** (LARGEST_MOVE * ranking.net_win_share(level))
                continue
            ranked |= set(fields)
            last = max(ranking.ranks.values())
            rank = ranking.ranks.get(level, last // 2)
            if fields == ("architecture",):
                factor = max(2.0, (WORST / BEST) ** (1 / max(1, last)))
                share *= WORST / MIDDLE / factor**rank
            else:  # a field beside the architecture moves shares both ways
                share *= 2 ** (last / 2 - rank)
        if "size" not in ranked:  # without a claim about sizes, larger models learn a little more
            share *= (run.parameters / 1e6) ** -0.05
        return float(min(max(share, LEAST), MOST))


def _context(values: Values, fields: tuple[str, ...]) -> Context:
    return tuple(value for name, value in values.items() if name not in fields and name not in NOT_CONTEXT)


def _broad_context(values: Values, fields: tuple[str, ...]) -> Context:
    return tuple(values[name] for name in BROAD_CONTEXT if name not in fields)
