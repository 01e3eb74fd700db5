"""A plugin: an architecture with a mixer of its own, and a task. Load it with `--plugin $plugin`.

If an edit changes the numbers of an architecture or a task, raise its `version`: its runs then get new ids.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from bench.models.architecture import Architecture
from bench.models.blocks import MLP, Block, Place
from bench.tasks import baselines
from bench.tasks.baselines import Baseline
from bench.tasks.draws import Draws
from bench.tasks.in_context import InContext
from bench.tasks.task import Prompts


class RunningMean(Block):
    """The settings of a mixer. Every field is an option in suites: `{name: running_mean, decay: 0.8}`."""

    name: str = "running_mean"
    decay: float = Field(default=0.9, gt=0, lt=1)

    def multiplications(self, L: int, D: int) -> int:
        """Multiplications of the forward pass for a prompt of L tokens at width D."""
        return 2 * L * D**2 + L**2 * D  # two linear maps, and the sum over earlier tokens

    def build(self, place: Place) -> nn.Module:
        """The PyTorch module."""
        return RunningMeanModule(place.width, self.decay)


class RunningMeanModule(nn.Module):
    """Mixes each token with a decaying mean of the tokens up to it: (B, L, D) → (B, L, D)."""

    def __init__(self, width: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.read, self.write = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """A token must not depend on later tokens; bench checks that before training."""
        steps = torch.arange(h.shape[1], device=h.device)
        age = steps[:, None] - steps[None, :]
        weights = torch.where(age >= 0, self.decay**age, 0.0)
        weights = weights / weights.sum(dim=1, keepdim=True)
        mixed: Tensor = self.write(weights.to(h.dtype) @ self.read(h))
        return mixed


running_mean = Architecture(name="running_mean", layer=(RunningMean(), MLP()))


class ClippedRegression(InContext):
    """y = max(−c, min(c, w·x)) with w ~ N(0, I) and x ~ N(0, I).

    One prompt for d = 2, N = 2, c = 1 and w = (1, −1)::

        x₁ = (2, 1)   y₁ = (1, 0)   x₂ = (0, 3)   y₂ = (−1, 0)
                      └ 2 − 1                     └ 0 − 3 = −3, clipped
    """

    name: str = "clipped_regression"
    n_dims: int = 2
    n_points: int = 6
    limit: PositiveFloat = 1.0

    def evaluate(self, inputs: Tensor, draws: Draws, n_dims: int | Tensor | None) -> Tensor:
        """Draw a function for each prompt and evaluate it: (B, N, d) → (B, N)."""
        w = draws.normal("w", inputs.shape[0], self.n_dims, 1, double=True)
        return (inputs @ w).squeeze(-1).clamp(-self.limit, self.limit)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """Predictors to compare with. A floor, the best that is possible, has kind="floor"."""
        return [baselines.trivial(self, prompts), baselines.nearest_neighbours(prompts, k=3)]
