"""Markov chains in context: the statistical induction head (Edelman et al. 2024)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, summarise
from bench.tasks.draws import Draws
from bench.tasks.longer import longer_by_position
from bench.tasks.prefixes import prefix_products
from bench.tasks.task import MAIN, SELECTION, Evaluation, LongerEvaluation, Metric, Prompts
from bench.tasks.tokens import NextToken

if TYPE_CHECKING:
    from torch import Tensor

MOST_COUNTS = 1 << 17
"""Largest number of counts of transitions in a prompt, n_points · k²: a bound on memory."""
FROM_BAYES, FROM_UNIGRAM, FROM_CHAIN = "kl_from_bayes", "kl_from_unigram", "kl_from_chain"


class MarkovChain(NextToken):
    """The next state of a Markov chain, whose transition matrix is new in every prompt.

    One prompt of k = 3 states, where state 0 is always followed by 2::

        token      1   0   2   2   1   0   2
        predicts   0   2   2   1   0   2   …

    Each row of the matrix is uniform over all distributions, which is Dirichlet(1, …, 1). The first state is
    uniform. So it says nothing about the matrix, and the Bayes rule has a closed form: with N_ij transitions
    from i to j so far, it predicts j after i with probability (N_ij + 1)/(N_i + k). The paper draws the first
    state from the chain's stationary distribution (its released code draws it uniformly for k < 5, because
    it averages over the wrong axis).

    Scores, by the number of states before, in nats:

    - `report`: the cross-entropy of the next state. log k for a uniform guess;
    - `kl_from_bayes`: the divergence of the model from the Bayes rule, KL(Bayes ‖ model). On average over
      prompts it is the cross-entropy above that of the Bayes rule, with less noise. The floor is 0;
    - `kl_from_unigram`: the divergence from a rule that only counts states, (n_j + 1)/(t + k) after t of
      them. The paper's Transformers stay near this rule for some time, before they learn transitions;
    - `kl_from_chain`: the divergence from the true row of the matrix.
    """

    metric: ClassVar[Metric] = "cross_entropy"
    validation: ClassVar[tuple[str, str] | None] = (SELECTION, MAIN)
    independent_prompts: ClassVar[bool] = True

    name: Literal["markov_chain"] = "markov_chain"
    states: PositiveInt = Field(default=3, ge=2, le=16)
    n_points: PositiveInt = 100

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if self.n_points * self.states**2 > MOST_COUNTS:
            raise ValueError(f"n_points times the square of states must be at most {MOST_COUNTS}")
        return self

    @property
    def vocabulary(self) -> int:
        return self.states

    @property
    def error_scale(self) -> float:
        return self.uniform_cross_entropy

    def evaluations(self) -> dict[str, Evaluation]:
        columns = tuple(range(self.n_points))
        main = Evaluation(columns, {"last": self.n_points - 1}, self.error_scale, "states before")
        divergence = main._replace(error_scale=1.0, metric="kl_divergence")
        return {MAIN: main, FROM_BAYES: divergence, FROM_UNIGRAM: divergence, FROM_CHAIN: divergence}

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        return longer_by_position(self)

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        k = self.states
        # k − 1 uniform numbers cut (0, 1) into k pieces, whose lengths are uniform over all distributions.
        cuts = draws.uniform("row", batch, k, k - 1)
        steps = draws.uniform("step", batch, self.n_points)
        # The state after i is the number of cuts of row i below the step: a map of states for each step.
        maps = (cuts.unsqueeze(1) < steps.view(batch, -1, 1, 1)).sum(dim=3)
        first = draws.integers("first", k, batch, 1)
        composed = prefix_products(maps, lambda earlier, later: later.gather(2, earlier))
        index = first.unsqueeze(1).expand(-1, self.n_points, -1)
        targets = composed.gather(2, index).squeeze(2)
        tokens = torch.cat((first, targets[:, :-1]), dim=1)
        return Prompts(tokens, targets, tokens.unsqueeze(-1), more={"cuts": cuts})

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return self.losses(outputs, prompts)

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        return self._by_evaluation(predict(prompts.tokens).double().log_softmax(dim=-1), prompts)

    def _by_evaluation(self, predicted: Tensor, prompts: Prompts) -> dict[str, Tensor]:
        """The scores of every evaluation from log-probabilities (P, L, k), float64."""
        references = {FROM_BAYES: self.bayes, FROM_UNIGRAM: self.unigram, FROM_CHAIN: self.chain}
        scores = {MAIN: -predicted.gather(2, prompts.targets.unsqueeze(2)).squeeze(2)}
        for name, rule in references.items():
            true = rule(prompts)
            divergence = (torch.xlogy(true, true) - true * predicted).sum(dim=2)
            scores[name] = divergence.clamp(min=0)  # rounding
        return scores

    def bayes(self, prompts: Prompts) -> Tensor:
        """Probabilities of the next state by the transitions so far, (P, L, k) float64."""
        k, tokens = self.states, prompts.tokens
        pairs = _one_hot(tokens[:, :-1] * k + tokens[:, 1:], k * k).cumsum(dim=1, dtype=torch.int32)
        before = torch.nn.functional.pad(pairs, (0, 0, 1, 0))
        index = tokens.unsqueeze(2) * k + torch.arange(k, device=tokens.device)
        row = before.gather(2, index).double() + 1
        return row / row.sum(dim=2, keepdim=True)

    def unigram(self, prompts: Prompts) -> Tensor:
        """Probabilities of the next state by the states so far, (P, L, k) float64."""
        counts = _one_hot(prompts.tokens, self.states).cumsum(dim=1, dtype=torch.int32).double() + 1
        return counts / counts.sum(dim=2, keepdim=True)

    def chain(self, prompts: Prompts) -> Tensor:
        """The row of the true matrix after every token, (P, L, k) float64."""
        cuts = prompts.more["cuts"].double().sort(dim=2).values
        edges = torch.nn.functional.pad(torch.nn.functional.pad(cuts, (1, 0)), (0, 1), value=1.0)
        index = prompts.tokens.unsqueeze(2).expand(-1, -1, self.states)
        return edges.diff(dim=2).gather(1, index)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """The uniform guess, the rule that counts states, and the Bayes rule.

        The Bayes rule is the floor, but for `kl_from_unigram`, whose floor is the rule that counts states.
        """
        floor: dict[str, Kind] = dict.fromkeys((MAIN, FROM_BAYES, FROM_CHAIN), "floor")
        return [
            *self._records("uniform guess", _uniform, prompts, dict.fromkeys(self.evaluations(), "trivial")),
            *self._records("states counted", self.unigram, prompts, {FROM_UNIGRAM: "floor"}),
            *self._records("Bayes rule", self.bayes, prompts, floor),
        ]

    def _records(
        self, name: str, rule: Callable[[Prompts], Tensor], prompts: Prompts, kinds: Mapping[str, Kind]
    ) -> list[Baseline]:
        """The records of a rule on every evaluation; it is a baseline where `kinds` names no other kind."""
        started = time.perf_counter()
        scores = self._by_evaluation(rule(prompts).log(), prompts)
        return [
            summarise(name, kinds.get(evaluation, "baseline"), values, started, evaluation=evaluation)
            for evaluation, values in scores.items()
        ]


def _one_hot(numbers: Tensor, size: int) -> Tensor:
    """(P, n) → (P, n, size) bool."""
    return numbers.unsqueeze(2) == torch.arange(size, device=numbers.device)


def _uniform(prompts: Prompts) -> Tensor:
    k = prompts.more["cuts"].shape[1]
    return torch.full((*prompts.tokens.shape, k), 1 / k, dtype=torch.float64)
