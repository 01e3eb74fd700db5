"""The self-test: it agrees on this machine, and it catches a wrong kernel."""

from __future__ import annotations

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
