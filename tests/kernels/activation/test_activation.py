"""Elementwise functions and gates against their formulas."""

from __future__ import annotations

import math
from typing import Any

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
from bench.kernels.activation import bias_gelu, bias_glu, gate, gelu, silu_gate

KINDS: dict[str, Any] = {
    "bias_gelu_triton": bias_gelu,
    "gelu_triton": gelu,
    "bias_glu_triton": bias_glu,
    "gate_triton": gate,
    "silu_gate_triton": silu_gate,
}
kinds = pytest.mark.parametrize("kind", list(KINDS))


def inputs(kind: str, *shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    *rows, channels = shape
    width = 2 * channels if kind == "bias_glu_triton" else channels
    first = 3 * normal(*rows, width)
    if kind == "gelu_triton":
        return [first]
    return [first, normal(*rows, channels) if "gate" in kind else normal(width)]


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("shape", [(2, 9, 64), (3, 130), (1, 1), (0, 4)])
def test_activations_are_their_references(kind: str, name: str, shape: tuple[int, ...]) -> None:
    assert_same(KINDS[kind](name), KINDS[kind]("reference"), inputs(kind, *shape))


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", FAST)
@settings(max_examples=4)
@given(rows=st.integers(1, 20), channels=st.integers(1, 140))
def test_activations_are_their_references_at_any_shape(
    kind: str, name: str, rows: int, channels: int
) -> None:
    assert_same(KINDS[kind](name), KINDS[kind]("reference"), inputs(kind, rows, channels))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", *FAST])
def test_activations_have_their_known_values(name: str) -> None:
    one, log_3 = torch.ones(1, dtype=torch.float64), math.log(3)
    assert gelu(name)(one).item() == pytest.approx(0.8413447460685429)  # Φ(1)
    assert bias_gelu(name)(one - 3, one + 2).item() == pytest.approx(0.8411919906082768)
    assert bias_glu(name)(torch.tensor([1.0, 0.0]), torch.tensor([7.0, log_3])).item() == pytest.approx(6)
    assert gate(name)(3 * one, -2 * one).item() == -6
    assert silu_gate(name)(8 * one, log_3 * one).item() == pytest.approx(6 * log_3)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp2")  # NumPy's, in the interpreter
@pytest.mark.parametrize("name", ["reference", *FAST])
def test_activations_are_finite_far_out(name: str) -> None:
    """In single precision, whose exponential overflows at 89."""
    u = torch.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4], requires_grad=True)
    for function in (
        lambda u: gelu(name)(u),
        lambda u: bias_gelu(name)(u, torch.zeros(7)),
        lambda u: silu_gate(name)(torch.ones(7), u),
    ):
        y = function(u)
        gradient = torch.autograd.grad(y.sum(), u)[0]
        torch.testing.assert_close(y, u.clamp(min=0), rtol=0, atol=1e-6)
        expected = torch.tensor([0.0, 0, 0, 0.5, 1, 1, 1])
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6)


@kinds
@pytest.mark.parametrize("name", [TRITON])
def test_biases_are_summed_over_many_programs_and_rounds(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_sums, "PROGRAMS", 4)
    monkeypatch.setitem(triton_sums.SUMS, "PARTS", 2)
    assert_same(KINDS[kind](name), KINDS[kind]("reference"), inputs(kind, 35, 5))


@pytest.mark.parametrize("kind", ["gate_triton", "silu_gate_triton"])
@pytest.mark.parametrize("name", FAST)
def test_a_gate_reads_a_slice_of_wider_rows_where_it_lies(kind: str, name: str) -> None:
    def halves(backend: str) -> Any:
        return lambda both: KINDS[kind](backend)(*both.chunk(2, dim=-1))

    assert_same(halves(name), halves("reference"), [normal(2, 5, 12)])
    assert_a_stack_is_each_model_alone(halves(name), [normal(2, 5, 12)])
    if name == "triton":
        from bench.kernels.activation.triton import _flat_rows

        z = normal(3, 2, 5, 12).chunk(2, dim=-1)[1]
        assert _flat_rows(z).data_ptr() == z.data_ptr()


@kinds
@pytest.mark.parametrize("name", FAST)
def test_activations_of_a_stack_of_models_are_each_model_alone(kind: str, name: str) -> None:
    assert_a_stack_is_each_model_alone(KINDS[kind](name), inputs(kind, 2, 3, 5))


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("name", [TRITON])
def test_activations_keep_pytorchs_rules(kind: str, name: str) -> None:
    function, values = KINDS[kind](name), inputs(kind, 2, 3, 5)
    assert_pytorchs_rules(function, kind, values)
    assert_compiles(function, values)
    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in values], fast_mode=True)
