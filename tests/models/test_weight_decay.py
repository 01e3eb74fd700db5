"""Parameters that mixers exempt from weight decay: those of later mixers, and none of the paper's."""

from __future__ import annotations

import pytest
import torch

from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.sizes import Size
from bench.train.parameters import Parameters

DECAYING = {
    "kda": {"input.weight", "convolution.weight", "decay.weight", "gate.weight", "gate.bias", "norm_weight"},
    "rwkv7": {"r.weight", "k.weight", "v.weight", "up.weight", "down.weight"},
}
"""Parameters of KDA and RWKV-7 that decay, besides output projections: all others are exempt."""


def parameters_of(name: str) -> Parameters:
    architecture = ARCHITECTURES[name]
    size = Size(layers=2, width=16, heads=4).of(architecture)
    return Parameters.of([Model(architecture, size, n_inputs=3, n_outputs=1, length=9)], torch.device("cpu"))


@pytest.mark.parametrize("name", DECAYING)
def test_rates_steps_and_vectors_are_exempt_in_every_block(name: str) -> None:
    parameters = parameters_of(name)
    for parameter, decays in zip(parameters.names, parameters.decays, strict=True):
        part, _, rest = parameter.partition(".")
        of_block = rest.partition(".")[2]
        swiglu = name == "kda" and int(rest.partition(".")[0]) % 2 if part == "blocks" else False
        expected = part != "blocks" or swiglu or of_block in DECAYING[name] | {"output.weight"}
        assert decays == expected, parameter


RATES = {"log_A", "step_bias", "skip"}
"""Rates, step sizes and skip connections of state-space blocks and of the delta rule."""


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - {"kda", "kda_hybrid_3_1", "rwkv7"}))
def test_the_papers_mixers_exempt_nothing_and_later_ones_their_rates(name: str) -> None:
    parameters = parameters_of(name)
    exempt = {
        parameter for parameter, decays in zip(parameters.names, parameters.decays, strict=True) if not decays
    }
    later = any(word in name for word in ("mamba2", "mamba3", "gated_deltanet", "gdn"))
    assert exempt == {
        parameter for parameter in parameters.names if later and parameter.rpartition(".")[2] in RATES
    }
