"""How prompts grow while a model learns (paper, A.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from bench.frozen import Frozen
from bench.kernels.backends import unavailable

if TYPE_CHECKING:
    from torch import Tensor


class Ramp(Frozen):
    """A count that grows from `start` by `increment` every `every` steps, up to its end."""

    start: PositiveInt
    increment: PositiveInt
    every: PositiveInt = 2000

    def at(self, step: int, end: int) -> int:
        """The value at optimisation step `step`, counted from 0."""
        return min(end, self.start + self.increment * (step // self.every))

    def on_device(self, step: Tensor, end: int) -> Tensor:
        """`at` for a device scalar, without a synchronisation."""
        if step.is_cuda and unavailable("triton", "cuda") is None:
            from bench.kernels.draws import triton

            return triton.ramp(step, self.start, self.increment, self.every, end)
        return (self.start + self.increment * (step // self.every)).clamp(max=end)


class Curriculum(Frozen):
    """How prompts grow during training (paper, A.2; start values from the released code).

    Prompts are always drawn at full length. The loss counts the first `points` only, and input coordinates
    from `dims` on are zero. For causal models this is the same objective as with shorter prompts, and shapes
    never change. Without `dims`, all coordinates are there from the start.
    """

    dims: Ramp | None = None
    points: Ramp
