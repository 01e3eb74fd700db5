"""Mamba-2, Mamba-3, GLA, KDA and mLSTM: each block against its equations, and what the equations imply."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import softplus

from bench.kernels.decay import scalar_decay
from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.blocks import GLA, KDA, MLSTM, Block, Mamba2, Mamba3, Place
from bench.models.mixers.block import count_parameters
from bench.models.mixers.mamba3.module import rates, rotated, summed_angles, trapezoid
from bench.models.sizes import Size

D, LENGTH = 8, 37
EXACT = {"rtol": 1e-10, "atol": 1e-10}
BLOCKS: dict[str, Block] = {
    "mamba2": Mamba2(state=6, head_dim=4),
    "mamba3": Mamba3(state=8, head_dim=4),
    "mamba3, all rotated": Mamba3(state=8, head_dim=8, rotated=1.0),
    "mamba3, fixed": Mamba3(state=8, head_dim=4, rotation="fixed"),
    "mamba3, none": Mamba3(state=8, head_dim=4, rotation="none"),
    "gla": GLA(heads=2, rank=3),
    "gla, wide keys": GLA(heads=2, rank=3, expand_keys=2.0, temperature=1.0),
    "kda": KDA(heads=2),
    "kda, negative eigenvalues": KDA(heads=1, convolution=1, negative_eigenvalues=True),
    "mlstm": MLSTM(heads=2),
}
Parameters = dict[str, Tensor]


def built(block: Block) -> torch.nn.Module:
    """A module in float64 whose parameters have moved, so that a gate or a norm at 1 hides nothing."""
    torch.manual_seed(0)
    module = block.build(Place(width=D, heads=1, layers=2, blocks=4, index=0, backend="sequential")).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


# --- the equations, token by token and head by head -----------------------------------------------


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x**2).mean() + 1e-5)


def mamba2(block: Mamba2, p: Parameters, h: Tensor) -> Tensor:
    E, N, P = 2 * D, block.state, block.head_dim
    H, taps = E // P, block.convolution
    projected = [p["input.weight"] @ token for token in h]
    mixed = [token[E : 2 * E + 2 * N] for token in projected]
    states, outputs = [torch.zeros(P, N).double() for _ in range(H)], []
    for t, token in enumerate(projected):
        convolved = p["convolution.bias"].clone()
        for tap in range(taps):
            if t - taps + 1 + tap >= 0:
                convolved = convolved + p["convolution.weight"][:, tap] * mixed[t - taps + 1 + tap]
        x, B, C = silu(convolved).split([E, N, N])
        heads = []
        for i in range(H):
            step = torch.log1p(torch.exp(token[-H + i] + p["step_bias"][i]))
            x_i = x[i * P : (i + 1) * P]
            decay = torch.exp(-step * torch.exp(p["log_A"][i]))
            states[i] = decay * states[i] + torch.outer(step * x_i, B)
            heads.append(states[i] @ C + p["skip"][i] * x_i)
        outputs.append(p["output.weight"] @ rms(torch.cat(heads) * silu(token[:E]), p["norm.weight"]))
    return torch.stack(outputs)


def gla(block: GLA, p: Parameters, h: Tensor) -> Tensor:
    H, keys = block.heads, block.key_width(D)
    K, V = keys // H, D // H
    states, outputs = [torch.zeros(K, V).double() for _ in range(H)], []
    for token in h:
        q, k, v, gate = (p["input.weight"] @ token).split([keys, keys, D, D])
        logits = p["decay.weight"] @ (p["low_rank.weight"] @ token) + p["decay.bias"]
        decay = torch.sigmoid(logits) ** (1 / block.temperature)
        heads = []
        for i in range(H):
            own, values = slice(i * K, (i + 1) * K), slice(i * V, (i + 1) * V)
            states[i] = decay[own, None] * states[i] + torch.outer(k[own], v[values])
            heads.append(rms(states[i].T @ (q[own] / math.sqrt(K)), p["norm.weight"]))
        outputs.append(p["output.weight"] @ (torch.cat(heads) * silu(gate)))
    return torch.stack(outputs)


def mamba3(block: Mamba3, p: Parameters, h: Tensor) -> Tensor:
    E, N, P, R = 2 * D, block.state, block.head_dim, block.pairs
    H = E // P
    states, before = [torch.zeros(N, P).double() for _ in range(H)], [torch.zeros(N, P).double()] * H
    angles, outputs = torch.zeros(H, R).double(), []

    def turned(values: Tensor, angle: Tensor) -> Tensor:
        pairs = torch.view_as_complex(values[: 2 * R].reshape(R, 2).contiguous())
        return torch.cat((torch.view_as_real(pairs * torch.exp(1j * angle)).flatten(), values[2 * R :]))

    for t, token in enumerate(h):
        z, x, B, C, step, A, mix, theta = (p["input.weight"] @ token).split(
            [E, E, N, N, H, H, H, block.angles]
        )
        B, C, heads = rms(B, p["B_norm.weight"]), rms(C, p["C_norm.weight"]), []
        for i in range(H):
            delta = torch.log1p(torch.exp(step[i] + p["step_bias"][i]))
            rate = 1 + A[i] if A[i] >= 0 else 1 / (1 - A[i])
            alpha, weight = torch.exp(-delta * rate), torch.sigmoid(mix[i])
            if block.rotation == "data":
                angles[i] = angles[i] + delta * math.pi * torch.tanh(theta)
            elif block.rotation == "fixed":
                angles[i] = t * 10_000.0 ** (-torch.arange(R).double() / R)
            k, q = turned(B + p["B_bias"][i], angles[i]), turned(C + p["C_bias"][i], angles[i])
            x_i = x[i * P : (i + 1) * P]
            new = torch.outer(k, x_i)
            states[i] = alpha * states[i] + (1 - weight) * delta * alpha * before[i] + weight * delta * new
            before[i] = new
            heads.append(states[i].T @ q + p["skip"][i] * x_i)
        outputs.append(p["output.weight"] @ (torch.cat(heads) * silu(z)))
    return torch.stack(outputs)


def kda(block: KDA, p: Parameters, h: Tensor) -> Tensor:
    H, taps = block.heads, block.convolution
    K = D // H
    projected = [p["input.weight"] @ token for token in h]
    states, outputs = [torch.zeros(K, K).double() for _ in range(H)], []
    for t, token in enumerate(projected):
        convolved = torch.zeros(3 * D).double()
        for tap in range(taps):
            if t - taps + 1 + tap >= 0:
                convolved = (
                    convolved + p["convolution.weight"][:, tap] * projected[t - taps + 1 + tap][: 3 * D]
                )
        q, k, v = silu(convolved).split(D)
        b, decay, gate = token[3 * D :].split([H, K, K])
        steps = torch.log1p(torch.exp(p["decay.weight"] @ decay + p["step_bias"]))
        gates, heads = torch.sigmoid(p["gate.weight"] @ gate + p["gate.bias"]), []
        for i in range(H):
            own = slice(i * K, (i + 1) * K)
            key = k[own] / torch.sqrt(k[own] @ k[own] + 1e-6)
            query = q[own] / torch.sqrt(q[own] @ q[own] + 1e-6) / math.sqrt(K)
            beta = torch.sigmoid(b[i]) * (2 if block.negative_eigenvalues else 1)
            state = torch.exp(-torch.exp(p["log_A"][i]) * steps[own])[:, None] * states[i]
            states[i] = state + beta * torch.outer(key, v[own] - state.T @ key)
            y = states[i].T @ query
            heads.append(p["norm_weight"] * y / torch.sqrt((y**2).mean() + 1e-6))
        outputs.append(p["output.weight"] @ (torch.cat(heads) * gates))
    return torch.stack(outputs)


def mlstm(block: MLSTM, p: Parameters, h: Tensor) -> Tensor:
    E, H, taps = 2 * D, block.heads, block.convolution
    d = E // H
    projected = [(p["up.weight"] @ token).split(E) for token in h]
    memories, normalisers = [torch.zeros(d, d).double() for _ in range(H)], [torch.zeros(d).double()] * H
    outputs = []
    for t, (x, z) in enumerate(projected):
        convolved = p["convolution.bias"].clone()
        for tap in range(taps):
            if t - taps + 1 + tap >= 0:
                convolved = convolved + p["convolution.weight"][:, tap] * projected[t - taps + 1 + tap][0]
        c = silu(convolved)
        q, k, v = (torch.block_diag(*maps) @ value for value, maps in zip((c, c, x), p["qkv"], strict=True))
        gates, heads = p["gates.weight"] @ torch.cat((q, k, v)) + p["gates.bias"], []
        for i in range(H):
            own = slice(i * d, (i + 1) * d)
            forget, key = torch.sigmoid(gates[H + i]), torch.exp(gates[i]) * k[own] / math.sqrt(d)
            memories[i] = forget * memories[i] + torch.outer(key, v[own])
            normalisers[i] = forget * normalisers[i] + key
            y = memories[i].T @ q[own] / torch.clamp((normalisers[i] @ q[own]).abs(), min=1)
            y = (y - y.mean()) / torch.sqrt(y.var(correction=0) + 1e-5)
            heads.append(y)
        y = torch.cat(heads) * (1 + p["norm_weight"]) + p["skip"] * c
        outputs.append(p["down.weight"] @ (y * silu(z)))
    return torch.stack(outputs)


EQUATIONS: dict[str, Callable[..., Tensor]] = {
    "mamba2": mamba2,
    "mamba3": mamba3,
    "gla": gla,
    "kda": kda,
    "mlstm": mlstm,
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_its_equations(name: str) -> None:
    block, module = BLOCKS[name], built(BLOCKS[name])
    h = torch.randn(2, LENGTH, D, dtype=torch.float64)
    parameters = {key: value.detach() for key, value in module.named_parameters()}
    expected = torch.stack([EQUATIONS[block.name](block, parameters, prompt) for prompt in h])
    # The denominator of the mLSTM has an ε of 1e-6, which its equations do not have.
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if block.name == "mlstm" else EXACT
    torch.testing.assert_close(module(h), expected, **tolerance)


# --- parameters, multiplications, states ------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "width", "expected"),
    [
        (Mamba2(), 128, (117_912, 16_384, 166_912)),
        (Mamba2(), 256, (433_840, 32_768, 531_968)),
        (Mamba2(head_dim=64, state=128), 128, (134_412, 32_768, 232_448)),
        (Mamba2(head_dim=64, state=128), 256, (465_176, 65_536, 661_504)),
        (Mamba3(), 128, (120_976, 17_280, 187_136)),
        (Mamba3(), 256, (444_576, 34_560, 577_024)),
        (GLA(), 128, (68_704, 2_048, 74_880)),
        (GLA(), 256, (268_480, 8_192, 293_120)),
        (KDA(), 128, (84_260, 4_096, 100_480)),
        (KDA(heads=8), 256, (300_584, 8_192, 333_056)),
        (MLSTM(), 128, (109_320, 16_644, 158_976)),
        (MLSTM(), 256, (415_240, 66_052, 612_864)),
    ],
)
def test_blocks_have_the_counts_of_their_reference_modules(
    block: Block, width: int, expected: tuple[int, int, int]
) -> None:
    """Parameters, numbers of the state, and multiplications per token."""
    length = 7
    multiplications = block.multiplications(length, width)
    assert multiplications % length == 0
    assert (
        block.parameters(width),
        block.state_numbers(length, width),
        multiplications // length,
    ) == expected


@given(width=st.integers(1, 12).map(lambda count: 4 * count), block=st.sampled_from(list(BLOCKS.values())))
def test_a_closed_form_of_parameters_is_what_counting_gives(width: int, block: Block) -> None:
    if block.width_fault(width) is None:
        assert block.parameters(width) == count_parameters(block, width)


def test_without_angles_of_the_input_a_mamba3_has_no_parameters_nor_state_for_them() -> None:
    data, fixed, none = (Mamba3(rotation=rotation) for rotation in ("data", "fixed", "none"))
    assert data.parameters(128) - fixed.parameters(128) == 128 * 16
    assert fixed.parameters(128) == none.parameters(128)
    assert data.state_numbers(9, 128) - fixed.state_numbers(9, 128) == 8 * 16
    assert fixed.multiplications(1, 128) - none.multiplications(1, 128) == 8 * 16 * 8


@pytest.mark.parametrize(
    ("block", "width", "message"),
    [
        (Mamba2(), 20, "its inner width 40 is not a multiple of head_dim 32"),
        (Mamba3(head_dim=64), 48, "its inner width 96 is not a multiple of head_dim 64"),
        (MLSTM(heads=3), 16, "its inner width 32 is not a multiple of 3 heads"),
        (MLSTM(heads=2), 15, "its inner width 30 is not a multiple of 4"),
        (KDA(), 18, "its width 18 is not a multiple of 4 heads"),
        (GLA(), 18, "its width 18 is not a multiple of 4 heads"),
        (GLA(), 20, "the width of its keys 10 is not a multiple of 4 heads"),
        (GLA(heads=1, expand_keys=0.25), 6, "the width of its keys 1.5 is not a multiple of 1 heads"),
    ],
)
def test_a_width_that_heads_do_not_divide_is_named(block: Block, width: int, message: str) -> None:
    assert block.width_fault(width) == message


@pytest.mark.parametrize(("share", "count"), [(0.28, 50), (0.58, 100), (0.7, 180), (0.5, 64)])
def test_a_share_whose_product_is_not_exact_in_binary_is_whole(share: float, count: int) -> None:
    whole = Fraction(str(share)) * count
    assert Mamba3(rotated=share, state=count).pairs == whole / 2
    gla = GLA(heads=1, expand_keys=share)
    assert gla.width_fault(count) is None
    assert gla.key_width(count) == whole


def test_a_number_of_rotated_coordinates_must_be_even() -> None:
    with pytest.raises(ValueError, match=r"0\.5 of 6 coordinates are 3: not a number of pairs"):
        Mamba3(state=6)


# --- initial values ---------------------------------------------------------------------------------


def test_mamba2_starts_with_half_lives_from_a_token_to_a_hundred() -> None:
    torch.manual_seed(0)
    block = Mamba2(head_dim=1)
    module = block.build(Place(width=1000, heads=1, layers=1, blocks=1, index=0, backend="sequential"))
    parameters = {name: value.detach() for name, value in module.named_parameters()}
    rate, step = parameters["log_A"].exp(), softplus(parameters["step_bias"])
    assert 1 <= rate.min() < 1.1 < 15.9 < rate.max() <= 16
    assert 1e-3 <= step.min() * 1.001 < 1.1e-3 < 0.09 < step.max() <= 0.1001
    half_lives = math.log(2) / (rate * step)
    shares = torch.quantile(half_lives, torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(shares, torch.tensor([1.3, 9.7, 67.0]), rtol=0.1, atol=0.0)


def test_a_gla_with_logits_of_zero_keeps_half_of_its_state_after_16_tokens() -> None:
    module = built(GLA(heads=2, rank=3))
    seen: list[Tensor] = []

    def attend(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
        seen.append(log_decay)
        return v

    module.attend = attend  # type: ignore[assignment]
    with torch.no_grad():
        for name in ("decay.weight", "decay.bias"):
            module.get_parameter(name).zero_()
        module(torch.randn(1, 16, D, dtype=torch.float64))
    torch.testing.assert_close(seen[0].sum(1).exp(), torch.full((1, 2, 2), 0.5, dtype=torch.float64))


# --- what the equations imply -----------------------------------------------------------------------


def mamba3_inputs(length: int) -> tuple[Tensor, ...]:
    q, k = torch.randn(2, 2, length, 3, 6, dtype=torch.float64)
    x, (step, mix) = torch.randn(2, length, 3, 5).double(), torch.rand(2, 2, length, 3).double()
    return q, k, x, step, -torch.rand(2, length, 3).double() - 0.1, mix


def test_golden_value_of_mamba3s_recurrence() -> None:
    """The fourth output; inputs are sines and cosines of t, d and e, and one of two pairs is rotated."""
    t, d, e = (torch.arange(1.0, count + 1, dtype=torch.float64) for count in (4, 4, 3))
    column = t[:, None]
    q, k, x = (
        values[None, :, None]
        for values in (torch.sin(column + 2 * d), torch.cos(column * d), torch.sin(column / 2 + e))
    )
    step, rate, mix = (
        values[None, :, None]
        for values in (softplus(torch.sin(t)), -softplus(torch.cos(t)), torch.sigmoid(torch.sin(2 * t)))
    )
    angles = summed_angles(step, torch.cos(3 * column)[None])
    y = trapezoid(scalar_decay("reference"), rotated(q, angles), rotated(k, angles), x, step, rate, mix)
    expected = y.new_tensor((0.137440, -0.025993, -0.165528))
    torch.testing.assert_close(y[0, 3, 0], expected, rtol=0, atol=5e-7)


def test_with_all_weight_on_the_token_itself_mamba3_is_linear_attention_with_decay() -> None:
    torch.manual_seed(0)
    q, k, x, step, rate, _ = mamba3_inputs(50)
    decay = scalar_decay("sequential")
    y = trapezoid(decay, q, k, x, step, rate, torch.ones_like(step))
    torch.testing.assert_close(y, decay(q, k, step.unsqueeze(-1) * x, step * rate), **EXACT)


def test_angles_of_the_input_count_modulo_a_number_and_positions_do_not() -> None:
    """Each 1 turns the state by 2π/5. Without decay, q returns cos(2π · number of ones / 5) of token 1."""
    torch.manual_seed(0)
    length = 300
    ones = torch.randint(0, 2, (1, length, 1))
    ones[0, 0] = 0
    step = torch.full((1, length, 1), 0.5, dtype=torch.float64)
    theta = torch.atanh(torch.full((), 4 / 5, dtype=torch.float64)) * ones  # Δ π tanh θ = 2π/5
    angles = summed_angles(step, theta)
    unit = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, length, 1, 2)
    x = torch.zeros(1, length, 1, 1, dtype=torch.float64)
    x[0, 0] = 2.0
    q = rotated(unit, angles)
    y = trapezoid(scalar_decay("sequential"), q, q, x, step, torch.zeros_like(step), torch.ones_like(step))
    expected = torch.cos(2 * math.pi * ones.double().cumsum(1) / 5)
    torch.testing.assert_close(y[..., 0], expected, rtol=0, atol=1e-9)
    assert 0 <= angles.min() < angles.max() <= 2 * math.pi


def test_rates_are_bounded_continuous_and_have_derivatives_everywhere() -> None:
    a = torch.tensor([-1e6, -3.0, -1e-9, 0.0, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    y = rates(a)
    torch.testing.assert_close(y.tolist(), [-1e-4, -0.25, -1.0, -1.0, -2.0, -5.0], rtol=1e-8, atol=0.0)
    (gradient,) = torch.autograd.grad(y.sum(), a)
    torch.testing.assert_close(gradient.tolist(), [0.0, -1 / 16, -1.0, -1.0, -1.0, -1.0], rtol=1e-8, atol=0.0)


@pytest.mark.parametrize("name", BLOCKS)
def test_an_output_is_the_same_to_the_bit_whatever_tokens_follow(name: str) -> None:
    module = built(BLOCKS[name])
    h, other = torch.randn(2, 1, LENGTH, D, dtype=torch.float64)
    with torch.no_grad():
        y = module(h)
        for cut in range(1, LENGTH):
            changed = torch.cat((h[:, :cut], other[:, cut:]), dim=1)
            assert torch.equal(module(changed)[:, :cut], y[:, :cut]), cut


@pytest.mark.parametrize("name", BLOCKS)
def test_members_of_a_stack_are_each_module_alone(name: str) -> None:
    torch.manual_seed(0)
    alone = [built(BLOCKS[name]) for _ in range(2)]
    with torch.no_grad():
        for parameter in alone[1].parameters():
            parameter.mul_(1.1)
    stacked, _ = torch.func.stack_module_state(alone)
    h = torch.randn(2, LENGTH, D, dtype=torch.float64)

    def outputs(parameters: Parameters) -> Tensor:
        y: Tensor = torch.func.functional_call(alone[0], parameters, (h,))
        return y

    weights = torch.randn(2, 2, LENGTH, D, dtype=torch.float64)
    y = torch.func.vmap(outputs)(stacked)
    torch.testing.assert_close(y, torch.stack([module(h) for module in alone]), **EXACT)
    gradients = torch.autograd.grad((y * weights).sum(), list(stacked.values()))
    for k, module in enumerate(alone):
        own = torch.autograd.grad((module(h) * weights[k]).sum(), list(module.parameters()))
        torch.testing.assert_close([gradient[k] for gradient in gradients], list(own), **EXACT)


@pytest.mark.parametrize("name", ["mamba2", "gla", "mamba3", "mlstm"])
def test_a_longer_prompt_continues_a_shorter_one_beyond_the_trained_length(name: str) -> None:
    architecture = ARCHITECTURES[name]
    assert architecture.length_fault is None
    torch.manual_seed(0)
    size = Size(layers=1, width=32).of(architecture)
    model = Model(architecture, size, n_inputs=3, n_outputs=1, length=10)
    tokens = torch.randn(2, 150, 3)
    torch.testing.assert_close(model(tokens)[:, :10], model(tokens[:, :10]))
