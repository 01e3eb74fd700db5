"""Sparse parity (paper §3.2.3; Bhattamishra et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveInt

from bench.lazy import torch
from bench.tasks import baselines as predictors
from bench.tasks import parity_baselines as parities
from bench.tasks.curriculum import Curriculum
from bench.tasks.draws import Draws, mask_beyond
from bench.tasks.in_context import InContext, Sparse, interleave
from bench.tasks.task import MAIN, Metric, Prompts

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

RELEASED_BATCH = 64
"""Evaluation prompts that share one subset in the released code: its batch size."""


class SparseParity(InContext, Sparse):
    """y = ∏_{j∈S} x[j] for a hidden set S of `sparsity` coordinates, x uniform on {−1, +1}^d.

    One prompt for d = 3, S = {1, 3}::

        x₁ = (−1, +1, +1)   y₁ = −1   x₂ = (−1, −1, −1)   y₂ = +1   …

    The loss is the cross-entropy of the logit at x, the score is the accuracy of its sign. A few examples
    determine S among the 45 sets of the paper's (10, 2). The mean accuracy of a perfect learner over 140
    positions is therefore 0.983, not 1.

    `subset`: the text draws S for each prompt, the released code draws one S for a whole batch, in evaluation
    one for every 64 prompts.
    `cross_entropy`: the released code takes logarithms of a sigmoid, clamped at −100, so that a confident
    mistake has no gradient. "logits" is the same function without that defect.
    A mean accuracy of 0.95 counts as learned. The paper plots when a task is learned (Figure 7) and gives no
    threshold.
    """

    metric: ClassVar[Metric] = "accuracy"
    convergence_accuracy: ClassVar[float | None] = 0.95
    protocol_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "subset": {"paper": "per_prompt", "released_code": "per_batch"},
        "cross_entropy": {"paper": "logits", "released_code": "sigmoid"},
    }

    name: Literal["sparse_parity"] = "sparse_parity"
    n_dims: PositiveInt = 10
    n_points: PositiveInt = 140
    sparsity: PositiveInt = 2
    subset: Literal["per_prompt", "per_batch"] = "per_prompt"
    cross_entropy: Literal["logits", "sigmoid"] = "logits"
    curriculum: Curriculum | None = None  # as in the released configuration

    @property
    def independent_prompts(self) -> bool:  # type: ignore[override]
        return self.subset == "per_prompt"

    @property
    def error_scale(self) -> float:
        return 1.0

    @property
    def trivial(self) -> float:
        return 0.5

    def sample_inputs(self, draws: Draws, batch: int, n_dims: int | Tensor | None) -> Tensor:
        return mask_beyond(draws.signs("x", batch, self.n_points, self.n_dims), n_dims)

    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        batch, d = inputs.shape[0], self.n_dims
        sets = 1 if self.subset == "per_batch" else batch
        support = draws.subsets("subset", sets, self.sparsity, d if n_dims is None else n_dims, d)
        return _products(inputs, support.expand(batch, -1))

    def sample_evaluation(self, draws: Draws, count: int, evaluation: str = MAIN) -> Prompts:
        if self.subset == "per_prompt":
            return super().sample_evaluation(draws, count, evaluation)
        inputs, d = self.sample_inputs(draws, count, None), self.n_dims
        support = draws.subsets("subset", math.ceil(count / RELEASED_BATCH), self.sparsity, d, d)
        targets = _products(inputs, support.repeat_interleave(RELEASED_BATCH, dim=0)[:count])
        return Prompts(interleave(inputs, targets), targets, inputs)

    def identity(self) -> dict[str, Any]:
        """The fields. Version 2 of `subset: per_batch`: evaluation prompts once shared a single subset."""
        fields = super().identity()
        return {**fields, "version": 2} if self.subset == "per_batch" else fields

    @property
    def dependent_prompts(self) -> int:
        return RELEASED_BATCH if self.subset == "per_batch" else 1

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        logits, labels = self.predictions(outputs), (prompts.targets + 1) / 2
        functional = torch.nn.functional
        if self.cross_entropy == "sigmoid":
            shares = torch.sigmoid(logits)
            # PyTorch raises for NaN, on a GPU in a way that ends the process. A loss of NaN means divergence.
            losses = functional.binary_cross_entropy(shares.nan_to_num(0.5), labels, reduction="none")
            return torch.where(shares.isnan(), shares, losses)
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return (torch.sign(self.predictions(outputs)) == prompts.targets).to(torch.float32)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return predictors.present(
            [
                predictors.trivial(self, prompts),
                parities.version_space(prompts, self.sparsity),
                parities.product_least_squares(prompts, self.sparsity),
                parities.copying(prompts),
                parities.input_alone(prompts, self.sparsity),
                predictors.nearest_neighbours(prompts, k=1, classify=True),
                predictors.nearest_neighbours(prompts, k=3, classify=True),
            ]
        )


def _products(inputs: Tensor, support: Tensor) -> Tensor:
    """The products of the coordinates `support` (B, k) of inputs (B, N, d): (B, N)."""
    index = support.unsqueeze(1).expand(-1, inputs.shape[1], -1)
    return inputs.gather(2, index).prod(dim=2)
