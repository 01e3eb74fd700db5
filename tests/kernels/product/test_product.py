"""Products with weight matrices: alone, for stacks of models, and without what nobody wants."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kernel_checks import (
    FAST,
    TRITON,
    assert_a_stack_is_each_model_alone,
    assert_compiles,
    assert_pytorchs_rules,
    assert_same,
    normal,
)
from torch import Tensor

from bench.kernels import triton_sums
from bench.kernels.product import linear, linear_bias, precision, stacked
from bench.kernels.product.split import split

KINDS: dict[str, Any] = {"linear_triton": linear, "linear_bias_triton": linear_bias}
kinds = pytest.mark.parametrize("kind", list(KINDS))


def inputs(kind: str, *shape: int, out: int = 3) -> list[Tensor]:
    torch.manual_seed(0)
    values = [normal(*shape), normal(out, shape[-1])]
    return values if kind == "linear_triton" else [*values, normal(out)]


@kinds
@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(("shape", "out"), [((2, 7, 5), 3), ((4, 1), 1), ((33, 20), 140), ((0, 4), 3)])
def test_products_are_their_references(kind: str, name: str, shape: tuple[int, ...], out: int) -> None:
    assert_same(KINDS[kind](name), KINDS[kind]("reference"), inputs(kind, *shape, out=out))


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", FAST)
def test_products_of_a_stack_of_models_are_each_model_alone(kind: str, name: str) -> None:
    assert_a_stack_is_each_model_alone(KINDS[kind](name), inputs(kind, 2, 3, 5))


@pytest.mark.parametrize("name", FAST)
def test_a_product_reads_a_slice_of_wider_rows(name: str) -> None:
    def part(backend: str) -> Any:
        return lambda wide, weight: linear(backend)(wide.split([3, 4], dim=-1)[1], weight)

    assert_same(part(name), part("reference"), [normal(2, 5, 7), normal(6, 4)])
    assert_a_stack_is_each_model_alone(part(name), [normal(2, 5, 7), normal(6, 4)])


@pytest.mark.parametrize(
    ("K", "tokens", "parts"), [(4, 64 * 82, 16), (16, 64 * 82, 16), (1, 64 * 82, 1), (4, 301, 1)]
)
def test_a_stacks_weight_gradient_is_a_sum_over_parts_of_the_tokens(K: int, tokens: int, parts: int) -> None:
    """Integers have exact sums in any order, so that parts in a wrong order or left out show."""
    torch.manual_seed(0)
    dy, x = torch.randint(-3, 4, (2, K, tokens, 5)).double()
    assert stacked.parts_of(K, 5, tokens, 5) == parts
    torch.testing.assert_close(stacked.sum_of_parts(dy.mT, x, split), torch.bmm(dy.mT, x), rtol=0, atol=0)
    shared = x[:1].expand_as(x)
    torch.testing.assert_close(
        stacked.sum_of_parts(dy.mT, shared, split), torch.bmm(dy.mT, shared), rtol=0, atol=0
    )


class Products(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts matrix products, and the copies that are made beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(op.overloadpacket.__name__)
        return op(*args, **(kwargs or {}))

    def count(self, *names: str) -> int:
        return sum(name in names for name in self.names)


@kinds
@pytest.mark.parametrize("name", [TRITON])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_gradient_that_nobody_wants_is_not_computed(kind: str, name: str, stacked: bool) -> None:
    """Of tokens, above all: they are the same for all models, and nothing is learned of them."""
    x, *parameters = inputs(kind, 4, 5)
    function, dims = KINDS[kind](name), (None, *(0 for _ in parameters))
    if stacked:
        function = torch.func.vmap(function, dims)
        parameters = [torch.stack([value, 2 * value]) for value in parameters]
    parameters = [value.requires_grad_() for value in parameters]
    from bench.kernels.product import stacked as products

    calls = []
    multiply = products.multiply
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "multiply", lambda *args: (calls.append(args), multiply(*args))[1])
        function(x, *parameters).sum().backward()
        assert len(calls) == 2
        for a, b, *_ in calls:  # forward x, and x again for the weight's gradient
            shared = a if a.shape[-2:] == x.shape else b
            assert shared.data_ptr() == x.data_ptr()
        wanted = x.clone().requires_grad_()
        function(wanted, *parameters).sum().backward()
        assert len(calls) == 2 + 3
    assert wanted.grad is not None
    assert all(value.grad is not None for value in parameters)


@pytest.mark.parametrize("name", [TRITON])
def test_a_frozen_weight_has_no_gradient_and_the_rest_has_its_own(name: str) -> None:
    x, weight, bias = inputs("linear_bias_triton", 4, 5)
    x.requires_grad_(), bias.requires_grad_()
    gradients = torch.autograd.grad(linear_bias(name)(x, weight, bias).square().sum(), (x, bias))
    expected = torch.autograd.grad(linear_bias("reference")(x, weight, bias).square().sum(), (x, bias))
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("name", [TRITON])
def test_the_sum_over_rows_is_taken_by_many_programs_in_rounds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_sums, "PROGRAMS", 6)
    monkeypatch.setitem(triton_sums.SUMS, "PARTS", 2)
    values = normal(2, 16 * 7 + 3, 150)
    torch.testing.assert_close(triton_sums.column_sums(values), values.sum(1), rtol=1e-12, atol=1e-12)
    slices = values[:, :, 3:40]
    torch.testing.assert_close(triton_sums.column_sums(slices), slices.sum(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [TRITON])
@pytest.mark.parametrize(("members", "rows", "channels"), [(1, 1, 1), (2, 35, 150), (3, 16, 128), (2, 0, 5)])
def test_a_row_is_repeated(name: str, members: int, rows: int, channels: int) -> None:
    values = normal(members, channels)
    expected = values.unsqueeze(1).expand(members, rows, channels)
    assert torch.equal(triton_sums.repeat_rows(values, rows), expected)


@kinds
@pytest.mark.parametrize("name", [TRITON])
def test_products_keep_pytorchs_rules(kind: str, name: str) -> None:
    function, values = KINDS[kind](name), inputs(kind, 2, 3, 5)
    assert_pytorchs_rules(function, kind, values)
    assert_compiles(function, values)
    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in values], fast_mode=True)


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("which", ["bf16", "bf16x6"])
def test_a_split_product_of_a_stack_has_the_gradients_of_each_model(kind: str, name: str, which: str) -> None:
    """In single precision, so that operands are split; of small integers all parts but the first are 0."""
    values = [(2 * value).round().float() for value in inputs(kind, 2, 3, 5)]
    with precision(which):
        assert_same(KINDS[kind](name), KINDS[kind]("reference"), values)
        assert_a_stack_is_each_model_alone(KINDS[kind](name), values)
