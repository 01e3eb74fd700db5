"""PyTorch's LSTM, which cuDNN runs as one kernel."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


class LSTMModule(nn.Module):
    """One LSTM layer, (B, L, D) → (B, L, D), from a zero state or, in training, from `carried`.

    Attributes:
        carried: hidden and cell state at the end of the last batch, (2, 1, B, D); None to begin with zeros.
    """

    carried: Tensor | None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.carried = None

    def begin_streams(self, batch: int) -> Tensor:
        """Carry the state from now on between batches of this size; return the state, which is zero."""
        weight = self.lstm.get_parameter("weight_hh_l0")
        self.carried = torch.zeros(2, 1, batch, weight.shape[1], dtype=weight.dtype, device=weight.device)
        return self.carried

    def forward(self, h: Tensor) -> Tensor:
        with warnings.catch_warnings():
            # cuDNN needs an LSTM's weights in one block of its own. Here they are views of the buffer with
            # all parameters (`bench.train.parameters`), so cuDNN copies them at every call and torch warns.
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")
            if self.carried is None or not self.training:
                y: Tensor = self.lstm(h)[0]
            else:
                # A copy, because the gradient needs the state that is overwritten here.
                hidden, cell = self.carried.clone()
                y, state = self.lstm(h, (hidden, cell))
                with torch.no_grad():
                    self.carried.copy_(torch.stack(state))
        return y
