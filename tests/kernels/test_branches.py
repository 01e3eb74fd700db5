"""Work on a branch: what it computes, and its order on a processor (on a GPU: tests/test_cuda.py)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from kernel_checks import needs_triton
from small_runs import small_run, without_dropout
from torch import Tensor, nn

from bench.kernels import branches, product
from bench.kernels.branches import Branch
from bench.kernels.operators import _GradientRule, mark_final
from bench.models.sizes import Size
from bench.stack import Stack
from bench.tasks.draws import Draws
from bench.train.state import initial_state


def test_on_a_processor_a_branch_runs_in_its_place() -> None:
    value = torch.zeros(())
    branch = Branch(value)
    with branch:
        value.add_(1)
    value.mul_(3)
    with branch:
        value.add_(1)
    branch.join()
    assert value == 4


def test_an_error_on_a_branch_is_not_hidden() -> None:
    branch = Branch(torch.zeros(()))
    with pytest.raises(ZeroDivisionError), branch:
        _ = 1 / 0


def test_branches_that_are_left_keep_what_they_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    value = torch.zeros(10)
    monkeypatch.setattr(branches, "KEPT", 2 * value.nbytes)
    joined: list[int] = []
    monkeypatch.setattr(Branch, "join", lambda branch: joined.append(1))
    with branches.backward_pass():
        for expected in (0, 0, 3, 3):
            with branches.operator_in_pass(final=True), branches.aside(value):
                pass
            assert len(joined) == expected
        with branches.operator_in_pass(final=False):
            Branch(value).leave(value)
        assert len(joined) == 4
    assert len(joined) == 5


class Layer(nn.Module):
    """y = x Wᵀ, with a W that a test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.product = product.linear("triton")

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        y: Tensor = self.product(x, self.weight if weight is None else weight)
        return y


def final_operators(loss: Tensor) -> int:
    """Number of the operators below `loss` whose gradients of parameters are final."""
    mark_final(loss)
    nodes, final = [loss.grad_fn], {}
    for node in nodes:
        if node is not None and node not in final:
            final[node] = getattr(node, "final", False)
            nodes.extend(before for before, _ in node.next_functions)
    return sum(final.values())


@needs_triton
def test_gradients_are_final_only_of_leaves_that_nothing_else_uses() -> None:
    x, one, other = torch.randn(1, 3, 4), Layer(), Layer()
    assert final_operators(other(one(x)).sum()) == 2
    assert final_operators(other(one(x), other.weight.view(4, 4)).sum()) == 2
    assert final_operators(one(one(x)).sum()) == 0  # used twice
    assert final_operators(other(one(x)).sum() + other.weight.square().sum()) == 1  # a penalty reads it
    assert final_operators(other(one(x), other.weight + 1).sum()) == 1
    assert final_operators(other(one(x), other.weight + torch.outer(x[0, 0], x[0, 1])).sum()) == 1
    assert final_operators(other(one(x), other.weight.detach()).sum()) == 2  # it has no gradient
    factors = torch.randn(2, 4, requires_grad=True)
    assert final_operators(other(one(x), other.weight + factors.mT @ factors).sum()) == 1


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["transformer", "mamba", "s4", "s4_mamba", "transformer_plus_plus", "deltanet"]
)
def test_nothing_reads_a_final_gradient_before_the_end_of_the_pass(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Final gradients are NaN until the branches are joined, and still all gradients are right."""
    torch.manual_seed(0)
    run = without_dropout(small_run(architecture, size=Size(layers=1, width=16, heads=2)))
    state = initial_state(Stack.of(run), torch.device("cpu"), "triton")
    batch = run.task.batch(Draws(0, "train", torch.tensor(0)), 2)
    held: list[tuple[Tensor, Tensor]] = []
    differentiate, join = _GradientRule.differentiate, branches._Pass.join

    def poisoned(self: _GradientRule, ctx: Any, *gradients: Any, **more: Any) -> Any:
        results = differentiate(self, ctx, *gradients, **more)
        if getattr(ctx, "final", False):
            for place in self.parameters:
                if results[place] is not None:
                    held.append((results[place], results[place].clone()))
                    results[place].fill_(math.nan)
        return results

    def joined(self: branches._Pass) -> None:
        for result, value in held:
            result.copy_(value)
        join(self)

    def gradients() -> list[Tensor]:
        loss, _ = run.task.loss_sum(state.model(batch.tokens), batch, state.step)
        mark_final(loss)
        with branches.backward_pass():
            return list(torch.autograd.grad(loss, state.parameters.leaves))

    expected = gradients()
    monkeypatch.setattr(_GradientRule, "differentiate", poisoned)
    monkeypatch.setattr(branches._Pass, "join", joined)
    found = gradients()
    assert held
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
