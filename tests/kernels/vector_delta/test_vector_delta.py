"""The delta rule with a decay per channel: chunks against recurrences, golden values, and identities."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import (
    FAST,
    TRITON,
    assert_a_stack_is_each_model_alone,
    assert_nothing_is_touched_outside,
    assert_same,
    needs_triton,
    vector_delta_inputs,
)
from torch import Tensor

from bench.kernels.decay import sequential, vector_decay
from bench.kernels.delta import delta_rule
from bench.kernels.vector_delta import diagonal_plus_rank_one, vector_delta_rule

names = pytest.mark.parametrize("name", ["reference", *FAST])
rules = pytest.mark.parametrize("rule", [vector_delta_rule, diagonal_plus_rank_one])
Rule = Callable[[str], Callable[..., Tensor]]


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def inputs(rule: Rule, length: int, keys: int = 5, values: int = 3, batch: int = 2) -> list[Tensor]:
    """Of two heads."""
    torch.manual_seed(length)
    return vector_delta_inputs(batch, length, 2, keys, values, three_keys=rule is diagonal_plus_rank_one)


@rules
@pytest.mark.parametrize("length", [1, 2, 17, 64, 65, 150])
def test_chunks_are_the_recurrence_in_outputs_and_gradients(rule: Rule, length: int) -> None:
    assert_same(rule("sequential"), rule("reference"), inputs(rule, length))


@rules
@settings(max_examples=10)
@given(length=st.integers(1, 90), keys=st.integers(1, 6), values=st.integers(1, 6))
def test_chunks_are_the_recurrence_at_any_shape(rule: Rule, length: int, keys: int, values: int) -> None:
    assert_same(rule("sequential"), rule("reference"), inputs(rule, length, keys, values, batch=1))


@rules
@pytest.mark.parametrize("length", [1, 2, 16, 17, 35])
@needs_triton
def test_triton_is_the_recurrence_in_outputs_and_gradients(rule: Rule, length: int) -> None:
    """Chunks of 16 tokens: one, two and three, cut short and whole."""
    assert_same(rule("triton"), rule("reference"), inputs(rule, length, batch=1))


@rules
@pytest.mark.parametrize(("keys", "values"), [(3, 35), (34, 3)])
@needs_triton
def test_triton_takes_more_channels_than_a_block(rule: Rule, keys: int, values: int) -> None:
    """More than 32."""
    assert_same(rule("triton"), rule("reference"), inputs(rule, 18, keys, values, batch=1))


@rules
@pytest.mark.parametrize(
    ("name", "length"),
    [
        *((name, sequential.CHUNK + 3) for name in ("reference", "sequential")),
        pytest.param("triton", 3, marks=needs_triton),
    ],
)
def test_a_changed_token_changes_nothing_before_it_at_every_cut(name: str, rule: Rule, length: int) -> None:
    values = inputs(rule, length)
    before = rule(name)(*values)
    for cut in range(length):
        others = [value.clone() for value in values]
        for value, other in zip(others, inputs(rule, length + 1), strict=True):
            value[:, cut:] = other[:, cut:length]
        after = rule(name)(*others)
        torch.testing.assert_close(after[:, :cut], before[:, :cut], rtol=0, atol=1e-13)
        assert not torch.allclose(after[:, cut], before[:, cut])


@rules
def test_gradients_are_those_of_differences(rule: Rule) -> None:
    values = [value.requires_grad_() for value in inputs(rule, 18, keys=2, values=2, batch=1)]
    assert torch.autograd.gradcheck(rule("sequential"), values, fast_mode=True)


@rules
def test_a_stack_is_each_model_alone(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks of 4. Keys are small, so that a member's larger ones do not let the state grow."""
    monkeypatch.setattr(sequential, "CHUNK", 4)
    monkeypatch.setattr(sequential, "MULTIPLE", 4)
    assert_a_stack_is_each_model_alone(rule("sequential"), small_inputs(rule, 9))


def small_inputs(rule: Rule, length: int, batch: int = 2) -> list[Tensor]:
    q, *keys, v, g = (value / 8 for value in inputs(diagonal_plus_rank_one, length, batch=batch))
    return [q, keys[0], v, keys[1][..., 0], g] if rule is vector_delta_rule else [q, *keys, v, g]


@rules
@pytest.mark.parametrize("shared", [0, 1, 2, -2, -1])
@needs_triton
def test_a_stack_is_each_model_alone_in_triton(
    rule: Rule, shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All members share one of the inputs. Chunks are short, which the interpreter takes."""
    from bench.kernels.decay import triton as kernels

    monkeypatch.setattr(kernels, "CHUNK", {True: 2})
    values = small_inputs(rule, 3, batch=1)
    choices = [tuple(place != shared % len(values) for place in range(len(values)))]
    assert_a_stack_is_each_model_alone(rule("triton"), values, choices=choices)


@rules
@needs_triton
def test_everything_is_written_and_nothing_beyond(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks, the last one cut short."""
    from bench.kernels.decay import triton as chunks
    from bench.kernels.vector_delta import triton as kernels

    monkeypatch.setattr(chunks, "CHUNK", {True: 4})
    run = kernels.forward, kernels.backward
    if rule is diagonal_plus_rank_one:
        run = kernels.forward_three, kernels.backward_three
    assert_nothing_is_touched_outside(*run, inputs(rule, 10), rule("reference"), monkeypatch)


@rules
@pytest.mark.parametrize("name", [TRITON])
def test_no_prompts_have_no_outputs(name: str, rule: Rule) -> None:
    values = [value.requires_grad_() for value in inputs(rule, 17, batch=0)]
    y = rule(name)(*values)
    assert y.shape == (0, 17, 2, 3)
    for gradient, value in zip(torch.autograd.grad(y.sum(), values), values, strict=True):
        assert gradient.shape == value.shape


@rules
@needs_triton
def test_keys_too_wide_for_triton_are_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match=r"keys of at most 256 channels, not 257: use sequential"):
        rule("triton")(*inputs(rule, 1, keys=257))


# --- golden values --------------------------------------------------------------------------------

T, KEYS, VALUES = (torch.arange(1.0, end, dtype=torch.float64) for end in (5, 5, 4))
GOLDEN_Q, GOLDEN_K = torch.sin(T[:, None] + 2 * KEYS), torch.cos(T[:, None] * KEYS)
GOLDEN_V = torch.sin(T[:, None] / 2 + VALUES)


def last_output(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    return function(*(value[None, :, None] for value in values))[0, -1, 0]


def assert_golden(y: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


@names
def test_the_last_of_four_tokens_of_kda_is_that_of_the_authors_code(name: str) -> None:
    g = -(T[:, None] + KEYS) / 20
    y = last_output(vector_delta_rule(name), unit(GOLDEN_Q), unit(GOLDEN_K), GOLDEN_V, 0.4 * T, g)
    assert_golden(y, [0.223652, -0.241787, -0.484929])


@names
def test_the_last_of_four_tokens_of_rwkv7_is_that_of_the_authors_code(name: str) -> None:
    """RWKV-7 reads its key before the decay: read = κ/w here."""
    kappa, a = unit(GOLDEN_K), torch.sigmoid(torch.cos(T[:, None] + KEYS))
    g = -math.exp(-0.5) * torch.sigmoid(torch.sin(T[:, None] * KEYS))
    y = last_output(diagonal_plus_rank_one(name), GOLDEN_Q, kappa / g.exp(), a * kappa, GOLDEN_K, GOLDEN_V, g)
    assert_golden(y, [0.360344, -0.341236, -0.729085])


# --- identities -----------------------------------------------------------------------------------

SEVERAL = {"reference": 70, "sequential": 70, "triton": 20}
"""Tokens of more than one chunk."""


@names
def test_with_equal_channels_it_is_the_gated_delta_rule(name: str) -> None:
    q, k, v, beta, g = inputs(vector_delta_rule, SEVERAL[name], batch=1)
    g = g[..., :1]
    expected = delta_rule("reference")(q, k.unsqueeze(2), v.unsqueeze(2), beta.unsqueeze(2), g[..., 0])
    torch.testing.assert_close(vector_delta_rule(name)(q, k, v, beta, g.expand_as(k)), expected)


@names
def test_without_erasing_it_is_linear_attention_with_decay(name: str) -> None:
    q, read, erase, write, v, g = inputs(diagonal_plus_rank_one, SEVERAL[name], batch=1)
    y = diagonal_plus_rank_one(name)(q, read, 0 * erase, write, v, g)
    torch.testing.assert_close(y, vector_decay("reference")(q, write, v, g))


@names
def test_three_equal_keys_are_one(name: str) -> None:
    q, k, v, beta, g = inputs(vector_delta_rule, SEVERAL[name], batch=1)
    corrected = beta.unsqueeze(-1) * k
    y = diagonal_plus_rank_one(name)(q, k, corrected, corrected, v, g)
    torch.testing.assert_close(y, vector_delta_rule("reference")(q, k, v, beta, g))


@names
def test_an_rwkv7_without_decay_that_writes_where_it_erases_is_deltanet(name: str) -> None:
    """With w = 1, a equal over channels and the key a κ: DeltaNet with β = a."""
    q, kappa, v, a, _ = inputs(vector_delta_rule, SEVERAL[name], batch=1)
    key = a.unsqueeze(-1) / 2 * kappa
    y = diagonal_plus_rank_one(name)(q, kappa, key, key, v, torch.zeros_like(q))
    k, v, beta = (value.unsqueeze(2) for value in (kappa, v, a / 2))
    expected = delta_rule("reference")(q, k, v, beta, torch.zeros_like(a))
    torch.testing.assert_close(y, expected)


# --- float32 --------------------------------------------------------------------------------------


@rules
@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *(("sequential", rate) for rate in (0.0, -1.6, -10.0, -100.0)),
        *(pytest.param("triton", rate, marks=needs_triton) for rate in (0.0, -10.0)),
    ],
)
def test_equal_keys_and_strong_decays_keep_their_accuracy_in_single_precision(
    rule: Rule, name: str, rate: float
) -> None:
    """Sums of log-decays over a chunk are beyond the range of exp."""
    values = inputs(rule, 20 if name == "triton" else 3 * sequential.CHUNK, batch=1)
    values[1] = values[1][:, :1].expand_as(values[1]).clone()
    if rule is diagonal_plus_rank_one:
        values[2] = values[1].clone()
    values[-1] = torch.full_like(values[-1], rate)
    singles = [value.float().requires_grad_() for value in values]
    doubles = [value.detach().double().requires_grad_() for value in singles]
    y, exact = rule(name)(*singles), rule("reference")(*doubles)
    weights = torch.linspace(-1, 1, exact.numel(), dtype=torch.float64).view_as(exact)
    gradients = torch.autograd.grad((y * weights.float()).sum(), singles)
    expected = torch.autograd.grad((exact * weights).sum(), doubles)
    for single, double in zip((y, *gradients), (exact, *expected), strict=True):
        assert (single.double() - double).abs().max() < 5e-5 * max(double.abs().max(), 1)
