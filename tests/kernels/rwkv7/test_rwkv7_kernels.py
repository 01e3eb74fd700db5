"""The keys and outputs of RWKV-7: the kernels against the formulas, and what the formulas imply."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import (
    TRITON,
    assert_a_stack_is_each_model_alone,
    assert_same,
    needs_triton,
    outputs_of,
    rwkv7_inputs,
)
from torch import Tensor

from bench.kernels.rwkv7 import rwkv7_keys, rwkv7_outputs

names = pytest.mark.parametrize("name", ["reference", TRITON])
functions = pytest.mark.parametrize("function", [rwkv7_keys, rwkv7_outputs])
Choice = Callable[[str], Callable[..., Any]]


def inputs(function: Choice, length: int, heads: int, channels: int, batch: int = 1) -> list[Tensor]:
    torch.manual_seed(0)
    return rwkv7_inputs(batch, length, heads, channels, outputs=function is rwkv7_outputs)


@functions
@pytest.mark.parametrize(
    ("length", "heads", "channels"), [(1, 1, 1), (19, 2, 3), (7, 1, 32), (33, 2, 24), (40, 1, 64)]
)
@needs_triton
def test_triton_is_the_formulas_in_outputs_and_gradients(
    function: Choice, length: int, heads: int, channels: int
) -> None:
    """One tile of tokens and several, cut short and whole."""
    values = inputs(function, length, heads, channels, batch=2)
    assert_same(function("triton"), function("reference"), values)


@functions
@needs_triton
def test_a_program_of_the_gradient_adds_up_several_tiles(
    function: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.kernels import triton_sums

    monkeypatch.setattr(triton_sums, "PROGRAMS", 2)
    assert_same(function("triton"), function("reference"), inputs(function, 70, 2, 32))


@functions
@pytest.mark.parametrize("shared", [0, 2, 3, 4, -3, -1])
@needs_triton
def test_a_stack_is_each_model_alone(function: Choice, shared: int) -> None:
    """All members share one of the inputs."""
    values = inputs(function, 3, 2, 3)
    choices = [tuple(place != shared % len(values) for place in range(len(values)))]
    assert_a_stack_is_each_model_alone(function("triton"), values, choices=choices)


@names
@settings(max_examples=10)
@given(scale=st.floats(-60, 60))
def test_decays_and_keys_are_bounded(name: str, scale: float) -> None:
    """However large decays and shares are; none is NaN."""
    values = inputs(rwkv7_keys, 2, 2, 4)
    values[:2] = scale * values[0], -scale * values[1]
    g, read, erase, _ = rwkv7_keys(name)(*values)
    assert (g <= 0).all()
    assert (g >= -math.exp(-0.5)).all()
    lengths = (read * g.exp()).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert (erase.norm(dim=-1) <= 1 + 1e-12).all()


@names
def test_a_key_of_zeros_stays_zero_and_its_gradient_is_finite(name: str) -> None:
    values = inputs(rwkv7_keys, 2, 1, 4)
    values[2][:, 0] = 0
    values = [value.requires_grad_() for value in values]
    outputs = rwkv7_keys(name)(*values)
    assert all((output[:, 0] == 0).all() for output in outputs[1:])
    gradients = torch.autograd.grad(sum(output.sum() for output in outputs), values)
    assert all(gradient.isfinite().all() for gradient in gradients)


@names
def test_a_large_mean_of_a_head_does_not_pass_the_norm(name: str) -> None:
    y, *others = inputs(rwkv7_outputs, 3, 2, 4)
    outputs = rwkv7_outputs(name)
    torch.testing.assert_close(outputs(y + 1e3, *others), outputs(y, *others), rtol=1e-9, atol=1e-9)


@functions
@pytest.mark.parametrize("name", [TRITON])
def test_no_prompts_have_no_outputs(name: str, function: Choice) -> None:
    values = [value.requires_grad_() for value in inputs(function, 3, 2, 4, batch=0)]
    outputs = outputs_of(function(name), values)
    assert all(output.shape == (0, 3, 2, 4) for output in outputs)
    gradients = torch.autograd.grad(sum(output.sum() for output in outputs), values)
    assert all((gradient == 0).all() for gradient in gradients)
