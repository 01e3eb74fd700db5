"""Base class of tasks whose prompts are texts of discrete tokens: predict the next token everywhere.

Shapes: B prompts of L tokens, V different tokens.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from bench.lazy import torch
from bench.tasks.task import Prompts, Task

if TYPE_CHECKING:
    from torch import Tensor


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
        return text(
            prompts.tokens[:, :length], prompts.targets[:, :length], prompts.counted[:, :length], more
        )

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Cross-entropy of every target, (B, L), in nats."""
        # A sum with a mask, because the gradient of a gather adds at indices, which is not deterministic.
        is_target = prompts.targets.unsqueeze(-1) == torch.arange(self.vocabulary, device=outputs.device)
        return torch.logsumexp(outputs, dim=-1) - torch.where(is_target, outputs, 0.0).sum(dim=-1)


def text(ids: Tensor, targets: Tensor, counted: Tensor, more: dict[str, Any]) -> Prompts:
    """Prompts of discrete tokens: ids (B, L), targets (B, L), which targets count (B, L)."""
    return Prompts(ids, targets, ids.unsqueeze(-1), counted, more)
