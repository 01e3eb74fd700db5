"""What a task is: what is drawn, what is scored, and how prompts grow while a model learns.

A task is a frozen model of its own settings: two tasks with equal fields are the same task, and the
fields (with `version`) are part of a run's identity. Adding one is a file with a subclass and a
line in `bench.tasks.TASKS`.

Shapes: B prompts of N points; L tokens; d input coordinates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.frozen import Frozen
from bench.lazy import torch
from bench.tasks.draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

PROTOCOLS = ("paper", "released_code")
Protocol = Literal["paper", "released_code"]


class Ramp(Frozen):
    """A count that grows from `start` by `increment` every `every` steps, and never beyond its end."""

    start: PositiveInt
    increment: PositiveInt
    every: PositiveInt = 2000

    def at(self, step: int, end: int) -> int:
        """The value while optimisation step `step` (from 0) is computed."""
        return min(end, self.start + self.increment * (step // self.every))

    def on_device(self, step: Tensor, end: int) -> Tensor:
        """`at` for a device scalar, without a synchronisation."""
        return (self.start + self.increment * (step // self.every)).clamp(max=end)


class Curriculum(Frozen):
    """How prompts grow during training (paper, A.2; start values from the released code).

    Prompts are always drawn at full length. The loss counts the first `points` only, and input
    coordinates at or beyond `dims` are zero: with causal models this is the same objective as
    shorter prompts, with shapes that never change.
    """

    dims: Ramp
    points: Ramp


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts.

    Attributes:
        tokens: (B, L, n_inputs) float32, what a model reads.
        targets: (B, N) float32, what it should say at the task's query positions.
        inputs: (B, N, d) float32, the inputs behind the tokens: what baselines read.
    """

    tokens: Tensor
    targets: Tensor
    inputs: Tensor


class Task(Frozen):
    """A family of functions to be learned in context."""

    version: ClassVar[int] = 1
    """Raised whenever the same fields would give other numbers than before."""
    metric: ClassVar[Literal["squared_error", "accuracy"]] = "squared_error"
    protocol_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Where the paper's text and the authors' released code differ: {field: {protocol: value}}."""

    name: str
    n_dims: PositiveInt
    n_points: PositiveInt
    curriculum: Curriculum | None

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """Width of one input token."""

    @property
    def n_outputs(self) -> int:
        """Width of one prediction."""
        return 1

    @property
    def error_scale(self) -> float:
        """What a raw error is divided by, so that the trivial predictor scores 1 (accuracy: 1)."""
        return 1.0

    @property
    def trivial(self) -> float:
        """Expected raw score of a predictor that has learned nothing."""
        return self.error_scale

    @abstractmethod
    def length(self, n_points: int) -> int:
        """Tokens in a prompt of `n_points` points."""

    def points_at(self, step: int) -> int:
        """Points counted by the loss at optimisation step `step`."""
        return self.curriculum.points.at(step, self.n_points) if self.curriculum else self.n_points

    @abstractmethod
    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        """Draw `batch` prompts: device operations of fixed shapes only.

        Args:
            draws: the random numbers; tensors are made on its device.
            batch: how many prompts.
            n_dims: coordinates that are not zero (curriculum); all of them when None.
        """

    @abstractmethod
    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Training loss per prompt and position, (B, N), from model outputs (B, L, n_outputs)."""

    @abstractmethod
    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """What is reported (`metric`) per prompt and position, (B, N)."""

    @abstractmethod
    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """The floor, the trivial predictor and practical baselines on these very prompts."""

    def loss(self, outputs: Tensor, prompts: Prompts, step: Tensor) -> Tensor:
        """Scalar training loss: the mean over the points the curriculum shows at `step`."""
        total, count = self.loss_sum(outputs, prompts, step)
        return total / count

    def loss_sum(self, outputs: Tensor, prompts: Prompts, step: Tensor) -> tuple[Tensor, Tensor | int]:
        """Sum of the losses that count at `step`, and how many they are.

        A batch that is computed in parts adds both up before it divides.
        """
        losses = self.losses(outputs, prompts)
        if self.curriculum is None:
            return losses.sum(), losses.numel()
        shown = self.curriculum.points.on_device(step, self.n_points)
        counted = torch.arange(self.n_points, device=losses.device) < shown
        return torch.where(counted, losses, 0.0).sum(), losses.shape[0] * shown

    def batch(self, draws: Draws, size: int) -> Prompts:
        """Training prompts for `draws.step`, with the curriculum's dimensions."""
        if self.curriculum is None:
            return self.sample(draws, size)
        return self.sample(draws, size, self.curriculum.dims.on_device(draws.step, self.n_dims))

    def identity(self) -> dict[str, Any]:
        """Every field that moves a number drawn or scored here, for hashing and for the record."""
        return {"version": self.version, **self.model_dump(mode="json")}


class InContext(Task):
    """Prompts x₁ f(x₁) … x_N f(x_N): one function a prompt, the value to be said at each x.

    ::

        token     x₁   y₁   x₂   y₂   …   x_N   y_N          L = 2N
        reads     x₁   y₁0  x₂   y₂0  …   x_N   y_N 0        y is padded with d−1 zeros (§3.1)
        says      ŷ₁        ŷ₂        …   ŷ_N                scored at x tokens only

    The first prediction is made before any example was seen. Eq. 2 of the paper leaves it out of the
    loss and still divides by N; the released code trains on it, and so does this. Its best answer is
    zero whatever x₁ is, so little hangs on it.
    """

    curriculum: Curriculum | None = Field(
        description="How prompts grow during training; null draws them at full size from the start."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_curriculum(cls, values: Any) -> Any:
        """Garg et al.'s ramps: dimensions 5 + 1, points 11 + 2 up to 41 and 26 + 5 beyond.

        For the paper's tasks (20 dimensions, 41 or 101 points) both are full at step 30 000.
        """
        if isinstance(values, Mapping) and "curriculum" not in values:
            points = values.get("n_points", cls.model_fields["n_points"].default)
            few = not isinstance(points, int) or points <= 41
            ramp = {"start": 11, "increment": 2} if few else {"start": 26, "increment": 5}
            return {**values, "curriculum": {"dims": {"start": 5, "increment": 1}, "points": ramp}}
        return values

    @property
    def n_inputs(self) -> int:
        return self.n_dims

    @property
    def error_scale(self) -> float:
        return float(self.n_dims)

    def length(self, n_points: int) -> int:
        return 2 * n_points

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        inputs = self.sample_inputs(draws, batch)
        if n_dims is not None:
            inputs = torch.where(torch.arange(self.n_dims, device=inputs.device) < n_dims, inputs, 0.0)
        targets = self.evaluate(inputs.to(torch.float64), draws, n_dims).to(torch.float32)
        return Prompts(interleave(inputs, targets), targets, inputs)

    def sample_inputs(self, draws: Draws, batch: int) -> Tensor:
        """Inputs x ~ N(0, I): (B, N, d)."""
        return draws.normal("x", batch, self.n_points, self.n_dims)

    @abstractmethod
    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        """One freshly drawn function a prompt at its inputs: (B, N, d) → (B, N).

        `sample` calls it in float64 and rounds once: machines sum matrix products in different
        orders, or in TF32, and would otherwise disagree on the targets.
        """

    def predictions(self, outputs: Tensor) -> Tensor:
        """Model outputs (B, L, 1) → what is said at the x tokens, (B, N)."""
        return outputs[:, 0::2, 0]

    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return (self.predictions(outputs) - prompts.targets) ** 2

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return self.losses(outputs, prompts)


def interleave(inputs: Tensor, targets: Tensor) -> Tensor:
    """(B, N, d) inputs and (B, N) targets → tokens (B, 2N, d): x₁ y₁ x₂ y₂ …, y zero-padded to d."""
    batch, n_points, n_dims = inputs.shape
    padded = torch.nn.functional.pad(targets.unsqueeze(-1), (0, n_dims - 1))
    return torch.stack((inputs, padded), dim=2).reshape(batch, 2 * n_points, n_dims)


class Sparse(Frozen):
    """A function that looks at `sparsity` of its `n_dims` coordinates."""

    n_dims: PositiveInt
    sparsity: PositiveInt

    @model_validator(mode="after")
    def _sparsity_fits(self) -> Self:
        if self.sparsity > self.n_dims:
            raise ValueError(f"sparsity {self.sparsity} exceeds n_dims {self.n_dims}")
        return self
