"""Dropout by hashes: the fused kernel is its formula, and masks depend on what they should alone."""

from __future__ import annotations

import pytest
import torch
from kernel_checks import TRITON, assert_a_stack_is_each_model_alone, assert_same
from torch import Tensor

from bench.kernels.dropout import dropout, site

KEY = torch.tensor([2**62 + 7, -(2**40) - 1, 2**33 + 5])


def mask(x: Tensor, name: str = "reference", key: Tensor = KEY, number: int = 3, p: float = 0.25) -> Tensor:
    return dropout(name)(x, key, site(number, p)) != 0


@pytest.mark.parametrize("name", [TRITON])
@pytest.mark.parametrize("shape", [(2, 9, 70), (3, 2, 5, 5), (1, 1, 1), (0, 4, 4), (9, 3, 130)])
def test_fused_dropout_is_its_formula(name: str, shape: tuple[int, ...]) -> None:
    def of(backend: str):  # type: ignore[no-untyped-def]
        return lambda x: dropout(backend)(x, KEY, site(5, 0.3))

    assert_same(of(name), of("reference"), [torch.randn(shape, dtype=torch.float64)])


@pytest.mark.parametrize("name", ["reference", TRITON])
def test_members_of_a_stack_have_the_masks_of_their_own_keys(name: str) -> None:
    x = torch.randn(4, 2, 6, 8, requires_grad=True)
    keys = KEY + torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    apply = dropout(name)
    together = torch.func.vmap(lambda x, key: apply(x, key, site(5, 0.3)))(x, keys)
    (gradient,) = torch.autograd.grad((together * together.detach()).sum(), x)
    for k in range(4):
        alone = apply(x[k], keys[k], site(5, 0.3))
        assert torch.equal(together[k], alone)
        assert torch.equal(gradient[k], torch.autograd.grad((alone * alone.detach()).sum(), x)[0][k])
    same = [torch.equal(together[k] != 0, mask(torch.ones(2, 6, 8), number=5, p=0.3)) for k in range(4)]
    assert same == [True, False, False, True]
    assert_a_stack_is_each_model_alone(lambda x: apply(x, KEY, site(5, 0.3)), [torch.randn(2, 6, 8).double()])


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_entries_are_dropped_independently_with_the_stated_probability(p: float) -> None:
    x = torch.ones(8, 50, 64)
    y = dropout("reference")(x, KEY, site(0, p))
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    kept = (y != 0).double()
    assert kept.mean().item() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5)
    for axis in range(3):
        own, other = kept.narrow(axis, 0, 7) - 1 + p, kept.narrow(axis, 1, 7) - 1 + p
        assert abs((own * other).mean().item()) < 5 * p * (1 - p) / own.numel() ** 0.5


def test_a_mask_depends_on_seed_step_site_and_place_but_on_no_size() -> None:
    whole = mask(torch.ones(4, 9, 12))
    assert torch.equal(mask(torch.ones(3, 7, 10)), whole[:3, :7, :10])
    for other in (
        mask(torch.ones(4, 9, 12), key=KEY + torch.tensor([1, 0, 0])),
        mask(torch.ones(4, 9, 12), key=KEY + torch.tensor([0, 1, 0])),
        mask(torch.ones(4, 9, 12), key=KEY + torch.tensor([0, 0, 1])),
        mask(torch.ones(4, 9, 12), number=4),
    ):
        assert 0.2 < (other != whole).double().mean().item() < 0.55  # 2 p (1 − p) = 0.375


def naive_word(index: int, step: int, key_1: int, key_2: int) -> int:
    """SplitMix64's finaliser, twice, in integers of Python."""
    golden, bits = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(x: int) -> int:
        x &= bits
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & bits
        x = (x ^ x >> 27) * 0x94D049BB133111EB & bits
        return x ^ x >> 31

    first, second = mix(step * golden + key_1), mix(step * golden + key_2)
    return mix(mix(index * golden + first) ^ second)


def test_masks_are_those_of_the_hash_entry_by_entry() -> None:
    key_1, key_2, step = KEY.tolist()
    y = dropout("reference")(torch.ones(2, 3, 4, 5, dtype=torch.float64), KEY, site(7, 0.3))
    for prompt in range(2):
        for head in range(3):
            for token in range(4):
                for column in range(5):
                    index = (prompt * 3 + head) * 2**40 + token * 2**20 + column
                    dropped = naive_word(index, step * 2**16 + 7, key_1, key_2) / 2**64 < 0.3
                    value = y[prompt, head, token, column].item()
                    assert value == (0 if dropped else pytest.approx(1 / 0.7))
