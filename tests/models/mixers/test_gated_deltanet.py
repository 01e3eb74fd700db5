"""Gated DeltaNet's block: counts against published ones, its formula token by token, and its options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.models.architectures import ARCHITECTURES
from bench.models.blocks import GatedDeltaNet, Place
from bench.models.mixers.block import count_parameters

DELTANET = {"heads": 4, "expand": 1, "gate": False, "decay": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "gated": {},
    "delta": DELTANET,
    "product": {"householders": 2, "negative_eigenvalues": True},
    "product without decay": {**DELTANET, "householders": 3, "key_dim": 2},
    "without gate": {"gate": False, "convolution": 1},
}
PLACE = Place(width=16, heads=1, layers=1, blocks=2, index=0, backend="sequential")


@pytest.mark.parametrize(
    ("options", "D", "parameters", "state", "multiplications"),
    [
        ({}, 128, 100_678, 6_144, 125_376),
        ({"heads": 6}, 256, 399_436, 12_288, 448_896),
        ({}, 256, 397_958, 24_576, 496_512),
        (DELTANET, 128, 67_616, 4_096, 79_872),
        (DELTANET, 256, 266_304, 16_384, 315_392),
    ],
)
def test_counts_are_those_of_the_authors_modules(
    options: dict[str, Any], D: int, parameters: int, state: int, multiplications: int
) -> None:
    """Parameters as count_parameters in flash-linear-attention's layers; multiplications of one token."""
    block = GatedDeltaNet(**options)
    assert block.parameters(D) == count_parameters(block, D) == parameters
    assert block.state_numbers(50, D) == state
    assert block.multiplications(1, D) == multiplications
    assert block.multiplications(50, D) == 50 * multiplications


def test_deltaproduct_with_two_products_has_the_authors_count() -> None:
    assert GatedDeltaNet(householders=2).parameters(128) == 139_078


@given(
    options=st.sampled_from(list(OPTIONS.values())), width=st.integers(1, 40), convolution=st.integers(1, 5)
)
def test_the_stated_count_is_what_counting_the_module_gives(
    options: dict[str, Any], width: int, convolution: int
) -> None:
    block = GatedDeltaNet(**{**options, "convolution": convolution})
    assert block.parameters(width) == count_parameters(block, width)


@given(L=st.integers(1, 300), D=st.integers(8, 300), H=st.integers(1, 4))
def test_multiplications_are_projections_convolution_state_and_gate(L: int, D: int, H: int) -> None:
    K = 3 * D // 4 // H
    V = 2 * K
    expected = D * H * (2 * K + 3 * V + 2) + 4 * H * (2 * K + V) + 4 * H * K * V + H * V
    assert GatedDeltaNet(heads=H).multiplications(L, D) == L * expected
    K = V = D // H
    expected = D * H * (2 * K + 2 * V + 1) + 4 * H * (2 * K + V) + 3 * H * K * V
    assert GatedDeltaNet(**{**DELTANET, "heads": H}).multiplications(L, D) == L * expected


def built(options: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(0)
    module = GatedDeltaNet(**options).build(PLACE).double()
    with torch.no_grad():
        for parameter in module.parameters():  # large enough that states matter; norms beyond their 1
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def by_formula(block: GatedDeltaNet, module: Any, h: Tensor) -> Tensor:
    """A prompt (L, D), head by head and token by token, from the block's equations."""
    H, n, K = block.heads, block.householders, block.actual_key_dim(PLACE.width)
    V = block.expand * K
    rows = h @ module.input.weight.T
    channels = block.convolved(PLACE.width)
    mixed = torch.zeros(len(h), channels, dtype=h.dtype)
    for t in range(len(h)):
        for tap in range(block.convolution):
            before = t - block.convolution + 1 + tap
            if before >= 0:
                mixed[t] += module.convolution.weight[:, tap] * rows[before, :channels]
    mixed = mixed * torch.sigmoid(mixed)
    gates = rows[:, channels:]
    outputs = []
    for head in range(H):
        S, heads = torch.zeros(K, V, dtype=h.dtype), []
        for t in range(len(h)):
            if block.decay:
                step = gates[t, block.gate * H * V + n * H + head] + module.step_bias[head]
                S = S * torch.exp(-module.log_A[head].exp() * torch.log1p(step.exp()))
            q = mixed[t, head * K :][:K]
            for j in range(n):
                k = mixed[t, H * K + (j * H + head) * K :][:K]
                v = mixed[t, H * K + n * H * K + (j * H + head) * V :][:V]
                k = k / torch.sqrt(k @ k + 1e-6)
                beta = torch.sigmoid(gates[t, block.gate * H * V + j * H + head])
                beta = 2 * beta if block.negative_eigenvalues else beta
                S = S - beta * torch.outer(k, k @ S) + beta * torch.outer(k, v)
            y = S.T @ q / torch.sqrt(q @ q + 1e-6) / K**0.5
            y = module.norm_weight * y / torch.sqrt(y.square().mean() + 1e-6)
            z = gates[t, head * V :][:V]
            heads.append(y * z * torch.sigmoid(z) if block.gate else y)
        outputs.append(torch.stack(heads))
    return torch.cat(outputs, dim=-1) @ module.output.weight.T


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_block_is_its_formula_in_outputs_and_gradients(options: dict[str, Any]) -> None:
    module = built(options)
    h = torch.randn(7, PLACE.width, dtype=torch.float64, requires_grad=True)
    outputs, expected = module(h[None])[0], by_formula(GatedDeltaNet(**options), module, h)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-12)
    weights, inputs = torch.randn_like(outputs), [h, *module.parameters()]
    gradients, exact = (torch.autograd.grad((y * weights).sum(), inputs) for y in (outputs, expected))
    torch.testing.assert_close(gradients, exact, rtol=1e-8, atol=1e-10)


def test_without_a_step_size_gated_deltanet_is_deltanet() -> None:
    """With a bias of −∞, softplus is 0 and the state does not decay."""
    gated, plain = built({}), built({"decay": False})
    with torch.no_grad():
        gated.step_bias.fill_(-torch.inf)
        plain.input.weight.copy_(gated.input.weight[:-3])
    others = {name: value for name, value in gated.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict({**others, "input.weight": plain.input.weight})
    h = torch.randn(2, 9, PLACE.width, dtype=torch.float64)
    torch.testing.assert_close(gated(h), plain(h))


def test_a_convolution_of_one_tap_lets_no_token_see_another_key() -> None:
    """The state is then the only path from a token to a later one: with β = 0 there is none."""
    module = built({"gate": False, "decay": False, "convolution": 1})
    seen = []
    module.delta = lambda q, k, v, beta, g: seen.append((q, k, v)) or v[:, :, 0]
    h = torch.randn(1, 6, PLACE.width, dtype=torch.float64)
    other = h.clone()
    other[:, 2] += 1
    module(h), module(other)
    for before, after in zip(*seen, strict=True):
        changed = (before != after).flatten(2).any(-1)[0]
        assert changed.tolist() == [False, False, True, False, False, False]


def test_a_state_halves_within_one_to_a_hundred_tokens_at_first() -> None:
    """Half-lives at 10, 50 and 90 % of the heads: 1.4, 11 and 93 tokens."""
    torch.manual_seed(0)
    module = GatedDeltaNet(heads=4000, key_dim=1).build(PLACE)
    rates = torch.exp(module.log_A) * torch.nn.functional.softplus(module.step_bias)
    lives = (torch.log(torch.tensor(2.0)) / rates).quantile(torch.tensor([0.1, 0.5, 0.9]))
    assert lives.tolist() == pytest.approx([1.4, 11.3, 93], rel=0.1)


def test_deltanet_is_an_option_of_the_same_block() -> None:
    assert ARCHITECTURES["deltanet"].layer[0] == GatedDeltaNet(**DELTANET)
    product = ARCHITECTURES["gated_deltanet"].with_options({"householders": 2, "negative_eigenvalues": True})
    assert product.name == "gated_deltanet+householders=2+negative_eigenvalues=True"
    assert product.layer[0] == GatedDeltaNet(householders=2, negative_eigenvalues=True)
