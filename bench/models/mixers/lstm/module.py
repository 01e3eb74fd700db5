"""PyTorch's LSTM, which cuDNN runs as one kernel."""

from __future__ import annotations

from torch import Tensor, nn


class LSTMModule(nn.Module):
    """One LSTM layer from a zero state, (B, L, D) → (B, L, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, h: Tensor) -> Tensor:
        y: Tensor = self.lstm(h)[0]
        return y
