"""What PyTorch may do with an operator: differentiate, stack, compile. And every Triton kernel compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from command import ROOT
from kernel_checks import (
    TRITON,
    assert_compiles,
    assert_pytorchs_rules,
    convolution_inputs,
    decay_inputs,
    delta_inputs,
    mamba_inputs,
    needs_triton,
    rwkv7_inputs,
    scan_inputs,
    ssm_inputs,
    vector_delta_inputs,
)
from torch import Tensor

from bench.kernels.convolution import short_convolution
from bench.kernels.decay import scalar_decay, vector_decay
from bench.kernels.delta import delta_rule
from bench.kernels.mamba import mamba_block
from bench.kernels.rwkv7 import rwkv7_keys, rwkv7_outputs
from bench.kernels.scan import selective_scan
from bench.kernels.ssm import diagonal_ssm
from bench.kernels.vector_delta import diagonal_plus_rank_one, vector_delta_rule


def stacked(function: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Tensor]:
    """The function with its outputs in one tensor."""
    return lambda *values: torch.stack(function(*values))


OPERATORS = {
    "recurrence": (lambda: selective_scan("sequential"), lambda: scan_inputs(2, 5, 3, 4)),
    "scan_triton": (lambda: selective_scan("triton"), lambda: scan_inputs(2, 5, 3, 4)),
    "convolution_triton": (
        lambda: short_convolution("triton"),
        lambda: convolution_inputs(2, 5, 3, 4),
    ),
    "mamba_block_triton": (lambda: mamba_block("triton"), lambda: mamba_inputs(1, 4, 3, 4, 2, 1)),
    "ssm_triton": (lambda: diagonal_ssm("triton"), lambda: ssm_inputs(2, 5, 3, 2)),
    "scalar_decay_triton": (lambda: scalar_decay("triton"), lambda: decay_inputs(2, 5, 2, 3, 4)),
    "vector_decay_triton": (lambda: vector_decay("triton"), lambda: decay_inputs(1, 5, 1, 3, 4, vector=True)),
    "delta_rule_triton": (lambda: delta_rule("triton"), lambda: delta_inputs(1, 5, 2, 3, 4)),
    "vector_delta_rule_triton": (
        lambda: vector_delta_rule("triton"),
        lambda: vector_delta_inputs(1, 5, 1, 3, 4),
    ),
    "diagonal_plus_rank_one_triton": (
        lambda: diagonal_plus_rank_one("triton"),
        lambda: vector_delta_inputs(1, 5, 1, 3, 4, three_keys=True),
    ),
    "rwkv7_keys_triton": (lambda: stacked(rwkv7_keys("triton")), lambda: rwkv7_inputs(1, 5, 2, 3)),
    "rwkv7_outputs_triton": (
        lambda: rwkv7_outputs("triton"),
        lambda: rwkv7_inputs(1, 5, 2, 3, outputs=True),
    ),
}
operators = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs_triton if "triton" in name else ()) for name in OPERATORS],
)


@pytest.mark.slow
@operators
def test_operators_keep_pytorchs_rules(name: str) -> None:
    function, inputs = (make() for make in OPERATORS[name])
    assert_pytorchs_rules(function, name, inputs)


@pytest.mark.slow
@operators
def test_a_stack_of_models_is_each_model_alone(name: str) -> None:
    torch.manual_seed(0)
    function, inputs = (make() for make in OPERATORS[name])
    stack = [torch.stack([value, 0.9 * value]) for value in inputs]
    stack[0] = inputs[0]  # x is shared: one data stream
    dims = (None, *(0 for _ in inputs[1:]))
    everything = tuple(range(len(inputs)))

    def loss(*values: Tensor) -> Tensor:
        return (function(*values) ** 2).sum()

    def members(each: Callable[..., Tensor]) -> list[Tensor]:
        pairs = list(zip(stack, dims, strict=True))
        return [each(*(value if dim is None else value[k] for value, dim in pairs)) for k in range(2)]

    outputs = torch.func.vmap(function, dims)(*stack)
    torch.testing.assert_close(outputs, torch.stack(members(function)))
    gradients = torch.func.vmap(torch.func.grad(loss, everything), dims)(*stack)
    for k, alone in enumerate(members(torch.func.grad(loss, everything))):
        for found, exact in zip(gradients, alone, strict=True):
            torch.testing.assert_close(found[k], exact)
    of_all = torch.func.grad(lambda *values: torch.func.vmap(loss, dims)(*values).sum(), 1)(*stack)
    torch.testing.assert_close(of_all, gradients[1])


@pytest.mark.slow
@operators
def test_operators_compile_without_a_break(name: str) -> None:
    torch.manual_seed(0)
    function, inputs = (make() for make in OPERATORS[name])
    assert_compiles(function, inputs)


@pytest.mark.slow
@operators
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    function, inputs = (make() for make in OPERATORS[name])
    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in inputs], fast_mode=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [TRITON])
def test_every_triton_kernel_compiles(name: str) -> None:
    """The interpreter runs what the compiler may refuse; compiling needs no GPU."""
    script = ROOT / "tests/support/compile_kernels.py"
    plain = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, script], env=plain, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "all compile", done.stderr
