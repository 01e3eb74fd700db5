"""Which kernel backend a device uses, and what is said where it cannot."""

from __future__ import annotations

import pytest

from bench.kernels import backends


def test_without_triton_a_gpu_runs_what_needs_no_package_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda name: False)
    assert backends.unavailable("triton", "cuda:0") == "package triton is not installed: pip install triton"
    assert backends.resolve("auto", "cuda:0")[0] == "sequential"
    assert "pip install triton" in backends.resolve("auto", "cuda:0")[1]


def test_the_official_kernels_need_both_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda name: name == "mamba_ssm")
    why = backends.unavailable("mamba_ssm", "cuda:0")
    assert why is not None
    assert why.startswith("package causal_conv1d is not installed: pip install --no-build-isolation ")


def test_auto_is_triton_on_a_gpu_and_sequential_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda name: True)
    assert backends.resolve("auto", "cuda:1")[0] == "triton"
    assert backends.resolve("auto", "cpu")[0] == "sequential"
    assert backends.resolve("mamba_ssm", "cuda:0")[0] == "mamba_ssm"
