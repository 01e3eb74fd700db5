"""Architectures since the paper: what bench asks of a plugin's, and that a stack is each model alone."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, vmap

from bench import flops
from bench.models.architectures import ARCHITECTURES, LATER
from bench.models.backbone import Model
from bench.models.blocks import Attention, GatedDeltaNet, SwiGLU
from bench.models.sizes import Size
from bench.models.verification import fault

names = pytest.mark.parametrize("name", [architecture.name for architecture in LATER])
SIZE = Size(layers=1, width=16, heads=4)


@names
def test_an_architecture_is_causal_and_has_the_parameters_that_it_states(name: str) -> None:
    """At a length of two chunks."""
    architecture = ARCHITECTURES[name]
    assert fault(architecture, SIZE.of(architecture), 70, torch.device("cpu"), "sequential") is None


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@names
def test_a_stack_is_each_model_alone_in_outputs_and_gradients(name: str) -> None:
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    models = [
        Model(architecture, SIZE.of(architecture), n_inputs=3, n_outputs=2, length=70).double()
        for _ in range(2)
    ]
    tokens = torch.randn(2, 70, 3, dtype=torch.float64)
    stack = {
        key: torch.stack([dict(model.named_parameters())[key].detach() for model in models]).requires_grad_()
        for key, _ in models[0].named_parameters()
    }
    outputs = vmap(lambda own: functional_call(models[0], own, (tokens,)))(stack)
    alone = torch.stack([model(tokens) for model in models])
    torch.testing.assert_close(outputs, alone, rtol=1e-9, atol=1e-11)
    weights = torch.randn_like(alone)
    gradients = torch.autograd.grad((outputs * weights).sum(), list(stack.values()))
    (alone * weights).sum().backward()
    for key, gradient in zip(stack, gradients, strict=True):
        expected = torch.stack([dict(model.named_parameters())[key].grad for model in models])
        torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-9)


def test_hybrids_have_one_attention_in_every_fourth_or_second_place_without_positions() -> None:
    mixers = {
        name: [block.name for block in ARCHITECTURES[name].blocks(2) if block.name != "swiglu"]
        for name in ("gdn_hybrid_3_1", "gdn_hybrid_1_1")
    }
    assert mixers["gdn_hybrid_3_1"] == [*["gated_deltanet"] * 3, "attention"] * 2
    assert mixers["gdn_hybrid_1_1"] == ["gated_deltanet", "attention"] * 2
    assert not any(getattr(block, "rotary", False) for block in ARCHITECTURES["gdn_hybrid_3_1"].pattern)
    assert ARCHITECTURES["gdn_hybrid_3_1"].length_fault is None


def test_a_hybrid_costs_and_keeps_what_its_blocks_do() -> None:
    L, D = 50, 64
    attention, gdn, mlp = Attention(bias=False), GatedDeltaNet(), SwiGLU()
    hybrid = ARCHITECTURES["gdn_hybrid_3_1"]
    expected = 3 * gdn.multiplications(L, D) + attention.multiplications(L, D) + 4 * 3 * L * D * 192
    assert flops.multiplications(hybrid, 2, D, L) == 2 * expected
    assert hybrid.state_numbers(2, D, L) == 2 * (3 * (3 * 16 * 32) + 2 * L * D)
    parameters = 3 * gdn.parameters(D) + 4 * D * D + 4 * mlp.parameters(D)
    assert hybrid.parameters(2, D) == 2 * (parameters + 8 * D) + D
