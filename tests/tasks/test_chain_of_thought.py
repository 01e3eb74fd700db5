"""Chain of thought: three kinds of token, and answers from a model's own chain."""

from __future__ import annotations

import math

import pytest
import torch
from small_runs import training_loss

from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model, ReadIns
from bench.models.sizes import Size
from bench.tasks.chain_of_thought import ChainOfThought
from bench.tasks.draws import Draws


def draws(step: int = 0) -> Draws:
    return Draws(0, "report", torch.tensor(step))


def small_model(task: ChainOfThought, name: str = "transformer") -> Model:
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    return Model(
        architecture,
        Size(layers=2, width=16, heads=2).of(architecture),
        n_inputs=task.n_inputs,
        n_outputs=task.n_outputs,
        length=task.length(task.n_points),
    ).eval()


def test_the_docstrings_point() -> None:
    x, first, second = (
        torch.tensor([3.0, -1.0]),
        torch.tensor([[1.0, 1.0], [-1.0, 0.0]]),
        torch.tensor([2.0, 1.0]),
    )
    hidden = torch.relu(first @ x)
    assert hidden.tolist() == [2, 0]
    assert float(second @ hidden) == 4


@pytest.mark.parametrize("hidden", [4, 8, 16])
def test_tokens_are_x_s_y_in_turn(hidden: int) -> None:
    task = ChainOfThought(hidden=hidden)
    prompts = task.sample(draws(), 5)
    s = prompts.more["hidden"]
    assert torch.equal(prompts.tokens[:, 0::3, :10], prompts.inputs)
    assert torch.equal(prompts.tokens[:, 1::3, :hidden], s)
    assert torch.equal(prompts.tokens[:, 2::3, 0], prompts.targets)
    assert not prompts.tokens[:, 2::3, 1:].any()
    assert not prompts.tokens[:, 0::3, 10:].any()
    assert not prompts.tokens[:, 1::3, hidden:].any()


def test_the_network_is_the_formula_of_its_own_weights() -> None:
    task = ChainOfThought(hidden=4)
    prompts = task.sample(draws(), 3)
    first = draws().normal("w1", 3, 10, 4).double() * math.sqrt(2 / 4)
    second = draws().normal("w2", 3, 4, 1).double()
    s = torch.relu(prompts.inputs.double() @ first)
    assert torch.allclose(prompts.more["hidden"].double(), s, atol=1e-6)
    assert torch.allclose(prompts.targets.double(), (s @ second).squeeze(-1), atol=1e-5)


@pytest.mark.parametrize("hidden", [4, 8, 16])
def test_y_and_the_hidden_layer_have_variance_d(hidden: int) -> None:
    prompts = ChainOfThought(hidden=hidden).sample(draws(), 3000)
    for values in (prompts.targets.double() ** 2, (prompts.more["hidden"].double() ** 2).sum(-1)):
        per_prompt = values.mean(dim=1)
        assert abs(float(per_prompt.mean()) - 10) < 4 * float(per_prompt.std()) / 3000**0.5


def test_half_of_the_hidden_units_are_silent() -> None:
    silent = (ChainOfThought().sample(draws(), 200).more["hidden"] == 0).double().mean()
    assert float(silent) == pytest.approx(0.5, abs=0.01)


def test_the_loss_adds_both_answers_and_counts_no_other_token() -> None:
    task = ChainOfThought(curriculum=None)
    prompts = task.sample(draws(), 4)
    outputs = torch.randn(4, 303, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    hidden, values = outputs[:, 0::3, :8], outputs[:, 1::3, 8]
    expected = ((hidden - prompts.more["hidden"]) ** 2).sum(-1).mean() + (
        (values - prompts.targets) ** 2
    ).mean()
    loss = training_loss(task, outputs, prompts, torch.tensor(0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert not gradient[:, 2::3].any()
    assert not gradient[:, 0::3, 8].any()
    assert not gradient[:, 1::3, :8].any()


def test_the_curriculum_adds_points_and_shows_inputs_whole() -> None:
    task = ChainOfThought()
    assert [task.points_at(step) for step in (0, 2000, 29_999, 30_000)] == [26, 31, 96, 101]
    assert bool((task.batch(draws(), 2).inputs != 0).all())


@pytest.mark.parametrize("architecture", ["transformer", "mamba", "s4"])
def test_answers_follow_the_models_own_hidden_layer_one_position_at_a_time(architecture: str) -> None:
    """Against the definition: every position's prompt built by hand and answered alone."""
    task = ChainOfThought(n_dims=3, n_points=19, hidden=2)
    model, prompts = small_model(task, architecture), task.sample(draws(), 4)
    with torch.no_grad():
        found = task.measure(model, prompts, "report")
        for i in range(task.n_points):
            tokens = prompts.tokens[:, : 3 * i + 2].clone()
            said = model(tokens[:, : 3 * i + 1])[:, -1, :2]
            tokens[:, 3 * i + 1, :2] = said
            answer = model(tokens)[:, -1, 2]
            torch.testing.assert_close(
                found["report"][:, i], (answer - prompts.targets[:, i]) ** 2, rtol=1e-3, atol=1e-5
            )
            wanted = ((said - prompts.more["hidden"][:, i]) ** 2).sum(-1)
            torch.testing.assert_close(found["hidden"][:, i], wanted, rtol=1e-3, atol=1e-5)
        teacher = (model(prompts.tokens)[:, 1::3, 2] - prompts.targets) ** 2
    torch.testing.assert_close(found["teacher_forced"], teacher)
    assert not torch.allclose(found["report"], found["teacher_forced"])


def test_a_model_that_knows_the_hidden_layer_scores_alike_with_its_own_and_the_true_one() -> None:
    task = ChainOfThought(n_dims=3, n_points=9, hidden=2)
    prompts = task.sample(draws(), 2)
    s = prompts.more["hidden"]

    def knows(tokens: torch.Tensor) -> torch.Tensor:
        outputs = torch.zeros(*tokens.shape[:2], 3)
        points = -(-tokens.shape[1] // 3)
        copies = len(tokens) // 2
        outputs[:, 0::3, :2] = s[:, :points].repeat(copies, 1, 1)
        outputs[:, 1::3, 2] = tokens[:, 1::3, :2].sum(-1)  # some answer that depends on s alone
        return outputs

    found = task.measure(knows, prompts, "report")
    assert torch.equal(found["report"], found["teacher_forced"])
    assert not found["hidden"].any()


# Read-ins.


def test_every_kind_of_token_has_a_map_of_its_own() -> None:
    torch.manual_seed(0)
    read_in = ReadIns((3, 2, 1), 5, "sequential")
    tokens = torch.randn(4, 12, 3)
    h = read_in(tokens)
    for place in range(12):
        kind = place % 3
        expected = read_in.maps[kind](tokens[:, place, : (3, 2, 1)[kind]])
        torch.testing.assert_close(h[:, place], expected)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 10, 11, 12])
def test_a_prompt_may_end_within_a_point(length: int) -> None:
    read_in, tokens = ReadIns((3, 2, 1), 5, "sequential"), torch.randn(2, 12, 3)
    torch.testing.assert_close(read_in(tokens[:, :length]), read_in(tokens)[:, :length])


@pytest.mark.parametrize(("read_in", "inputs"), [("separate", (10, 8, 1)), ("shared", 10)])
def test_parameters_are_counted_for_either_read_in(read_in: str, inputs: object) -> None:
    task = ChainOfThought(read_in=read_in)
    assert task.n_inputs == inputs
    for name in ("transformer", "mamba"):
        model = small_model(task, name)
        counted = sum(parameter.numel() for parameter in model.parameters())
        stated = ARCHITECTURES[name].parameters(2, 16, length=303, n_inputs=task.n_inputs, n_outputs=9)
        assert counted == stated


def test_a_shared_read_in_is_as_wide_as_the_widest_token() -> None:
    assert ChainOfThought(hidden=16, read_in="shared").n_inputs == 16
    assert ChainOfThought(hidden=4, read_in="shared").n_inputs == 10
