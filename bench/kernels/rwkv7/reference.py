"""The keys and outputs of RWKV-7 by their formulas. All other backends are compared with it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.rwkv7 import EPSILON, NORM_EPSILON, STRONGEST


def rwkv7_keys(
    decay: Tensor,
    share: Tensor,
    k: Tensor,
    decay_bias: Tensor,
    share_bias: Tensor,
    erased_key: Tensor,
    key_share: Tensor,
) -> tuple[Tensor, ...]:
    """The log-decay and the keys to read, to erase and to write."""
    g = STRONGEST * torch.sigmoid(decay_bias + decay)
    a = torch.sigmoid(share_bias + share)
    kappa = functional.normalize(k * erased_key, dim=-1, eps=EPSILON)
    # exp(−g) is at most e^0.61.
    return g, kappa * torch.exp(-g), a * kappa, k * (1 + (a - 1) * key_share)


def rwkv7_outputs(
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    direct: Tensor,
) -> Tensor:
    """What the recurrence returns, normalised, with what a token reads of itself, and the gate."""
    y = functional.layer_norm(y, y.shape[-1:], eps=NORM_EPSILON * y.shape[-1])
    own = (r * direct * k).sum(-1, keepdim=True) * v
    return (norm_weight * y + norm_bias + own) * gate
