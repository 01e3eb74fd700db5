"""The self-test: it agrees on this machine, and it catches a wrong kernel."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.kernels import registry, self_test
from bench.kernels.scan import selective_scan, sequential


def test_self_test_agrees_on_this_machine() -> None:
    outcomes = self_test.self_test(torch.device("cpu"), ("sequential", "mamba_ssm"), (82,))
    assert {outcome.kernel for outcome in outcomes} == set(registry.kernels())
    for outcome in outcomes:
        assert outcome.agrees == (outcome.backend == "sequential")
        assert outcome.unavailable == (None if outcome.agrees else "needs an NVIDIA GPU")


def test_self_test_catches_a_kernel_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def weakens_the_skip(*inputs: Tensor) -> Tensor:
        return selective_scan("reference")(*inputs[:6], 0.9 * inputs[6], inputs[7])

    monkeypatch.setattr(sequential, "scan", weakens_the_skip)
    monkeypatch.setattr(registry, "FOLDERS", ("bench.kernels.scan",))
    scan = self_test.self_test(torch.device("cpu"), ("sequential",), (82,))[0]
    assert (scan.kernel, scan.agrees) == ("selective scan", False)
    assert scan.outputs is not None
    assert scan.outputs > 1e-3


class _LosesItsGradient(torch.autograd.Function):
    """The identity, with a gradient of NaN."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * math.nan


def test_self_test_catches_a_gradient_of_nan_that_is_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def loses_the_last_gradient(*inputs: Tensor) -> Tensor:
        last: Tensor = _LosesItsGradient.apply(inputs[-1])
        return selective_scan("reference")(*inputs[:-1], last)

    monkeypatch.setattr(sequential, "scan", loses_the_last_gradient)
    monkeypatch.setattr(registry, "FOLDERS", ("bench.kernels.scan",))
    scan = self_test.self_test(torch.device("cpu"), ("sequential",), (19,))[0]
    assert scan.outputs is not None
    assert scan.outputs < 1e-6
    assert scan.gradients is not None
    assert math.isnan(scan.gradients)
    assert not scan.agrees
