"""PyTorch's LSTM, which cuDNN runs as one kernel."""

from __future__ import annotations

import warnings

from torch import Tensor, nn


class LSTMModule(nn.Module):
    """One LSTM layer from a zero state, (B, L, D) → (B, L, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, h: Tensor) -> Tensor:
        with warnings.catch_warnings():
            # cuDNN needs an LSTM's weights in one block of its own. Here they are views of the buffer with
            # all parameters (`bench.train.parameters`), so cuDNN copies them at every call and torch warns.
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")
            y: Tensor = self.lstm(h)[0]
        return y
