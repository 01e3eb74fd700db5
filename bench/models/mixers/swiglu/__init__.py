"""The gated feed-forward network of Transformers since Llama."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class SwiGLU(Block):
    """Feed-forward network W_down(silu(W_gate h) ⊙ W_up h) without biases (Shazeer 2020).

    Its inner width is about 8D/3, so that it has as many parameters as an MLP of width 4D. Weights start from
    N(0, 0.02²), those of W_down from N(0, 0.02² / blocks).

    Attributes:
        multiple: the inner width is rounded up to a multiple of this.
    """

    stackable: ClassVar[bool] = True

    name: Literal["swiglu"] = "swiglu"
    multiple: PositiveInt = 32

    def inner(self, D: int) -> int:
        """The inner width, I: 8D/3, rounded up to a multiple."""
        return self.multiple * -(-8 * D // (3 * self.multiple))

    def parameters(self, D: int) -> int:
        return 3 * D * self.inner(D)

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Three projections, LDI each; the gate's product is left out, like activations."""
        return 3 * L * D * self.inner(D)

    def state_numbers(self, L: int, D: int) -> int:
        return 0

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.swiglu.module import SwiGLUModule

        return SwiGLUModule(place.width, self.inner(place.width), place.blocks, place.backend)
