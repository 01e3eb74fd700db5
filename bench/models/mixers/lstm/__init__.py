"""The LSTM, a recurrent baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.models.mixers.block import Block, Place

if TYPE_CHECKING:
    from torch import nn


class LSTM(Block):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), one layer of hidden size D.

    Weights and biases have PyTorch's initialisation, uniform in ±1/√D, as in Xie et al.'s code for GINC.

    Attributes:
        carry: whether a training step begins with the state at the end of the step before, without its
            gradient (truncated backpropagation through time). Batches are then consecutive windows of
            streams of the task. In an evaluation the state begins with zeros.
    """

    # Not stackable: cuDNN's LSTM has no batching rule. With calls on parallel streams, two trainings of the
    # same stack gave different numbers.
    later_fields: ClassVar[Mapping[str, Any]] = {"carry": False}

    name: Literal["lstm"] = "lstm"
    carry: bool = False

    @property
    def carries(self) -> bool:
        return self.carry

    def parameters(self, D: int) -> int:
        """Four gates, each with D² weights and a bias for the input, and the same for the hidden state."""
        return 4 * D * (2 * D + 2)

    def multiplications(self, L: int, D: int) -> int:
        """Not in the paper. Projections of the gates 8LD², three elementwise products with gates 3LD."""
        return 8 * L * D**2 + 3 * L * D

    def state_numbers(self, L: int, D: int) -> int:
        """Hidden state and cell."""
        return 2 * D

    def build(self, place: Place) -> nn.Module:
        from bench.models.mixers.lstm.module import LSTMModule

        return LSTMModule(place.width)
