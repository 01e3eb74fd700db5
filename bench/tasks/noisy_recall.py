"""Recall of pairs of tokens in a stream with noise (Poli et al. 2024, "MAD")."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline, first_match
from bench.tasks.draws import Draws
from bench.tasks.task import MOST_POINTS, Evaluation, Prompts
from bench.tasks.tokens import Answers

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 8
"""Pairs that the baseline with a short memory keeps."""


class NoisyRecall(Answers):
    """Pairs of a key and its value, and noise between them. Where a key occurs again, predict its value.

    One prompt of 8 slots, of which two are noise::

        token      k₁ v₁ | n₁ n₂ | k₂ v₂ | k₁ v₁ | n₂ n₂ | k₂ v₂ | k₃ v₃ | k₁ v₁     L = prompt_length
        predicts                           v₁              v₂              v₁

    Of V `symbols`, the last `noise_symbols` are noise. One half of the others are keys, the other half
    are values. A slot is two tokens: noise with probability `noise`, otherwise a pair. Keys are uniform,
    with repetition. The value of a key is uniform in every prompt, and the same throughout the prompt.
    The last slot is a key that was seen before. MAD's noisy recall has the default settings; harder ones
    have 48, 80 or 144 symbols, prompts of up to 1024, or `noise` up to 0.8. With `symbols: 16`,
    `noise: 0` and `noise_symbols: 0` it is MAD's in-context recall.

    MAD trains on every next token and tests at repeated keys. Its training loss is then mostly that of
    random keys and noise, which no model can predict. Here the loss counts repeated keys alone, as the
    scores do. MAD keeps one slot free of noise, which may be the last one, so its generator fails if all
    others are noise. Here an earlier slot is kept free.

    Scores, by the number of slots before: `report` is the accuracy at repeated keys, `cross_entropy` is
    in nats. Means are over all repeated keys. A random value has the accuracy 1/W, with W = (V −
    `noise_symbols`)/2 values, and log W nats. A lookup is always right.
    """

    independent_prompts: ClassVar[bool] = True

    name: Literal["noisy_recall"] = "noisy_recall"
    symbols: PositiveInt = Field(default=32, le=MOST_POINTS)
    noise_symbols: NonNegativeInt = 16
    noise: float = Field(default=0.2, ge=0.0, lt=1.0)
    prompt_length: PositiveInt = Field(default=128, ge=4, le=MOST_POINTS)

    @model_validator(mode="after")
    def _symbols_fit(self) -> Self:
        if self.prompt_length % 2:
            raise ValueError(f"prompt_length must be even, got {self.prompt_length}: slots have two tokens")
        if self.noise and not self.noise_symbols:
            raise ValueError(f"noise of {self.noise:g} needs noise_symbols of at least 1")
        rest = self.symbols - self.noise_symbols
        if rest < 4 or rest % 2:
            raise ValueError(
                f"symbols without noise_symbols must be an even number of at least 4, got {rest}: half of "
                "them are keys, half are values"
            )
        return self

    @property
    def n_points(self) -> int:
        """Slots. Those with a repeated key count."""
        return self.prompt_length // 2

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def answers(self) -> int:
        """Values, of which there are as many as keys."""
        return (self.symbols - self.noise_symbols) // 2

    def length(self, n_points: int) -> int:
        return self.prompt_length

    def evaluations(self) -> dict[str, Evaluation]:
        # The first slot has no repeated key.
        return self.both_evaluations(range(1, self.n_points), "slots before")

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        slots, count = self.n_points, self.answers
        keys = draws.integers("key", count, batch, slots)
        numbers = torch.arange(slots, device=keys.device)
        is_pair = draws.uniform("noise", batch, slots) >= self.noise
        # One slot before the last is surely a pair, so that the last slot has a key to repeat.
        is_pair = is_pair | (numbers == draws.integers("kept", slots - 1, batch, 1))
        is_key = keys.unsqueeze(2) == torch.arange(count, device=keys.device)
        places = torch.where(is_key & is_pair.unsqueeze(2), numbers.unsqueeze(1), slots)
        first = places[:, :-1].amin(dim=1)  # the first slot of every key; `slots` for a key that is absent
        # The last slot repeats one of the keys that are present, each equally likely.
        ranks = torch.where(first < slots, draws.uniform("last", batch, count), -1.0)
        keys = torch.where(numbers < slots - 1, keys, ranks.argmax(dim=1, keepdim=True))
        is_pair = is_pair | (numbers == slots - 1)
        targets = count + draws.integers("value", count, batch, count).gather(1, keys)
        noise = 2 * count + draws.integers("noise token", max(1, self.noise_symbols), batch, slots, 2)
        tokens = torch.where(is_pair.unsqueeze(2), torch.stack((keys, targets), dim=2), noise)
        repeated = is_pair & (first.gather(1, keys) < numbers)
        return Prompts(tokens.flatten(1), targets, keys.unsqueeze(-1), repeated)

    def predictions(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Logits (B, L, V) → those at the first token of every slot, (B, N, V)."""
        return outputs[:, 0::2]

    def positions_per_column(self, prompts: Prompts, name: str) -> Tensor:
        return self.column_sums(torch.ones(prompts.targets.shape, device=prompts.targets.device), prompts)

    def column_sums(self, values: Tensor, prompts: Prompts) -> Tensor:
        """Values (B, N) of the slots with a repeated key, zero elsewhere, without the first slot."""
        assert prompts.counted is not None
        return torch.where(prompts.counted, values, 0.0)[:, 1:]

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """A random value, a random pair before, a lookup, and a lookup in the last pairs."""
        slots = torch.unflatten(prompts.tokens, 1, (-1, 2))
        is_pair = slots[:, :, 0] < self.answers
        # A slot of noise has a key of its own, so that no lookup finds it.
        keys = torch.where(is_pair, slots[:, :, 0], -1 - torch.arange(self.n_points))
        values = slots[:, :, 1]
        baselines = [
            *self.random_answer("random value", prompts),
            *self._random_pair(prompts, values, is_pair),
            *self._lookup(prompts, keys, values),
        ]
        if self.n_points > WINDOW:
            baselines += self._short_memory(prompts, keys)
        return baselines

    def _random_pair(self, prompts: Prompts, values: Tensor, is_pair: Tensor) -> list[Baseline]:
        """The value of a random earlier pair. The score of a value is its share among the pairs so far.

        Args:
            prompts: the prompts.
            values: second token of every slot, (P, N).
            is_pair: whether a slot is a pair, (P, N).
        """
        assert prompts.counted is not None
        started = time.perf_counter()
        shown = (values.unsqueeze(2) == self.answers + torch.arange(self.answers)).to(torch.int32)
        before = shown.cumsum(dim=1, dtype=torch.int32) - shown
        count = is_pair.to(torch.float64).cumsum(dim=1) - is_pair.to(torch.float64)
        index = (prompts.targets - self.answers).unsqueeze(2)
        share = before.gather(2, index).squeeze(2).double() / count.clamp(min=1)
        share = torch.where(prompts.counted, share, 1.0)
        return self.records_of_shares("random pair before", "baseline", prompts, share, started)

    def _lookup(self, prompts: Prompts, keys: Tensor, values: Tensor) -> list[Baseline]:
        """The value in the first slot of the key, from keys and values of every slot, (P, N)."""
        started = time.perf_counter()
        first = first_match(keys.unsqueeze(2))
        right = (values.gather(1, first.clamp(min=0)) == prompts.targets).double()
        return self.records_of_shares("lookup", "floor", prompts, right, started)

    def _short_memory(self, prompts: Prompts, keys: Tensor) -> list[Baseline]:
        """A lookup in the last `WINDOW` slots, and a random value where the key is not among them."""
        started = time.perf_counter()
        is_recent = torch.zeros_like(keys, dtype=torch.bool)
        for ago in range(1, WINDOW + 1):
            is_recent[:, ago:] |= keys[:, ago:] == keys[:, :-ago]
        right = torch.where(is_recent, 1.0, 1 / self.answers).double()
        name = f"lookup in the last {WINDOW} slots"
        return self.records_of_shares(name, "baseline", prompts, right, started)
