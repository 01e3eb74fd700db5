"""LayerNorm, RMSNorm and the addition before them, against their formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
from bench.kernels.normalization import RMS_EPSILON, add_norm, norm, norm_of_sum, norms, rms_norm

KINDS = {"norm_triton": norm, "add_norm_triton": add_norm, "norm_of_sum_triton": norm_of_sum}
kinds = pytest.mark.parametrize("kind", list(KINDS))


def inputs(kind: str, *shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    summands = [3 * normal(*shape) + 1 for _ in range(1 if kind == "norm_triton" else 2)]
    return [*summands, normal(shape[-1]), normal(shape[-1])]


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("shape", [(2, 41, 64), (3, 96), (1, 2, 1344), (5, 2048), (1, 1), (0, 4)])
def test_norms_are_their_references(kind: str, name: str, shape: tuple[int, ...]) -> None:
    """Widths that are powers of two, that are not, and longer than a program's usual tile."""
    assert_same(KINDS[kind](name), KINDS[kind]("reference"), inputs(kind, *shape))


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=8)
@given(rows=st.integers(1, 40), channels=st.integers(1, 70))
def test_addition_and_norm_are_their_reference_at_any_shape(name: str, rows: int, channels: int) -> None:
    assert_same(add_norm(name), add_norm("reference"), inputs("add_norm_triton", rows, channels))


@pytest.mark.parametrize("name", ["reference", *FAST])
def test_a_row_of_two_is_normed_to_minus_and_plus_one(name: str) -> None:
    h, update = torch.tensor([[1.0, 3.0]]), torch.tensor([[4.0, 1002.0]])
    weight, bias = torch.tensor([10.0, 10.0]), torch.tensor([0.5, 0.25])
    total, normed = add_norm(name)(h, update, weight, bias)
    torch.testing.assert_close(total, torch.tensor([[5.0, 1005.0]]))
    torch.testing.assert_close(normed, torch.tensor([[-9.5, 10.25]]))


@pytest.mark.parametrize("name", ["reference", *FAST])
def test_a_constant_row_becomes_the_bias_whatever_its_size(name: str) -> None:
    h = torch.full((3, 5), 1e4)
    bias = torch.arange(5.0)
    torch.testing.assert_close(norm(name)(h, torch.ones(5), bias), bias.expand(3, 5))


@pytest.mark.parametrize("name", [TRITON])
def test_rows_are_summed_over_many_programs_and_rounds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tiles as a program takes in turn, a last one that is cut short, and partial sums of several."""
    monkeypatch.setattr(triton_sums, "PROGRAMS", 3)
    monkeypatch.setitem(triton_sums.SUMS, "PARTS", 2)
    assert triton_sums.division(8 * 11 + 3, 8) == (3, 4)
    assert_same(add_norm(name), add_norm("reference"), inputs("add_norm_triton", 8 * 11 + 3, 100))


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", FAST)
def test_norms_of_a_stack_of_models_are_each_model_alone(kind: str, name: str) -> None:
    assert_a_stack_is_each_model_alone(KINDS[kind](name), inputs(kind, 2, 3, 5))


@pytest.mark.slow
@pytest.mark.parametrize("name", [TRITON])
def test_a_model_has_the_same_bits_in_a_stack_and_alone(name: str) -> None:
    values = [
        torch.randn(3, *shape, requires_grad=True) for shape in ((9, 40, 33), (9, 40, 33), (33,), (33,))
    ]
    stacked = torch.func.vmap(add_norm(name))(*values)
    gradients = torch.autograd.grad([y.sum() for y in stacked], values)
    for k in range(3):
        members = [value[k].detach().requires_grad_() for value in values]
        alone = add_norm(name)(*members)
        for y, member in zip(stacked, alone, strict=True):
            assert torch.equal(y[k], member)
        for gradient, member in zip(
            gradients, torch.autograd.grad([y.sum() for y in alone], members), strict=True
        ):
            assert torch.equal(gradient[k], member)


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", [TRITON])
def test_norms_keep_pytorchs_rules(kind: str, name: str) -> None:
    function, values = KINDS[kind](name), inputs(kind, 2, 3, 5)
    assert_pytorchs_rules(function, kind, values)
    assert_compiles(function, values)
    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in values], fast_mode=True)


@pytest.mark.parametrize("name", [TRITON])
def test_both_summands_have_the_gradient_that_is_written_once(name: str) -> None:
    """Also where they are the same tensor, and where the total alone is used further on."""
    h, update, weight, bias = (value.requires_grad_() for value in inputs("add_norm_triton", 3, 5))
    total, normed = add_norm(name)(h, update, weight, bias)
    first, second = torch.autograd.grad(normed.square().sum(), (h, update), retain_graph=True)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert_same(
        lambda h, weight, bias: add_norm(name)(h, h, weight, bias),
        lambda h, weight, bias: add_norm("reference")(h, h, weight, bias),
        [h, weight, bias],
    )
    torch.testing.assert_close(torch.autograd.grad(total.sum(), update)[0], torch.ones_like(update))


@pytest.mark.parametrize("name", [TRITON])
def test_a_residual_stream_of_several_blocks_has_the_gradients_of_its_reference(name: str) -> None:
    def model(backend: str) -> object:
        def run(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            normed = norm(backend)(h, weight, bias)
            for _ in range(2):
                h, normed = add_norm(backend)(h, torch.sin(normed), weight, bias)
            return norm_of_sum(backend)(h, torch.sin(normed), weight, bias)

        return run

    values = [normal(4, 6), normal(6), normal(6)]
    assert_same(model(name), model("reference"), values)  # type: ignore[arg-type]


# --- RMSNorm ------------------------------------------------------------------------------------


rms_norms = pytest.mark.parametrize("function", ["norm", "add_norm", "norm_of_sum"])


def rms_inputs(function: str, *shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    summands = [3 * normal(*shape) + 1 for _ in range(1 if function == "norm" else 2)]
    return [*summands, normal(shape[-1])]


@rms_norms
@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("shape", [(2, 41, 64), (5, 7), (1, 1), (0, 4)])
def test_rms_norms_are_their_references(function: str, name: str, shape: tuple[int, ...]) -> None:
    tested, reference = (getattr(norms("rms", backend), function) for backend in (name, "reference"))
    assert_same(tested, reference, rms_inputs(function, *shape))


@pytest.mark.parametrize("name", [TRITON])
def test_weights_of_an_rms_norm_sum_over_programs_and_rounds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_sums, "PROGRAMS", 3)
    monkeypatch.setitem(triton_sums.SUMS, "PARTS", 2)
    tested, reference = (norms("rms", backend).add_norm for backend in (name, "reference"))
    assert_same(tested, reference, rms_inputs("add_norm", 8 * 11 + 3, 100))


@pytest.mark.slow
@rms_norms
@pytest.mark.parametrize("name", [TRITON])
def test_rms_norms_keep_pytorchs_rules(function: str, name: str) -> None:
    tested, values = getattr(norms("rms", name), function), rms_inputs(function, 2, 3, 5)
    operator = {"norm": "rms_norm", "add_norm": "add_rms_norm", "norm_of_sum": "rms_norm_of_sum"}[function]
    assert_pytorchs_rules(tested, f"{operator}_triton", values)
    assert_compiles(tested, values)


@pytest.mark.parametrize("name", ["reference", "sequential", TRITON])
@settings(max_examples=30)
@given(scale=st.floats(1e-2, 1e6), channels=st.integers(1, 9))
def test_an_rms_norm_forgets_the_scale_but_not_the_mean(name: str, scale: float, channels: int) -> None:
    h = torch.ones(2, channels, dtype=torch.float64)
    expected = torch.arange(1.0, channels + 1, dtype=torch.float64)
    normed = rms_norm(name)(scale * h, expected)
    torch.testing.assert_close(normed, expected.expand(2, channels), rtol=RMS_EPSILON / scale**2, atol=1e-12)


@rms_norms
@pytest.mark.parametrize("name", FAST)
def test_an_rms_norm_of_a_stack_is_each_model_alone(function: str, name: str) -> None:
    assert_a_stack_is_each_model_alone(getattr(norms("rms", name), function), rms_inputs(function, 2, 3, 5))
