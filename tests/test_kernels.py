"""Kernels against their naive twins: outputs and every gradient, at the lengths the study uses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.kernels import backends, convolution, selective_scan, self_test

LENGTHS = (1, 2, 82, 202, 303)


def assert_same(fast: Callable[..., Tensor], twin: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    values = [value.double().requires_grad_() for value in inputs]
    outputs = fast(*values), twin(*values)
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)
    weights = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad((y * weights).sum(), values) for y in outputs]
    for fast_gradient, exact in zip(*gradients, strict=True):
        torch.testing.assert_close(fast_gradient, exact, rtol=1e-9, atol=1e-10)


def scan_inputs(batch: int, length: int, channels: int, state: int) -> list[Tensor]:
    return [
        torch.randn(batch, length, channels),
        torch.rand(batch, length, channels),
        -torch.rand(channels, state),
        torch.randn(batch, length, state),
        torch.randn(batch, length, state),
        torch.randn(channels),
    ]


@pytest.mark.parametrize("length", LENGTHS)
def test_sequential_scan_is_the_reference_in_outputs_and_gradients(length: int) -> None:
    torch.manual_seed(length)
    assert_same(selective_scan.sequential, selective_scan.reference, scan_inputs(2, length, 6, 4))


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 3), length=st.integers(1, 12), channels=st.integers(1, 5), state=st.integers(1, 5)
)
def test_sequential_scan_is_the_reference_at_any_shape(
    batch: int, length: int, channels: int, state: int
) -> None:
    torch.manual_seed(0)
    assert_same(
        selective_scan.sequential, selective_scan.reference, scan_inputs(batch, length, channels, state)
    )


def test_the_scan_of_one_channel_is_the_recurrence_done_by_hand() -> None:
    x, delta = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.5], [1.0]]])
    A, B, C = torch.tensor([[-1.0]]), torch.tensor([[[2.0], [3.0]]]), torch.tensor([[[1.0], [10.0]]])
    # h₁ = 0.5·2·1 = 1; h₂ = e⁻¹·1 + 1·3·2; y = C·h + 0.5·x
    expected = torch.tensor([[[1.0 + 0.5], [10 * (torch.e**-1 + 6.0) + 1.0]]])
    for scan in (selective_scan.reference, selective_scan.sequential):
        torch.testing.assert_close(scan(x, delta, A, B, C, torch.tensor([0.5])), expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_short_convolution_is_its_reference(length: int) -> None:
    torch.manual_seed(length)
    inputs = [torch.randn(2, length, 6), torch.randn(6, 4), torch.randn(6)]
    assert_same(convolution.short_convolution, convolution.short_convolution_reference, inputs)


def test_short_convolution_is_pytorchs_causal_depthwise_convolution() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 9, 6), torch.randn(6, 4), torch.randn(6)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (3, 0))
    expected = torch.nn.functional.conv1d(padded, weight.unsqueeze(1), bias, groups=6).transpose(1, 2)
    torch.testing.assert_close(convolution.short_convolution(x, weight, bias), expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_long_convolution_is_its_reference(length: int) -> None:
    torch.manual_seed(length)
    assert_same(
        convolution.long_convolution,
        convolution.long_convolution_reference,
        [torch.randn(2, 5, length), torch.randn(5, length)],
    )


@given(st.integers(1, 5000))
def test_fourier_lengths_are_even_large_enough_and_smooth(at_least: int) -> None:
    length = convolution.smooth_length(at_least)
    assert length >= at_least
    assert length % 2 == 0
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    assert length == 1


def test_self_test_agrees_on_this_machine() -> None:
    outcomes = self_test.self_test(torch.device("cpu"), ("sequential", "mamba_ssm"), (82,))
    by_backend = {outcome.backend: outcome for outcome in outcomes}
    assert all(by_backend[name].agrees for name in ("sequential", "shifts", "fft"))
    assert by_backend["mamba_ssm"].unavailable == "needs an NVIDIA GPU"
    assert not by_backend["mamba_ssm"].agrees


def test_self_test_catches_a_kernel_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def weakens_the_skip(*inputs: Tensor) -> Tensor:
        return selective_scan.reference(*inputs[:5], 0.9 * inputs[5])

    monkeypatch.setitem(selective_scan.SCANS, "sequential", weakens_the_skip)
    scan = self_test.self_test(torch.device("cpu"), ("sequential",), (82,))[0]
    assert not scan.agrees


def test_backend_names_are_those_of_the_scans() -> None:
    assert set(backends.SCAN_NAMES) == set(selective_scan.SCANS)
