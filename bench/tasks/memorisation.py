"""A fixed map from keys to values, which the weights must store (Poli et al. 2024, "MAD")."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.task import MOST_POINTS, Evaluation, Prompts
from bench.tasks.tokens import Answers

if TYPE_CHECKING:
    from torch import Tensor

MAP_SEED = 0
"""Seed of the map, which is the same in training and evaluation, and for every data seed of a run."""


class Memorisation(Answers):
    """The value of the key before each mark, by a map that is the same in every prompt.

    One prompt of 3 keys::

        token      k₁  |  k₂  |  k₁  |          L = prompt_length
        predicts       v₁     v₂     v₁

    Of V `symbols`, the last is the mark, K = ⌊(V − 1)/2⌋ of the others are keys, and the rest are W = V −
    1 − K values. The map is drawn once; different keys have different values. Keys are uniform, with
    repetition. A prompt contains no values, so nothing can be learned from it: the weights have to store
    the map, which takes about K log₂ W bits. The task measures the memory of the weights, not that of
    the state.

    MAD's setting is the default, and harder ones have 512 to 8192 symbols. MAD has 256 training prompts;
    here every step draws new ones. That is the same task, because all prompts have the same map.

    Scores, by the number of keys before: `report` is the accuracy, `cross_entropy` is in nats. A random
    value has the accuracy 1/W and log W nats. A model that knows the map is always right.
    """

    independent_prompts: ClassVar[bool] = True

    name: Literal["memorisation"] = "memorisation"
    symbols: PositiveInt = Field(default=256, ge=4, le=MOST_POINTS)
    prompt_length: PositiveInt = Field(default=32, le=MOST_POINTS)

    @model_validator(mode="after")
    def _marks_follow_keys(self) -> Self:
        if self.prompt_length % 2:
            raise ValueError(
                f"prompt_length must be even, got {self.prompt_length}: a mark follows every key"
            )
        return self

    @property
    def n_points(self) -> int:
        """Keys in a prompt."""
        return self.prompt_length // 2

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def keys(self) -> int:
        """Different keys."""
        return (self.symbols - 1) // 2

    @property
    def answers(self) -> int:
        """Different values."""
        return self.symbols - 1 - self.keys

    def length(self, n_points: int) -> int:
        return self.prompt_length

    def evaluations(self) -> dict[str, Evaluation]:
        return self.both_evaluations(range(self.n_points), "keys before")

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        keys = draws.integers("key", self.keys, batch, self.n_points)
        tokens = torch.stack((keys, torch.full_like(keys, self.symbols - 1)), dim=2).flatten(1)
        return Prompts(tokens, _map(self, keys.device)[keys], keys.unsqueeze(-1))

    def predictions(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Logits (B, L, V) → those at the marks, (B, N, V)."""
        return outputs[:, 1::2]

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """A random value, and the map."""
        baselines = self.random_answer("random value", prompts)
        started = time.perf_counter()
        values = _map(self, prompts.tokens.device)[prompts.tokens[:, 0::2]]
        right = (values == prompts.targets).double()
        return baselines + self.records_of_shares("the map", "floor", prompts, right, started)


@cache  # not a bounded cache: a captured step reads the tensor at its address
def _map(task: Memorisation, device: torch.device) -> Tensor:
    """The value of every key, (K,) int64, on the device. It is drawn on the CPU."""
    draws = Draws(MAP_SEED, "map", torch.zeros((), dtype=torch.int64))
    order = draws.subsets("value", 1, task.keys, task.answers, task.answers)
    return (task.keys + order[0]).to(device)
