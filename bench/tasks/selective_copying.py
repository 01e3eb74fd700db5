"""Selective copying: say again some tokens among many blanks (Gu & Dao 2023; Poli et al. 2024, "MAD")."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline, records
from bench.tasks.draws import Draws
from bench.tasks.recall import longer_by_factors
from bench.tasks.task import MAIN, MOST_POINTS, Evaluation, LongerEvaluation, Metric, Prompts
from bench.tasks.tokens import NextToken

if TYPE_CHECKING:
    from torch import Tensor

CROSS_ENTROPY = "cross_entropy"


class SelectiveCopying(NextToken):
    """Tokens at random places among blanks, then a mark, after which the model says the tokens in order.

    One prompt of 3 tokens::

        token      .  a  .  .  b  .  .  a  .  |  .  .  .          L = prompt_length
        predicts                                 a  b  a

    Of V `symbols`, the last two are the blank and the mark. The tokens are uniform over the others, with
    repetition. Their places are a uniform subset of the slots before the mark. MAD draws them in a way that
    tells some: the last token always stands right before the mark, and the first slot is always blank.
    MAD's settings are the defaults, and harder ones have 32, 64 or 96 tokens, or prompts of 512 or 1024.

    Scores, by the number of tokens said before: `report` is the accuracy, `cross_entropy` is in nats. A model
    that has all tokens in its state is always right.
    """

    metric: ClassVar[Metric] = "accuracy"
    validation: ClassVar[tuple[str, str] | None] = ("selection", CROSS_ENTROPY)

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
    def trivial(self) -> float:
        """Accuracy of a random token."""
        return 1 / (self.symbols - 2)

    def evaluations(self) -> dict[str, Evaluation]:
        columns = tuple(range(self.n_points))
        main = Evaluation(columns, {"last": self.n_points - 1}, 1.0, axis="tokens said before")
        scale = math.log(self.symbols - 2)
        return {MAIN: main, CROSS_ENTROPY: main._replace(error_scale=scale, metric="cross_entropy")}

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        """An evaluation with 2 and one with 4 times as many tokens, in longer prompts."""
        fields = {"n_points": self.n_points, "prompt_length": self.prompt_length}
        return longer_by_factors(self, fields, "tokens")

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        blank, mark = self.symbols - 2, self.symbols - 1
        said = draws.integers("token", self.symbols - 2, batch, self.n_points)
        places = draws.subsets("place", batch, self.n_points, self.slots, self.slots).sort(dim=1).values
        tokens = torch.full((batch, self.prompt_length), blank, device=said.device)
        tokens = tokens.scatter(1, places, said)
        tokens[:, self.slots].fill_(mark)
        return Prompts(tokens, said, said.unsqueeze(-1))

    def predictions(self, outputs: Tensor) -> Tensor:
        """Logits (B, L, V) → those after the mark, (B, N, V)."""
        return outputs[:, self.slots + 1 :]

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Cross-entropy of every token, (B, N), in nats."""
        return super().losses(self.predictions(outputs), prompts)

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return (self.predictions(outputs).argmax(dim=-1) == prompts.targets).float()

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        outputs = predict(prompts.tokens)
        return {MAIN: self.scores(outputs, prompts), CROSS_ENTROPY: self.losses(outputs, prompts)}

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """A random token, a random token of the prompt, and a copy."""
        ones = torch.ones(prompts.targets.shape, dtype=torch.float64)
        started = time.perf_counter()
        chance = {MAIN: ones * self.trivial, CROSS_ENTROPY: ones * math.log(self.symbols - 2)}
        rows = records("random token", "trivial", chance, started)
        started = time.perf_counter()
        before = prompts.tokens[:, : self.slots]
        share = (before.unsqueeze(1) == prompts.targets.unsqueeze(2)).double().sum(dim=2) / self.n_points
        scores = {MAIN: share, CROSS_ENTROPY: -share.log()}
        rows += records("random token of the prompt", "baseline", scores, started)
        started = time.perf_counter()
        copied = before[before < self.symbols - 2].view(-1, self.n_points)
        right = (copied == prompts.targets).double()
        return rows + records("copy", "floor", {MAIN: right, CROSS_ENTROPY: 0 * right}, started)
