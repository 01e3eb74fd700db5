"""Mamba's block (Gu & Dao 2023, Figure 3) in PyTorch. The kernels are chosen by name.

x, z = in(h)                    two halves of width E·D
x = silu(conv(x))               causal, depthwise, 4 taps
r, B, C = project(x)            r of low rank
y = scan(x, Δ, −exp(log A), B, C, skip) · silu(z)
                                Δ = softplus(step(r) + bias), one step size per channel
out(y)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.kernels.mamba import mamba_block
from bench.models.convolution import ShortConvolution
from bench.models.linear import Linear, output_projection
from bench.models.step_sizes import step_biases


class MambaModule(nn.Module):
    """One selective state-space block, (B, L, D) → (B, L, D).

    Args:
        width: D.
        blocks: residual blocks of the model's layers; the output projection starts smaller by 1/√blocks.
        backend: name of the kernels' backend.
        state: N.
        expand: E, the inner width over D.
        taps: taps of the short convolution.
        rank: rank of the projection that produces the step size.
    """

    def __init__(
        self, width: int, blocks: int, backend: str, *, state: int, expand: int, taps: int, rank: int
    ) -> None:
        super().__init__()
        inner = expand * width
        self.block = mamba_block(backend)
        self.input = Linear(width, 2 * inner, backend, bias=False)
        self.convolution = ShortConvolution(inner, taps, backend)
        self.project = Linear(inner, rank + 2 * state, backend, bias=False)
        self.step = Linear(rank, inner, backend)
        self.log_A = nn.Parameter(torch.arange(1, state + 1).float().log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.output = output_projection(inner, width, blocks, backend)

        biases = step_biases(inner)
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():
            self.step.bias.copy_(biases)

    def forward(self, h: Tensor) -> Tensor:
        convolution, step = self.convolution, self.step
        y: Tensor = self.block(
            h, self.input.weight, convolution.weight, convolution.bias, self.project.weight, step.weight,
            step.bias, self.log_A, self.skip, self.output.weight,
        )  # fmt: skip
        return y
