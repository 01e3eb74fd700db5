"""Linear dynamical systems: predict the next output of a system that is new in every prompt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from bench.lazy import torch
from bench.tasks import baselines as predictors
from bench.tasks import system_baselines as systems
from bench.tasks.draws import Draws
from bench.tasks.longer import longer_by_position
from bench.tasks.task import MAIN, Evaluation, LongerEvaluation, Prompts, Task

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

ORDERS = (4, 8)
"""Outputs that the autoregressive baselines read."""


class LinearDynamicalSystem(Task):
    """The outputs of a hidden state that rotates, with noise in both. The model predicts the next output.

    ::

        state      x₁ → x₂ → x₃ → …          x_{t+1} = A x_t + N(0, q I),   A = radius · Q
        token      y₁   y₂   y₃   …          y_t = c·x_t + N(0, r)
        predicts   ŷ₂   ŷ₃   ŷ₄   …

    One prompt for one state, A = −0.9, c = 2 and x₁ = 1, without noise::

        state      1      −0.9   0.81    −0.729
        token      2      −1.8   1.62
        target     −1.8   1.62   −1.458

    Q is a uniformly random orthogonal matrix (Haar) and c ~ N(0, I/`n_states`), new in each prompt. The first
    state is drawn from the stationary distribution, N(0, q/(1 − radius²) I). So all outputs have the variance
    q/(1 − radius²) + r, which is the error of zero.

    The score is the squared error of y_{t+1}, noise included, by the number of outputs before y_t. The floor
    is the Kalman filter, which is told A, c and the variances q and r. A learner has to infer the system, so
    none reaches the floor within a prompt; the best error without knowing the system has no closed form.
    Baselines that learn in context are ridge regressions on the last 4 and 8 outputs.
    """

    independent_prompts: ClassVar[bool] = True

    name: Literal["linear_dynamical_system"] = "linear_dynamical_system"
    n_states: PositiveInt = Field(default=4, le=32)
    n_points: PositiveInt = 64
    radius: float = Field(default=0.95, gt=0.0, lt=1.0)
    process_noise: float = Field(default=0.05, gt=0.0, allow_inf_nan=False)
    output_noise: float = Field(default=0.1, ge=0.0, allow_inf_nan=False)
    curriculum: None = None

    @property
    def n_dims(self) -> int:
        """An output is one number."""
        return 1

    @property
    def n_inputs(self) -> int | tuple[int, ...]:
        return 1

    def length(self, n_points: int) -> int:
        return n_points

    @property
    def state_variance(self) -> float:
        """Stationary variance of each coordinate of the state."""
        return self.process_noise / (1 - self.radius**2)

    @property
    def error_scale(self) -> float:
        return self.state_variance + self.output_noise

    def evaluations(self) -> dict[str, Evaluation]:
        columns = tuple(range(self.n_points))
        return {MAIN: Evaluation(columns, {"last": self.n_points - 1}, self.error_scale, "outputs before")}

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        return longer_by_position(self)

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        k, count = self.n_states, self.n_points + 1
        directions = draws.normal("A", batch, k, k, double=True)
        transition = self.radius * orthonormal_columns(directions)
        c = draws.normal("c", batch, k, double=True) / math.sqrt(k)
        first = math.sqrt(self.state_variance) * draws.normal("first", batch, 1, k, double=True)
        noise = math.sqrt(self.process_noise) * draws.normal("process", batch, count - 1, k, double=True)
        states = driven_states(transition, torch.cat((first, noise), dim=1))
        noise = math.sqrt(self.output_noise) * draws.normal("output", batch, count, double=True)
        outputs = ((states * c.unsqueeze(1)).sum(dim=2) + noise).to(torch.float32)
        tokens = outputs[:, :-1].unsqueeze(2)
        return Prompts(tokens, outputs[:, 1:], tokens, more={"transition": transition, "c": c})

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return (outputs[:, :, 0] - prompts.targets) ** 2

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return self.losses(outputs, prompts)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        variances = self.state_variance, self.process_noise, self.output_noise
        return [
            predictors.trivial(self, prompts),
            systems.kalman_filter(prompts, *variances),
            systems.last_output(prompts),
            *(systems.autoregression(prompts, order) for order in ORDERS if order < self.n_points),
        ]


def orthonormal_columns(matrices: Tensor) -> Tensor:
    """Gram–Schmidt on the columns of (B, k, k): uniformly random orthogonal matrices from Gaussian ones.

    A QR factorisation gives them only after its columns get the signs of R's diagonal. It also cannot be
    captured in a CUDA graph.
    """
    columns, rest = [], matrices
    while rest.shape[2]:
        column = rest[:, :, :1] / torch.linalg.vector_norm(rest[:, :, :1], dim=1, keepdim=True)
        columns.append(column)
        rest = rest[:, :, 1:]
        rest = torch.baddbmm(rest, column, column.mT @ rest, alpha=-1.0)
    return torch.cat(columns, dim=2)


def driven_states(transition: Tensor, noise: Tensor) -> Tensor:
    """States x_t = A x_{t−1} + noise_t from x₀ = 0: A (B, k, k) and noise (B, T, k) → (B, T, k).

    There are ⌈log₂ T⌉ rounds. After the round with shift s, x_t is the sum of A^j noise_{t−j} over j < 2s.
    """
    states, power, shift = noise, transition.mT, 1
    while shift < noise.shape[1]:
        later = torch.baddbmm(states[:, shift:], states[:, :-shift], power)
        states = torch.cat((states[:, :shift], later), dim=1)
        power, shift = power @ power, 2 * shift
    return states
