"""Causal attention against its formula: outputs and the gradient, and what attention promises.

Without a GPU, Triton's kernels run in its interpreter: the same code, block by block in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_checks import FAST, GuardedMemory, needs_triton
from torch import Tensor

from bench.kernels.attention import attention
from bench.kernels.attention.reference import attention as reference
from bench.kernels.product import precision
from bench.precision import PRECISIONS

ALL = ["reference", *FAST]
shapes = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that replaces how the Triton kernels are launched, keeping what it does not name."""

    def replace(*, forward: tuple[int, int], backward: tuple[int, int], whole: bool) -> None:
        from bench.kernels.attention import triton as kernels

        monkeypatch.setattr(
            kernels,
            "launch",
            lambda length, head_dim, dot: kernels.Launch(
                kernels.Blocks(*forward, 1, 1), kernels.Blocks(*backward, 1, 1), whole
            ),
        )

    return replace


def heads_of(length: int, head_dim: int, batch: int = 1, heads: int = 2) -> Tensor:
    torch.manual_seed(length)
    return torch.randn(batch, length, 3, heads, head_dim, dtype=torch.float64)


def gradient_of(function: Callable[[Tensor], Tensor], qkv: Tensor, weights: Tensor) -> Tensor:
    qkv = qkv.detach().clone().requires_grad_()
    return torch.autograd.grad((function(qkv) * weights).sum(), qkv)[0]


def assert_same(name: str, qkv: Tensor, slack: float = 1) -> None:
    fast, exact = attention(name)(qkv), reference(qkv)
    torch.testing.assert_close(fast, exact, rtol=1e-10 * slack, atol=1e-12 * slack)
    weights = torch.randn_like(exact)
    gradients = [gradient_of(function, qkv, weights) for function in (attention(name), reference)]
    torch.testing.assert_close(*gradients, rtol=1e-9 * slack, atol=1e-10 * slack)


@pytest.mark.parametrize("length", [1, 2, 17, 33, 82])
@pytest.mark.parametrize("head_dim", [4, 16, 24])
@pytest.mark.parametrize("name", FAST)
def test_attention_is_its_reference(name: str, length: int, head_dim: int) -> None:
    assert_same(name, heads_of(length, head_dim, heads=1 if length > 33 else 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
@shapes
@given(
    batch=st.integers(1, 2),
    length=st.integers(1, 34),
    heads=st.integers(1, 2),
    head_dim=st.integers(1, 35),
)
def test_attention_is_its_reference_at_any_shape(
    name: str, batch: int, length: int, heads: int, head_dim: int
) -> None:
    assert_same(name, heads_of(length, head_dim, batch, heads))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("own", "step"), [(16, 32), (32, 16), (64, 64)])
@needs_triton
def test_any_launch_is_the_reference(launches: Callable[..., None], own: int, step: int, whole: bool) -> None:
    """Blocks of queries longer than those of keys, shorter, and longer than the prompt."""
    launches(forward=(own, step), backward=(own, step), whole=whole)
    assert_same("triton", heads_of(50, 5, heads=1))


@pytest.mark.parametrize("length", [1, 82, 1024])
@pytest.mark.parametrize("head_dim", [1, 16, 17, 96, 128])
@needs_triton
def test_every_size_has_a_launch_of_powers_of_two(length: int, head_dim: int) -> None:
    from bench.kernels.attention import triton as kernels

    forward, backward, _ = kernels.launch(length, head_dim, "tf32x3")
    for rows in (forward.own, forward.step, backward.own, backward.step):
        assert rows >= 16
        assert rows.bit_count() == 1


@pytest.mark.parametrize("name", ALL)
def test_two_tokens_by_hand(name: str) -> None:
    # Token 0 sees itself alone. Token 1 has scores q·k/√4 = log 3 and 0: weights 3/4 and 1/4.
    q, k, v = torch.zeros(3, 2, 4, dtype=torch.float64)
    q[1, 0], k[0, 0] = 2.0, math.log(3)
    v[0], v[1] = torch.tensor([4.0, 8.0, 0.0, -4.0]), torch.tensor([0.0, 4.0, 8.0, 4.0])
    y = attention(name)(torch.stack((q, k, v), dim=1).view(1, 2, 3, 1, 4))
    expected = [[4.0, 8.0, 0.0, -4.0], [3.0, 7.0, 2.0, -2.0]]
    torch.testing.assert_close(y[0, :, 0].tolist(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_token_reads_none_after_it(name: str) -> None:
    """Later tokens may be anything: no bit of an earlier output, or of its gradient, depends on them."""
    qkv, last = heads_of(40, 4, heads=1), 20
    other = qkv.clone()
    other[:, last + 1 :] = 1e3 * torch.randn_like(other[:, last + 1 :])
    outputs = [attention(name)(value)[:, : last + 1] for value in (qkv, other)]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    weights = torch.zeros(1, 40, 1, 4, dtype=torch.float64)
    weights[:, : last + 1] = 1.0
    gradient = gradient_of(attention(name), qkv, weights)
    assert gradient[:, last + 1 :].count_nonzero() == 0
    assert gradient[:, : last + 1].count_nonzero() > 0


@pytest.mark.parametrize("name", ALL)
def test_the_weights_of_a_token_sum_to_one(name: str) -> None:
    qkv = heads_of(40, 4, heads=1)
    qkv[:, :, 2] = 3.5
    torch.testing.assert_close(attention(name)(qkv), torch.full_like(qkv[:, :, 2], 3.5))


@pytest.mark.parametrize("name", ALL)
def test_scores_too_large_for_an_exponential_are_no_matter(name: str) -> None:
    qkv = heads_of(20, 4, heads=1)
    qkv[:, :, :2] *= 50  # scores of some thousands: exp overflows above 709
    assert_same(name, qkv, slack=1e3)  # their last bits weigh more


# What PyTorch may do with it


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
@needs_triton
def test_a_stack_of_models_is_each_model_alone(shared: bool) -> None:
    function, stack = attention("triton"), torch.stack([f * heads_of(3, 4) for f in (1.0, 0.5, 2.0)])
    dims = None if shared else 0
    values = stack[0] if shared else stack

    def loss(qkv: Tensor, weights: Tensor) -> Tensor:
        return (function(qkv) * weights).sum()

    weights = torch.randn(3, *stack.shape[1:3], *stack.shape[4:], dtype=torch.float64)
    gradient = torch.func.grad(loss)
    members = [values if shared else values[k] for k in range(3)]
    if not shared:
        together = torch.func.vmap(function)(values)
        torch.testing.assert_close(together, torch.stack([function(value) for value in members]))
    together = torch.func.vmap(gradient, (dims, 0))(values, weights)
    alone = torch.stack([gradient(value, weights[k]) for k, value in enumerate(members)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("dim", range(6))
@needs_triton
def test_the_stacks_dimension_may_stand_anywhere(dim: int) -> None:
    function, qkv = attention("triton"), heads_of(3, 2)
    stack = torch.stack([qkv, 2 * qkv], dim=dim)
    expected = torch.stack([function(qkv), function(2 * qkv)])
    torch.testing.assert_close(torch.func.vmap(function, in_dims=dim)(stack), expected)


@pytest.mark.slow
@needs_triton
def test_the_operator_keeps_pytorchs_rules() -> None:
    attention("triton")
    qkv = heads_of(5, 4).unsqueeze(0).requires_grad_()
    outcome = torch.library.opcheck(torch.ops.bench.attention_triton, (qkv,))
    assert set(outcome.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", FAST)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    qkv = heads_of(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(attention(name), [qkv], fast_mode=True)


@needs_triton
def test_a_gradient_of_any_stride_is_read_right() -> None:
    qkv = heads_of(5, 4, batch=2)
    weights = torch.randn(4, 2, 5, 2, dtype=torch.float64).permute(3, 2, 1, 0)
    assert not weights.is_contiguous()
    exact = gradient_of(reference, qkv, weights)
    torch.testing.assert_close(gradient_of(attention("triton"), qkv, weights), exact)


@pytest.mark.parametrize("name", ALL)
def test_no_prompts_have_no_outputs(name: str) -> None:
    qkv = heads_of(5, 4, batch=0)
    assert attention(name)(qkv).shape == (0, 5, 2, 4)
    assert gradient_of(attention(name), qkv, torch.ones(0, 5, 2, 4)).shape == qkv.shape


# Memory


@pytest.mark.parametrize("whole", [False, True])
@needs_triton
def test_everything_is_written_and_nothing_beyond(
    launches: Callable[..., None], monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Outputs start as NaN, between margins of NaN: all of them are numbers after, the margins are not."""
    launches(forward=(16, 16), backward=(16, 16), whole=whole)
    from bench.kernels.attention import triton as kernels

    memory = GuardedMemory()
    qkv = memory.copy(heads_of(19, 5).unsqueeze(0))
    exact = reference(qkv[0])
    memory.provide(monkeypatch)
    y, lse = kernels.forward(qkv)
    dy = memory.copy(torch.ones_like(y))
    (dqkv,) = kernels.backward(dy, qkv, y, lse)
    monkeypatch.undo()
    torch.testing.assert_close(y[0], exact)
    assert lse.isfinite().all()
    torch.testing.assert_close(dqkv[0], gradient_of(reference, qkv[0], dy[0]))
    assert len(memory.margins) >= 2 * len((qkv, y, lse, dy, dqkv))
    memory.assert_untouched()


@needs_triton
def test_only_what_the_gradient_reads_is_kept() -> None:
    qkv = heads_of(5, 4).requires_grad_()
    kept: list[Any] = []

    def pack(value: Tensor) -> Tensor:
        kept.append(tuple(value.shape))
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        attention("triton")(qkv)
    assert sorted(kept) == sorted([(1, *qkv.shape), (1, 1, 5, 2, 4), (1, 1, 2, 5)])


# Which backend, and what it cannot do


@needs_triton
def test_the_official_package_has_no_attention_and_triton_stands_in() -> None:
    assert attention("mamba_ssm") is attention("triton")


@needs_triton
def test_heads_too_wide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"heads of at most 128 channels, not 129: use sequential"):
        attention("triton")(heads_of(2, 129))


@pytest.mark.parametrize("name", ALL)
def test_a_vector_added_to_all_keys_changes_nothing(name: str) -> None:
    """So the gradient of a bias of keys is zero. Adam makes steps of rounding errors where it is not."""
    qkv = heads_of(33, 8)
    shifted = qkv.clone()
    shifted[:, :, 1] += torch.linspace(-2, 2, 8, dtype=qkv.dtype)
    torch.testing.assert_close(attention(name)(shifted), attention(name)(qkv), rtol=1e-10, atol=1e-12)
    dk = gradient_of(attention(name), shifted, torch.randn(qkv[:, :, 0].shape, dtype=qkv.dtype))[:, :, 1]
    assert dk.sum(1).abs().max() < 1e-13 * dk.abs().sum(1).max()


@pytest.mark.parametrize("name", list(PRECISIONS))
@needs_triton
def test_products_are_computed_in_the_precision_of_the_process(name: str) -> None:
    from bench.kernels.attention import triton as kernels

    with precision(name):
        assert kernels.constants(2, 4, torch.float32)["DOT"] == PRECISIONS[name].triton_dot
        assert kernels.constants(2, 4, torch.float64)["DOT"] == "ieee"
