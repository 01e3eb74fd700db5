"""The elementwise functions as their formulas have them; autograd differentiates them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.kernels.activation import CUBIC


def bias_gelu(u: Tensor, bias: Tensor) -> Tensor:
    v = u + bias
    return v * (1 + torch.tanh(math.sqrt(2 / math.pi) * (v + CUBIC * v**3))) / 2


def gelu(u: Tensor) -> Tensor:
    return u * (1 + torch.erf(u / math.sqrt(2))) / 2


def bias_glu(u: Tensor, bias: Tensor) -> Tensor:
    a, b = (u + bias).chunk(2, dim=-1)
    return a * torch.sigmoid(b)


def gate(y: Tensor, z: Tensor) -> Tensor:
    return y * z


def silu_gate(y: Tensor, z: Tensor) -> Tensor:
    return y * z * torch.sigmoid(z)
