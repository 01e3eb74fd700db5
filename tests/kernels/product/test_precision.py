"""Precisions of matrix products: how near they are to the exact product, and what they do at the edges."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import FAST, TRITON
from torch import Tensor

from bench.errors import UserError
from bench.kernels.product import current, linear, precision, unavailable, use
from bench.kernels.product.split import product, split
from bench.precision import PRECISIONS

ERRORS = {"fp32": (0.0, 3e-7), "bf16": (1e-4, 1e-2), "bf16x3": (1e-7, 2e-5), "bf16x6": (0.0, 3e-7)}
"""Bounds of the largest error of a product of normal matrices on a processor, relative to the norms of row
and column. A product with a smaller error is not the cheap one that the precision is named after."""


def splits(name: str) -> Any:
    if name == "sequential":
        return split
    from bench.kernels.product.triton_split import split as fused

    return fused


def error(y: Tensor, a: Tensor, b: Tensor) -> float:
    y, a, b = (value.detach() for value in (y, a, b))
    scale = a.double().norm(dim=-1)[..., None] * b.double().norm(dim=-2)[..., None, :]
    return float(((y.double() - a.double() @ b.double()) / scale).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sequential", TRITON])
@pytest.mark.parametrize("which", list(ERRORS))
def test_a_product_is_as_near_to_the_exact_one_as_its_precision_says(name: str, which: str) -> None:
    torch.manual_seed(0)
    x, weight, dy = torch.randn(40, 130), torch.randn(20, 130, requires_grad=True), torch.randn(40, 20)
    x.requires_grad_()
    with precision(which):
        y = linear(name)(x, weight)
        dx, dweight = torch.autograd.grad(y, (x, weight), dy)
    least, most = ERRORS[which]
    assert least <= error(y, x, weight.T) <= most
    assert error(dx, dy, weight) <= most
    assert error(dweight, dy.T, x) <= most


def test_every_precision_that_a_processor_can_compute_has_stated_errors() -> None:
    on_a_gpu_only = {"tf32", "tf32_weights"}  # the GPU's own
    assert PRECISIONS.keys() - on_a_gpu_only == ERRORS.keys(), "state a new precision's errors in ERRORS"


def test_six_products_of_parts_are_as_accurate_as_single_precision() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(1, 30, 200), torch.randn(1, 200, 30)
    six = product(a, b, PRECISIONS["bf16x6"].pairs)
    assert error(six, a, b) <= 2 * error(a @ b, a, b)


singles = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sequential", TRITON])
@settings(max_examples=60)
@given(values=st.lists(singles, min_size=1, max_size=5))
def test_three_parts_add_up_to_the_number(name: str, values: list[float]) -> None:
    whole = torch.tensor(values, dtype=torch.float32).view(1, 1, -1)
    parts = splits(name)(whole, (1, 2, 3), -2).double()
    assert parts.isfinite().all()
    exact = whole.double()
    missing = (parts.sum(-2, keepdim=True) - exact).abs()
    # Below the smallest bf16 number, 2⁻¹³³, nothing is left to say.
    assert (missing <= torch.maximum(2.0**-24 * exact.abs(), torch.tensor(2.0**-134))).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sequential", TRITON])
@settings(max_examples=60)
@given(value=st.floats(width=32, min_value=-(2.0**100), max_value=2.0**100))
def test_each_part_is_the_nearest_to_what_is_left(name: str, value: float) -> None:
    whole = torch.full((1, 1, 1), value)
    first, second, third = splits(name)(whole, (1, 2, 3), -1).flatten().double().tolist()
    exact = float(whole)
    for left, part in ((exact, first), (exact - first, second), (exact - first - second, third)):
        assert abs(left - part) <= max(2.0**-8 * abs(left), 2.0**-134)


@pytest.mark.parametrize("name", ["sequential", TRITON])
def test_parts_lie_in_the_order_asked_for(name: str) -> None:
    whole = torch.tensor([[[1.0, 3.0 + 2**-10], [5.0, 7.0 + 2**-12]]])
    side_by_side = splits(name)(whole, (1, 2, 1), -1).float()
    expected = torch.tensor([[1.0, 3, 0, 2**-10, 1, 3], [5, 7, 0, 2**-12, 5, 7]])
    torch.testing.assert_close(side_by_side[0], expected, rtol=0, atol=0)
    below = splits(name)(whole, (2, 1), -2).float()
    expected = torch.tensor([[0.0, 2**-10], [0, 2**-12], [1, 3], [5, 7]])
    torch.testing.assert_close(below[0], expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["sequential", TRITON])
def test_fused_splitting_gives_the_bits_of_its_twin(name: str) -> None:
    torch.manual_seed(0)
    values = torch.randn(2, 9, 260)[:, :, 1:140] * 10.0 ** torch.randint(-30, 30, (2, 9, 139))
    for dim in (-1, -2):
        assert torch.equal(splits(name)(values, (3, 1, 2), dim), split(values, (3, 1, 2), dim))


@pytest.mark.parametrize("name", ["sequential", TRITON])
@pytest.mark.parametrize("which", [name for name, precision in PRECISIONS.items() if precision.pairs])
@pytest.mark.filterwarnings("ignore:invalid value encountered")  # NumPy's, in the interpreter: ∞ − ∞
def test_edges_of_the_range_stay_what_they_are(name: str, which: str) -> None:
    """Zero, denormal numbers and one beyond bf16's largest are finite; what is not finite stays so."""
    largest = 3.399e38
    x = torch.tensor([[0.0], [largest], [-largest], [1e-40], [torch.inf], [-torch.inf], [torch.nan]])
    with precision(which):
        y = linear(name)(x, torch.ones(1, 1)).flatten()
    assert y[0] == 0
    assert y[:4].isfinite().all()
    assert not y[4:].isfinite().any()
    torch.testing.assert_close(y[1:3], x[1:3, 0], rtol=5e-3, atol=0)
    assert 0 < y[3] < 2e-40


@pytest.mark.parametrize("name", FAST)
def test_double_precision_is_never_split(name: str) -> None:
    x, weight = torch.randn(2, 4, 4, dtype=torch.float64)
    with precision("bf16"):
        torch.testing.assert_close(linear(name)(x, weight), x @ weight.T, rtol=1e-14, atol=1e-14)


def test_a_block_has_its_precision_and_what_follows_the_one_before() -> None:
    def of_both() -> tuple[str, str]:
        return current().name, torch.get_float32_matmul_precision()

    def fails() -> None:
        with precision("fp32"):
            assert of_both() == ("fp32", "highest")
            raise RuntimeError("stop")

    before = of_both()
    with precision("tf32"):
        assert of_both() == ("tf32", "high")
        with pytest.raises(RuntimeError, match="stop"):
            fails()
        assert of_both() == ("tf32", "high")
        with precision("bf16x6"):
            assert of_both() == ("bf16x6", "highest")
    assert of_both() == before


def test_an_unknown_precision_is_refused_and_nothing_changes() -> None:
    for function in (use, lambda name: unavailable(name, "cpu")):
        with pytest.raises(UserError, match="no precision 'bf16x5', did you mean 'bf16x"):
            function("bf16x5")
    assert current().name == "fp32"


def test_a_processor_computes_in_single_precision_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unavailable("fp32", "cpu") is None
    for name in PRECISIONS.keys() - {"fp32"}:
        assert (
            unavailable(name, "cpu") == f"precision {name} needs an NVIDIA GPU: a processor computes in fp32"
        )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    why = unavailable("bf16x6", "cuda:0")
    assert why is not None
    assert "8.0 or higher, this GPU has 7.5" in why
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert unavailable("bf16x6", "cuda:0") is None


def test_triton_knows_the_name_of_every_precision() -> None:
    compiler = pytest.importorskip("triton.backends.nvidia.compiler")
    allowed = compiler.CUDAOptions().allowed_dot_input_precisions
    assert {each.triton_dot for each in PRECISIONS.values()} <= set(allowed)


def test_precisions_are_read_without_torch() -> None:
    code = "import sys, bench.precision, bench.kernels.product; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
