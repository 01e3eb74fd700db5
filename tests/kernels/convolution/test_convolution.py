"""The short convolution against its reference and PyTorch's convolution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_checks import FAST, assert_same, convolution_inputs, lengths

from bench.kernels.convolution import short_convolution

shapes = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@lengths
def test_short_convolution_is_its_reference(name: str, length: int) -> None:
    torch.manual_seed(length)
    inputs = convolution_inputs(1, length, 3, 4)
    assert_same(short_convolution(name), short_convolution("reference"), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
@shapes
@given(
    batch=st.integers(1, 2), length=st.integers(1, 20), channels=st.integers(1, 130), taps=st.integers(1, 5)
)
def test_short_convolution_is_its_reference_at_any_shape(
    name: str, batch: int, length: int, channels: int, taps: int
) -> None:
    torch.manual_seed(0)
    inputs = convolution_inputs(batch, length, channels, taps)
    assert_same(short_convolution(name), short_convolution("reference"), inputs)


def test_short_convolution_is_pytorchs_causal_depthwise_convolution() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 9, 6), torch.randn(6, 4), torch.randn(6)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (3, 0))
    expected = torch.nn.functional.conv1d(padded, weight.unsqueeze(1), bias, groups=6).transpose(1, 2)
    torch.testing.assert_close(
        short_convolution("sequential")(x, weight, bias), torch.nn.functional.silu(expected)
    )
