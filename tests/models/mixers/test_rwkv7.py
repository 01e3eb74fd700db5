"""RWKV-7: its equations token by token, counts, initial values, and values that blocks pass on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.blocks import RWKV7, Attention, Mamba, Place, RWKV7ChannelMix
from bench.models.mixers.block import count_parameters
from bench.models.mixers.rwkv7.module import FIRST_VALUES
from bench.models.sizes import Size

D, LENGTH, HEADS = 8, 37, 2
Parameters = dict[str, Tensor]


def place(width: int = D, index: int = 0, blocks: int = 4, values: Tensor | None = None) -> Place:
    passed_on = {} if values is None else {FIRST_VALUES: values}
    return Place(width, 1, blocks // 2, blocks, index, "sequential", passed_on)


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """In float64, with parameters that have moved, so that a map of zeros hides nothing."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def time_mix(p: Parameters, h: Tensor, first_values: Tensor | None) -> tuple[Tensor, Tensor]:
    """Outputs of a prompt (L, D) and its values, from the published equations."""
    N = D // HEADS
    states, outputs, values = [torch.zeros(N, N).double() for _ in range(HEADS)], [], []
    before = torch.zeros(D).double()
    for t, token in enumerate(h):
        x_r, x_w, x_k, x_v, x_a, x_g = (token + mu * (before - token) for mu in p["mixed"])
        before = token
        r, k, v = p["r.weight"] @ x_r, p["k.weight"] @ x_k, p["v.weight"] @ x_v
        inner = torch.tanh(p["decay.first.weight"] @ x_w)
        w = torch.exp(-math.exp(-0.5) * torch.sigmoid(p["decay_bias"] + p["decay.second.weight"] @ inner))
        a = p["share.second.weight"] @ (p["share.first.weight"] @ x_a)
        a = torch.sigmoid(p["share_bias"] + a)
        gate = p["gate.second.weight"] @ torch.sigmoid(p["gate.first.weight"] @ x_g)
        if first_values is not None:
            residual = p["residual.second.weight"] @ (p["residual.first.weight"] @ x_v)
            v = v + (first_values[t] - v) * torch.sigmoid(p["residual_bias"] + residual)
        values.append(v)
        kappa, k = k * p["erased_key"], k * (1 + (a - 1) * p["key_share"])
        heads = []
        for i in range(HEADS):
            own = slice(i * N, (i + 1) * N)
            key = kappa[own] / kappa[own].norm()
            transition = torch.diag(w[own]) - torch.outer(key, a[own] * key)
            states[i] = states[i] @ transition + torch.outer(v[own], k[own])  # values × keys
            y = states[i] @ r[own]
            y = (y - y.mean()) / torch.sqrt(y.var(correction=0) + N * 1e-5)
            y = p["norm_weight"][own] * y + p["norm_bias"][own]
            heads.append(y + (r[own] * p["direct"][own] * k[own]).sum() * v[own])
        outputs.append(p["output.weight"] @ (torch.cat(heads) * gate))
    return torch.stack(outputs), torch.stack(values)


@pytest.mark.parametrize("first", [True, False])
def test_a_time_mix_is_its_equations_in_outputs_and_gradients(first: bool) -> None:
    torch.manual_seed(0)
    values = torch.randn(1, LENGTH, D, dtype=torch.float64)
    where = place() if first else place(index=2, values=values)
    module = moved(RWKV7(heads=HEADS, value_residual=not first).build(where))
    h = torch.randn(LENGTH, D, dtype=torch.float64, requires_grad=True)
    parameters = dict(module.named_parameters())
    outputs = module(h[None])[0]
    expected, own_values = time_mix(parameters, h, None if first else values[0])
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(where.passed_on[FIRST_VALUES], (own_values if first else values[0])[None])
    weights, inputs = torch.randn_like(outputs), [h, *parameters.values()]
    gradients, exact = (torch.autograd.grad((y * weights).sum(), inputs) for y in (outputs, expected))
    torch.testing.assert_close(gradients, exact, rtol=1e-7, atol=1e-9)


def test_a_channel_mix_is_its_equation() -> None:
    torch.manual_seed(0)
    module = moved(RWKV7ChannelMix().build(place()))
    h = torch.randn(2, LENGTH, D, dtype=torch.float64)
    before = torch.cat((torch.zeros(2, 1, D).double(), h[:, :-1]), dim=1)
    x = h + module.mixed * (before - h)
    expected = (x @ module.up.weight.T).clamp(min=0) ** 2 @ module.down.weight.T
    torch.testing.assert_close(module(h), expected)


# --- counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "width", "expected"),
    [
        (RWKV7(heads=2), 128, (108_288, 8_320, 149_376)),
        (RWKV7(heads=4), 256, (347_648, 16_640, 429_824)),
        (RWKV7ChannelMix(), 128, (131_200, 128, 131_200)),
        (RWKV7ChannelMix(), 256, (524_544, 256, 524_544)),
    ],
)
def test_blocks_have_the_counts_of_the_authors_modules(
    block: RWKV7 | RWKV7ChannelMix, width: int, expected: tuple[int, int, int]
) -> None:
    """Parameters, numbers of the state, and multiplications per token."""
    counts = (block.parameters(width), block.state_numbers(7, width), block.multiplications(1, width))
    assert counts == expected
    assert block.multiplications(7, width) == 7 * expected[2]


def test_the_first_time_mix_has_no_residual_of_values() -> None:
    first = RWKV7().first_of_model()
    assert (first.parameters(128), first.parameters(256)) == (99_968, 331_008)
    # The two maps of low rank, and a product per channel.
    assert RWKV7().multiplications(5, 128) - first.multiplications(5, 128) == 5 * (2 * 128 * 32 + 128)


@given(heads=st.integers(1, 4), size=st.integers(1, 20), residual=st.booleans())
def test_a_closed_form_of_parameters_is_what_counting_gives(heads: int, size: int, residual: bool) -> None:
    width = heads * size
    for block in (RWKV7(heads=heads, value_residual=residual), RWKV7ChannelMix()):
        assert block.parameters(width) == count_parameters(block, width)


def test_a_width_that_heads_do_not_divide_is_named() -> None:
    assert RWKV7().width_fault(18) == "its width 18 is not a multiple of 4 heads"


# --- values that the first time mix passes on ------------------------------------------------------


def test_only_the_first_time_mix_of_a_model_lacks_the_residual_wherever_it_is() -> None:
    def residuals(architecture: Architecture, layers: int) -> list[bool]:
        return [block.value_residual for block in architecture.blocks(layers) if isinstance(block, RWKV7)]

    mixed = Architecture(name="mixed", first=(Mamba(),), layer=(Attention(), RWKV7()), middle=(RWKV7(),))
    assert residuals(ARCHITECTURES["rwkv7"], 3) == [False, True, True]
    assert residuals(mixed, 2) == [False, True]
    without = ARCHITECTURES["rwkv7"].with_options({"value_residual": False})
    assert residuals(without, 3) == [False] * 3


def test_later_blocks_get_the_values_of_the_first_one_and_the_model_keeps_none() -> None:
    torch.manual_seed(0)
    model = moved(
        Model(ARCHITECTURES["rwkv7"], Size(layers=3, width=D, heads=None), n_inputs=3, n_outputs=1, length=9)
    )
    tokens, seen = torch.randn(2, 9, 3, dtype=torch.float64), []
    for index in (2, 4):
        model.blocks[index].register_forward_hook(
            lambda module, *_: seen.append(module.passed_on[FIRST_VALUES])
        )
    model(tokens).sum().backward()
    assert seen[0] is seen[1]
    assert seen[0].shape == (2, 9, D)
    assert model.passed_on == {}
    gradient = model.blocks[0].v.weight.grad
    with torch.no_grad():  # without its own outputs, the first block's values matter through the others alone
        model.blocks[0].output.weight.zero_()
    model.zero_grad()
    model(tokens).sum().backward()
    assert model.blocks[0].v.weight.grad.abs().max() > 0
    assert not torch.allclose(model.blocks[0].v.weight.grad, gradient)


# --- initial values --------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "blocks"), [(0, 2), (0, 6), (2, 6), (4, 6), (9, 6)])
def test_initial_values_follow_the_layer(index: int, blocks: int) -> None:
    """In a model of one layer, for which the published formula divides by zero, and behind the last too."""
    torch.manual_seed(0)
    width, N = 64, 16
    module = RWKV7(value_residual=True).build(place(width, index, blocks))
    layers = blocks // 2
    layer = min(index // 2, layers - 1)
    rho, tau = (layer / (layers - 1) if layers > 1 else 0), 1 - layer / layers
    decay, share, residual, key = [], [], [], []
    for n in range(width):
        line, s = n / (width - 1), (n % N - 7.5) / 7.5
        decay.append(-6 + 6 * line ** (1 + rho**0.3) + 0.5 + 2.5 * s * abs(s))
        share.append(-0.19 + 0.3 * s * abs(s) + 0.4 * (line - 0.5))
        residual.append(0.73 - 0.4 * (line - 0.5))
        key.append(0.71 - 0.1 * (line - 0.5))
    p = {name: value.detach() for name, value in module.named_parameters()}
    for name, expected in (
        ("decay_bias", decay),
        ("share_bias", share),
        ("residual_bias", residual),
        ("erased_key", key),
        ("norm_weight", [((layer + 1) / layers) ** 0.7] * width),
    ):
        torch.testing.assert_close(p[name], torch.tensor(expected))
    for mu, exponent in zip(p["mixed"], (0.2, 0.9, 0.7, 0.7, 0.9, 0.2), strict=True):
        expected = [1 - (n / width) ** (exponent * tau) for n in range(width)]
        torch.testing.assert_close(mu, torch.tensor(expected))
    mu = RWKV7ChannelMix().build(place(width, index, blocks)).mixed
    torch.testing.assert_close(mu.detach(), torch.tensor([1 - (n / width) ** tau**4 for n in range(width)]))


@pytest.mark.parametrize("width", [1, 2, 4])
def test_narrow_heads_start_from_finite_values(width: int) -> None:
    """Heads of one channel, and a model of one."""
    for block in (RWKV7(heads=width), RWKV7ChannelMix()):
        module = block.build(place(width))
        assert all(parameter.isfinite().all() for parameter in module.parameters())
