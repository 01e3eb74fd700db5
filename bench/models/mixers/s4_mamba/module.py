"""Mamba's block around a time-invariant SSM, in PyTorch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from bench.kernels.activation import gate as plain_gate
from bench.kernels.activation import silu_gate
from bench.kernels.mamba import gated_input
from bench.models.convolution import ShortConvolution
from bench.models.linear import Linear, output_projection
from bench.models.mixers.s4.module import DiagonalSSM


class S4MambaModule(nn.Module):
    """Mamba's block around a time-invariant SSM, (B, L, D) → (B, L, D)."""

    def __init__(
        self,
        width: int,
        blocks: int,
        backend: str,
        *,
        state: int,
        expand: int,
        taps: int,
        dropout: float,
        gate: Literal["identity", "silu"],
        skip: Literal["normal", "ones"],
    ) -> None:
        super().__init__()
        inner = expand * width
        self.gate = silu_gate(backend) if gate == "silu" else plain_gate(backend)
        self.gated_input = gated_input(backend)
        self.input = Linear(width, 2 * inner, backend, bias=False)
        self.convolution = ShortConvolution(inner, taps, backend)
        self.ssm = DiagonalSSM(inner, state, backend, skip)
        self.dropout = nn.Dropout1d(dropout)
        self.output = output_projection(inner, width, blocks, backend)

    def forward(self, h: Tensor) -> Tensor:
        convolution = self.convolution
        x, z = self.gated_input(h, self.input.weight, convolution.weight, convolution.bias)
        # Dropout1d drops whole rows of its second dimension: channels must come before tokens.
        y = self.ssm(x).transpose(1, 2)
        y = self.dropout(y).transpose(1, 2)
        out: Tensor = self.output(self.gate(y, z))
        return out
