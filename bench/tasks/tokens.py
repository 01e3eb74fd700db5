"""Base classes of tasks whose prompts are discrete tokens: predict all of them, or give answers at some.

Shapes: B prompts of L tokens, V different tokens.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, records, weighted_records
from bench.tasks.task import MAIN, SELECTION, Evaluation, Metric, Prompts, Task

if TYPE_CHECKING:
    from torch import Tensor

CROSS_ENTROPY = "cross_entropy"
"""Name of the evaluation in nats."""


class NextToken(Task):
    """A task that is learned by the cross-entropy of the next token. A point is a token.

    `sample` returns ids as tokens (B, L) and as targets (B, L), and in `counted` the targets that are
    trained and scored. Other targets are separators or padding.
    """

    discrete: ClassVar[bool] = True

    curriculum: None = None

    @property
    def n_dims(self) -> int:
        """A token is one number."""
        return 1

    def length(self, n_points: int) -> int:
        return n_points

    @property
    def n_outputs(self) -> int:
        """A logit for every token."""
        return self.vocabulary

    @property
    def n_inputs(self) -> int | tuple[int, ...]:
        return self.vocabulary

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of different tokens."""

    @property
    def uniform_cross_entropy(self) -> float:
        """Cross-entropy of the uniform distribution over the vocabulary, in nats."""
        return math.log(self.vocabulary)

    def trimmed(self, prompts: Prompts) -> Prompts:
        """The prompts up to the last target of any of them that counts."""
        if prompts.counted is None:
            return prompts
        columns = prompts.counted.any(dim=0).nonzero()
        return self.cut(prompts, int(columns[-1]) + 1 if len(columns) else 1)

    def cut(self, prompts: Prompts, length: int) -> Prompts:
        whole = prompts.targets.shape[1]
        if prompts.counted is None or length >= whole:
            return prompts
        more = {
            name: value[:, :length] if value.ndim > 1 and value.shape[1] == whole else value
            for name, value in prompts.more.items()
        }
        return token_prompts(
            prompts.tokens[:, :length], prompts.targets[:, :length], prompts.counted[:, :length], more
        )

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Cross-entropy of every target, (B, L), in nats."""
        # A sum with a mask, because the gradient of a gather adds at indices, which is not deterministic.
        is_target = prompts.targets.unsqueeze(-1) == torch.arange(self.vocabulary, device=outputs.device)
        return torch.logsumexp(outputs, dim=-1) - torch.where(is_target, outputs, 0.0).sum(dim=-1)


class Answers(NextToken):
    """A task with an answer at some tokens, scored by accuracy (`report`) and `cross_entropy`, in nats.

    A point is a token with an answer. If `Prompts.counted` leaves out points, or an evaluation has several
    in a column, `column_sums` and `positions_per_column` define the points of a column.
    """

    metric: ClassVar[Metric] = "accuracy"
    validation: ClassVar[tuple[str, str] | None] = (SELECTION, CROSS_ENTROPY)

    @property
    @abstractmethod
    def answers(self) -> int:
        """Number of tokens that can be an answer."""

    @property
    def trivial(self) -> float:
        """Accuracy of a random answer."""
        return 1 / self.answers

    def both_evaluations(self, positions: Sequence[int], axis: str) -> dict[str, Evaluation]:
        """The evaluations `report` (accuracy) and `cross_entropy` at these positions."""
        main = Evaluation(tuple(positions), {"last": len(positions) - 1}, 1.0, axis)
        scale = math.log(self.answers)
        return {MAIN: main, CROSS_ENTROPY: main._replace(error_scale=scale, metric="cross_entropy")}

    def predictions(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Logits (B, L, V) → those at the points, (B, N, V)."""
        return outputs

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Cross-entropy of the answer at every point, (B, N), in nats."""
        return super().losses(self.predictions(outputs, prompts), prompts)

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return (self.predictions(outputs, prompts).argmax(dim=-1) == prompts.targets).float()

    def column_sums(self, values: Tensor, prompts: Prompts) -> Tensor:
        """Values of points (B, N) → sums over the points of each column, (B, columns). Here N columns."""
        return values

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        outputs = predict(prompts.tokens)
        scores = {MAIN: self.scores(outputs, prompts), CROSS_ENTROPY: self.losses(outputs, prompts)}
        return {evaluation: self.column_sums(values, prompts) for evaluation, values in scores.items()}

    def baseline_records(
        self, name: str, kind: Kind, prompts: Prompts, scores: Mapping[str, Tensor], started: float
    ) -> list[Baseline]:
        """The records of a predictor, from its scores (P, N) by evaluation.

        Args:
            name: see `Baseline`.
            kind: see `Baseline`.
            prompts: the prompts.
            scores: by name of the evaluation.
            started: `time.perf_counter()` before the computation.
        """
        sums = {evaluation: self.column_sums(values, prompts) for evaluation, values in scores.items()}
        counts = self.positions_per_column(prompts, MAIN)
        if counts is None:
            return records(name, kind, sums, started)
        return weighted_records(name, kind, sums, counts, started, self.evaluations()[MAIN].positions)

    def records_of_shares(
        self, name: str, kind: Kind, prompts: Prompts, shares: Tensor, started: float
    ) -> list[Baseline]:
        """`baseline_records` from the probabilities (P, N) that a predictor gives to the right answers."""
        scores = {MAIN: shares, CROSS_ENTROPY: -shares.log()}
        return self.baseline_records(name, kind, prompts, scores, started)

    def random_answer(self, name: str, prompts: Prompts) -> list[Baseline]:
        """The trivial predictor, whose scores are constants."""
        started = time.perf_counter()
        ones = torch.ones(prompts.targets.shape, dtype=torch.float64)
        scores = {MAIN: ones / self.answers, CROSS_ENTROPY: ones * math.log(self.answers)}
        return self.baseline_records(name, "trivial", prompts, scores, started)


def token_prompts(ids: Tensor, targets: Tensor, counted: Tensor, more: dict[str, Any]) -> Prompts:
    """Prompts of discrete tokens: ids, targets and whether a target counts, (B, L) each; other tensors."""
    return Prompts(ids, targets, ids.unsqueeze(-1), counted, more)
