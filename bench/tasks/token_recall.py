"""Multi-query associative recall of discrete tokens (Arora et al. 2023, "Zoology")."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, records
from bench.tasks.draws import Draws
from bench.tasks.longer import longer_by_factors
from bench.tasks.recall import power_law_slots
from bench.tasks.task import MAIN, MOST_POINTS, Evaluation, LongerEvaluation, Prompts
from bench.tasks.tokens import CROSS_ENTROPY, Answers

if TYPE_CHECKING:
    from torch import Tensor

UPDATED = "updated_keys"


class TokenMQAR(Answers):
    """Keys and values are tokens. Where a key occurs again, the model predicts its value.

    One prompt of 3 pairs and 1 update, with `fillers: zero`::

        token      k₁ v₁ k₂ v₂ k₃ v₃ | k₂ u₂ | k₃  0  k₁  0  0  0  k₂  0         L = 16
        predicts                               v₃     v₁           u₂

    Of V `symbols`, 1 … V/2 − 1 are keys and V/2 … V − 1 are values, both without repetition in a prompt.
    After the pairs, `updates` of the keys get another value, which counts. Without updates the task is
    zoology's `multiquery_ar`, with them its `forgetting_mqar`: a memory that only adds confuses both values.
    Each key is queried once. The slots of the queries are drawn for one key after the other, with
    probability ∝ gap^(a−1), a = 0.01, so most queries come soon. Fillers are random tokens of all symbols, or
    zero.

    Zoology has 8,192 symbols and the (L, pairs) (64, 4), (128, 8) and (256, 16). The study of Based also has
    (256, 64) (Arora et al. 2024). The default is smaller, because an embedding is computed here as a matrix
    product, whose cost grows with the symbols.

    Scores, by the number of queries before: `report` is the accuracy, `cross_entropy` is in nats,
    `updated_keys` is the accuracy at keys with two values. A lookup is always right.
    """

    title: ClassVar[str] = "MQAR of tokens"
    independent_prompts: ClassVar[bool] = True
    name: Literal["token_mqar"] = "token_mqar"
    symbols: PositiveInt = 256
    pairs: PositiveInt = 16
    updates: NonNegativeInt = 0
    prompt_length: PositiveInt = 128
    fillers: Literal["random", "zero"] = "random"

    @model_validator(mode="after")
    def _everything_fits(self) -> Self:
        shortest = 2 * (2 * self.pairs + self.updates)
        if self.updates > self.pairs:
            raise ValueError(f"{self.updates} updates need as many pairs, there are {self.pairs}")
        if self.prompt_length < shortest:
            raise ValueError(
                f"prompt_length must be at least {shortest}: two tokens for each pair, update and query"
            )
        if self.symbols % 2:
            raise ValueError(f"symbols must be even, got {self.symbols}: half of them are values")
        fewest = 2 * max(self.pairs + 1, self.pairs + self.updates)
        if self.symbols < fewest:
            raise ValueError(f"different keys and values of {self.pairs} pairs need symbols {fewest}")
        if max(self.prompt_length, self.symbols) > MOST_POINTS:
            raise ValueError(f"prompt_length and symbols are at most {MOST_POINTS}")
        return self

    @property
    def n_points(self) -> int:
        """Queries: one for each key."""
        return self.pairs

    @property
    def vocabulary(self) -> int:
        return self.symbols

    def length(self, n_points: int) -> int:
        return self.prompt_length

    @property
    def answers(self) -> int:
        """Values."""
        return self.symbols // 2

    def evaluations(self) -> dict[str, Evaluation]:
        evaluations = self.both_evaluations(range(self.pairs), "queries before")
        if self.updates:
            evaluations[UPDATED] = Evaluation((0,), {"last": 0}, 1.0, "updated keys", "accuracy")
        return evaluations

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        """An evaluation with 2 and one with 4 times as many pairs, updates and tokens."""
        fields = {"pairs": self.pairs, "updates": self.updates, "prompt_length": self.prompt_length}
        return longer_by_factors(self, fields, "pairs")

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        n, half = self.pairs, self.symbols // 2  # keys and values are below and from `half` on
        keys = 1 + draws.subsets("key", batch, n, half - 1, half - 1)
        values = half + draws.subsets("value", batch, n + self.updates, half, half)
        updated = draws.subsets("updated", batch, self.updates, n, n)  # numbers of keys
        bound = torch.stack((torch.cat((keys, keys.gather(1, updated)), dim=1), values), dim=2).flatten(1)
        final = values[:, :n].scatter(1, updated, values[:, n:])  # the value that counts, for each key
        has_two = torch.zeros_like(keys).scatter(1, updated, torch.ones_like(updated))
        rest = self.prompt_length - bound.shape[1]
        slots, order = power_law_slots(draws, batch, n, rest // 2).sort(dim=1)
        if self.fillers == "random":
            fillers = draws.integers("filler", self.symbols, batch, rest)
        else:
            fillers = torch.zeros(batch, rest, dtype=torch.int64, device=keys.device)
        queries = keys.gather(1, order)
        tokens = torch.cat((bound, fillers.scatter(1, 2 * slots, queries)), dim=1)
        more = {"place": bound.shape[1] + 2 * slots, "updated": has_two.gather(1, order).bool()}
        return Prompts(tokens, final.gather(1, order), queries.unsqueeze(-1), more=more)

    def predictions(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Logits (B, L, V) → those at the queries, (B, pairs, V)."""
        place = prompts.more["place"].unsqueeze(-1).expand(-1, -1, self.symbols)
        return outputs.gather(1, place)

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        outputs = predict(prompts.tokens)
        return self._by_evaluation(self.scores(outputs, prompts), self.losses(outputs, prompts), prompts)

    def _by_evaluation(self, right: Tensor, losses: Tensor | None, prompts: Prompts) -> dict[str, Tensor]:
        """The scores of every evaluation from accuracies and, where they are finite, losses, (P, pairs)."""
        scores = {MAIN: right}
        if losses is not None:
            scores[CROSS_ENTROPY] = losses
        if self.updates:
            at_updated = (right * prompts.more["updated"]).sum(dim=1, keepdim=True)
            scores[UPDATED] = at_updated / self.updates
        return scores

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        bindings = self.pairs + self.updates
        baselines = [
            *self._guesses("random value", "trivial", prompts, self.answers),
            *self._guesses("random value of the prompt", "baseline", prompts, bindings),
            *self._lookup("lookup of the last value", "floor", prompts, last=True),
        ]
        if self.updates:
            baselines += self._lookup("lookup of the first value", "baseline", prompts, last=False)
        return baselines

    def _guesses(self, name: str, kind: Kind, prompts: Prompts, choices: int) -> list[Baseline]:
        """Guess one of `choices` values, among which the right one is."""
        started = time.perf_counter()
        ones = torch.ones(prompts.targets.shape, dtype=torch.float64)
        scores = self._by_evaluation(ones / choices, ones * math.log(choices), prompts)
        return records(name, kind, scores, started)

    def _lookup(self, name: str, kind: Kind, prompts: Prompts, *, last: bool) -> list[Baseline]:
        """The first or last value of the key. It has a cross-entropy if it is always right."""
        started = time.perf_counter()
        bound = prompts.tokens[:, : 2 * (self.pairs + self.updates)].reshape(len(prompts.tokens), -1, 2)
        keys, values = (bound.flip(1) if last else bound).unbind(dim=2)
        queries = prompts.tokens.gather(1, prompts.more["place"])
        at = (queries.unsqueeze(2) == keys.unsqueeze(1)).to(torch.int8).argmax(dim=2)  # the first match
        right = (values.gather(1, at) == prompts.targets).double()
        losses = torch.zeros_like(right) if bool(right.all()) else None
        scores = self._by_evaluation(right, losses, prompts)
        return records(name, kind, scores, started)
