"""The host's record of a stack in training: curves, checkpoints, and how each member ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.run import Run
from bench.stack import Stack

if TYPE_CHECKING:
    from bench.train.evaluate import PartScores


@dataclass
class MemberNotes:
    """The host's record of a member."""

    curve: dict[str, list[float]] = field(
        default_factory=lambda: {"step": [], "loss": [], "gradient_norm": []}
    )
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    per_prompt: str | None = None
    diverged: str | None = None
    """Why the member diverged; None if it did not."""
    longer_prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Numbers and digests of the prompts of evaluations on longer prompts."""
    not_evaluated: dict[str, str] = field(default_factory=dict)
    """Reasons why evaluations on longer prompts are left out."""
    training_loss: float | None = None
    """Mean loss of all points in the last whole window, of tasks with a `training_evaluation`."""
    converged: int | None = None
    """With a stop rule: step of the check at which the model had converged."""

    def end(self, run: Run) -> int:
        """The step at which the member ends, as far as is known now: a stop rule may end it earlier."""
        if run.stop is None or self.converged is None:
            return run.steps
        return min(run.steps, self.converged + run.stop.after_convergence)

    def diverge(self, reason: str) -> None:
        """Record that the member diverged. The first reason counts."""
        if self.diverged is None:
            self.diverged = reason


@dataclass
class StackNotes:
    """The host's record of a stack, saved with every checkpoint as plain values.

    Attributes:
        members: of every member, also of those that ended.
        computed: numbers of the members that the steps compute, in order: all at first.
        evaluation_due: the evaluation of the saved step has not ended and is to be continued first.
        parts: scores that the evaluation of this step has measured so far, by part of the prompts
            (`bench.train.evaluate.PartScores`). Empty between evaluations.
    """

    members: list[MemberNotes]
    computed: list[int] = field(default_factory=list)
    train_seconds: float = 0.0
    resumptions: int = 0
    evaluation_due: bool = False
    parts: dict[str, PartScores] = field(default_factory=dict)
    pieces: list[dict[str, Any]] = field(default_factory=list)
    """For each process that trained the stack, what a result states of it (`bench.train.pieces`)."""
    evaluation_seconds: list[float] = field(default_factory=list)
    """Of every member, its share of the seconds in which `parts` of all evaluations so far were scored."""
    evaluation_flops: list[int] = field(default_factory=list)
    """Of every member, the FLOPs of these parts (`bench.run.Run.forward_flops`)."""

    def __post_init__(self) -> None:
        self.computed = self.computed or list(range(len(self.members)))
        self.evaluation_seconds = self.evaluation_seconds or [0.0] * len(self.members)
        self.evaluation_flops = self.evaluation_flops or [0] * len(self.members)

    def before_evaluation(self) -> StackNotes:
        """A copy with the evaluation due. Evaluating changes only what is shared: parts and their cost."""
        members = [
            replace(
                member,
                checkpoints=[*member.checkpoints],
                longer_prompts={**member.longer_prompts},
                not_evaluated={**member.not_evaluated},
            )
            for member in self.members
        ]
        return replace(self, members=members, evaluation_due=True)

    def plain(self) -> dict[str, Any]:
        """The record as plain values."""
        return {**vars(self), "members": [vars(member) for member in self.members]}

    @classmethod
    def of(cls, saved: dict[str, Any]) -> StackNotes:
        """The record of plain values."""
        return cls(**{**saved, "members": [MemberNotes(**member) for member in saved["members"]]})

    def places(self, members: Iterable[int]) -> list[int]:
        """The places of members in the state of training: their numbers among the computed members."""
        return [self.computed.index(k) for k in members]

    def ends(self, stack: Stack) -> list[int]:
        """The steps at which the members end, as far as is known now."""
        return [member.end(run) for member, run in zip(self.members, stack.members, strict=True)]

    def active(self, stack: Stack, step: int) -> list[int]:
        """Numbers of the members that trained until this step: they have neither diverged nor stopped."""
        ends = self.ends(stack)
        return [k for k, member in enumerate(self.members) if member.diverged is None and step <= ends[k]]
