"""Sums over all tokens so far, without `cumsum`."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import EXACT, normal

from bench.kernels.running_sum import running_sum


@given(st.integers(1, 300), st.integers(1, 3))
@settings(max_examples=20)
def test_running_sums_are_cumulative_sums(length: int, channels: int) -> None:
    values = normal(2, length, channels)
    torch.testing.assert_close(running_sum(values), values.cumsum(1), **EXACT)
    single = values.float()
    torch.testing.assert_close(running_sum(single), single.double().cumsum(1), **EXACT)
