"""Which models a claims file states to be better, and a standing of the models that reverses this.

A relative claim says that one number is lower than another: each pair of an order, of a trend or of a
count, a ratio with a bound, a difference. `Reversed` ranks the compared values, such as architectures, by
these comparisons on each task, and places the best last.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bench.check.claim import Claim
from bench.check.claims import Claims
from bench.check.kinds.bound import BoundClaim
from bench.check.kinds.count import CountClaim
from bench.check.kinds.order import OrderClaim
from bench.check.kinds.trend import TrendClaim
from bench.check.kinds.value import ValueClaim
from bench.check.quantity import FREE, PLAIN, Quantity, runs_of
from bench.run import Run, value_of

if TYPE_CHECKING:
    from bench.suite import Suite

Values = Mapping[str, Hashable]
"""What distinguishes one number of a run from other numbers: its settings, checkpoint and evaluation."""
Level = tuple[Hashable, ...]
"""Values of the compared fields."""
Context = tuple[Hashable, ...]
"""Values of the other fields."""
FIELDS = ("task", "architecture", "size", "optimizer", *PLAIN, "step", "evaluation")
"""Fields in which the sides of a comparison may differ."""
NOT_CONTEXT = (*FREE, "step", "stop")
"""Fields that do not separate contexts: rates, clips and seeds are chosen or averaged, and a standing holds
at all checkpoints."""
WIDE = ("task", "evaluation")
"""Fields that separate standings as long as the claims about a task do not contradict each other."""
WORST, BEST, MIDDLE = 0.5, 0.02, 0.1
"""Unlearned share of the worst and the best architecture, and of architectures that no claim compares."""
LEAST, MOST = 0.004, 0.9
"""The unlearned share stays between these."""
JOINT = 0.35
"""Largest power of two by which a comparison of ratios or differences moves a share. It is less than the
factor of two between neighbours of a rank, so that both can be reversed."""


@dataclass(frozen=True)
class StatedComparison:
    """Numbers of which a claim states that some are lower than others.

    Attributes:
        claim: id of the claim.
        fields: the fields in which the sides differ and that are ranked.
        ranked: whether two plain numbers are compared, rather than two ratios or differences.
        sides: runs, checkpoint and evaluation of each side; +1 where the error is stated to be the lower.
    """

    claim: str
    fields: tuple[str, ...]
    ranked: bool
    sides: tuple[tuple[int, tuple[Run, ...], int | None, str], ...]

    @property
    def values(self) -> Iterator[tuple[int, Values]]:
        """The sign and the values of every run of every side."""
        for sign, runs, step, evaluation in self.sides:
            for run in runs:
                yield sign, values_of(run, step or run.steps, evaluation)

    @property
    def levels(self) -> list[tuple[int, Level]]:
        """The sign and the values of the compared fields, side by side; one value may be on two sides."""
        return [
            (sign, level)
            for sign, runs, step, evaluation in self.sides
            for level in dict.fromkeys(
                _level(values_of(run, step or run.steps, evaluation), self.fields) for run in runs
            )
        ]


def values_of(run: Run, step: int, evaluation: str) -> dict[str, Hashable]:
    """The value of each of `FIELDS` for one number of a run."""
    return {
        "task": run.task_id,
        "architecture": run.architecture,
        "size": (run.size.layers, run.size.width),
        "optimizer": run.optimizer,
        **{name: value_of(run, name) for name in PLAIN},
        "step": step,
        "evaluation": evaluation,
    }


def comparisons(claims: Claims, suite: Suite) -> list[StatedComparison]:
    """All comparisons that the claims about a suite state, in the order of the file."""
    return [
        comparison
        for name, claim in claims.claims.items()
        if name not in claims.awaiting
        for low, high in _pairs(claim)
        if (comparison := _comparison(name, low, high, suite)) is not None
    ]


Sides = tuple[Quantity, ...]
"""A quantity, and its reference if it has one."""


def _pairs(claim: Claim) -> Iterator[tuple[Sides, Sides]]:
    """Pairs of which the claim states that the first is the lower."""
    parts = [quantity.parts for quantity in claim.quantities]
    if isinstance(claim, OrderClaim | TrendClaim):
        yield from itertools.combinations(parts, 2)
    elif isinstance(claim, CountClaim):
        yield from zip(parts[::2], parts[1::2], strict=True)
    elif isinstance(claim, BoundClaim | ValueClaim) and len(parts[0]) == 2:
        subject, reference = ((part,) for part in parts[0])
        if is_lower := _states_lower(claim):
            yield subject, reference
        elif is_lower is not None:
            yield reference, subject


def _states_lower(claim: BoundClaim | ValueClaim) -> bool | None:
    """Whether a ratio or a difference is stated to favour its subject; None if it states equality."""
    if isinstance(claim, BoundClaim):
        return claim.bound.at_most is not None
    equal = 1.0 if claim.measure.relative_to else 0.0
    return None if claim.value.expected == equal else claim.value.expected < equal


def _comparison(claim: str, low: Sides, high: Sides, suite: Suite) -> StatedComparison | None:
    """The comparison of two sides; None if it states nothing about errors, or compares no two models."""
    if low[1:] == high[1:]:  # one reference for both sides decides nothing
        low, high = low[:1], high[:1]
    signed = [
        *zip((1, -1), low, strict=False),
        *zip((-1, 1), high, strict=False),
    ]
    parts = [part for _, part in signed]
    differing = tuple(name for name in FIELDS if len({repr(getattr(part, name)) for part in parts}) > 1)
    sides = tuple((sign, tuple(runs_of(part, suite)), part.step, part.evaluation) for sign, part in signed)
    if not differing or any(part.of == "training_flops" for part in parts) or not all(s[1] for s in sides):
        return None
    accuracy = parts[0].of == "score" and sides[0][1][0].task.metric == "accuracy"
    if accuracy or parts[0].of == "horizon":  # the higher one is better
        sides = tuple((-sign, *rest) for sign, *rest in sides)  # type: ignore[misc]
    ranked = len(parts) == 2
    # Two plain numbers of different architectures are about the architectures, whatever else differs.
    fields = ("architecture",) if ranked and "architecture" in differing else differing
    return StatedComparison(claim, fields, ranked, sides)


@dataclass
class _Ballot:
    """Comparisons in one context.

    Attributes:
        tally: by level, how often it is stated to be better, less how often it is stated to be worse.
        better: how often the first of a pair is stated to be better than the second.
    """

    tally: Counter[Level] = field(default_factory=Counter)
    better: Counter[tuple[Level, Level]] = field(default_factory=Counter)

    def add(self, sides: Sequence[tuple[int, Level]]) -> None:
        for sign, level in sides:
            self.tally[level] += sign
        lower = [level for sign, level in sides if sign > 0]
        higher = [level for sign, level in sides if sign < 0]
        self.better.update(itertools.product(lower, higher))

    def share(self, level: Level) -> float:
        """Comparisons of ratios won less those lost, over the most of any level: −1 to 1."""
        return self.tally[level] / max(1, *map(abs, self.tally.values()))

    @cached_property
    def _beats(self) -> set[tuple[Level, Level]]:
        """Pairs of which the first is better, by the statements and by what follows from them."""
        beats = {(low, high) for (low, high), wins in self.better.items() if wins > self.better[high, low]}
        for middle, low, high in itertools.product(self.tally, repeat=3):
            if (low, middle) in beats and (middle, high) in beats:
                beats.add((low, high))
        return beats

    @cached_property
    def is_contradictory(self) -> bool:
        """Whether two statements, or what follows from them, exclude each other."""
        return any((high, low) in self.better for low, high in self.better) or any(
            (level, level) in self._beats for level in self.tally
        )

    @cached_property
    def ranks(self) -> dict[Level, int]:
        """Levels by number, 0 for the best; equal ones share a number."""
        # Wins less losses, with those that follow from others: of a < b and b < c, c has two losses. In a
        # circle the statements alone decide.
        score = {
            level: (
                sum((level, other) in self._beats for other in self.tally)
                - sum((other, level) in self._beats for other in self.tally),
                self.tally[level],
            )
            for level in self.tally
        }
        order = sorted(set(score.values()), reverse=True)
        return {level: order.index(value) for level, value in score.items()}


@dataclass
class Reversed:
    """The unlearned share of every run in a world in which each stated comparison is reversed.

    Attributes:
        stated: the comparisons. Without one between checkpoints, earlier checkpoints have learned less.
    """

    stated: list[StatedComparison]
    _ballots: dict[tuple[tuple[str, ...], bool], dict[Context, _Ballot]] = field(default_factory=dict)
    _shares: dict[tuple[str, int | None, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for comparison in self.stated:
            entries = list(comparison.values)
            levels = comparison.levels
            by_context = self._ballots.setdefault((comparison.fields, comparison.ranked), {})
            contexts = {_context(values, comparison.fields) for _, values in entries}
            if comparison.ranked:
                contexts |= {_wide(values, comparison.fields) for _, values in entries}
            for context in contexts:
                by_context.setdefault(context, _Ballot()).add(levels)

    def __call__(self, run: Run, step: int, evaluation: str) -> float:
        """What the run has not learned at a checkpoint: 1 for nothing learned, 0 for everything learned."""
        key = (run.id, step if self._ranks_steps else None, evaluation)
        if key not in self._shares:
            self._shares[key] = self._share(run, step, evaluation)
        share = self._shares[key]
        return share if self._ranks_steps else float(share ** ((step / run.steps) ** 0.3))

    @property
    def _ranks_steps(self) -> bool:
        return any("step" in fields and is_ranked for fields, is_ranked in self._ballots)

    def _share(self, run: Run, step: int, evaluation: str) -> float:
        values = values_of(run, step, evaluation)
        share, ranked = MIDDLE, set[str]()
        for (fields, is_ranked), by_context in self._ballots.items():
            ballot = by_context.get(_wide(values, fields)) if is_ranked else None
            if ballot is None or ballot.is_contradictory:
                ballot = by_context.get(_context(values, fields))
            if ballot is None:
                continue
            level = _level(values, fields)
            if not is_ranked:
                share *= 2 ** (JOINT * ballot.share(level))
                continue
            ranked |= set(fields)
            last = max(ballot.ranks.values())
            rank = ballot.ranks.get(level, last // 2)
            if fields == ("architecture",):
                factor = max(2.0, (WORST / BEST) ** (1 / max(1, last)))
                share *= WORST / MIDDLE / factor**rank
            else:  # a field beside the architecture moves shares both ways
                share *= 2 ** (last / 2 - rank)
        if "size" not in ranked:  # without a claim about sizes, larger models learn a little more
            share *= (run.parameters / 1e6) ** -0.05
        return float(min(max(share, LEAST), MOST))


def _level(values: Values, fields: tuple[str, ...]) -> Level:
    return tuple(values[name] for name in fields)


def _context(values: Values, fields: tuple[str, ...]) -> Context:
    return tuple(value for name, value in values.items() if name not in fields and name not in NOT_CONTEXT)


def _wide(values: Values, fields: tuple[str, ...]) -> Context:
    return tuple(values[name] for name in WIDE if name not in fields)


def nothing_learned(run: Run, step: int, evaluation: str) -> float:
    """The unlearned share of every run in a world in which nothing is learned: 1."""
    return 1.0
