"""The delta rule with a decay per channel, chunk by chunk, in PyTorch's operations and autograd.

Let G_i be the sum of the log-decays of a chunk up to token i, and let
⟨x_i, y_j⟩ = Σ_d x_id y_jd exp(G_id − G_jd).
With the state S before the chunk, the corrections u_i, rows of U, solve

    u_i = v'_i − (exp(G_i) read_i)ᵀ S − Σ_{j<i} ⟨read_i, erase_j⟩ u_j,

a triangular system, where v'_i is v_i if corrections are written at the same key as values, and
−Σ_{j<i} ⟨read_i, write_j⟩ v_j if values have a key of their own. Then

    y_i = (exp(G_i) q_i)ᵀ S + Σ_{j≤i} ⟨q_i, erase_j⟩ u_j  [+ Σ_{j≤i} ⟨q_i, write_j⟩ v_j]
    S   ← diag(exp(G_C)) S + Σ_j (exp(G_C − G_j) erase_j) u_jᵀ  [+ Σ_j (exp(G_C − G_j) write_j) v_jᵀ]

All chunks' systems are solved at once, for U and W in U − W S. Only the products with S are in turn. As in
`bench.kernels.decay.sequential`, which computes ⟨q_i, k_j⟩, every exponent is ≤ 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.kernels.decay.sequential import chunks_of, exp_like, scores, tokens_of
from bench.kernels.running_sum import running_sum


def vector_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
    """The chunks with one key; a CUDA graph can capture it."""
    length = q.shape[1]
    erase = beta.unsqueeze(-1) * k
    q, k, erase, v, g = (chunks_of(value) for value in (q, k, erase, v, g))  # (B, n, H, C, K or V)
    return tokens_of(_chunked(q, k, erase, v, None, running_sum(g)), length)


def diagonal_plus_rank_one(
    q: Tensor, read: Tensor, erase: Tensor, write: Tensor, v: Tensor, g: Tensor
) -> Tensor:
    """The chunks with three keys; a CUDA graph can capture it."""
    length = q.shape[1]
    q, read, erase, write, v, g = (chunks_of(value) for value in (q, read, erase, write, v, g))
    G = running_sum(g)
    # Within a chunk, the state's value for a key includes values that the chunk itself has written.
    gaps = -scores(read, write, G).tril(-1) @ v
    later = (exp_like(G[..., -1:, :] - G, write) * write).mT @ v
    y = _chunked(q, read, erase, gaps, later, G) + scores(q, write, G) @ v
    return tokens_of(y, length)


def _chunked(q: Tensor, read: Tensor, erase: Tensor, gaps: Tensor, later: Tensor | None, G: Tensor) -> Tensor:
    """The outputs of all chunks, (B, n, H, C, V), without those of a chunk's own `write`.

    Args:
        q: (B, n, H, C, K).
        read: the same.
        erase: the same.
        gaps: v' of the module's docstring, (B, n, H, C, V).
        later: what values with a key of their own add to the state after each chunk, (B, n, H, K, V).
        G: sums of log-decays, (B, n, H, C, K), float64.
    """
    M = scores(read, erase, G).tril(-1)
    sides = torch.cat((gaps, exp_like(G, read) * read), dim=-1)
    # Substitution is exact where keys are repeated; see `bench.kernels.delta.sequential`.
    solved = torch.linalg.solve_triangular(M, sides, upper=False, unitriangular=True)
    U, W = solved[..., : gaps.shape[-1]], solved[..., gaps.shape[-1] :]
    reads = scores(q, erase, G)
    q = exp_like(G, q) * q
    kept = exp_like(G[..., -1:, :], q).mT
    erase = (exp_like(G[..., -1:, :] - G, erase) * erase).mT
    if later is None:
        later = U.new_zeros(*erase.shape[:-1], U.shape[-1])

    # `unbind` instead of an index per chunk: the gradient of every index would be as large as the tensor.
    chunks = zip(*(value.unbind(1) for value in (U, W, reads, q, erase, kept, later)), strict=True)
    U_c, _, reads_c, _, erase_c, _, later_c = next(chunks)  # the state is zero
    outputs, state = [reads_c @ U_c], erase_c @ U_c + later_c
    for U_c, W_c, reads_c, q_c, erase_c, kept_c, later_c in chunks:
        U_c = U_c - W_c @ state
        outputs.append(q_c @ state + reads_c @ U_c)
        state = kept_c * state + erase_c @ U_c + later_c
    return torch.stack(outputs, dim=1)
