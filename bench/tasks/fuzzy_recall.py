"""Recall where keys and values have one token or several (Poli et al. 2024, "MAD")."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.task import MAIN, MOST_POINTS, Evaluation, Prompts
from bench.tasks.tokens import Answers, token_prompts

if TYPE_CHECKING:
    from torch import Tensor

ABSENT = -1
"""Stands for the tokens that a short motif lacks."""
MOST_MOTIF_TOKENS = 4
"""Largest number of tokens of a key and of a value."""


class FuzzyRecall(Answers):
    """Keys and values are motifs, rows of one or more tokens. Where a key occurs again, predict its value.

    One prompt of 4 pairs, with keys of a, b, c and values of w, x, y. The last token is only a target::

        token      . . . a b x y | b w | a c y x | a b x (y)          L = prompt_length
        predicts                                     x y

    Of V `symbols`, the last is the padding at the beginning. ⌊(V − 1)/2⌋ of the others occur in keys, the
    rest of W in values, so a model can see where a motif ends. A key has 1 … `key_tokens` different tokens:
    its length is uniform, and so are its tokens; values alike. The value of a key is the same throughout
    a prompt, and new in every prompt. The last pair has a key that was seen before. The defaults are
    MAD's; harder settings have up to 128 symbols, or prompts of up to 1024.

    MAD trains on every next token, most of which no model can predict, and tests the values of repeated
    keys, in prompts whose keys all have `key_tokens` tokens. Here the loss and the scores count the
    values of repeated keys, and training and evaluation have the same prompts. The place of MAD's
    repeated pair is drawn by tokens, so it can fall outside the prompt. Here it is uniform among the
    pairs that surely fit.

    Scores, by the number of tokens of the key: `report` is the accuracy of all tokens of the value, and
    `cross_entropy` is in nats. Means are over all these tokens. MAD's score is the column of the longest
    keys: they are the rarest, and their last token alone does not tell them apart. A random token has the
    accuracy 1/W and log W nats. A lookup of the whole key is always right.
    """

    independent_prompts: ClassVar[bool] = True

    name: Literal["fuzzy_recall"] = "fuzzy_recall"
    symbols: PositiveInt = Field(default=16, le=MOST_POINTS)
    key_tokens: PositiveInt = Field(default=3, le=MOST_MOTIF_TOKENS)
    value_tokens: PositiveInt = Field(default=3, le=MOST_MOTIF_TOKENS)
    prompt_length: PositiveInt = Field(default=128, le=MOST_POINTS)

    @model_validator(mode="after")
    def _motifs_fit(self) -> Self:
        longest = self.key_tokens + self.value_tokens
        fewest = 2 * max(self.key_tokens, self.value_tokens, 2) + 1
        if self.symbols < fewest:
            raise ValueError(f"motifs of different tokens need symbols {fewest}, got {self.symbols}")
        if self.prompt_length < 2 * longest - 1:
            raise ValueError(f"prompt_length must be at least {2 * longest - 1}: a key twice, with its value")
        return self

    @property
    def n_points(self) -> int:
        """Tokens. Those before a token of a repeated key's value count."""
        return self.prompt_length

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def key_symbols(self) -> int:
        """Tokens of keys; values have those from this number on."""
        return (self.symbols - 1) // 2

    @property
    def answers(self) -> int:
        """Tokens of values."""
        return self.symbols - 1 - self.key_symbols

    def evaluations(self) -> dict[str, Evaluation]:
        return self.both_evaluations(range(1, self.key_tokens + 1), "tokens of the key")

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        total = self.prompt_length + 1  # the last token is a target only
        pairs, constants = total // 2, _constants(self, draws.step.device)
        motifs, sizes = self._motifs(draws, batch, pairs)
        keys, values = motifs.unbind(dim=2)
        key_sizes, value_sizes = sizes.unbind(dim=2)
        same = (keys.unsqueeze(2) == keys.unsqueeze(1)).all(dim=3)  # (B, pairs, pairs)
        # Pairs are numbered from the end of the prompt. All pairs of a key have the value of the one that
        # has the lowest number above 0. Pair 0, the last in the prompt, repeats a pair that surely fits.
        source = 1 + same[:, :, 1:].to(torch.uint8).argmax(dim=2)
        value_sizes = value_sizes.gather(1, source)
        longest = self.key_tokens + self.value_tokens
        fits = longest + (key_sizes + value_sizes)[:, 1:].cumsum(dim=1) <= total
        chosen = draws.uniform("repeated", batch, 1).double() * fits.sum(dim=1, keepdim=True)
        numbers = constants.numbers[1:pairs].expand(batch, -1)
        pair = torch.cat((1 + chosen.to(torch.int64), numbers), dim=1)
        key_sizes, value_sizes = key_sizes.gather(1, pair), value_sizes.gather(1, pair)
        start = total - (key_sizes + value_sizes).cumsum(dim=1)
        kept = start >= 0
        earlier = rows_of(same, pair) & constants.is_later & kept.unsqueeze(1)
        scored_tokens = torch.where(earlier.any(dim=2), key_sizes, 0)
        motifs = torch.stack((rows_of(keys, pair), rows_of(values, source.gather(1, pair))), dim=2)
        return self._written(motifs, torch.stack((start, start + key_sizes), dim=2), kept, scored_tokens)

    def _motifs(self, draws: Draws, batch: int, pairs: int) -> tuple[Tensor, Tensor]:
        """Keys and values that do not depend on each other, and their numbers of tokens.

        Pair 0 is the last one of the prompt. There are enough pairs to fill it.

        Returns:
            Tokens (B, pairs, 2, most), `ABSENT` behind the end of a motif; and sizes (B, pairs, 2). The third
            dimension is the key and the value.
        """
        most = max(self.key_tokens, self.value_tokens)
        constants = _constants(self, draws.step.device)
        drawn = draws.uniform("motif", batch, pairs, 2, 1 + most).double() * constants.choices
        sizes = 1 + drawn[..., 0].to(torch.int64)
        motifs = different(drawn[..., 1:].to(torch.int64)) + constants.first
        return torch.where(constants.numbers[:most] < sizes.unsqueeze(3), motifs, ABSENT), sizes

    def _written(self, motifs: Tensor, start: Tensor, kept: Tensor, scored_tokens: Tensor) -> Prompts:
        """Prompts of motifs at their places, with padding before them.

        Args:
            motifs: tokens of keys and values, (B, pairs, 2, most).
            start: place of the first token of each key and value, (B, pairs, 2).
            kept: whether a pair fits into the prompt, (B, pairs).
            scored_tokens: number of tokens of the key if it has occurred before, else 0, (B, pairs).
        """
        batch, pairs, _, most = motifs.shape
        total, constants = self.prompt_length + 1, _constants(self, motifs.device)
        place = start.unsqueeze(3) + constants.numbers[:most]
        # What is absent or cut off goes to one more place at the end, which is then dropped.
        place = torch.where((motifs >= 0) & kept.view(batch, pairs, 1, 1), place, total).flatten(1)
        # A token and the size of a repeated key in one number.
        codes = motifs + self.symbols * (scored_tokens.view(batch, pairs, 1, 1) * constants.is_value)
        padding = torch.full((batch, total + 1), self.symbols - 1, device=codes.device)
        codes = padding.scatter(1, place, codes.flatten(1))[:, :total]
        ids, key_size = codes % self.symbols, (codes // self.symbols)[:, 1:]
        return token_prompts(ids[:, :-1], ids[:, 1:], key_size > 0, {"key_size": key_size})

    def positions_per_column(self, prompts: Prompts, name: str) -> Tensor:
        return self.column_sums(torch.ones(prompts.targets.shape, device=prompts.targets.device), prompts)

    def column_sums(self, values: Tensor, prompts: Prompts) -> Tensor:
        """Sums of values (B, L) over the tokens that count, by the size of the key, (B, key_tokens)."""
        sizes = torch.arange(1, self.key_tokens + 1, device=values.device)
        belongs = prompts.more["key_size"].unsqueeze(2) == sizes
        return torch.where(belongs, values.double().unsqueeze(2), 0.0).sum(dim=1)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """A random token, lookups of the last one and the last two tokens, and a lookup of the whole key."""
        baselines = self.random_answer("random token", prompts)
        for count, name in ((1, "lookup of the last token"), (2, "lookup of the last 2 tokens")):
            started = time.perf_counter()
            right = last_followers(prompts.tokens, count) == prompts.targets
            baselines += self.baseline_records(name, "baseline", prompts, {MAIN: right.double()}, started)
        started = time.perf_counter()
        recalled = torch.tensor([self._lookup(row) for row in prompts.tokens.tolist()])
        right = (recalled == prompts.targets).double()
        return baselines + self.records_of_shares("lookup of the key", "floor", prompts, right, started)

    def _lookup(self, tokens: list[int]) -> list[int]:
        """What follows every token of a prompt by the values of earlier keys; −1 where that is not known."""
        values: dict[tuple[int, ...], list[int]] = {}
        key, value, predicted = list[int](), list[int](), list[int]()
        for token in tokens:
            is_key = token < self.key_symbols
            if is_key and value:  # the pair before is complete
                values.setdefault(tuple(key), value)
                key, value = [], []
            if token < self.symbols - 1:
                (key if is_key else value).append(token)
            recalled = values.get(tuple(key), [])
            predicted.append(recalled[len(value)] if len(value) < len(recalled) else -1)
        return predicted


class Constants(NamedTuple):
    """Tensors that every draw needs, on a device.

    Attributes:
        choices: (2, 1 + most) float64, for keys and for values: the number of sizes, then the numbers of
            tokens that are left for each place of a motif.
        first: (2, 1) int64, the first token of keys and of values.
        is_value: (2, 1) int64, 0 for keys and 1 for values.
        numbers: (n,) int64, 0, 1, 2, …: as many as there are pairs and places.
        is_later: (pairs, pairs) bool, whether the column's number is above the row's.
    """

    choices: Tensor
    first: Tensor
    is_value: Tensor
    numbers: Tensor
    is_later: Tensor


@cache  # not a bounded cache: a captured step reads the tensors at their addresses
def _constants(task: FuzzyRecall, device: torch.device) -> Constants:
    most, pairs = max(task.key_tokens, task.value_tokens), (task.prompt_length + 1) // 2
    symbols = (task.key_symbols, task.answers)
    choices = [
        [float(size), *(float(count - place) for place in range(most))]
        for size, count in zip((task.key_tokens, task.value_tokens), symbols, strict=True)
    ]
    numbers = torch.arange(max(pairs, most), device=device)
    return Constants(
        torch.tensor(choices, dtype=torch.float64, device=device),
        torch.tensor([[0], [task.key_symbols]], device=device),
        torch.tensor([[0], [1]], device=device),
        numbers,
        numbers[:pairs] > numbers[:pairs, None],
    )


def different(ranks: Tensor) -> Tensor:
    """Different tokens (…, n) from the rank of each one among the tokens that are left, from 0.

    Uniform ranks give uniform arrangements. Each earlier token that is not above a token moves it up by one.
    """
    tokens: list[Tensor] = []
    for rank in ranks.unbind(dim=-1):
        token = rank
        lowest_first: Iterable[Tensor] = tokens
        if len(tokens) > 1:
            lowest_first = torch.stack(tokens, dim=-1).sort(dim=-1).values.unbind(dim=-1)
        for earlier in lowest_first:
            token = token + (token >= earlier)
        tokens.append(token)
    return torch.stack(tokens, dim=-1)


def rows_of(values: Tensor, index: Tensor) -> Tensor:
    """The rows (B, pairs, n) with the numbers (B, pairs) of values (B, pairs, n)."""
    return values.gather(1, index.unsqueeze(2).expand(-1, -1, values.shape[2]))


def last_followers(tokens: Tensor, count: int) -> Tensor:
    """For tokens (P, L): what followed when the last `count` tokens stood there last time; −1 if never."""
    followers = torch.full_like(tokens, -1)
    length = tokens.shape[1]
    for ago in range(length - 1, 0, -1):  # the nearest match is written last
        equal = tokens[:, ago:] == tokens[:, :-ago]
        repeated = equal.clone()
        for back in range(1, min(count, length - ago)):
            equal[:, back:] &= repeated[:, :-back]
        equal[:, : count - 1] = False  # the context would begin before the prompt
        followers[:, ago:] = torch.where(equal, tokens[:, 1 : length - ago + 1], followers[:, ago:])
    return followers
