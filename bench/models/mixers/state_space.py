"""The base class of state-space blocks with heads (Mamba-2, Mamba-3)."""

from __future__ import annotations

from pydantic import PositiveInt

from bench.models.mixers.block import Block


class HeadedStateSpace(Block):
    """A state-space block with heads of a fixed width and a state of N numbers per channel.

    Attributes:
        state: numbers in the state of a channel, N.
        head_dim: channels of a head, P; divides the inner width.
        expand: the inner width E over D.
    """

    state: PositiveInt = 64
    head_dim: PositiveInt = 32
    expand: PositiveInt = 2

    def width_fault(self, D: int) -> str | None:
        inner = self.expand * D
        if inner % self.head_dim == 0:
            return None
        return f"its inner width {inner} is not a multiple of head_dim {self.head_dim}"

    def heads(self, D: int) -> int:
        """The number of heads, H."""
        return self.expand * D // self.head_dim
