"""RWKV-7 (Peng et al. 2025, "RWKV-7 Goose") in PyTorch.

Time mix. With x_c = h + μ_c ⊙ (h before − h), and zeros before the first token:

r, k, v = R x_r, K x_k, V x_v                       per head N numbers each
log w = −e^{−1/2} σ(w₀ + W₂ tanh(W₁ x_w))           the decay, between e^{−0.61} and 1
a = σ(a₀ + A₂ A₁ x_a)                               the share of its key that a token erases, which
                                                    the paper calls the in-context learning rate
gate = G₂ σ(G₁ x_g)
v ← v + σ(v₀ + V₂ V₁ x_v) ⊙ (v_first − v)           v_first: those of the model's first time mix
κ = unit(k ⊙ k_k);  k ← k ⊙ (1 + (a − 1) ⊙ k_a)
S_t = diag(w_t) S_{t−1} − (a_t ⊙ κ_t) (S_{t−1}ᵀ κ_t)ᵀ + k_t v_tᵀ          y_t = S_tᵀ r_t
out((norm(y) + (r_k ⊙ r · k) v) ⊙ gate)             norm: mean and variance of a head, weights per channel

The recurrence reads κ before the decay, `diagonal_plus_rank_one` after it: there, the key to read is κ / w.

Channel mix. out(relu(up(x))²)

Initial values are those of the authors' training code, written out in `TimeMix` and `decay_bias`. In a model
of one layer, the ratio ρ of `decay_bias` is 0. The LayerNorm of the embedding is left out: it is not a
residual block, and a block's own norm follows it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.kernels.rwkv7 import rwkv7_keys, rwkv7_outputs
from bench.kernels.vector_delta import diagonal_plus_rank_one
from bench.models.linear import Linear

MIXED = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}
"""What is mixed with the token before, and the exponents of its initial weights."""
FIRST_VALUES = "rwkv7 values"
"""What the first time mix passes on to the others."""


class TimeMix(nn.Module):
    """RWKV-7's time mix, (B, L, D) → (B, L, D).

    Args:
        width: D.
        backend: name of the kernels' backend.
        heads: H; divides D.
        ranks: of decay, share and gate; with a fourth one, values are mixed with those of the first time mix.
        depth: the block's layer from 0, and the number of layers.
        passed_on: where the first time mix leaves its values for the others.
    """

    undecayed = (
        *("mixed", "decay_bias", "share_bias", "residual_bias", "erased_key", "key_share", "direct"),
        *("norm_weight", "norm_bias"),
    )

    def __init__(
        self,
        width: int,
        backend: str,
        *,
        heads: int,
        ranks: list[int],
        depth: tuple[int, int],
        passed_on: dict[str, Tensor],
    ) -> None:
        super().__init__()
        layer, layers = depth
        channels = torch.arange(width) / width
        line = torch.arange(width) / max(1, width - 1) - 0.5
        wave = signed_squares(width, width // heads)
        self.heads, self.passed_on = heads, passed_on
        self.keys, self.gated = rwkv7_keys(backend), rwkv7_outputs(backend)
        self.recurrence = diagonal_plus_rank_one(backend)
        exponents = torch.tensor(list(MIXED.values()))
        self.mixed = nn.Parameter(1 - channels ** (exponents[:, None] * (1 - layer / layers)))
        self.r, self.k, self.v, self.output = (Linear(width, width, backend, bias=False) for _ in "rkvo")
        for projection, gain in ((self.r, 1.0), (self.k, 0.1), (self.v, 1.0)):
            nn.init.orthogonal_(projection.weight, gain)
        nn.init.zeros_(self.output.weight)
        self.decay, self.share, self.gate = (LowRank(width, rank, backend) for rank in ranks[:3])
        self.residual = LowRank(width, ranks[3], backend) if len(ranks) > 3 else None
        self.decay_bias = nn.Parameter(decay_bias(width, depth) + 2.5 * wave)
        self.share_bias = nn.Parameter(-0.19 + 0.3 * wave + 0.4 * line)
        self.residual_bias = nn.Parameter(0.73 - 0.4 * line) if self.residual is not None else None
        self.erased_key = nn.Parameter(0.71 - 0.1 * line)
        self.key_share = nn.Parameter(torch.full((width,), 1.02))
        self.direct = nn.Parameter(torch.full((width,), -0.04))
        self.norm_weight = nn.Parameter(torch.full((width,), ((layer + 1) / layers) ** 0.7))
        self.norm_bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        x_r, x_w, x_k, x_v, x_a, x_g = with_token_before(h, self.mixed)
        r, k, v = self.r(x_r), self.k(x_k), self.v(x_v)
        if self.residual is None:
            self.passed_on[FIRST_VALUES] = v
        else:
            weight = torch.sigmoid(self.residual_bias + self.residual(x_v))
            v = v + (self.passed_on[FIRST_VALUES] - v) * weight
        decay, share, gate = self.decay(x_w, torch.tanh), self.share(x_a), self.gate(x_g, torch.sigmoid)
        r, k, v, decay, share, gate = (self.by_head(value) for value in (r, k, v, decay, share, gate))
        of_keys = self.decay_bias, self.share_bias, self.erased_key, self.key_share
        g, read, erase, k = self.keys(decay, share, k, *(self.by_head(value) for value in of_keys))
        y = self.recurrence(r, read, erase, k, v, g)
        of_outputs = (self.by_head(value) for value in (self.norm_weight, self.norm_bias, self.direct))
        out: Tensor = self.output(self.gated(y, r, k, v, gate, *of_outputs).flatten(-2))
        return out

    def by_head(self, value: Tensor) -> Tensor:
        """(…, D) → (…, H, N)."""
        return torch.unflatten(value, -1, (self.heads, -1))


class ChannelMix(nn.Module):
    """RWKV-7's channel mix, (B, L, D) → (B, L, D).

    Args:
        width: D.
        inner: inner width.
        backend: name of the kernels' backend.
        depth: the block's layer from 0, and the number of layers.
    """

    undecayed = ("mixed",)

    def __init__(self, width: int, inner: int, backend: str, *, depth: tuple[int, int]) -> None:
        super().__init__()
        layer, layers = depth
        channels = torch.arange(width) / width
        self.mixed = nn.Parameter(1 - channels ** ((1 - layer / layers) ** 4))
        self.up = Linear(width, inner, backend, bias=False)
        self.down = Linear(inner, width, backend, bias=False)
        nn.init.orthogonal_(self.up.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, h: Tensor) -> Tensor:
        (x,) = with_token_before(h, self.mixed.unsqueeze(0))
        out: Tensor = self.down(functional.relu(self.up(x)).square())
        return out


class LowRank(nn.Module):
    """A map through few numbers, (B, L, D) → (B, L, D): second(f(first(x))). The first map starts at zero.

    Args:
        width: D.
        rank: of the map.
        backend: name of the kernels' backend.
    """

    undecayed = ("first.weight", "second.weight")

    def __init__(self, width: int, rank: int, backend: str) -> None:
        super().__init__()
        self.first = Linear(width, rank, backend, bias=False)
        self.second = Linear(rank, width, backend, bias=False)
        nn.init.zeros_(self.first.weight)
        nn.init.orthogonal_(self.second.weight, 0.1)

    def forward(self, x: Tensor, inner: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        hidden = self.first(x)
        out: Tensor = self.second(hidden if inner is None else inner(hidden))
        return out


def with_token_before(h: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """The mixes h + weights_c ⊙ (h before − h), (B, L, D) and (c, D) → c tensors (B, L, D)."""
    change = functional.pad(h, (0, 0, 1, 0))[:, :-1] - h
    # All mixes together: a few operations instead of a few per mix.
    return (h + weights[:, None, None] * change).unbind(0)


def signed_squares(width: int, head: int) -> Tensor:
    """The values s|s|, (width,), where s goes from −1 to 1 over the channels of each head.

    Args:
        width: D.
        head: channels of a head.
    """
    half = max(0.5, (head - 1) / 2)
    s = (torch.arange(width) % head - (head - 1) / 2) / half
    return s * s.abs()


def decay_bias(width: int, depth: tuple[int, int]) -> Tensor:
    """−5.5 + 6 (n/(D − 1))^(1 + ρ^0.3) at channel n, with ρ from 0 in the first layer to 1 in the last."""
    layer, layers = depth
    ratio = layer / max(1, layers - 1)
    line = torch.arange(width) / max(1, width - 1)
    return -5.5 + 6 * torch.pow(line, 1 + ratio**0.3)
