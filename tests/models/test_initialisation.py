"""How every parameter starts, in every architecture, after the whole model is built.

Each is held against its law by a Kolmogorov-Smirnov test at a fixed seed, or by its value: no pass over
all modules may touch what a block has set.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import softplus

from bench.models.architectures import ARCHITECTURES, LATER, PAPER
from bench.models.backbone import Model
from bench.models.blocks import (
    GLA,
    KDA,
    LSTM,
    MLP,
    MLSTM,
    RWKV7,
    S4,
    Attention,
    Block,
    Dropout,
    GatedDeltaNet,
    Mamba,
    Mamba2,
    Mamba3,
    RWKV7ChannelMix,
    S4Mamba,
    SwiGLU,
)
from bench.models.sizes import Size

LAYERS, WIDTH, N_INPUTS = 6, 128, 20
LEAST_LIKELY = 1e-5
"""p-value below which a law is refused: of about a thousand tests none falls there by chance."""

Law = Callable[[Tensor], None]


def follows(values: Tensor, law: object) -> None:
    outcome = stats.kstest(values.detach().double().flatten().numpy(), law.cdf)  # type: ignore[attr-defined]
    assert outcome.pvalue > LEAST_LIKELY, outcome


def uniform(bound: float) -> Law:
    def check(values: Tensor) -> None:
        assert values.abs().max() <= bound * (1 + 1e-6)
        follows(values, stats.uniform(-bound, 2 * bound))

    return check


def normal(std: float) -> Law:
    def check(values: Tensor) -> None:
        follows(values, stats.norm(0, std))
        assert values.std().item() == pytest.approx(std, rel=6 / math.sqrt(2 * values.numel()))

    return check


def between(low: float, high: float) -> Law:
    return lambda values: follows(values, stats.uniform(low, high - low))


def equal_to(expected: Tensor | float) -> Law:
    return lambda values: torch.testing.assert_close(values, torch.as_tensor(expected).expand_as(values))


def log_uniform_steps(bias: Tensor) -> None:
    """Δ = softplus(bias) is log-uniform on [0.001, 0.1]."""
    follows(softplus(bias.double()).log(), stats.uniform(math.log(1e-3), math.log(100)))


RWKV7_GAINS = {"r": 1.0, "k": 0.1, "v": 1.0}


def orthogonal(gain: float) -> Law:
    """Orthogonal columns of this length, or rows where a map has fewer of them."""

    def check(values: Tensor) -> None:
        smaller = values if values.shape[0] <= values.shape[1] else values.T
        torch.testing.assert_close(smaller @ smaller.T, gain**2 * torch.eye(len(smaller)), rtol=0, atol=1e-5)

    return check


def laws_of(block: Block, D: int, blocks: int) -> dict[str, Law]:
    """The law of each parameter of a block's module; `blocks` of the layers, MambaFormer's first left out."""
    inner, rank = 2 * D, math.ceil(D / 16)
    convolution = {"convolution.weight": uniform(0.5), "convolution.bias": uniform(0.5)}  # 1/√4 taps
    output = {"output.weight": uniform(1 / math.sqrt(inner) / math.sqrt(blocks))}
    modes = {
        "ssm.log_step": between(math.log(1e-3), math.log(0.1)),
        "ssm.log_decay": equal_to(math.log(0.5)),
        "ssm.frequency": equal_to(math.pi * torch.arange(8).float()),
        "ssm.C": normal(math.sqrt(0.5)),  # real and imaginary part: a complex standard normal
        "ssm.skip": normal(1.0),
    }
    residual = normal(0.02 / math.sqrt(blocks))
    match block:
        case Attention():
            weights = {"gpt2": (normal(0.02), residual), "torch": (uniform(D**-0.5), uniform(D**-0.5))}
            qkv, out = weights[block.init]
            zero = equal_to(0.0)
            biases = {"qkv.bias": zero, "out.bias": zero} if block.bias else {}
            return {"qkv.weight": qkv, "out.weight": out, **biases}
        case MLP():
            zero = equal_to(0.0)
            return {"up.weight": normal(0.02), "up.bias": zero, "down.weight": residual, "down.bias": zero}
        case SwiGLU():
            return {"gate.weight": normal(0.02), "up.weight": normal(0.02), "down.weight": residual}
        case GatedDeltaNet():
            value = block.expand * block.actual_key_dim(D)
            decay = {
                "log_A": lambda values: between(0.01, 16)(values.exp()),
                "step_bias": log_uniform_steps,
            }
            return {
                "input.weight": uniform(D**-0.5),
                "convolution.weight": uniform(0.5),
                **(decay if block.decay else {}),
                "norm_weight": equal_to(1.0),
                "output.weight": uniform((block.heads * value * blocks) ** -0.5),
            }
        case KDA():
            rank = D // block.heads
            return {
                "input.weight": uniform(D**-0.5),
                "convolution.weight": uniform(0.5),
                **dict.fromkeys(("decay.weight", "gate.weight", "gate.bias"), uniform(rank**-0.5)),
                "log_A": lambda values: between(1, 16)(values.exp()),
                "step_bias": log_uniform_steps,
                "norm_weight": equal_to(1.0),
                "output.weight": uniform((D * blocks) ** -0.5),
            }
        case RWKV7():
            vectors = ["mixed", "decay_bias", "share_bias", "erased_key", "norm_weight"]
            maps = ["decay", "share", "gate"]
            if block.value_residual:
                vectors, maps = [*vectors, "residual_bias"], [*maps, "residual"]
            return {
                # tests/models/mixers/test_rwkv7.py has the formulas, which depend on the layer.
                **dict.fromkeys(vectors, lambda values: None),
                **{f"{projection}.weight": orthogonal(gain) for projection, gain in RWKV7_GAINS.items()},
                **{f"{map}.first.weight": equal_to(0.0) for map in maps},
                **{f"{map}.second.weight": orthogonal(0.1) for map in maps},
                "key_share": equal_to(1.02),
                "direct": equal_to(-0.04),
                "norm_bias": equal_to(0.0),
                "output.weight": equal_to(0.0),
            }
        case RWKV7ChannelMix():
            return {
                "mixed": lambda values: None,
                "up.weight": orthogonal(1.0),
                "down.weight": equal_to(0.0),
            }
        case Mamba():
            return {
                "input.weight": uniform(D**-0.5),
                **convolution,
                "project.weight": uniform(inner**-0.5),
                "step.weight": uniform(rank**-0.5),
                "step.bias": log_uniform_steps,
                "log_A": lambda values: equal_to(torch.arange(1, 17).float())(values.exp()),
                "skip": equal_to(1.0),
                **output,
            }
        case Mamba2():
            return {
                "input.weight": uniform(D**-0.5),
                **convolution,
                "log_A": lambda values: between(1, 16)(values.exp()),
                "step_bias": log_uniform_steps,
                "skip": equal_to(1.0),
                "norm.weight": equal_to(1.0),
                **output,
            }
        case Mamba3():
            ones = ("skip", "B_norm.weight", "C_norm.weight", "B_bias", "C_bias")
            return {
                "input.weight": uniform(D**-0.5),
                "step_bias": log_uniform_steps,
                **dict.fromkeys(ones, equal_to(1.0)),
                **output,
            }
        case GLA():
            return {
                "input.weight": uniform(D**-0.5),
                "low_rank.weight": uniform(D**-0.5),
                "decay.weight": uniform(block.rank**-0.5),
                "decay.bias": uniform(block.rank**-0.5),
                "norm.weight": equal_to(1.0),
                "output.weight": uniform((D * blocks) ** -0.5),
            }
        case MLSTM():
            inside = normal(math.sqrt(2 / (5 * D)))
            return {
                "up.weight": inside,
                "qkv": inside,
                **convolution,
                "gates.weight": equal_to(0.0),
                "gates.bias": lambda values: equal_to(torch.linspace(3, 6, 4))(values[4:]),
                "norm_weight": equal_to(0.0),
                "skip": equal_to(1.0),
                "down.weight": normal(2 / (blocks * math.sqrt(D))),
            }
        case S4():
            return {**modes, "mix.weight": uniform(D**-0.5), "mix.bias": uniform(D**-0.5)}
        case S4Mamba():
            skip = {"ssm.skip": equal_to(1.0)} if block.skip == "ones" else {}
            return {"input.weight": uniform(D**-0.5), **convolution, **modes, **skip, **output}
        case LSTM():
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            return {f"lstm.{name}": uniform(D**-0.5) for name in names}
        case Dropout():
            return {}
    raise AssertionError(f"say how {block.name} starts")


VARIANTS = {architecture.name: {} for architecture in (*PAPER, *LATER)} | {"s4_mamba+skip": {"skip": "ones"}}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_starts_from_its_law(name: str) -> None:
    architecture = ARCHITECTURES[name.partition("+")[0]].with_options(VARIANTS[name])
    D, layers = architecture.actual_width(WIDTH), 2 * LAYERS // len(architecture.layer) or 1
    laws = {
        f"blocks.{index}.{parameter}": law
        for index, block in enumerate(architecture.blocks(layers))
        for parameter, law in laws_of(block, D, layers * len(architecture.layer)).items()
    }
    if architecture.residual:
        norms = [*(f"norms.{index}" for index in range(len(architecture.blocks(layers)))), "final_norm"]
        for norm in norms:
            laws[f"{norm}.weight"] = equal_to(1.0)
            if architecture.norm == "layer":
                laws[f"{norm}.bias"] = equal_to(0.0)
    for part, fan_in in (("read_in", N_INPUTS), ("read_out", D)):
        laws |= {f"{part}.{parameter}": uniform(fan_in**-0.5) for parameter in ("weight", "bias")}
    if name == "transformer":
        laws["positions"] = normal(0.02)
    if name == "standard_hybrid":
        laws["positions"] = normal(1.0)

    torch.manual_seed(1)
    size = Size(layers=layers, width=WIDTH).of(architecture)
    model = Model(architecture, size, n_inputs=N_INPUTS, n_outputs=1, length=82)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == laws.keys()
    for parameter, law in laws.items():
        try:
            law(parameters[parameter].detach())
        except AssertionError as error:
            raise AssertionError(f"{name}: {parameter}: {error}") from error


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_two_blocks_start_alike_and_a_seed_fixes_them_all(name: str) -> None:
    architecture = ARCHITECTURES[name]
    size = Size(layers=2, width=32, heads=4).of(architecture)

    def build() -> Model:
        torch.manual_seed(7)
        return Model(architecture, size, n_inputs=3, n_outputs=1, length=10)

    one, other = build(), build()
    seen: list[np.ndarray] = []  # type: ignore[type-arg]
    for (parameter, value), again in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(value, again)
        constant = bool((value == value.flatten()[0]).all()) or parameter.split(".")[-1] in (
            "log_A",
            "frequency",
        )
        drawn = value.dim() == 2 and not constant
        if drawn:
            assert not any(np.array_equal(value.detach().numpy(), before) for before in seen), parameter
            seen.append(value.detach().numpy())
    assert seen


def test_a_test_of_a_law_refuses_another() -> None:
    torch.manual_seed(0)
    for law, values in (
        (uniform(0.1), torch.randn(65_536) * 0.1 / math.sqrt(3)),
        (uniform(0.1), (torch.rand(65_536) - 0.5) * 0.19),
        (normal(0.02), torch.randn(65_536) * 0.021),
        (between(0, 1), torch.rand(65_536) ** 1.1),
        (log_uniform_steps, torch.full((256,), -4.6)),
    ):
        with pytest.raises(AssertionError):
            law(values)
