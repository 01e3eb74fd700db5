"""Models of discrete tokens: lookup and gradient, tied and untied read-outs, parameters, causality."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, vmap

from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.embedding import Embedding
from bench.models.linear import GPT2_STD
from bench.models.sizes import Size

NAMES = ("transformer", "mamba", "standard_hybrid", "mambaformer", "lstm", "s4")


def build(name: str, layers: int = 2, width: int = 16, heads: int = 4) -> Model:
    architecture, size = ARCHITECTURES[name], Size(layers=layers, width=width, heads=heads)
    torch.manual_seed(0)
    return Model(
        architecture, size.of(architecture), n_inputs=7, n_outputs=7, length=12, discrete=True
    ).eval()


def test_the_product_is_the_lookup_and_has_its_gradient() -> None:
    torch.manual_seed(0)
    embedding = Embedding(7, 5, 1.0, "sequential")
    ids = torch.tensor([[1, 1, 6], [0, 1, 3]])
    vectors, upstream = embedding(ids), torch.randn(2, 3, 5)
    table = embedding.weight.detach().clone().requires_grad_()
    expected = torch.nn.functional.embedding(ids, table) / GPT2_STD
    torch.testing.assert_close(vectors, expected)
    vectors.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(embedding.weight.grad, table.grad)


@pytest.mark.parametrize("name", NAMES)
def test_stated_parameters_are_those_of_the_model(name: str) -> None:
    architecture, model = ARCHITECTURES[name], build(name)
    counted = sum(parameter.numel() for parameter in model.parameters())
    stated = architecture.parameters(2, 16, length=12, n_inputs=7, n_outputs=7, discrete=True)
    assert counted == stated
    assert hasattr(model, "read_out") == (name == "lstm")


def test_parameters_of_the_papers_table_4() -> None:
    """86, 90, 74, 77 and 29 million with 101 tokens and 1,024 positions."""
    million = {
        name: ARCHITECTURES[name].parameters(
            6 if name == "lstm" else 12, 768, length=1024, n_inputs=101, n_outputs=101, discrete=True
        )
        / 1e6
        for name in ("transformer", "mamba", "standard_hybrid", "mambaformer", "lstm")
    }
    assert million == pytest.approx(
        {"transformer": 85.92, "mamba": 90.6, "standard_hybrid": 74.5, "mambaformer": 77.5, "lstm": 28.50},
        abs=0.06,
    )


@pytest.mark.parametrize("name", NAMES)
def test_changing_a_token_changes_nothing_before_it(name: str) -> None:
    model = build(name).double()
    tokens = torch.randint(0, 7, (2, 12), generator=torch.Generator().manual_seed(0))
    before = model(tokens)
    assert before.shape == (2, 12, 7)
    for at in (0, 5, 11):
        other = tokens.clone()
        other[:, at] = (other[:, at] + 1) % 7
        after = model(other)
        assert (after - before)[:, :at].abs().sum() < 1e-10
        assert (after - before)[:, at].abs().max() > 1e-9


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_every_layer_matters(name: str) -> None:
    """A stack that feeds every layer the embeddings would not change with its first layer."""
    model, tokens = build(name), torch.randint(0, 7, (2, 12))
    before = model(tokens)
    with torch.no_grad():
        for parameter in model.blocks[1 if name == "lstm" else 0].parameters():
            parameter.zero_()
    assert (model(tokens) - before).abs().max() > 1e-6


def test_a_tied_model_can_be_computed_for_a_stack() -> None:
    models, tokens = [build("mamba") for _ in range(2)], torch.randint(0, 7, (3, 12))
    with torch.no_grad():
        models[1].read_in.weight.mul_(2)
    names = [name for name, _ in models[0].named_parameters()]
    stacked = {name: torch.stack([dict(m.named_parameters())[name] for m in models]) for name in names}
    outputs = vmap(lambda parameters: functional_call(models[0], parameters, (tokens,)))(stacked)
    for own, model in zip(outputs, models, strict=True):
        torch.testing.assert_close(own, model(tokens), rtol=1e-4, atol=1e-5)
