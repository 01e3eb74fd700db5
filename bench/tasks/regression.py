"""In-context regression (paper §3.2.1; Garg et al. 2022): linear, sparse, two-layer, decision tree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.lazy import torch
from bench.tasks import baselines as predictors
from bench.tasks import linear_baselines as linear
from bench.tasks import network_baselines as networks
from bench.tasks import sparse_baselines as sparse
from bench.tasks import tree_baselines as trees
from bench.tasks.draws import Draws
from bench.tasks.in_context import InContext, Sparse
from bench.tasks.task import Prompts, Settled

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline


class LinearRegression(InContext):
    """y = w·x with w ~ N(0, I_d), x ~ N(0, I_d), no noise.

    One prompt for d = 2, N = 3 and w = (1, −1)::

        x₁ = (2, 1)   y₁ = (1, 0)   x₂ = (0, 3)   y₂ = (−3, 0)   x₃ = (1, 1)   y₃ = (0, 0)
                      └ 2 − 1                     └ 0 − 3                      └ the target at x₃

    After i examples the error of least squares, the Bayes optimum, is max(0, 1 − i/d) of the variance d.
    """

    independent_prompts: ClassVar[bool] = True

    name: Literal["linear_regression"] = "linear_regression"
    n_dims: PositiveInt = 20
    n_points: PositiveInt = 41

    def weights(self, draws: Draws, batch: int) -> Tensor:
        """One w per prompt, (B, d, 1) float64."""
        return draws.normal("w", batch, self.n_dims, 1, double=True)

    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        return (inputs @ self.weights(draws, inputs.shape[0])).squeeze(-1)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return [
            predictors.trivial(self, prompts),
            linear.least_squares(prompts, kind="floor"),
            linear.averaging(prompts),
            predictors.nearest_neighbours(prompts, k=3),
            linear.ridge(prompts, penalty=1.0),
        ]


class SparseLinearRegression(LinearRegression, Sparse):
    """Linear regression whose w has `sparsity` non-zero coordinates, each N(0, 1).

    One prompt for d = 3, k = 1 and w = (0, 2, 0)::

        x₁ = (5, 1, 4)   y₁ = (2, 0, 0)   x₂ = (7, −3, 1)   y₂ = (−6, 0, 0)   …

    A learner that tries all supports needs k + 1 examples, least squares needs d. While the curriculum shows
    only some coordinates, the non-zero coordinates of w are among those. The paper's Table 2 has N = 101, the
    released configuration N = 41.
    """

    protocol_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "n_points": {"paper": 101, "released_code": 41}
    }
    independent_prompts: ClassVar[bool] = True

    name: Literal["sparse_linear_regression"] = "sparse_linear_regression"  # type: ignore[assignment]
    n_points: PositiveInt = 101
    sparsity: PositiveInt = 3

    @property
    def error_scale(self) -> float:
        return float(self.sparsity)

    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        batch, d = inputs.shape[0], self.n_dims
        support = draws.subsets("support", batch, self.sparsity, d if n_dims is None else n_dims, d)
        weights = draws.normal("w", batch, d, double=True)
        weights = torch.zeros_like(weights).scatter(1, support, 1.0) * weights
        return (inputs @ weights.unsqueeze(-1)).squeeze(-1)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return predictors.present(
            [
                predictors.trivial(self, prompts),
                sparse.sparse_bayes(prompts, self.sparsity),
                linear.least_squares(prompts),
                predictors.nearest_neighbours(prompts, k=3),
                *sparse.lasso(prompts, penalties=(0.1, 0.01, 0.001)),
            ]
        )


class TwoLayerNetwork(InContext):
    """y = √(2/h) · W⁽²⁾ relu(W⁽¹⁾ x): a random ReLU network with h hidden units, all weights N(0, 1).

    One prompt for d = 2, h = 2, W⁽¹⁾ = ((1, 1), (0, −1)), W⁽²⁾ = (3, 1)::

        x₁ = (2, 1)   y₁ = (9, 0)   x₂ = (1, −4)   y₂ = (4, 0)   …
                      └ 3·relu(3) + relu(−1)       └ 3·relu(−3) + relu(4)

    Only the released code has the factor √(2/h). It makes the variance of y equal to d, as in linear
    regression. Without it (`scaled: false`) the variance is h·d/2.
    """

    title: ClassVar[str] = "2NN regression"
    settled_fields: ClassVar[Mapping[str, Settled]] = {
        **InContext.settled_fields,
        "scaled": Settled(False, True, "the text gives no scale; errors are then those of the other tasks"),
    }
    independent_prompts: ClassVar[bool] = True

    name: Literal["two_layer_network"] = "two_layer_network"
    n_dims: PositiveInt = 20
    n_points: PositiveInt = 101
    hidden: PositiveInt = 100
    scaled: bool = True

    @property
    def error_scale(self) -> float:
        return float(self.n_dims) if self.scaled else self.hidden * self.n_dims / 2

    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        batch = inputs.shape[0]
        first = draws.normal("w1", batch, self.n_dims, self.hidden, double=True)
        second = draws.normal("w2", batch, self.hidden, 1, double=True)
        values = (torch.relu(inputs @ first) @ second).squeeze(-1)
        return values * math.sqrt(2 / self.hidden) if self.scaled else values

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        # The best linear rule explains half of the variance. So the penalty of ridge regression is noise d/2
        # over a variance of the weights of 1/2.
        return predictors.present(
            [
                predictors.trivial(self, prompts),
                linear.arc_cosine_process(prompts),
                linear.least_squares(prompts),
                linear.ridge(prompts, penalty=float(self.n_dims)),
                predictors.nearest_neighbours(prompts, k=3),
                *networks.trained_networks(prompts, steps=(100, 1000), width=100),
                predictors.on_first(networks.TRAINED_PROMPTS, linear.arc_cosine_process, prompts),
            ]
        )


class DecisionTree(InContext):
    r"""A full binary tree: each inner node tests the sign of one coordinate, each leaf has a value.

    ::

                  x[3] > 0 ?              node indices uniform over the d coordinates, with repetition
                 no /    \ yes            leaf values N(0, 1)
            x[7] > 0 ?   x[3] > 0 ?       (a repeated index makes some leaves unreachable)
             /    \       /    \
           0.3   −1.2    0.9   2.1        depth = 2

    A prompt of this tree: x₁ with x[3] ≤ 0, x[7] > 0, then y₁ = −1.2; x₂ with x[3] > 0, then y₂ = 2.1; …
    """

    rounds: ClassVar[bool] = False
    independent_prompts: ClassVar[bool] = True

    name: Literal["decision_tree"] = "decision_tree"
    n_dims: PositiveInt = 20
    n_points: PositiveInt = 101
    depth: PositiveInt = Field(default=4, le=10)

    @property
    def error_scale(self) -> float:
        return 1.0

    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        batch = inputs.shape[0]
        nodes, leaves = self.tree(draws, batch)
        # Children of node j are 2j + 1 (left) and 2j + 2 (right). `turns` has this 1 or 2.
        coordinates = inputs.gather(2, nodes.unsqueeze(1).expand(-1, self.n_points, -1))
        turns = torch.where(coordinates > 0, 2, 1)
        node = turns[..., 0]
        for _ in range(self.depth - 1):
            node = torch.add(turns.gather(2, node.unsqueeze(-1)).squeeze(-1), node, alpha=2)
        return leaves.gather(1, node - (2**self.depth - 1))

    def tree(self, draws: Draws, batch: int) -> tuple[Tensor, Tensor]:
        """Coordinates that the nodes test, (B, 2^depth − 1), breadth first; and leaf values, (B, 2^depth)."""
        inner, leaves = 2**self.depth - 1, 2**self.depth
        return draws.integers("coordinate", self.n_dims, batch, inner), draws.normal("leaf", batch, leaves)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return predictors.present(
            [
                predictors.trivial(self, prompts),
                trees.tree_oracle(prompts),
                trees.greedy_tree(prompts, self.depth, signs=False),
                trees.greedy_tree(prompts, self.depth, signs=True),
                trees.greedy_tree(prompts, None, signs=False),
                trees.greedy_tree(prompts, None, signs=True),
                trees.boosted_trees(prompts, signs=False),
                trees.boosted_trees(prompts, signs=True),
                predictors.on_first(trees.BOOSTED_PROMPTS, trees.tree_oracle, prompts),
                predictors.nearest_neighbours(prompts, k=3),
            ]
        )
