"""Linear regression on a finite pool of functions: task diversity (Raventós et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.lazy import torch
from bench.tasks import finite_baselines as finite
from bench.tasks.curriculum import Curriculum
from bench.tasks.draws import Draws
from bench.tasks.in_context import InContext
from bench.tasks.task import MAIN, Evaluation, Prompts, Settled

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

FRESH = "fresh_functions"
"""Name of the evaluation on functions that are not in the pool."""
POOL_SEED = 0
"""Seed of the pool, which is the same in training and evaluation, and for every data seed of a run."""
MOST_FUNCTIONS = 1 << 20
"""Largest pool. The mean of a larger one takes too long, and is close to ridge regression."""


class FiniteRegression(InContext):
    """y = w·x + ε, where w is one of `functions` weight vectors that training repeats.

    One prompt for d = 2; a token has one number for y and d for x::

        x₁ = (0; 2, 1)   y₁ = (1.2; 0, 0)   x₂ = (0; 0, 3)   y₂ = (−2.7; 0, 0)   …

    The pool is drawn once: w ~ N(0, I). Inputs are N(0, I), the noise ε has variance σ² = `noise`. The loss
    is the squared error of the noisy y. The score is the squared error of w·x. Zero scores d on average over
    pools, and the mean ‖w‖² of the pool on a small one.

    - `report`: functions of the pool. The Bayes rule ("dMMSE") is the mean of the pool's vectors, weighted by
      exp(−‖y − Xw‖²/2σ²);
    - `fresh_functions`: functions with a new w ~ N(0, I) for each prompt, never trained on. The Bayes rule is
      ridge regression with λ = σ².

    A model that has memorised the pool is like the first rule on both evaluations. A model that has learned
    regression is like the second. Raventós et al. find the change between 2¹¹ and 2¹⁵ functions; larger
    models need more. Their settings are the defaults: d = 8, 16 points, σ² = 0.25, no curriculum.
    """

    title: ClassVar[str] = "Regression on a finite pool"
    settled_fields: ClassVar[Mapping[str, Settled]] = {}  # another paper's task
    other_evaluations: ClassVar[tuple[str, ...]] = (FRESH,)
    independent_prompts: ClassVar[bool] = True

    name: Literal["finite_regression"] = "finite_regression"
    n_dims: PositiveInt = 8
    n_points: PositiveInt = 16
    functions: PositiveInt = Field(default=1024, le=MOST_FUNCTIONS)
    noise: float = Field(default=0.25, gt=0.0, allow_inf_nan=False)
    curriculum: Curriculum | None = None  # as in the paper

    @property
    def n_inputs(self) -> int | tuple[int, ...]:
        return self.n_dims + 1

    def evaluations(self) -> dict[str, Evaluation]:
        (main,) = super().evaluations().values()
        return {MAIN: main, FRESH: main}

    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        """The noise-free values of functions of the pool."""
        weights = self._pool(draws, draws.integers("function", self.functions, len(inputs)))
        return (inputs @ weights.unsqueeze(2)).squeeze(2)

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        inputs = self.sample_inputs(draws, batch, n_dims)
        return self._prompts(draws, inputs, self.evaluate(inputs.to(torch.float64), draws, n_dims))

    def sample_evaluation(self, draws: Draws, count: int, evaluation: str = MAIN) -> Prompts:
        if evaluation == MAIN:
            return self.sample(draws, count)
        inputs = self.sample_inputs(draws, count, None)
        weights = draws.normal("w", count, self.n_dims, 1, double=True)
        return self._prompts(draws, inputs, (inputs.to(torch.float64) @ weights).squeeze(2))

    def _pool(self, draws: Draws, numbers: Tensor) -> Tensor:
        """The weight vectors with these numbers (B,) of the pool, (B, d) float64. No step draws the pool."""
        step = torch.zeros_like(draws.step)
        pool = replace(draws, seed=POOL_SEED, purpose="pool", step=step, rows=numbers)
        return pool.normal("w", len(numbers), self.n_dims, double=True)

    def _prompts(self, draws: Draws, inputs: Tensor, clean: Tensor) -> Prompts:
        """Prompts of inputs (B, N, d) and their values without noise, (B, N) float64."""
        batch, d = len(inputs), self.n_dims
        noise = math.sqrt(self.noise) * draws.normal("noise", batch, self.n_points, double=True)
        targets = (clean + noise).to(torch.float32)
        pad = torch.nn.functional.pad
        pairs = torch.stack((pad(inputs, (1, 0)), pad(targets.unsqueeze(2), (0, d))), dim=2)
        tokens = pairs.view(batch, 2 * self.n_points, d + 1)
        return Prompts(tokens, targets, inputs, more={"clean": clean.to(torch.float32)})

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return (self.predictions(outputs) - prompts.more["clean"]) ** 2

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        return {name: self.scores(predict(prompts.tokens), prompts)}

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return self.other_baselines(prompts, MAIN)

    def other_baselines(self, prompts: Prompts, evaluation: str) -> list[Baseline]:
        """Zero, the mean of the pool and ridge regression; one of the last two is the floor."""
        is_pool = evaluation == MAIN
        pool = self._pool(Draws(0, "", torch.zeros((), dtype=torch.int64)), torch.arange(self.functions))
        return [
            finite.zero(prompts),
            finite.pool_mean(prompts, pool, self.noise, "floor" if is_pool else "baseline"),
            finite.ridge_regression(prompts, self.noise, "baseline" if is_pool else "floor"),
        ]
