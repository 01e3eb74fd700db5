"""The mLSTM's cell: all pairs at once and by chunks against the recurrence, known values, large gates.

Without a GPU, Triton's kernels run in its interpreter.
"""

from __future__ import annotations

import pytest
import torch
from kernel_checks import EXACT, FAST, assert_a_stack_is_each_model_alone, assert_same, needs_triton, normal
from torch import Tensor

from bench.kernels.mlstm import EPSILON, mlstm

fast = pytest.mark.parametrize("name", FAST)
backends = pytest.mark.parametrize("name", ["reference", *FAST])


def inputs(length: int, scale: float = 1.0) -> list[Tensor]:
    q, k, v = normal(2, length, 2, 5), normal(2, length, 2, 5), normal(2, length, 2, 3)
    return [q, k, v, scale * normal(2, length, 2), scale * normal(2, length, 2) + 2]


@pytest.mark.parametrize(
    ("name", "length"),
    [
        *(("sequential", length) for length in (1, 2, 17, 70, 131)),
        *(pytest.param("triton", length, marks=needs_triton) for length in (1, 33)),
    ],
)
def test_pairs_and_chunks_are_the_recurrence_in_outputs_and_gradients(name: str, length: int) -> None:
    torch.manual_seed(length)
    assert_same(mlstm(name), mlstm("reference"), inputs(length))


@backends
def test_golden_value_of_the_cell(name: str) -> None:
    """The fourth output for q_td = sin(t + 2d), k_td = cos(td), v_te = sin(t/2 + e)."""
    t, d, e = (torch.arange(1.0, count + 1, dtype=torch.float64) for count in (4, 4, 3))
    t = t[:, None]
    q, k, v = (
        values[None, :, None] for values in (torch.sin(t + 2 * d), torch.cos(t * d), torch.sin(t / 2 + e))
    )
    y = mlstm(name)(q, k, v, 2 * torch.sin(3 * t)[None], torch.cos(2 * t)[None] + 1)[0, 3, 0]
    torch.testing.assert_close(y, y.new_tensor((0.531841, -0.345738, -0.905447)), rtol=0, atol=2e-6)


@backends
def test_one_token_with_a_large_gate_returns_its_value_or_its_negative(name: str) -> None:
    """The normaliser divides by |n·q| where it is above 1: what is left is the sign of k·q."""
    torch.manual_seed(0)
    q, k, v, _, f = inputs(1)
    i = torch.full_like(f, 60.0)
    y = mlstm(name)(q, k, v, i, f)
    score = (q * k).sum(-1, keepdim=True) / 5**0.5
    torch.testing.assert_close(y, v * score / (score.abs() + EPSILON), **EXACT)


@fast
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_gates_neither_overflow_nor_lose_the_answer(name: str, dtype: torch.dtype) -> None:
    """exp(i) is infinite in float32, and σ(f) is zero."""
    torch.manual_seed(0)
    values = inputs(70, scale=60.0)
    assert values[3].max() > 90
    assert values[4].min() < -110
    expected = mlstm("reference")(*values)
    own = [value.to(dtype).requires_grad_() for value in values]
    y = mlstm(name)(*own)
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else EXACT
    torch.testing.assert_close(y.double(), expected, **tolerance)
    for gradient in torch.autograd.grad(y.sum(), own):
        assert gradient.isfinite().all()


@backends
def test_no_output_depends_on_a_later_token_to_the_bit(name: str) -> None:
    torch.manual_seed(0)
    length = 33  # two chunks
    values, others = inputs(length), inputs(length)
    y = mlstm(name)(*values)
    for cut in range(1, length, 8 if name == "triton" else 1):
        changed = [
            torch.cat((value[:, :cut], other[:, cut:]), dim=1)
            for value, other in zip(values, others, strict=True)
        ]
        assert torch.equal(mlstm(name)(*changed)[:, :cut], y[:, :cut]), cut


@fast
def test_a_stack_of_models_is_each_model_alone(name: str) -> None:
    torch.manual_seed(0)
    choices = None if name == "sequential" else [(True,) * 5, (False, True, False, False, True)]
    assert_a_stack_is_each_model_alone(mlstm(name), inputs(9), choices=choices)


@fast
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    values = [value[:1].requires_grad_() for value in inputs(6)]
    assert torch.autograd.gradcheck(mlstm(name), values, fast_mode=True)
