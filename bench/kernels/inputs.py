"""Inputs of every kernel, with magnitudes as in a model: for its self-test and for its speed.

To add a kernel, add a function here that draws its inputs, and an entry to `INPUTS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.kernels.dropout import site

BATCH, CHANNELS, STATE, TAPS, HEADS = 2, 32, 16, 4, 2
"""Prompts, inner channels, numbers in a channel's state, taps of a convolution, and heads of the inputs."""


def _scan_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Inputs with magnitudes and signs as in a trained Mamba."""
    normal = normal_draws(length)
    return [
        normal(batch, length, channels),
        normal(batch, length, channels),
        normal(channels) - 3,
        -torch.arange(1, STATE + 1).float().repeat(channels, 1),
        normal(batch, length, STATE),
        normal(batch, length, STATE),
        normal(channels),
        normal(batch, length, channels),
    ]


def _mamba_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """A block whose input is half as wide as its inner channels, with weights as at the start."""
    normal, width, rank = normal_draws(length), channels // 2, 4

    def weight(outputs: int, inputs: int) -> Tensor:
        return normal(outputs, inputs) / math.sqrt(inputs)

    return [
        normal(batch, length, width),
        weight(2 * channels, width),
        weight(channels, TAPS),
        normal(channels),
        weight(rank + 2 * STATE, channels),
        weight(channels, rank),
        normal(channels) - 3,
        torch.arange(1, STATE + 1).log().repeat(channels, 1),
        normal(channels),
        weight(width, channels),
    ]


def _ssm_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Modes and step sizes of S4D-Lin's initialisation."""
    normal, modes = normal_draws(length), STATE // 2
    return [
        normal(batch, length, channels),
        torch.logspace(-3, -1, channels).log(),
        torch.full((channels, modes), 0.5).log(),
        torch.pi * torch.arange(modes).repeat(channels, 1),
        normal(channels, modes, 2),
        normal(channels),
    ]


def _delta_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Unit queries and keys, step sizes β up to 2, and log-decays as at a Gated DeltaNet's start."""
    normal, heads = normal_draws(length), (batch, length, HEADS)
    q, k = (
        torch.nn.functional.normalize(normal(*heads, channels // HEADS), dim=-1).contiguous() for _ in "qk"
    )
    v, beta = normal(*heads, channels // HEADS), 2 * torch.sigmoid(normal(*heads))
    log_decay = -torch.exp(normal(*heads) - 3)
    return [q, k.unsqueeze(2), v.unsqueeze(2), beta.unsqueeze(2), log_decay]


def _vector_delta_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """The inputs of the delta rule with one update per token and a log-decay per channel."""
    q, k, v, beta, _ = _delta_inputs(length, batch, channels)
    log_decay = -torch.exp(normal_draws(length + 1)(batch, length, HEADS, channels // HEADS) - 3)
    return [q, k[:, :, 0], v[:, :, 0], beta[:, :, 0], log_decay]


def _diagonal_plus_rank_one_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """The keys of an RWKV-7: a unit key, a share of it per channel, and a key for values."""
    q, k, v, _, log_decay = _vector_delta_inputs(length, batch, channels)
    normal = normal_draws(length + 2)
    return [q, k, torch.sigmoid(normal(*k.shape)) * k, normal(*k.shape) / k.shape[-1] ** 0.5, v, log_decay]


def _rwkv7_keys_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Decays, shares and keys, and parameters near their values at an RWKV-7's start."""
    normal = normal_draws(length)
    values = [normal(batch, length, HEADS, channels // HEADS) for _ in range(3)]
    starts = (-2.0, -0.2, 0.7, 1.0)
    return [*values, *(start + 0.1 * normal(HEADS, channels // HEADS) for start in starts)]


def _rwkv7_outputs_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Five values per token, and parameters as a norm has."""
    normal = normal_draws(length)
    values = [normal(batch, length, HEADS, channels // HEADS) for _ in range(5)]
    return [*values, *(start + 0.1 * normal(HEADS, channels // HEADS) for start in (1.0, 0.0, 0.0))]


def _scalar_decay_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Half-lives of a token and of a hundred; all heads share queries and keys."""
    normal = normal_draws(length)
    q, k = (normal(batch, length, 1, STATE) for _ in "qk")
    rates = torch.logspace(-2, 0, HEADS)
    g = -rates * normal(batch, length, HEADS).exp()
    return [q, k, normal(batch, length, HEADS, channels // HEADS), g]


def _vector_decay_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Half-lives of a token and of a hundred over the channels of the keys."""
    normal = normal_draws(length)
    q, k, v, g = (normal(batch, length, HEADS, channels // HEADS) for _ in "qkvg")
    return [q, k, v, -torch.logspace(-2, 0, channels // HEADS) * g.exp()]


def _mlstm_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    """Gates as at an mLSTM's start, with more spread."""
    normal = normal_draws(length)
    q, k, v = (normal(batch, length, HEADS, channels // HEADS) for _ in "qkv")
    return [q, k, v, normal(batch, length, HEADS), normal(batch, length, HEADS) + 4]


def _attention_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    return [normal_draws(length)(batch, length, 3, HEADS, channels // HEADS)]


def _attention_dropout_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    return [*_attention_inputs(length, batch, channels), torch.tensor([5, -7, length]), site(3, 0.1)]


def _product_and_bias_inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
    return [*_normals("xw")(length, batch, channels), torch.linspace(-1, 1, channels)]


def _normals(shapes: str) -> Callable[..., list[Tensor]]:
    """Inputs from N(0, 1): x of shape (B, L, E), c of (E,), t of (E, taps), w of (E, E), in this order."""

    def inputs(length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
        normal = normal_draws(length)
        sizes = {
            "x": (batch, length, channels),
            "c": (channels,),
            "t": (channels, TAPS),
            "w": (channels, channels),
        }
        return [normal(*sizes[shape]) for shape in shapes]

    return inputs


INPUTS: dict[str, Callable[..., list[Tensor]]] = {
    "selective scan": _scan_inputs,
    "short convolution": _normals("xtc"),
    "Mamba block": _mamba_inputs,
    "gated input": lambda *sizes, **more: _mamba_inputs(*sizes, **more)[:4],
    "diagonal SSM": _ssm_inputs,
    "delta rule": _delta_inputs,
    "vector delta rule": _vector_delta_inputs,
    "diagonal plus rank one": _diagonal_plus_rank_one_inputs,
    "RWKV-7 keys": _rwkv7_keys_inputs,
    "RWKV-7 outputs": _rwkv7_outputs_inputs,
    "scalar decay": _scalar_decay_inputs,
    "vector decay": _vector_decay_inputs,
    "mLSTM": _mlstm_inputs,
    "attention": _attention_inputs,
    "attention with dropout": _attention_dropout_inputs,
    "norm": _normals("xcc"),
    "addition and norm": _normals("xxcc"),
    "norm of a sum": _normals("xxcc"),
    "RMS norm": _normals("xc"),
    "addition and RMS norm": _normals("xxc"),
    "RMS norm of a sum": _normals("xxc"),
    "bias and GELU": _normals("xc"),
    "GELU": _normals("x"),
    "bias and GLU": _normals("xc"),
    "gate": _normals("xx"),
    "SiLU gate": _normals("xx"),
    "product": _normals("xw"),
    "product and bias": _product_and_bias_inputs,
}
"""Inputs of every kernel of `bench.kernels.registry`, at a length, a batch size and a number of channels."""


def normal_draws(seed: int) -> Callable[..., Tensor]:
    """A function from a shape to a tensor of standard normal numbers, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)
