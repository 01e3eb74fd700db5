"""Architectures: causality, gradients, patterns and their options, the LSTM against its naive twin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.errors import UserError
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.blocks import MLP, Attention, Dropout, Mamba
from bench.models.sizes import Size

NAMES = list(ARCHITECTURES)


def build(name: str, size: Size, length: int = 82, n_inputs: int = 20) -> Model:
    architecture = ARCHITECTURES[name]
    return Model(architecture, size.of(architecture), n_inputs=n_inputs, n_outputs=1, length=length)


@pytest.mark.parametrize("name", NAMES)
def test_changing_a_token_changes_nothing_before_it(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, Size(layers=2, width=16, heads=4), length=24, n_inputs=3).double().eval()
    tokens = torch.randn(2, 24, 3, dtype=torch.float64)
    before = model(tokens)
    for changed in (0, 7, 23):
        other = tokens.clone()
        other[:, changed] += 1.0
        after = model(other)
        # The Fourier transform mixes all positions in rounding, so "nothing" is 1e-12 of the change.
        assert (after - before)[:, :changed].abs().sum() < 1e-10
        assert (after - before)[:, changed].abs().min() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_but_spare_positions_receives_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, Size(layers=2, width=16, heads=4), length=24, n_inputs=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2 and not parameter.any():  # at first, nothing flows through a map of zeros
                parameter.normal_(std=0.02)
    model(torch.randn(2, 24, 3)).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_dropout_is_of_whole_channels_and_off_in_evaluation() -> None:
    torch.manual_seed(0)
    dropout = build("s4_mamba", Size(layers=2, width=16)).blocks[0].dropout
    ones = torch.ones(200, 32, 10)
    dropped = dropout(ones)
    assert ((dropped == 0).all(-1) | (dropped == dropped[..., :1]).all(-1)).all()
    assert (dropped[..., 0] == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    torch.testing.assert_close(dropout.eval()(ones), ones)


def kinds(name: str, layers: int) -> list[str]:
    return [block.name for block in ARCHITECTURES[name].blocks(layers)]


def test_ablations_are_patterns() -> None:
    assert kinds("transformer_no_positions", 2) == kinds("transformer", 2) == ["attention", "mlp"] * 2
    assert kinds("transformer_first_mamba", 2) == ["mamba", *["attention", "mlp"] * 2]
    assert kinds("mambaformer", 2) == ["mamba", *["attention", "mamba"] * 2]
    assert kinds("mamba_one_hybrid", 4) == [*["mamba"] * 3, "attention", "mamba", *["mamba"] * 3]
    assert kinds("lstm", 2) == ["dropout", *["lstm", "dropout"] * 2]
    learned = {name for name, architecture in ARCHITECTURES.items() if architecture.positions}
    assert learned == {"transformer", "standard_hybrid"}


@given(layers=st.integers(1, 40))
def test_one_hybrid_replaces_the_middle_two_of_mambas_blocks(layers: int) -> None:
    blocks = kinds("mamba_one_hybrid", layers)
    assert len(blocks) == len(kinds("mamba", layers))
    assert [index for index, kind in enumerate(blocks) if kind != "mamba"] == [layers - 1]
    assert blocks[layers - 1] == "attention"


def test_a_middle_longer_than_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="middle of 2 blocks is longer than a layer"):
        Architecture(name="mine", layer=(Mamba(),), middle=(Attention(), Mamba()))


@pytest.mark.parametrize(("name", "changes"), [("transformer", True), ("transformer_no_positions", False)])
def test_one_layer_sees_the_order_of_examples_by_its_positions_alone(name: str, changes: bool) -> None:
    torch.manual_seed(0)
    model = build(name, Size(layers=1, width=16, heads=4), length=9, n_inputs=3).double().eval()
    tokens = torch.randn(2, 9, 3, dtype=torch.float64)
    order = torch.tensor([5, 2, 7, 0, 3, 1, 6, 4, 8])
    last, other = model(tokens)[:, -1], model(tokens[:, order])[:, -1]
    assert torch.allclose(last, other, atol=1e-12) != changes


def test_the_lstm_is_a_plain_stack_of_the_textbooks_recurrence() -> None:
    """Outputs and gradients, against one step after another written out."""
    torch.manual_seed(0)
    model = build("lstm", Size(layers=2, width=5), length=7, n_inputs=3).double().eval()
    tokens = torch.randn(2, 7, 3, dtype=torch.float64)

    def layer(x: Tensor, lstm: nn.LSTM) -> Tensor:
        hidden = cell = torch.zeros(2, 5, dtype=torch.float64)
        outputs = []
        for token in x.unbind(1):
            gates = token @ lstm.weight_ih_l0.T + lstm.bias_ih_l0
            gates = gates + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
            i, f, g, o = gates.chunk(4, dim=-1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1)

    def twin(x: Tensor) -> Tensor:
        h = model.read_in(x)
        for index in (1, 3):  # between the dropouts
            h = layer(h, model.blocks[index].lstm)
        return model.read_out(h)

    outputs, expected = model(tokens), twin(tokens)
    torch.testing.assert_close(outputs, expected)
    parameters = list(model.parameters())
    mine = torch.autograd.grad(outputs.square().sum(), parameters)
    theirs = torch.autograd.grad(expected.square().sum(), parameters)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_the_lstm_drops_values_before_between_and_after_its_layers() -> None:
    torch.manual_seed(0)
    model = build("lstm", Size(layers=2, width=50), length=20, n_inputs=3)
    seen: list[float] = []
    for block in model.blocks:
        if isinstance(block, nn.Dropout):
            block.register_forward_hook(lambda _, __, out: seen.append((out == 0).float().mean().item()))
    model(torch.randn(64, 20, 3))
    assert seen == [pytest.approx(0.2, abs=0.01)] * 3
    without = ARCHITECTURES["lstm"].with_options({"dropout": 0.0})
    assert {block.dropout for block in without.pattern if isinstance(block, Dropout)} == {0.0}


def test_options_reach_the_blocks_that_have_them() -> None:
    architecture = ARCHITECTURES["s4_mamba"].with_options({"dropout": 0.0, "gate": "silu"})
    assert all(block.dropout == 0.0 and block.gate == "silu" for block in architecture.blocks(2))
    assert ARCHITECTURES["s4_mamba"].blocks(1)[0].dropout == 0.1
    one = ARCHITECTURES["mamba_one_hybrid"].with_options({"state": 8, "init": "gpt2"})
    assert [getattr(block, "state", None) for block in one.blocks(1)] == [None, 8]
    assert [getattr(block, "init", None) for block in one.blocks(1)] == ["gpt2", None]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "s4_mamba"),
        ({"dropout": 0.1, "gate": "identity"}, "s4_mamba"),
        ({"dropout": 0}, "s4_mamba+dropout=0.0"),
        ({"dropout": 0.0, "gate": "identity"}, "s4_mamba+dropout=0.0"),
        ({"gate": "silu", "dropout": 0.0}, "s4_mamba+dropout=0.0+gate=silu"),
        ({"gate": "silu", "dropout": 0.0, "skip": "ones"}, "s4_mamba+dropout=0.0+gate=silu+skip=ones"),
    ],
)
def test_a_variant_is_named_by_what_differs_however_it_is_asked_for(
    options: dict[str, Any], name: str
) -> None:
    assert ARCHITECTURES["s4_mamba"].with_options(options).name == name


def test_with_its_three_options_s4_mamba_is_mamba_but_for_the_ssm() -> None:
    """Selection taken out of both: a kernel of zero leaves the same function of the same weights."""
    plain = ARCHITECTURES["s4_mamba"].with_options({"dropout": 0.0, "gate": "silu", "skip": "ones"})
    size = Size(layers=1, width=8, heads=None)
    one = Model(plain, size, n_inputs=3, n_outputs=1, length=6)
    other = Model(ARCHITECTURES["mamba"], size, n_inputs=3, n_outputs=1, length=6)
    shared = {key: value for key, value in one.state_dict().items() if "ssm" not in key}
    other.load_state_dict(shared, strict=False)
    with torch.no_grad():
        for mine, theirs in zip(one.blocks, other.blocks, strict=True):
            mine.ssm.C.zero_()
            theirs.project.weight.zero_()  # B = C = 0
    assert one.training
    tokens = torch.randn(2, 6, 3)
    torch.testing.assert_close(one(tokens), other(tokens))


def test_a_hybrid_is_a_pattern() -> None:
    pattern = Architecture(name="mine", first=(Mamba(),), layer=(Attention(), MLP()))
    found = [block.name for block in pattern.blocks(2)]
    assert found == ["mamba", "attention", "mlp", "attention", "mlp"]


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_other_later_tokens_change_no_logit_of_a_causal_model_and_all_of_the_control(name: str) -> None:
    """A model that sees the next token of a text reads the answer."""
    torch.manual_seed(0)
    text = torch.randint(0, 20, (2, 12))
    for options in ({}, {"causal": False}):
        try:
            architecture = ARCHITECTURES[name].with_options(options)
        except UserError:  # no attention
            continue
        size = Size(layers=2, width=16, heads=2).of(architecture)
        model = Model(architecture, size, n_inputs=20, n_outputs=20, length=12, discrete=True).double().eval()
        assert model.causal == (not options)
        before = model(text)
        for position in range(11):
            other = text.clone()
            other[:, position + 1 :] = (other[:, position + 1 :] + 5) % 20
            changed = not torch.allclose(
                model(other)[:, : position + 1], before[:, : position + 1], atol=1e-9
            )
            assert changed == bool(options), position


@pytest.mark.parametrize("name", ["lstm", "mamba", "mambaformer", "transformer"])
def test_if_every_block_reads_the_embedding_a_model_is_its_last_mixer(name: str) -> None:
    architecture = ARCHITECTURES[name].with_options({"block_input": "embedding", "embedding_dropout": 0.5})
    size = Size(layers=3, width=16, heads=2).of(architecture)
    torch.manual_seed(0)
    model = Model(architecture, size, n_inputs=20, n_outputs=20, length=12, discrete=True)
    (mixer,) = model.blocks
    tokens = torch.randint(20, (2, 12))
    embedded = model.read_in(tokens)
    # The released loop, `for mixer in mixers: output = mixer(embedded)`: whatever came before is lost.
    for _ in range(size.layers):
        output = mixer(embedded)
    logits = model(tokens)
    expected = output @ model.read_in.weight.T if model.tied else model.read_out(output)
    torch.testing.assert_close(logits, expected)
    counted = architecture.parameters(3, 16, length=12, n_inputs=20, n_outputs=20, discrete=True)
    assert counted == sum(parameter.numel() for parameter in model.parameters())
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
