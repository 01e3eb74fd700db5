"""Prompts of in-context examples: one function per prompt. The model predicts its value at each input.

Shapes: B prompts of N points with d input coordinates, L = 2N tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.frozen import Frozen
from bench.lazy import torch
from bench.tasks.curriculum import Curriculum
from bench.tasks.draws import Draws
from bench.tasks.longer import longer_by_position
from bench.tasks.task import (
    MAIN,
    Evaluation,
    LongerEvaluation,
    Prompts,
    Settled,
    Task,
)

if TYPE_CHECKING:
    from torch import Tensor


class Examples(Task):
    """Prompts of N in-context examples of one function, which a curriculum may shorten.

    The first prediction comes before any example, and the best one is zero for every x₁. `zero_shot`: Eq. 2
    of the paper leaves it out ("left_out": the loss and the reported means are those over the other points),
    the released code counts it ("counted").
    """

    later_fields: ClassVar[Mapping[str, Any]] = {"zero_shot": "counted"}
    settled_fields: ClassVar[Mapping[str, Settled]] = {
        "zero_shot": Settled("left_out", "counted", "the indices of Eq. 2 contradict each other"),
    }

    n_dims: PositiveInt
    n_points: PositiveInt
    zero_shot: Literal["counted", "left_out"] = "counted"
    curriculum: Curriculum | None = Field(
        description="How prompts grow during training; null draws them at full size from the start."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_curriculum(cls, values: Any) -> Any:
        """Garg et al.'s ramps: every 2000 steps one more dimension, from 5, and more points.

        Prompts of up to 41 points begin with 11 and grow by 2, longer prompts begin with 26 and grow by 5.
        For the paper's tasks (20 dimensions, 41 or 101 points) both are full at step 30,000. A task whose
        field has a default keeps it.
        """
        has_none = isinstance(values, Mapping) and "curriculum" not in values
        if has_none and cls.model_fields["curriculum"].is_required():
            points = values.get("n_points", cls.model_fields["n_points"].default)
            is_short = not isinstance(points, int) or points <= 41
            ramp = {"start": 11, "increment": 2} if is_short else {"start": 26, "increment": 5}
            return {**values, "curriculum": {"dims": {"start": 5, "increment": 1}, "points": ramp}}
        return values

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.zero_shot == "left_out":
            if self.n_points < 2:
                raise ValueError("zero_shot: left_out leaves nothing to train on where n_points is 1")
            if self.curriculum and self.curriculum.points.start < 2:
                raise ValueError("zero_shot: left_out leaves nothing to train on while points start at 1")
        return self

    @property
    def n_inputs(self) -> int | tuple[int, ...]:
        return self.n_dims

    @property
    def error_scale(self) -> float:
        return float(self.n_dims)

    @property
    def first_position(self) -> int:
        return 1 if self.zero_shot == "left_out" else 0

    def evaluations(self) -> dict[str, Evaluation]:
        marks = {"last": self.n_points - 1}
        if self.n_points > 41:  # where shorter prompts end, so that both can be compared
            marks = {"40_examples": 40, **marks}
        return {MAIN: Evaluation(tuple(range(self.n_points)), marks, self.error_scale)}

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        """One evaluation on prompts of 4 times as many examples."""
        return longer_by_position(self)

    def loss_weights(self, prompts: Prompts, step: Tensor) -> Tensor:
        weights = super().loss_weights(prompts, step)
        if self.zero_shot == "left_out":
            weights = weights * (torch.arange(self.n_points, device=weights.device) > 0)
        return weights

    def sample_inputs(self, draws: Draws, batch: int, n_dims: int | Tensor | None) -> Tensor:
        """Inputs x ~ N(0, I): (B, N, d), zero at and beyond `n_dims` coordinates."""
        return draws.normal("x", batch, self.n_points, self.n_dims, within=n_dims)


class InContext(Examples):
    """Prompts x₁ f(x₁) … x_N f(x_N): one function per prompt, and a prediction at each x.

    ::

        token     x₁   y₁   x₂   y₂   …   x_N   y_N          L = 2N
        reads     x₁   y₁0  x₂   y₂0  …   x_N   y_N 0        y is padded with d−1 zeros (§3.1)
        predicts  ŷ₁        ŷ₂        …   ŷ_N                scored at x tokens only
    """

    rounds: ClassVar[bool] = True
    """Whether `evaluate` rounds and therefore needs float64 inputs. A lookup does not."""

    def length(self, n_points: int) -> int:
        return 2 * n_points

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        inputs = self.sample_inputs(draws, batch, n_dims)
        exact = inputs.to(torch.float64) if self.rounds else inputs
        targets = self.evaluate(exact, draws, n_dims).to(torch.float32)
        if targets.shape != inputs.shape[:2]:
            shapes = f"{tuple(targets.shape)}, expected {tuple(inputs.shape[:2])}"
            raise ValueError(
                f"`evaluate` of task '{self.name}' returns the shape {shapes}: a value per input"
            )
        return Prompts(interleave(inputs, targets), targets, inputs)

    @abstractmethod
    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        """Draw a function for each prompt and evaluate it at the inputs: (B, N, d) → (B, N).

        `sample` calls it in float64 and rounds once. Otherwise the targets would differ between machines,
        which sum matrix products in different orders, or in TF32.
        """

    def predictions(self, outputs: Tensor) -> Tensor:
        """Model outputs (B, L, 1) → predictions at the x tokens, (B, N)."""
        return outputs.squeeze(2)[:, 0::2]

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        # The same bits as the square of a difference, with a kernel per direction instead of two and three.
        return torch.nn.functional.mse_loss(self.predictions(outputs), prompts.targets, reduction="none")

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return self.losses(outputs, prompts)


def interleave(inputs: Tensor, targets: Tensor) -> Tensor:
    """(B, N, d) inputs and (B, N) targets → tokens (B, 2N, d): x₁ y₁ x₂ y₂ …, y zero-padded to d."""
    batch, n_points, n_dims = inputs.shape
    zeros = inputs.new_zeros(()).expand(batch, n_points, n_dims - 1)
    return torch.cat((inputs, targets.unsqueeze(-1), zeros), dim=2).view(batch, 2 * n_points, n_dims)


class Sparse(Frozen):
    """A function of only `sparsity` of its `n_dims` coordinates."""

    n_dims: PositiveInt
    sparsity: PositiveInt

    @model_validator(mode="after")
    def _sparsity_fits(self) -> Self:
        if self.sparsity > self.n_dims:
            raise ValueError(f"sparsity {self.sparsity} exceeds n_dims {self.n_dims}")
        return self
