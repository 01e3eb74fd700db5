"""Selective copying: repeat some tokens among many blanks (Gu & Dao 2023; Poli et al. 2024, "MAD")."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.longer import longer_by_factors
from bench.tasks.task import MAIN, MOST_POINTS, Evaluation, LongerEvaluation, Prompts
from bench.tasks.tokens import CROSS_ENTROPY, Answers

if TYPE_CHECKING:
    from torch import Tensor


class SelectiveCopying(Answers):
    """Tokens at random places among blanks, then a mark, after which the model repeats the tokens in order.

    One prompt of 3 tokens::

        token      .  a  .  .  b  .  .  a  .  |  .  .  .          L = prompt_length
        predicts                                 a  b  a

    Of V `symbols`, the last two are the blank and the mark. The tokens are uniform over the others, with
    repetition. Their places are a uniform subset of the slots before the mark. In MAD, some
    places are known in advance: the last token is right before the mark, and the first slot is blank.
    MAD's settings are the defaults, and harder ones have 32, 64 or 96 tokens, or prompts of 512 or 1024.

    Scores, by the number of tokens already repeated: `report` is the accuracy, `cross_entropy` is in nats. A
    model that has all tokens in its state is always right.
    """

    independent_prompts: ClassVar[bool] = True

    name: Literal["selective_copying"] = "selective_copying"
    symbols: PositiveInt = Field(default=16, ge=4, le=MOST_POINTS)
    n_points: PositiveInt = 16
    prompt_length: PositiveInt = Field(default=256, le=MOST_POINTS)

    @model_validator(mode="after")
    def _tokens_fit(self) -> Self:
        shortest = 2 * self.n_points + 1
        if self.prompt_length < shortest:
            raise ValueError(
                f"prompt_length must be at least {shortest}: {self.n_points} tokens, the mark and as many "
                "blanks"
            )
        return self

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def slots(self) -> int:
        """Slots before the mark."""
        return self.prompt_length - self.n_points - 1

    def length(self, n_points: int) -> int:
        return self.prompt_length

    @property
    def answers(self) -> int:
        """Tokens that are copied."""
        return self.symbols - 2

    def evaluations(self) -> dict[str, Evaluation]:
        return self.both_evaluations(range(self.n_points), "tokens said before")

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        """An evaluation with 2 and one with 4 times as many tokens, in longer prompts."""
        fields = {"n_points": self.n_points, "prompt_length": self.prompt_length}
        return longer_by_factors(self, fields, "tokens")

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        blank, mark = self.symbols - 2, self.symbols - 1
        copied = draws.integers("token", self.symbols - 2, batch, self.n_points)
        places = draws.subsets("place", batch, self.n_points, self.slots, self.slots).sort(dim=1).values
        tokens = torch.full((batch, self.prompt_length), blank, device=copied.device)
        tokens = tokens.scatter(1, places, copied)
        tokens[:, self.slots].fill_(mark)
        return Prompts(tokens, copied, copied.unsqueeze(-1))

    def predictions(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Logits (B, L, V) → those after the mark, (B, N, V)."""
        return outputs[:, self.slots + 1 :]

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """A random token, a random token of the prompt, and a copy."""
        baselines = self.random_answer("random token", prompts)
        started = time.perf_counter()
        before = prompts.tokens[:, : self.slots]
        share = (before.unsqueeze(1) == prompts.targets.unsqueeze(2)).double().sum(dim=2) / self.n_points
        name = "random token of the prompt"
        baselines += self.records_of_shares(name, "baseline", prompts, share, started)
        started = time.perf_counter()
        copied = before[before < self.symbols - 2].view(-1, self.n_points)
        right = (copied == prompts.targets).double()
        scores = {MAIN: right, CROSS_ENTROPY: 0 * right}
        return baselines + self.baseline_records("copy", "floor", prompts, scores, started)
