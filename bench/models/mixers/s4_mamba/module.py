"""Mamba's block around a time-invariant SSM, in PyTorch.

x, z = in(h)                    two halves of width E·D
x = silu(conv(x))               causal, depthwise, 4 taps
y = dropout(ssm(x))             S4D's SSM (`bench.models.mixers.s4.module`)
out(y · z)                      or out(y · silu(z))
"""

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
    """Mamba's block around a time-invariant SSM, (B, L, D) → (B, L, D).

    Args:
        width: D.
        blocks: residual blocks of the model's layers; the output projection starts smaller by 1/√blocks.
        backend: name of the kernels' backend.
        state: N, an even number.
        expand: E, the inner width over D.
        taps: taps of the short convolution.
        dropout: probability with which training zeroes a whole channel of the SSM's output.
        gate: function of the gate z.
        skip: initial values of the SSM's skip: from N(0, 1), or 1.
    """

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
