"""Parameter counts: closed forms written out here, models that are built, and what the code states."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES, PAPER
from bench.models.backbone import Model
from bench.models.blocks import LSTM, MLP, S4, Attention, Block, Dropout, Mamba, Place, S4Mamba
from bench.models.mixers.block import count_parameters
from bench.models.sizes import Size
from bench.paper.sizes import SIZE_GROUPS

SIZES = sorted({size for group in SIZE_GROUPS.values() for size in group}, key=Size.model_dump_json)


# Weights and biases of each block with the LayerNorm (2D) before it, summed by hand; E = 2, N = 16, 4 taps.


def attention(D: int) -> int:
    return (3 * D * D + 3 * D) + (D * D + D) + 2 * D


def mlp(D: int) -> int:
    return (4 * D * D + 4 * D) + (4 * D * D + D) + 2 * D


def mamba(D: int) -> int:
    R = math.ceil(D / 16)
    convolution, project, step = 8 * D + 2 * D, 2 * D * (R + 32), 2 * D * R + 2 * D
    return 4 * D * D + convolution + project + step + 32 * D + 2 * D + 2 * D * D + 2 * D


def s4_mamba(D: int) -> int:
    ssm = 32 * D + 2 * D + 16 * D + 16 * D + 2 * D  # C (complex), Δ, Re A, Im A, skip
    return 4 * D * D + 10 * D + ssm + 2 * D * D + 2 * D


def s4(W: int) -> int:
    return (16 * W + W + 8 * W + 8 * W + W) + (2 * W * W + 2 * W) + 2 * W


def lstm(D: int) -> int:
    return 4 * D * (2 * D + 2)  # no LayerNorm


CLOSED: dict[str, Callable[[int, int, int], int]] = {
    "transformer": lambda n, D, L: n * (attention(D) + mlp(D)) + 2 * D + max(202, L) * D,
    "transformer_no_positions": lambda n, D, L: n * (attention(D) + mlp(D)) + 2 * D,
    "transformer_first_mamba": lambda n, D, L: mamba(D) + n * (attention(D) + mlp(D)) + 2 * D,
    "mamba": lambda n, D, L: 2 * n * mamba(D) + 2 * D,
    "mamba_one_hybrid": lambda n, D, L: (2 * n - 1) * mamba(D) + attention(D) + 2 * D,
    "s4": lambda n, D, L: 2 * n * s4(int(1.75 * D)) + 2 * int(1.75 * D),
    "s4_mamba": lambda n, D, L: 2 * n * s4_mamba(D) + 2 * D,
    "standard_hybrid": lambda n, D, L: n * (attention(D) + mamba(D)) + 2 * D + max(256, L) * D,
    "mambaformer": lambda n, D, L: mamba(D) + n * (attention(D) + mamba(D)) + 2 * D,
    "lstm": lambda n, D, L: n * lstm(D),
}


def test_every_architecture_of_the_paper_has_a_closed_form_here() -> None:
    assert CLOSED.keys() == {architecture.name for architecture in PAPER}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSED)
def test_stated_and_built_counts_are_the_closed_form_at_every_size_of_the_paper(name: str) -> None:
    architecture = ARCHITECTURES[name]
    for size in SIZES:
        for length in (0, 82, 1024):  # shorter than every positional table, and longer than all of them
            blocks = CLOSED[name](size.layers, size.width, length)
            assert architecture.parameters(size.layers, size.width, length=length) == blocks
        if size.layers > 16 and size.width > 32:
            continue  # building many blocks takes long, and they are count_parameters alike
        with torch.device("meta"):
            model = Model(architecture, size.of(architecture), n_inputs=20, n_outputs=1, length=1024)
        D = int(1.75 * size.width) if name == "s4" else size.width
        ends = (20 * D + D) + (D + 1)
        assert sum(parameter.numel() for parameter in model.parameters()) == blocks + ends, size


@pytest.mark.parametrize(
    ("D", "expected"),
    [
        (768, (2_363_904, 4_723_968, 3_772_416, 3_600_384, 3_663_744)),
        (512, (1_051_648, 2_100_736, 1_695_744, 1_613_824, 1_639_680)),
        (256, (263_680, 526_080, 438_272, 413_696, 418_432)),
        (128, (66_304, 131_968, 116_736, 108_544, 108_864)),
        (64, (16_768, 33_216, 32_768, 29_696, 29_344)),
        (32, (4_288, 8_416, 9_984, 8_704, 8_400)),
    ],
)
def test_blocks_have_the_counts_of_the_released_code(D: int, expected: tuple[int, ...]) -> None:
    """Attention, MLP, Mamba, S4-Mamba, and S4 at 1.75 times the width, each with its LayerNorm."""
    W = int(1.75 * D)
    blocks = [(Attention(), D), (MLP(), D), (Mamba(), D), (S4Mamba(), D), (S4(), W)]
    assert tuple(block.parameters(width) + 2 * width for block, width in blocks) == expected


def test_the_lstm_of_table_4_has_29_million_with_its_embeddings() -> None:
    vocabulary = 101
    embeddings = vocabulary * 768 + (768 * vocabulary + vocabulary)
    assert ARCHITECTURES["lstm"].parameters(6, 768) + embeddings == 28_503_653


@given(
    block=st.sampled_from([Attention(), MLP(), Mamba(), S4(), S4Mamba(), LSTM(), Dropout()]),
    width=st.integers(1, 40),
)
def test_a_closed_form_is_what_counting_the_module_gives(block: Block, width: int) -> None:
    assert block.parameters(width) == count_parameters(block, width)


@pytest.mark.parametrize(
    ("n_inputs", "n_outputs", "discrete"),
    [(3, 2, False), ((3, 5, 1), 4, False), (7, 7, True)],
    ids=["vectors", "kinds of tokens", "symbols"],
)
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("transformer", {}),
        ("mamba", {"tied": False}),
        ("lstm", {}),
        ("lstm", {"tied": True}),
        ("s4", {"block_input": "embedding"}),
        ("transformer", {"block_input": "embedding"}),
        ("mamba", {"norm": "rms"}),
    ],
    ids=str,
)
def test_a_model_has_the_parameters_of_its_blocks_and_of_both_its_ends(
    name: str, fields: dict[str, Any], n_inputs: int | tuple[int, ...], n_outputs: int, discrete: bool
) -> None:
    architecture = ARCHITECTURES[name].model_copy(update=fields)
    size = Size(layers=2, width=16, heads=4).of(architecture)
    with torch.device("meta"):
        model = Model(
            architecture, size, n_inputs=n_inputs, n_outputs=n_outputs, length=10, discrete=discrete
        )
    count = sum(parameter.numel() for parameter in model.parameters())
    stated = architecture.parameters(
        2, 16, length=10, n_inputs=n_inputs, n_outputs=n_outputs, discrete=discrete
    )
    assert stated == count
    D = 28 if name == "s4" else 16
    kinds = (n_inputs,) if isinstance(n_inputs, int) else n_inputs
    ends = sum((kind + 1) * D for kind in kinds) + (D + 1) * n_outputs
    if discrete:
        ends = n_outputs * D + (0 if architecture.tied else (D + 1) * n_outputs)
    assert stated - architecture.parameters(2, 16, length=10) == ends


def test_counting_leaves_the_generator_as_it_was() -> None:
    state = torch.get_rng_state()
    count_parameters(Mamba(state=3), 24)
    assert torch.equal(torch.get_rng_state(), state)


def test_frozen_parameters_are_not_counted() -> None:
    class Frozen(Block):
        name: str = "frozen"

        def multiplications(self, L: int, D: int) -> int:
            return 0

        def build(self, place: Place) -> torch.nn.Module:
            module = torch.nn.Linear(place.width, place.width)
            module.bias.requires_grad_(False)
            return module

    assert Frozen().parameters(5) == 25


def test_s4_runs_at_one_and_three_quarters_of_the_width_rounded_down() -> None:
    widths = [ARCHITECTURES["s4"].actual_width(w) for w in (768, 512, 256, 128, 64, 32, 33)]
    assert widths == [1344, 896, 448, 224, 112, 56, 57]


# --- sizes --------------------------------------------------------------------------------------


def shapes(group: str) -> list[tuple[int, int]]:
    return [(size.layers, size.width) for size in SIZE_GROUPS[group]]


def heads(group: str) -> list[int | None]:
    return [size.heads for size in SIZE_GROUPS[group]]


def test_groups_hold_what_the_tables_print() -> None:
    assert shapes("table6") == [
        (12, 768), (8, 512), (32, 256), (4, 256), (16, 128), (2, 128), (8, 64), (32, 32),
    ]  # fmt: skip
    assert set(heads("table6")) == {8}
    assert (shapes("table7"), heads("table7")) == ([(12, 256), (6, 128), (3, 64)], [8, 4, 2])
    assert (shapes("table8"), heads("table8")) == ([(6, 512), (4, 256)], [8, 8])
    assert (shapes("table3"), heads("table3")) == ([(4, 64), (4, 128)], [8, 8])
    assert shapes("parity") + shapes("parity-large") == [(12, 256), (24, 768)]
    assert shapes("ginc") + shapes("ginc-lstm") == [(12, 768), (6, 768)]


def test_appendix_c_keeps_heads_of_16_dimensions_and_transformers_of_one_size_a_group() -> None:
    assert [size.width // (size.heads or 0) for size in SIZE_GROUPS["appendix-c"]] == [16] * 16
    for group in ("depth-0.4M", "depth-1.6M", "depth-6.3M", "depth-25M"):
        assert [layers for layers, _ in shapes(group)] == [2, 8, 32, 128]
        assert len({12 * layers * width**2 for layers, width in shapes(group)}) == 1
        (count,) = {12 * layers * width**2 for layers, width in shapes(group)}
        assert count == pytest.approx(float(group[6:-1]) * 1e6, rel=0.02)


@pytest.mark.parametrize("name", CLOSED)
def test_heads_divide_every_width_of_the_paper_and_models_without_attention_have_none(name: str) -> None:
    for size in SIZES:
        mine = size.of(ARCHITECTURES[name])
        if name in ("mamba", "s4", "s4_mamba", "lstm"):
            assert mine == Size(layers=size.layers, width=size.width, heads=None)
        else:
            assert mine.heads is not None
            assert size.width % mine.heads == 0


# --- states -------------------------------------------------------------------------------------


def test_states_are_keys_and_values_or_the_numbers_of_a_recurrence() -> None:
    """Of 2 layers at width 16 after 10 tokens; S4 is 28 wide."""
    expected = {
        "transformer": 2 * (2 * 10 * 16),
        "mamba": 4 * (32 * 16),
        "s4": 4 * (28 * 16),
        "s4_mamba": 4 * (32 * 16),
        "mambaformer": 3 * (32 * 16) + 2 * (2 * 10 * 16),
        "lstm": 2 * (2 * 16),
    }
    assert {name: ARCHITECTURES[name].state_numbers(2, 16, 10) for name in expected} == expected


def test_a_state_is_unknown_if_a_block_does_not_state_its_own() -> None:
    class Unstated(MLP):
        def state_numbers(self, L: int, D: int) -> None:  # type: ignore[override]
            return None

    assert Architecture(name="mine", layer=(Unstated(), Mamba())).state_numbers(1, 16, 10) is None
