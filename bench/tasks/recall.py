"""Vector multi-query associative recall (paper §3.2.5, A.5; after Arora et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks import baselines as predictors
from bench.tasks.draws import Draws
from bench.tasks.epochs import MOST_PROMPTS, shuffled_rows
from bench.tasks.longer import longer_by_factors
from bench.tasks.recall_baselines import recall_baselines
from bench.tasks.task import MAIN, Evaluation, LongerEvaluation, Prompts, Settled, Task

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

GAP_POWER = 0.01
"""Exponent a of the power law ∝ gap^(a−1) by which the spaced layout places queries (Arora et al.)."""


class VectorMQAR(Task):
    """Keys and values are unit vectors. Each query is one of the keys, and the model predicts its value.

    One prompt of 3 pairs and 2 queries::

        layout "compact"    k₁ v₁ k₂ v₂ k₃ v₃ q₁ q₂             L = 2·pairs + queries
        predicts                              v₃ v₁             if q₁ = k₃ and q₂ = k₁

        layout "spaced"     k₁ v₁ k₂ v₂ k₃ v₃ q₁ 0 0 0 q₂ 0     L = 4·pairs

    Queries are different keys in random order. In the spaced layout they are at random even slots, where
    small gaps are more likely, and the other slots are zero. This is the layout of zoology, whose shortest
    prompt for 32 pairs has Table 2's "128 points". The loss and the score are the squared norm |v̂ − v|²,
    summed over coordinates: zero scores 1, the mean of the values scores 1 − 1/pairs, a lookup scores 0.

    The paper contradicts itself on data: §4.3 draws new vectors for each batch (`training_prompts: null`, the
    default), A.5 has 300,000 prompts for 64 epochs. With `training_prompts: n`, batch t takes the prompts
    t·B … t·B + B − 1 of an order that is shuffled for each epoch.
    """

    title: ClassVar[str] = "Vector-valued MQAR"
    settled_fields: ClassVar[Mapping[str, Settled]] = {
        "training_prompts": Settled("null (§4.3), 300000 (A.5)", "no such task", "§4.3; the text has both"),
        "layout": Settled("128 points (Table 2)", "no such task", "nothing is said between the queries"),
    }
    independent_prompts: ClassVar[bool] = True

    name: Literal["vector_mqar"] = "vector_mqar"
    n_dims: PositiveInt = 20
    pairs: PositiveInt = 32
    queries: PositiveInt = 16
    layout: Literal["compact", "spaced"] = "compact"
    training_prompts: PositiveInt | None = Field(default=None, le=MOST_PROMPTS)
    curriculum: None = None

    @model_validator(mode="after")
    def _queries_are_keys(self) -> Self:
        if self.queries > self.pairs:
            raise ValueError(f"{self.queries} different queries need as many pairs, there are {self.pairs}")
        return self

    @property
    def n_points(self) -> int:
        return self.queries

    @property
    def n_inputs(self) -> int | tuple[int, ...]:
        return self.n_dims

    @property
    def n_outputs(self) -> int:
        return self.n_dims

    def length(self, n_points: int) -> int:
        return 2 * self.pairs + n_points if self.layout == "compact" else 4 * self.pairs

    def evaluations(self) -> dict[str, Evaluation]:
        columns = tuple(range(self.queries))
        return {MAIN: Evaluation(columns, {"last": self.queries - 1}, 1.0, axis="queries before")}

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        """An evaluation with 2 and one with 4 times as many pairs and queries."""
        return longer_by_factors(self, {"pairs": self.pairs, "queries": self.queries}, "pairs")

    def batch(self, draws: Draws, size: int) -> Prompts:
        if self.training_prompts is None:
            return self.sample(draws, size)
        rows = shuffled_rows(draws, size, self.training_prompts)
        one_set = replace(draws, purpose="training set", step=torch.zeros_like(draws.step), rows=rows)
        return self.sample(one_set, size)

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        pairs, queries, d = self.pairs, self.queries, self.n_dims
        keys = _on_sphere(draws.normal("key", batch, pairs, d, double=True))
        values = _on_sphere(draws.normal("value", batch, pairs, d, double=True))
        chosen = draws.subsets("query", batch, queries, pairs, pairs)
        index = chosen.unsqueeze(-1).expand(-1, -1, d)
        inputs, targets = keys.gather(1, index), values.gather(1, index)
        context = torch.stack((keys, values), dim=2).reshape(batch, 2 * pairs, d)
        if self.layout == "compact":
            place = torch.arange(queries, device=keys.device).expand(batch, -1)
            query_tokens = inputs
        else:
            # Slots ascend; the keys are in random order already.
            place = 2 * power_law_slots(draws, batch, queries, pairs).sort(dim=1).values
            slots = torch.zeros(batch, 2 * pairs, d, device=keys.device)
            query_tokens = slots.scatter(1, place.unsqueeze(-1).expand(-1, -1, d), inputs)
        more = {"keys": keys, "values": values, "place": 2 * pairs + place}
        return Prompts(torch.cat((context, query_tokens), dim=1), targets, inputs, more=more)

    def predictions(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Model outputs (B, L, d) → predictions at the queries, (B, queries, d)."""
        if self.layout == "compact":
            return outputs[:, 2 * self.pairs :]
        place = prompts.more["place"].unsqueeze(-1).expand(-1, -1, self.n_dims)
        return outputs.gather(1, place)

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return ((self.predictions(outputs, prompts) - prompts.targets) ** 2).sum(-1)

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return self.losses(outputs, prompts)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return [predictors.trivial(self, prompts), *recall_baselines(prompts)]


def power_law_slots(draws: Draws, batch: int, chosen: int, slots: int) -> Tensor:
    """Different slots out of 0 … slots − 1 for queries, (B, chosen) int64, in the order of the draw.

    Slot s is drawn with the weight (s + 1)^(a − 1), without repetition. Such a draw takes the slots with the
    largest sums of log-weight and Gumbel noise, −log(−log u) for uniform u.
    """
    gaps = torch.arange(1, slots + 1, device=draws.step.device, dtype=torch.float64)
    uniform = draws.uniform("place", batch, slots).to(torch.float64)
    ranks = (GAP_POWER - 1) * torch.log(gaps) - torch.log(-torch.log(uniform))
    return ranks.argsort(dim=1, descending=True, stable=True)[:, :chosen]


def _on_sphere(vectors: Tensor) -> Tensor:
    """Float64 vectors scaled to length 1, rounded once."""
    return torch.nn.functional.normalize(vectors, dim=-1).to(torch.float32)
