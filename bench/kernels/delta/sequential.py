"""The gated delta rule chunk by chunk: matrix products of PyTorch, and autograd, on any device.

Within a chunk, number all updates in order, i = 1, 2, …, and let G_i be the sum of the chunk's log-decays up
to the token of update i. With the state S before the chunk, the corrections r_i, rows of R, solve

    r_i = β_i (v_i − e^{G_i} Sᵀ k_i − Σ_{j<i} e^{G_i − G_j} (k_i·k_j) r_j),

a triangular system (I + M) R = diag(β) (V − diag(e^G) K S), M_ij = β_i e^{G_i − G_j} k_i·k_j for j < i. Then

    y_t = e^{G_t} Sᵀ q_t + Σ_{i ≤ t} e^{G_t − G_i} (q_t·k_i) r_i
    S   ← e^{G_C} S + Σ_i e^{G_C − G_i} k_i r_iᵀ        G_C: of the chunk's last token.

All chunks' systems are solved at once, for U and W in R = U − W S. Only the products with S are in turn.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bench.kernels.running_sum import running_sum

UPDATES = 64
"""Largest number of updates in a chunk, unless a token has more."""


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
    """The recurrence in chunks of equal length; a CUDA graph can capture it."""
    length, updates = q.shape[1], k.shape[2]
    chunks = -(-length * updates // UPDATES)
    size = -(-length // chunks)
    q = _chunks(q, chunks, size)
    k, v = (_chunks(value.flatten(1, 2), chunks, size * updates) for value in (k, v))
    beta = _chunks(beta.flatten(1, 2).unsqueeze(-1), chunks, size * updates)
    g = _chunks(g.unsqueeze(-1), chunks, size)

    tokens = torch.arange(size, device=q.device)
    order = torch.arange(size * updates, device=q.device)
    owners = order // updates  # the token of each update
    # Sums in float64: in float32, an exponent near zero would have the rounding error of a large sum.
    G = running_sum(g).squeeze(-1)
    G_of_updates = G.unsqueeze(-1).expand(*G.shape, updates).flatten(-2)

    # e^{G_i} e^{−G_j} would overflow, so the exponential of the difference is taken; of −∞ for later tokens.
    M = beta * _decays(G_of_updates, G_of_updates, order[:, None] > order, k) * (k @ k.mT)
    sides = beta * torch.cat((v, _exp(G_of_updates, k) * k), dim=-1)
    # Substitution. The product (I − M)(I + M²)(I + M⁴) … is the same inverse, but loses all digits where
    # keys are repeated.
    solved = torch.linalg.solve_triangular(M, sides, upper=False, unitriangular=True)
    U, W = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]
    reads = _decays(G, G_of_updates, tokens[:, None] >= owners, q) * (q @ k.mT)
    q = _exp(G, q) * q
    kept = _exp(G[..., -1:], k)
    k = _exp(G[..., -1:] - G_of_updates, k) * k

    # `unbind` instead of an index per chunk: the gradient of every index would be as large as the tensor.
    first, *later = zip(*(value.unbind(0) for value in (U, W, reads, q, k, kept)), strict=True)
    R, _, reads_c, _, k_c, _ = first  # the state is zero
    outputs, state = [reads_c @ R], k_c.mT @ R
    for U_c, W_c, reads_c, q_c, k_c, kept_c in later:
        R = U_c - W_c @ state
        outputs.append(q_c @ state + reads_c @ R)
        state = kept_c * state + k_c.mT @ R
    # (chunks, B, H, size, V) → (B, L, H, V)
    return torch.stack(outputs).permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :length]


def _chunks(value: Tensor, chunks: int, size: int) -> Tensor:
    """(B, rows, H, …) → (chunks, B, H, size, …), with zeros after the last row.

    A token of zeros neither decays nor changes the state, and its output is cut off.
    """
    padding = chunks * size - value.shape[1]
    value = functional.pad(value, (0, 0, 0, 0, 0, padding))
    return torch.unflatten(value, 1, (chunks, size)).permute(1, 0, 3, 2, 4)


def _exp(exponents: Tensor, like: Tensor) -> Tensor:
    """(…, I) → (…, I, 1), factors of rows."""
    return exponents.to(like.dtype).exp().unsqueeze(-1)


def _decays(later: Tensor, earlier: Tensor, reaches: Tensor, like: Tensor) -> Tensor:
    """exp(later_i − earlier_j) where `reaches` (I, J), else 0: (…, I) and (…, J) → (…, I, J)."""
    differences = (later.unsqueeze(-1) - earlier.unsqueeze(-2)).to(like.dtype)
    return differences.masked_fill(~reaches, -math.inf).exp()
