"""The selective scan against its reference: outputs and every gradient, at the lengths of the study."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_checks import FAST, LENGTHS, TRITON, assert_same, normal, scan_inputs

from bench.kernels.scan import selective_scan

shapes = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("length", LENGTHS)
def test_sequential_scan_is_the_reference_in_outputs_and_gradients(length: int) -> None:
    torch.manual_seed(length)
    assert_same(selective_scan("sequential"), selective_scan("reference"), scan_inputs(2, length, 6, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "length", "state"), [(2, 1, 4), (1, 17, 1), (2, 37, 4), (1, 82, 16)])
@pytest.mark.parametrize("name", [TRITON])
def test_triton_scan_is_the_reference_in_outputs_and_gradients(
    name: str, batch: int, length: int, state: int
) -> None:
    """Lengths within one chunk of kept states, of several, and not a whole number of them."""
    torch.manual_seed(length)
    inputs = scan_inputs(batch, length, 6, state)
    assert_same(selective_scan(name), selective_scan("reference"), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", [TRITON])
@pytest.mark.parametrize(("length", "segments"), [(9, 3), (33, 4)])
def test_segments_of_a_prompt_give_the_same_gradients(
    name: str, length: int, segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few prompts of a length that the segments do not divide, and many that need no segments."""
    from bench.kernels.scan import triton

    torch.manual_seed(length)
    inputs = scan_inputs(2, length, 5, 4)
    for most in (1, segments):
        monkeypatch.setattr(triton, "_segments", lambda programs, chunks, most=most: most)
        assert_same(selective_scan(name), selective_scan("reference"), inputs)


@pytest.mark.parametrize("name", [TRITON])
def test_only_few_programs_cut_prompts_into_segments(name: str) -> None:
    from bench.kernels.scan import triton

    assert triton._segments(64 * 2, chunks=11) == triton.SEGMENTS
    assert triton._segments(64 * 8, chunks=11) == 1
    assert triton._segments(1, chunks=2) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
@shapes
@given(
    batch=st.integers(1, 2),
    length=st.integers(1, 6),
    channels=st.integers(1, 35),
    log_state=st.integers(0, 3),
)
def test_scan_is_the_reference_at_any_shape(
    name: str, batch: int, length: int, channels: int, log_state: int
) -> None:
    torch.manual_seed(0)
    inputs = scan_inputs(batch, length, channels, 2**log_state)
    assert_same(selective_scan(name), selective_scan("reference"), inputs)


@pytest.mark.parametrize("name", ["reference", *FAST])
def test_the_scan_of_one_channel_is_the_recurrence_done_by_hand(name: str) -> None:
    x, delta = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.5], [1.0]]])
    step = torch.log(torch.expm1(delta)) - 0.25  # softplus(step + 0.25) = Δ
    A, B, C = torch.tensor([[-1.0]]), torch.tensor([[[2.0], [3.0]]]), torch.tensor([[[1.0], [10.0]]])
    z = torch.tensor([[[0.0], [2.0]]])
    # h₁ = 0.5·2·1 = 1; h₂ = e⁻¹·1 + 1·3·2; y = (C·h + 0.5·x)·silu(z), silu(0) = 0, silu(2) = 2/(1 + e⁻²)
    expected = torch.tensor([[[0.0], [(10 * (torch.e**-1 + 6.0) + 1.0) * 2 / (1 + torch.e**-2)]]])
    scan = selective_scan(name)
    bias, skip = torch.tensor([0.25]), torch.tensor([0.5])
    torch.testing.assert_close(scan(x, step, bias, A, B, C, skip, z), expected)


@pytest.mark.parametrize("name", [TRITON])
def test_triton_scan_says_which_state_sizes_it_takes(name: str) -> None:
    with pytest.raises(ValueError, match=r"states of 1, 2, 4, 8, … numbers, not 12: use sequential"):
        selective_scan(name)(*scan_inputs(1, 3, 2, 12))


@pytest.mark.parametrize("name", FAST)
def test_scan_reads_slices_of_wider_tensors(name: str) -> None:
    """As Mamba's block calls it: x and z are halves of one projection, B and C parts of another."""
    torch.manual_seed(0)
    x, step, bias, A, _, _, skip, _ = scan_inputs(2, 7, 5, 4)
    z = normal(2, 7, 10).chunk(2, dim=-1)[1]
    B, C = normal(2, 7, 11).split([3, 4, 4], dim=-1)[1:]
    scan = selective_scan(name)
    inputs = (x, step, bias, A, B, C, skip, z)
    torch.testing.assert_close(scan(*inputs), selective_scan("reference")(*inputs))
