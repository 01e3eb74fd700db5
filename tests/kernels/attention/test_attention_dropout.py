"""Attention with dropout of its weights: the kernel draws the masks of the formula."""

from __future__ import annotations

import pytest
import torch
from kernel_checks import FAST, assert_a_stack_is_each_model_alone, assert_same, needs_triton
from torch import Tensor

from bench.kernels.attention import attention_dropout
from bench.kernels.dropout import site
from bench.kernels.dropout.reference import dropout

KEY = torch.tensor([2**62 + 7, -(2**40) - 1, 2**33 + 5])
SITE = site(5, 0.3)


def heads_of(batch: int, length: int, heads: int, head_dim: int) -> Tensor:
    torch.manual_seed(length)
    return torch.randn(batch, length, 3, heads, head_dim, dtype=torch.float64)


@pytest.mark.parametrize(
    ("batch", "length", "heads", "head_dim"), [(1, 1, 1, 4), (2, 17, 3, 5), (1, 50, 2, 16), (1, 150, 1, 8)]
)
@pytest.mark.parametrize("name", FAST)
def test_fused_dropout_is_the_formula(name: str, batch: int, length: int, heads: int, head_dim: int) -> None:
    def of(backend: str):  # type: ignore[no-untyped-def]
        return lambda qkv: attention_dropout(backend)(qkv, KEY, SITE)

    assert_same(of(name), of("reference"), [heads_of(batch, length, heads, head_dim)])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("own", "step"), [(16, 32), (32, 16)])
@needs_triton
def test_masks_do_not_depend_on_the_launch(
    monkeypatch: pytest.MonkeyPatch, own: int, step: int, whole: bool
) -> None:
    from bench.kernels.attention import triton as kernels

    blocks = kernels.Blocks(own, step, 1, 1)
    monkeypatch.setattr(kernels, "launch", lambda *size: kernels.Launch(blocks, blocks, whole))
    assert_same(
        lambda qkv: attention_dropout("triton")(qkv, KEY, SITE),
        lambda qkv: attention_dropout("reference")(qkv, KEY, SITE),
        [heads_of(1, 50, 2, 5)],
    )


def test_values_show_which_weights_are_dropped() -> None:
    """Queries of zero have equal weights, and values that are unit vectors return them one by one."""
    length = 12
    qkv = torch.zeros(2, length, 3, 3, length, dtype=torch.float64)
    qkv[:, :, 2] = torch.eye(length, dtype=torch.float64)[:, None]
    weights = attention_dropout("reference")(qkv, KEY, SITE).transpose(1, 2)
    seen = torch.ones(2, 3, length, length, dtype=torch.float64).tril()
    equal = seen / torch.arange(1, length + 1)[:, None]
    torch.testing.assert_close(weights, dropout(equal, KEY, SITE))
    assert 0.15 < (weights == 0).tril().double().sum() / equal.count_nonzero() < 0.45


@pytest.mark.parametrize("name", FAST)
def test_members_of_a_stack_have_the_masks_of_their_own_keys(name: str) -> None:
    qkv = torch.stack([heads_of(2, 9, 2, 4)] * 3)
    keys = KEY + torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]])
    apply = attention_dropout(name)
    together = torch.func.vmap(lambda qkv, key: apply(qkv, key, SITE))(qkv, keys)
    for member in range(3):
        torch.testing.assert_close(together[member], apply(qkv[member], keys[member], SITE))
    assert not torch.allclose(together[0], together[1])
    torch.testing.assert_close(together[0], together[2])
    assert_a_stack_is_each_model_alone(lambda qkv: apply(qkv, KEY, SITE), [qkv[0]])
