"""Mamba's block and its gated input as one operation: the parts, joined by autograd, are the naive twin."""

from __future__ import annotations

import pytest
import torch
from kernel_checks import (
    FAST,
    TRITON,
    assert_a_stack_is_each_model_alone,
    assert_compiles,
    assert_pytorchs_rules,
    assert_same,
    mamba_inputs,
)
from torch import Tensor

from bench.kernels.mamba import gated_input, mamba_block
from bench.kernels.product import precision


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("sizes", [(2, 5, 3, 6, 4, 2), (1, 17, 4, 8, 2, 1), (2, 1, 4, 32, 16, 2)])
def test_mamba_block_is_its_parts_in_outputs_and_gradients(name: str, sizes: tuple[int, ...]) -> None:
    """Also where channels are a multiple of 16, for which the scan's gradient has other code."""
    torch.manual_seed(0)
    assert_same(mamba_block(name), mamba_block("reference"), mamba_inputs(*sizes))


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("sizes", [(2, 5, 3, 6, 4, 2), (1, 17, 4, 16, 2, 1)])
def test_gated_input_is_its_parts_in_outputs_and_gradients(name: str, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    assert_same(gated_input(name), gated_input("reference"), mamba_inputs(*sizes)[:4])


@pytest.mark.parametrize("name", [TRITON])
def test_a_stack_of_mamba_blocks_is_each_block_alone(name: str) -> None:
    """With weights of its own for each model, and an input that all share or not."""
    torch.manual_seed(0)
    choices = [(shared_input,) + (True,) * 9 for shared_input in (False, True)]
    assert_a_stack_is_each_model_alone(mamba_block(name), mamba_inputs(2, 5, 3, 6, 4, 2), choices=choices)


@pytest.mark.parametrize("name", [TRITON])
def test_a_stack_of_gated_inputs_is_each_input_alone(name: str) -> None:
    torch.manual_seed(0)
    choices = [(shared_input, True, True, True) for shared_input in (False, True)]
    assert_a_stack_is_each_model_alone(gated_input(name), mamba_inputs(2, 5, 3, 6, 4, 2)[:4], choices=choices)


@pytest.mark.slow
@pytest.mark.parametrize("name", [TRITON])
def test_gated_input_keeps_pytorchs_rules_and_compiles(name: str) -> None:
    torch.manual_seed(0)
    values = mamba_inputs(1, 4, 3, 4, 2, 1)[:4]
    assert_pytorchs_rules(gated_input(name), "gated_input_triton", values)
    assert_compiles(gated_input(name), values)


@pytest.mark.parametrize("name", [TRITON])
def test_mamba_block_has_the_precision_of_the_process(name: str) -> None:
    """Products into slices and additions to a gradient are split like all others."""
    torch.manual_seed(0)
    values = [value.float() for value in mamba_inputs(2, 5, 3, 6, 4, 2)]

    def results(backend: str, kind: str) -> list[Tensor]:
        leaves = [value.clone().requires_grad_() for value in values]
        with precision(kind):
            y = mamba_block(backend)(*leaves)
            return [y.detach(), *torch.autograd.grad(y.square().sum(), leaves)]

    def largest_error(results: list[Tensor], exact: list[Tensor]) -> float:
        return max(
            float((value - other).abs().max() / other.abs().max())
            for value, other in zip(results, exact, strict=True)
        )

    rounded = results("sequential", "bf16")
    assert largest_error(results(name, "bf16"), rounded) < 1e-5
    assert largest_error(results(name, "fp32"), rounded) > 1e-3
