"""Architectures: parameter counts of Table 6, causality, initialisation of every parameter, positions."""

from __future__ import annotations

import math

import pytest
import torch

from bench.models.architectures import ARCHITECTURES, Architecture
from bench.models.backbone import Model
from bench.models.blocks import MLP, Attention, Mamba
from bench.models.sizes import TABLE_6, Size

SIZES = [size for group in TABLE_6.values() for size in group]
NAMES = list(ARCHITECTURES)


def build(name: str, size: Size, length: int = 82, n_inputs: int = 20) -> Model:
    architecture = ARCHITECTURES[name]
    return Model(architecture, size.of(architecture), n_inputs=n_inputs, n_outputs=1, length=length)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.layers}x{size.width}")
@pytest.mark.parametrize("name", NAMES)
def test_built_models_have_the_closed_form_count_of_all_48_cells(name: str, size: Size) -> None:
    with torch.device("meta"):
        model = build(name, size)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == ARCHITECTURES[name].parameters(
        size.layers, size.width, length=82, n_inputs=20, n_outputs=1
    )


@pytest.mark.parametrize(
    ("name", "layers", "width", "count"),
    [
        # Blocks, final norm and positions, counted by hand from the block formulas at the widest sizes.
        ("transformer", 12, 768, 12 * (12 * 768**2 + 13 * 768) + 2 * 768 + 202 * 768),
        ("mamba", 12, 768, 24 * (6 * 768**2 + 4 * 768 * 48 + 112 * 768) + 2 * 768),
        ("s4", 2, 128, 4 * (2 * 224**2 + 38 * 224) + 2 * 224),
        ("s4_mamba", 4, 256, 8 * (6 * 256**2 + 80 * 256) + 2 * 256),
        (
            "standard_hybrid",
            2,
            128,
            2 * (4 * 128**2 + 6 * 128 + 6 * 128**2 + 4 * 128 * 8 + 112 * 128) + 2 * 128 + 256 * 128,
        ),
        (
            "mambaformer",
            8,
            512,
            8 * (4 * 512**2 + 6 * 512) + 9 * (6 * 512**2 + 4 * 512 * 32 + 112 * 512) + 2 * 512,
        ),
    ],
)
def test_table_6_convention_counts_blocks_final_norm_and_positions(
    name: str, layers: int, width: int, count: int
) -> None:
    assert ARCHITECTURES[name].parameters(layers, width) == count


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
    model(torch.randn(2, 24, 3)).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_transformer_is_initialised_like_gpt2() -> None:
    torch.manual_seed(0)
    model = build("transformer", Size(layers=8, width=256))
    attention, mlp = model.blocks[0], model.blocks[1]
    assert attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert mlp.up.weight.std().item() == pytest.approx(0.02, rel=0.02)
    for block_weight in (attention.out.weight, mlp.down.weight):
        assert block_weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.02)
    for bias in (attention.qkv.bias, attention.out.bias, mlp.up.bias, mlp.down.bias):
        assert bias.abs().max() == 0
    assert model.positions is not None
    assert model.positions.shape == (202, 256)
    assert model.positions.std().item() == pytest.approx(0.02, rel=0.02)
    # Read-in stays PyTorch's: uniform within 1/√20, bias too.
    assert model.read_in.weight.abs().max() <= 1 / math.sqrt(20)
    assert model.read_in.weight.std().item() == pytest.approx(1 / math.sqrt(60), rel=0.03)
    assert model.read_in.bias.std().item() > 0.05


def test_mamba_keeps_its_own_initialisation_inside_the_backbone() -> None:
    torch.manual_seed(0)
    model = build("mamba", Size(layers=4, width=256))
    block = model.blocks[3]
    steps = torch.nn.functional.softplus(block.step.bias)
    assert steps.min() >= 1e-3 * 0.999
    assert steps.max() <= 0.1 * 1.001
    assert steps.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.15)  # log-uniform
    expected_A = torch.arange(1, 17).float().expand(512, 16)
    torch.testing.assert_close(block.log_A.exp(), expected_A)
    assert (block.skip == 1).all()
    assert block.step.weight.abs().max() <= 16**-0.5
    assert block.step.weight.std().item() == pytest.approx(16**-0.5 / math.sqrt(3), rel=0.03)
    bound = 1 / math.sqrt(512) / math.sqrt(8)  # PyTorch's 1/√fan_in, divided by √(8 blocks)
    assert block.output.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert block.convolution.weight.abs().max() <= 0.5


def test_mambaformers_first_block_does_not_count_in_the_residual_scaling() -> None:
    torch.manual_seed(0)
    model = build("mambaformer", Size(layers=4, width=256))
    bound = 1 / math.sqrt(512) / math.sqrt(8)
    for index in (0, 2, 8):
        assert model.blocks[index].output.weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_hybrid_attention_is_pytorchs_uniform_with_zero_biases() -> None:
    torch.manual_seed(0)
    model = build("standard_hybrid", Size(layers=2, width=256))
    attention = model.blocks[0]
    for weight in (attention.qkv.weight, attention.out.weight):
        assert weight.abs().max().item() == pytest.approx(1 / 16, rel=0.01)
    assert attention.qkv.bias.abs().max() == 0
    assert attention.out.bias.abs().max() == 0
    assert model.positions is not None
    assert model.positions.std().item() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("name", ["s4", "s4_mamba"])
def test_s4d_starts_as_s4d_lin(name: str) -> None:
    torch.manual_seed(0)
    ssm = build(name, Size(layers=2, width=256)).blocks[0].ssm
    assert ssm.C.shape[-2:] == (8, 2)  # state 16 = 8 complex modes
    torch.testing.assert_close(-ssm.log_decay.exp(), torch.full_like(ssm.log_decay, -0.5))
    torch.testing.assert_close(ssm.frequency[5], math.pi * torch.arange(8))
    assert (ssm.C**2).sum(-1).mean().item() == pytest.approx(1.0, rel=0.05)  # complex, variance 1
    assert ssm.skip.std().item() == pytest.approx(1.0, rel=0.1)
    assert ssm.log_step.exp().min() >= 1e-3 * 0.999
    assert ssm.log_step.exp().max() <= 0.1 * 1.001


def test_s4_runs_at_one_and_three_quarters_of_the_width() -> None:
    assert [ARCHITECTURES["s4"].actual_width(w) for w in (768, 512, 256, 128, 64, 32)] == [
        1344, 896, 448, 224, 112, 56,
    ]  # fmt: skip


def test_dropout_is_of_whole_channels_and_off_in_evaluation() -> None:
    torch.manual_seed(0)
    dropout = build("s4_mamba", Size(layers=2, width=16)).blocks[0].dropout
    ones = torch.ones(200, 32, 10)
    dropped = dropout(ones)
    assert ((dropped == 0).all(-1) | (dropped == dropped[..., :1]).all(-1)).all()
    assert (dropped[..., 0] == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    torch.testing.assert_close(dropout.eval()(ones), ones)


def test_options_reach_the_blocks_that_have_them() -> None:
    architecture = ARCHITECTURES["s4_mamba"].with_options({"dropout": 0.0, "gate": "silu"})
    assert all(block.dropout == 0.0 and block.gate == "silu" for block in architecture.blocks(2))
    assert ARCHITECTURES["s4_mamba"].blocks(1)[0].dropout == 0.1


def test_a_hybrid_is_a_pattern() -> None:
    pattern = Architecture(name="mine", first=(Mamba(),), layer=(Attention(), MLP()))
    kinds = [block.name for block in pattern.blocks(2)]
    assert kinds == ["mamba", "attention", "mlp", "attention", "mlp"]
