"""Chain of thought, input and output (paper §3.2.4, A.3; Li et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks import baselines as predictors
from bench.tasks import chain_baselines as chain
from bench.tasks import linear_baselines as linear
from bench.tasks.draws import Draws
from bench.tasks.in_context import Examples
from bench.tasks.task import MAIN, Evaluation, Prompts, Settled

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

TEACHER_FORCED, HIDDEN = "teacher_forced", "hidden"
POSITIONS_PER_PASS = 8
"""Positions at which one pass through the model predicts ŷ after its own ŝ. Each needs its own prompt."""


class ChainOfThought(Examples):
    """A two-layer ReLU network whose hidden layer is shown: s = relu(W x), y = v·s.

    W is (k, d) with entries from N(0, 2/k), v is from N(0, I_k). So y has variance d as in the other
    regression tasks, and E|s|² = d too::

        token     x₁   s₁   y₁   x₂   s₂   y₂   …          L = 3N
        predicts  ŝ₁   ŷ₁        ŝ₂   ŷ₂                    ŝ at x tokens, ŷ at s tokens

    One point for d = 2, k = 2, W = ((1, 1), (−1, 0)), v = (2, 1)::

        x = (3, −1)   s = (2, 0)   y = 4

    The training loss is |ŝ − s|² + (ŷ − y)², with true tokens before each prediction (Li et al. weigh both
    terms equally). The evaluation "report" scores ŷᵢ at every position i; the model's own ŝᵢ replaces sᵢ, and
    earlier points are true. "teacher_forced" scores ŷ after the true s, "hidden" scores ŝ.

    `read_in`: "separate" maps x, s and y to the model's width by three linear maps (Li et al.); "shared" pads
    all three with zeros to max(d, k) and uses one map (§3.1's rule for y).
    The paper calls the hidden width h in Table 2 and k in A.3.
    """

    title: ClassVar[str] = "Chain-of-Thought-I/O"
    settled_fields: ClassVar[Mapping[str, Settled]] = {
        **Examples.settled_fields,
        "read_in": Settled("shared", "no such task", "as in Li et al., whom the text follows"),
    }
    independent_prompts: ClassVar[bool] = True

    name: Literal["chain_of_thought"] = "chain_of_thought"
    n_dims: PositiveInt = 10
    n_points: PositiveInt = 101
    hidden: PositiveInt = 8
    read_in: Literal["separate", "shared"] = "separate"

    @model_validator(mode="before")
    @classmethod
    def _default_curriculum(cls, values: Any) -> Any:
        """Li et al.'s ramp: 26 points, and 5 more every 2000 steps; all dimensions from the start."""
        if isinstance(values, Mapping) and "curriculum" not in values:
            dims = values.get("n_dims", cls.model_fields["n_dims"].default)
            dims = dims if isinstance(dims, int) and dims > 0 else 1
            points = {"start": 26, "increment": 5}
            return {**values, "curriculum": {"dims": {"start": dims, "increment": 1}, "points": points}}
        return values

    @property
    def n_inputs(self) -> int | tuple[int, ...]:
        if self.read_in == "shared":
            return max(self.n_dims, self.hidden)
        return self.n_dims, self.hidden, 1

    @property
    def n_outputs(self) -> int:
        """ŝ, then ŷ."""
        return self.hidden + 1

    def length(self, n_points: int) -> int:
        return 3 * n_points

    def evaluations(self) -> dict[str, Evaluation]:
        main = super().evaluations()[MAIN]
        return {MAIN: main, TEACHER_FORCED: main, HIDDEN: main}

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        k = self.hidden
        first = draws.normal("w1", batch, self.n_dims, k, double=True) * math.sqrt(2 / k)
        second = draws.normal("w2", batch, k, 1, double=True)
        inputs = self.sample_inputs(draws, batch, n_dims)
        hidden = torch.relu(inputs.to(torch.float64) @ first)
        targets = (hidden @ second).squeeze(-1).to(torch.float32)
        hidden = hidden.to(torch.float32)
        width = max(self.n_dims, k)
        kinds = [
            torch.nn.functional.pad(kind, (0, width - kind.shape[-1]))
            for kind in (inputs, hidden, targets.unsqueeze(-1))
        ]
        tokens = torch.stack(kinds, dim=2).reshape(batch, 3 * self.n_points, width)
        return Prompts(tokens, targets, inputs, more={"hidden": hidden})

    def predictions(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Model outputs (B, L, k + 1) → ŝ (B, N, k) at x tokens and ŷ (B, N) at s tokens."""
        return outputs[:, 0::3, : self.hidden], outputs[:, 1::3, self.hidden]

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        hidden, values = self.predictions(outputs)
        return ((hidden - prompts.more["hidden"]) ** 2).sum(-1) + (values - prompts.targets) ** 2

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Error of ŷ after the true s, (B, N)."""
        return (self.predictions(outputs)[1] - prompts.targets) ** 2

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        outputs = predict(prompts.tokens)
        hidden = self.predictions(outputs)[0]
        positions = range(self.n_points)
        return {
            MAIN: (self.own_chain(predict, prompts.tokens, hidden, positions) - prompts.targets) ** 2,
            TEACHER_FORCED: self.scores(outputs, prompts),
            HIDDEN: ((hidden - prompts.more["hidden"]) ** 2).sum(-1),
        }

    def measure_columns(
        self, predict: Callable[[Tensor], Tensor], prompts: Prompts, columns: Sequence[int]
    ) -> Tensor:
        # The chain at every position would cost a pass per position.
        hidden, columns = self.predictions(predict(prompts.tokens))[0], list(columns)
        values = self.own_chain(predict, prompts.tokens, hidden, columns)
        return (values - prompts.targets[:, columns]) ** 2

    def own_chain(
        self,
        predict: Callable[[Tensor], Tensor],
        tokens: Tensor,
        hidden: Tensor,
        positions: Sequence[int],
    ) -> Tensor:
        """ŷ at some positions after the model's own ŝ there, (B, len(positions)).

        Each position i needs its own prompt: true points before it, then xᵢ and ŝᵢ. The prompts of
        `POSITIONS_PER_PASS` neighbouring positions go through the model in one pass, cut after the last ŝ.

        Args:
            predict: tokens → outputs.
            tokens: (B, L, width) true prompts.
            hidden: (B, N, k) the model's ŝ, each after true points.
            positions: numbers of points before the predictions, rising.
        """
        batch, values = len(tokens), []
        for first in range(0, len(positions), POSITIONS_PER_PASS):
            group = positions[first : first + POSITIONS_PER_PASS]
            prefixes = tokens[:, : 3 * group[-1] + 2].repeat(len(group), 1, 1)
            for place, i in enumerate(group):
                prefixes[place * batch : (place + 1) * batch, 3 * i + 1, : self.hidden] = hidden[:, i]
            outputs = predict(prefixes)[..., self.hidden].view(len(group), batch, -1)
            values += [outputs[place, :, 3 * i + 1] for place, i in enumerate(group)]
        return torch.stack(values, dim=1)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return [
            predictors.trivial(self, prompts),
            *chain.chain_baselines(prompts),
            linear.least_squares(prompts),
            linear.arc_cosine_process(prompts, kind="baseline"),
        ]
