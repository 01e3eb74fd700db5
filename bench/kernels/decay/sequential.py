"""Linear attention with decay, chunk by chunk, in PyTorch's operations; autograd differentiates it.

With the state S before a chunk of C tokens and G_i = Σ_{j ≤ i} g_j within it:

    y_i = (q_i exp(G_i)) S + Σ_{j ≤ i} A_ij v_j          A_ij = Σ_d q_id k_jd exp(G_id − G_jd)
    S ← diag(exp(G_C)) S + Σ_j (k_j exp(G_C − G_j)) v_jᵀ

Every exponent is a sum of g over tokens between two positions. It is ≤ 0, so that no exponential overflows,
however strong the decay is. exp(−G_j) alone would overflow in float32 where G_j < −88. Sums and their
differences are in float64: in float32, an exponent near zero would have the rounding error of a large sum.

Prompts are padded with k = v = g = 0, which leaves the state as it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.running_sum import running_sum

CHUNK = 64
"""Longest chunk. A longer one multiplies more below the diagonal, a shorter one makes more states."""
MULTIPLE = 16
"""Chunks are a multiple of this length: matrices are aligned, and halves of halves are whole numbers."""
UNDIVIDED = 4
"""Longest block of a chunk whose scores are computed at once in the vector form."""


def scalar_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The chunks with a decay per head. Heads that share queries and keys share their products too."""
    L, G, H = q.shape[1], q.shape[2], v.shape[2]
    q, k = chunks_of(q), chunks_of(k)  # (B, n, G, C, K)
    v, sums = (
        torch.unflatten(chunks_of(value), 2, (G, H // G))  # (B, n, G, H/G, C, V or 1)
        for value in (v, log_decay.unsqueeze(-1))
    )
    sums = running_sum(sums)
    decays = _causal((sums - sums.mT).to(v.dtype)).exp()
    y = ((q @ k.mT).unsqueeze(3) * decays) @ v
    if q.shape[1] > 1:
        total = sums[..., -1:, :]
        written = _by_token(v * exp_like(total - sums, v))  # (B, n, G, C, H/G · V)
        updates = torch.unflatten(k.mT @ written, -1, (H // G, -1)).transpose(3, 4)  # (B, n, G, H/G, K, V)
        states = _states(exp_like(total, v), updates)
        read = torch.unflatten(q @ _by_token(states), -1, (H // G, -1)).transpose(3, 4)
        y = y + read * exp_like(sums, v)
    return tokens_of(y.flatten(2, 3), L)


def vector_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The chunks with a decay per channel of the keys."""
    L = q.shape[1]
    q, k, v, g = (chunks_of(value) for value in (q, k, v, log_decay))  # (B, n, H, C, K or V)
    sums = running_sum(g)
    y = scores(q, k, sums) @ v
    if q.shape[1] > 1:
        total = sums[..., -1:, :]
        updates = (k * exp_like(total - sums, k)).mT @ v
        y = y + (q * exp_like(sums, q)) @ _states(exp_like(total, k).mT, updates)
    return tokens_of(y, L)


def scores(q: Tensor, k: Tensor, sums: Tensor) -> Tensor:
    """A_ij of the vector form, (..., C, K) → (..., C, C).

    A chunk is halved. Between the halves, exp(G_i − G_j) = exp(G_i − G_m) exp(G_m − G_j) with the last token
    m of the first half. So these scores are a product of matrices, and both exponents are ≤ 0. The halves are
    halved in turn.
    """
    C = q.shape[-2]
    if C <= UNDIVIDED or C % 2:
        differences = (sums.unsqueeze(-2) - sums.unsqueeze(-3)).to(q.dtype).movedim(-1, -3)
        decays = _causal(differences).exp().movedim(-3, -1)
        return (q.unsqueeze(-2) * decays * k.unsqueeze(-3)).sum(-1)
    q, k, sums = (torch.unflatten(value, -2, (2, C // 2)) for value in (q, k, sums))
    (first_k, _), (_, second_q), (first, second) = (value.unbind(-3) for value in (k, q, sums))
    middle = first[..., -1:, :]
    below = (second_q * exp_like(second - middle, q)) @ (first_k * exp_like(middle - first, k)).mT
    top, bottom = scores(q, k, sums).unbind(-3)
    return torch.cat((torch.cat((top, torch.zeros_like(below)), -1), torch.cat((below, bottom), -1)), dim=-2)


def _states(decays: Tensor, updates: Tensor) -> Tensor:
    """The state before every chunk, (B, n, ..., K, V), from what each chunk leaves of it and adds to it."""
    state = torch.zeros_like(updates[:, 0])
    states = [state]
    for decay, update in zip(decays.unbind(1)[:-1], updates.unbind(1)[:-1], strict=True):
        state = decay * state + update
        states.append(state)
    return torch.stack(states, dim=1)


def exp_like(exponents: Tensor, like: Tensor) -> Tensor:
    """The exponentials in the dtype of `like`, of the shape of `exponents`."""
    return exponents.to(like.dtype).exp()


def _causal(differences: Tensor) -> Tensor:
    """(..., C, C) with −∞ above the diagonal. There the exponential of a difference could overflow."""
    C = differences.shape[-1]
    later = torch.ones(C, C, dtype=torch.bool, device=differences.device).triu(1)
    return differences.masked_fill(later, -math.inf)


def chunks_of(values: Tensor) -> Tensor:
    """(B, L, H, N) → (B, n, H, C, N), padded with zeros."""
    L = values.shape[1]
    chunks = -(-L // CHUNK)
    C = MULTIPLE * -(-L // (MULTIPLE * chunks))
    padded = functional.pad(values, (0, 0, 0, 0, 0, chunks * C - L))
    return torch.unflatten(padded, 1, (chunks, C)).transpose(2, 3)


def tokens_of(values: Tensor, L: int) -> Tensor:
    """The inverse of `chunks_of`."""
    return values.transpose(2, 3).flatten(1, 2)[:, :L]


def _by_token(values: Tensor) -> Tensor:
    """(..., R, C, V) → (..., C, R · V): heads side by side."""
    return values.transpose(-3, -2).flatten(-2)
