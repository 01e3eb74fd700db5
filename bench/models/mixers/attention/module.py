"""Multi-head attention in PyTorch."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from bench.kernels.attention import attention, attention_dropout, reference
from bench.kernels.normalization import rms_norm
from bench.models.dropout import DropoutModule
from bench.models.linear import GPT2_STD, Linear
from bench.models.rotary import positional_angles


class AttentionModule(nn.Module):
    """Multi-head attention, (B, L, D) → (B, L, D).

    Args:
        width: D.
        heads: number of heads; divides D.
        backend: name of the kernels' backend.
        blocks: residual blocks of the model's layers, for GPT-2's initialisation.
        init: the initialisation (`bench.models.mixers.attention.Attention`, which explains the others too).
        causal: whether a token attends to earlier tokens and itself only.
        bias: whether the projections have biases.
        rotary: whether queries and keys are rotated.
        qk_norm: whether queries and keys are normalised.
        output_gate: whether the output is gated.
        window: tokens that a token attends to; None for all.
        weight_dropout: dropout of the softmax's weights.
        dropout: dropout of the output.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        backend: str,
        *,
        blocks: int,
        init: Literal["gpt2", "torch"],
        causal: bool,
        bias: bool,
        rotary: bool,
        qk_norm: bool,
        output_gate: bool,
        window: int | None,
        weight_dropout: DropoutModule,
        dropout: DropoutModule,
    ) -> None:
        super().__init__()
        self.causal, self.weight_dropout, self.dropout = causal, weight_dropout, dropout
        self.heads, self.attend, self.attend_dropping = heads, attention(backend), attention_dropout(backend)
        self.rotary, self.window = rotary, window
        self.qkv = Linear(width, 3 * width, backend, bias=bias)
        self.out = Linear(width, width, backend, bias=bias)
        self.gate = Linear(width, width, backend, bias=bias) if output_gate else None
        self.qk_norm = HeadNorm(width // heads, backend) if qk_norm else None
        stds = (GPT2_STD, GPT2_STD / math.sqrt(blocks), GPT2_STD)
        for projection, std in zip((self.qkv, self.out, self.gate), stds, strict=True):
            if projection is not None and bias:
                nn.init.zeros_(projection.bias)
            if projection is not None and init == "gpt2":
                nn.init.normal_(projection.weight, std=std)

    def forward(self, h: Tensor) -> Tensor:
        B, L, D = h.shape
        qkv = self.qkv(h).view(B, L, 3, self.heads, D // self.heads)
        if self.qk_norm is not None or self.rotary:
            qk, v = qkv.split([2, 1], dim=2)
            if self.qk_norm is not None:
                qk = self.qk_norm(qk)
            qkv = torch.cat((rotated(qk) if self.rotary else qk, v), dim=2)
        mask = self.weight_dropout.mask
        has_kernel = self.causal and self.window is None
        if has_kernel and mask is not None:
            attended = self.attend_dropping(qkv, *mask)
        elif has_kernel and not self.weight_dropout.drops:
            attended = self.attend(qkv)
        else:
            attended = reference.attention(qkv, self.causal, self.weight_dropout, self.window)
        attended = attended.reshape(B, L, D)
        if self.gate is not None:
            attended = attended * torch.sigmoid(self.gate(h))
        y: Tensor = self.dropout(self.out(attended))
        return y


class HeadNorm(nn.Module):
    """RMSNorm of every head's queries and keys, (B, L, 2, H, Dh) → the same. Heads share the weights."""

    def __init__(self, head_dim: int, backend: str) -> None:
        super().__init__()
        self.norm = rms_norm(backend)
        self.weight = nn.Parameter(torch.ones(2, head_dim))

    def forward(self, qk: Tensor) -> Tensor:
        return torch.stack(
            [self.norm(part, weight) for part, weight in zip(qk.unbind(2), self.weight, strict=True)], dim=2
        )


def rotated(x: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): pairs of dimensions, rotated by angles that grow with the token.

    With half = ⌊Dh/2⌋, dimensions i and i + half of token t are rotated by t · base^(−i/half). The inner
    product of two rotated vectors depends on positions through their distance only. The last dimension of an
    odd number stays.

    Args:
        x: (B, L, ..., Dh).
    """
    length, half = x.shape[1], x.shape[-1] // 2
    if half == 0:
        return x
    angles = positional_angles(length, half, x.dtype, x.device).view(length, *[1] * (x.dim() - 3), half)
    cos, sin = angles.cos(), angles.sin()
    first, second, last = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, last), dim=-1)
