"""The diagonal SSM against its reference and a geometric series."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_checks import FAST, assert_same, lengths, ssm_inputs

from bench.kernels.ssm import diagonal_ssm
from bench.kernels.ssm.sequential import smooth_length

shapes = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@lengths
def test_diagonal_ssm_is_its_reference(name: str, length: int) -> None:
    torch.manual_seed(length)
    modes = 8 if name == "sequential" or length < 82 else 3
    assert_same(diagonal_ssm(name), diagonal_ssm("reference"), ssm_inputs(1, length, 5, modes))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
@shapes
@given(
    batch=st.integers(1, 2),
    length=st.integers(1, 9),
    channels=st.integers(1, 35),
    modes=st.integers(1, 9),
)
def test_diagonal_ssm_is_its_reference_at_any_shape(
    name: str, batch: int, length: int, channels: int, modes: int
) -> None:
    torch.manual_seed(0)
    inputs = ssm_inputs(batch, length, channels, modes)
    assert_same(diagonal_ssm(name), diagonal_ssm("reference"), inputs)


@pytest.mark.parametrize("name", ["reference", *FAST])
def test_the_answer_of_one_real_mode_to_an_impulse_is_a_geometric_series(name: str) -> None:
    x = torch.zeros(1, 5, 1, dtype=torch.float64)
    x[0, 1] = 1.0
    ratio, first = 0.5, 0.75  # Δ = 2 and A = log(ratio) / 2, so that w is the ratio
    A = math.log(ratio) / 2
    C = torch.tensor([[[first * A / (ratio - 1), 7.0]]], dtype=torch.float64)
    log_step, log_decay = x.new_tensor([math.log(2)]), x.new_tensor([[math.log(-A)]])
    skip = x.new_tensor([10.0])
    y = diagonal_ssm(name)(x, log_step, log_decay, x.new_zeros(1, 1), C, skip)
    expected = [0.0, 10 + 2 * first, *(2 * first * ratio**after for after in (1, 2, 3))]
    torch.testing.assert_close(y.flatten().tolist(), expected, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 5000))
def test_fourier_lengths_are_even_large_enough_and_smooth(at_least: int) -> None:
    length = smooth_length(at_least)
    assert length >= at_least
    assert length % 2 == 0
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    assert length == 1
