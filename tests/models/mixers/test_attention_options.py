"""What attention has beyond GPT-2's, each against its formula, and the Transformer that is made of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.frozen import identity
from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.blocks import Attention, Place, SwiGLU
from bench.models.mixers.attention.module import rotated
from bench.models.mixers.block import count_parameters
from bench.models.rotary import ROTARY_BASE
from bench.models.sizes import Size

HEADS = 2
PLACE = Place(width=12, heads=HEADS, layers=1, blocks=2, index=0, backend="sequential")


def built(block: Attention) -> torch.nn.Module:
    torch.manual_seed(0)
    module = block.build(PLACE).double()
    with torch.no_grad():
        for parameter in module.parameters():  # norms and biases start at 1 and 0, which hides them
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def by_formula(block: Attention, module: torch.nn.Module, h: Tensor) -> Tensor:
    """Token by token and head by head, with rotations as complex products."""
    D, head_dim = PLACE.width, PLACE.width // HEADS
    parameters = dict(module.named_parameters())

    def linear(name: str, x: Tensor) -> Tensor:
        y = x @ parameters[f"{name}.weight"].T
        return y + parameters[f"{name}.bias"] if block.bias else y

    def vectors(x: Tensor, kind: int, head: int, t: int) -> Tensor:
        x = x[t, kind * D + head * head_dim :][:head_dim]
        if kind < 2 and block.qk_norm:
            x = parameters["qk_norm.weight"][kind] * x / torch.sqrt(x.square().mean() + 1e-6)
        if kind < 2 and block.rotary:
            half = head_dim // 2
            angles = t * ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64) / half)
            turned = torch.complex(x[:half], x[half:]) * torch.exp(1j * angles)
            x = torch.cat((turned.real, turned.imag))
        return x

    outputs = []
    for prompt in h:
        qkv, rows = linear("qkv", prompt), []
        for t in range(len(prompt)):
            first = 0 if block.window is None else max(0, t - block.window + 1)
            heads = []
            for head in range(HEADS):
                q = vectors(qkv, 0, head, t)
                keys = torch.stack([vectors(qkv, 1, head, s) for s in range(first, t + 1)])
                values = torch.stack([vectors(qkv, 2, head, s) for s in range(first, t + 1)])
                heads.append((keys @ q / math.sqrt(head_dim)).softmax(0) @ values)
            row = torch.cat(heads)
            rows.append(row * torch.sigmoid(linear("gate", prompt[t])) if block.output_gate else row)
        outputs.append(linear("out", torch.stack(rows)))
    return torch.stack(outputs)


OPTIONS = {
    "gpt2": Attention(),
    "rotary": Attention(bias=False, rotary=True),
    "norm": Attention(qk_norm=True, attention_heads=HEADS),
    "gate": Attention(bias=False, output_gate=True),
    "window": Attention(window=3),
    "all": Attention(rotary=True, qk_norm=True, output_gate=True, window=2, attention_heads=HEADS),
}


@pytest.mark.parametrize("block", OPTIONS.values(), ids=OPTIONS)
def test_attention_is_its_formula_in_outputs_and_gradients(block: Attention) -> None:
    module = built(block)
    h = torch.randn(2, 7, PLACE.width, dtype=torch.float64)
    outputs, expected = module(h), by_formula(block, module, h)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-12)
    weights, parameters = torch.randn_like(outputs), list(module.parameters())
    gradients, exact = (torch.autograd.grad((y * weights).sum(), parameters) for y in (outputs, expected))
    torch.testing.assert_close(gradients, exact, rtol=1e-9, atol=1e-11)


@settings(max_examples=20)
@given(t=st.integers(0, 40), s=st.integers(0, 40), shift=st.integers(0, 40), head_dim=st.integers(1, 9))
def test_rotated_vectors_meet_by_their_distance_and_keep_their_lengths(
    t: int, s: int, shift: int, head_dim: int
) -> None:
    torch.manual_seed(head_dim)
    q, k = torch.randn(2, head_dim, dtype=torch.float64)
    queries, keys = (rotated(x.expand(1, 81, 1, head_dim))[0, :, 0] for x in (q, k))
    torch.testing.assert_close(queries[t] @ keys[s], queries[t + shift] @ keys[s + shift])
    torch.testing.assert_close(queries.norm(dim=-1), q.norm().expand(81))
    assert torch.equal(queries[0], q)


def test_a_window_as_long_as_the_prompt_is_none() -> None:
    plain, wide = built(Attention()), built(Attention(window=9))
    h = torch.randn(2, 9, PLACE.width, dtype=torch.float64)
    torch.testing.assert_close(wide(h), plain(h), rtol=1e-10, atol=1e-12)


@given(block=st.sampled_from(list(OPTIONS.values())), width=st.integers(1, 40), length=st.integers(1, 40))
def test_attention_states_its_parameters_and_what_a_window_saves(
    block: Attention, width: int, length: int
) -> None:
    if block.width_fault(width) is None:
        assert block.parameters(width) == count_parameters(block, width)
    seen = min(length, block.window or length)
    projections = 5 if block.output_gate else 4
    cost = projections * length * width**2 + 2 * length * seen * width + block.output_gate * length * width
    assert block.multiplications(length, width) == cost
    assert block.state_numbers(length, width) == 2 * seen * width


def test_norms_have_the_weights_of_one_head_as_published_models_do() -> None:
    """Of Transformer++: 4D² + 2 Dh, and 5D² + 2 Dh with a gate."""
    plain = Attention(bias=False, rotary=True, qk_norm=True, attention_heads=8)
    gated = Attention(bias=False, qk_norm=True, output_gate=True, attention_heads=4)
    assert plain.parameters(128) == count_parameters(plain, 128) == 4 * 128**2 + 2 * 16
    assert gated.parameters(256) == count_parameters(gated, 256) == 5 * 256**2 + 2 * 64
    assert plain.width_fault(20) == "its width 20 is not a multiple of 8 attention_heads"
    with pytest.raises(ValueError, match="it needs attention_heads"):
        Attention(qk_norm=True)


def test_heads_of_the_block_stand_before_those_of_the_size() -> None:
    own, sized = built(Attention(attention_heads=HEADS)), built(Attention())
    other = Attention(attention_heads=1).build(PLACE).double()
    other.load_state_dict(own.state_dict())
    h = torch.randn(2, 9, PLACE.width, dtype=torch.float64)
    assert torch.equal(own(h), sized(h))
    assert not torch.allclose(other(h), own(h))


def test_a_window_without_the_causal_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="it needs causal: true"):
        Attention(window=3, causal=False)


def test_later_options_do_not_change_the_identity_of_earlier_runs() -> None:
    earlier = {"name": "attention", "init": "gpt2"}
    assert identity(Attention()) == earlier
    assert identity(Attention(rotary=True)) == {**earlier, "rotary": True}
    assert "norm" not in identity(ARCHITECTURES["transformer"])
    assert identity(ARCHITECTURES["transformer_plus_plus"])["norm"] == "rms"


@pytest.mark.parametrize(("D", "inner", "parameters"), [(128, 352, 135_168), (256, 704, 540_672)])
def test_swiglu_has_as_many_parameters_as_stated(D: int, inner: int, parameters: int) -> None:
    assert (SwiGLU().inner(D), SwiGLU().parameters(D), count_parameters(SwiGLU(), D)) == (
        inner,
        parameters,
        parameters,
    )
    assert SwiGLU().multiplications(10, D) == 10 * parameters
    assert [SwiGLU(multiple=256).inner(width) for width in (128, 256)] == [512, 768]


def test_swiglu_is_its_formula() -> None:
    torch.manual_seed(0)
    module = SwiGLU().build(PLACE).double()
    h = torch.randn(2, 5, PLACE.width, dtype=torch.float64)
    gate, up = h @ module.gate.weight.T, h @ module.up.weight.T
    torch.testing.assert_close(module(h), (gate * torch.sigmoid(gate) * up) @ module.down.weight.T)


def test_transformer_plus_plus_counts_its_blocks_and_one_weight_per_channel_of_a_norm() -> None:
    n, D = 3, 32
    architecture, size = ARCHITECTURES["transformer_plus_plus"], Size(layers=n, width=D, heads=4)
    expected = n * (4 * D**2 + 3 * D * 96 + 2 * D) + D
    assert architecture.parameters(n, D) == expected
    model = Model(architecture, size, n_inputs=5, n_outputs=1, length=9)
    ends = 6 * D + D + 1
    assert sum(parameter.numel() for parameter in model.parameters()) == expected + ends
