"""The gated delta rule chunk by chunk against its recurrence, golden values, and what is known of it."""

from __future__ import annotations

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
    normal,
)
from torch import Tensor

from bench.kernels.delta import delta_rule, sequential
from bench.kernels.delta.sequential import UPDATES
from bench.kernels.product import precision
from bench.precision import PRECISIONS

names = pytest.mark.parametrize("name", ["reference", *FAST])
fast, reference = delta_rule("sequential"), delta_rule("reference")


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def inputs(length: int, updates: int = 1, keys: int = 5, values: int = 3, batch: int = 2) -> list[Tensor]:
    """Unit keys of two heads, β up to 2, decays that leave a 1/e of the state after a token on average."""
    torch.manual_seed(length)
    heads = 2
    return [
        normal(batch, length, heads, keys),
        unit(normal(batch, length, updates, heads, keys)),
        normal(batch, length, updates, heads, values),
        2 * torch.rand(batch, length, updates, heads, dtype=torch.float64),
        -2 * torch.rand(batch, length, heads, dtype=torch.float64),
    ]


@pytest.mark.parametrize(
    ("length", "updates"), [(1, 1), (2, 1), (17, 1), (64, 1), (65, 1), (150, 1), (45, 2), (23, 4), (3, 70)]
)
def test_chunks_are_the_recurrence_in_outputs_and_gradients(length: int, updates: int) -> None:
    """Prompts of one chunk, of several, that chunks divide and do not divide, and tokens of many updates."""
    assert_same(fast, reference, inputs(length, updates))


@settings(max_examples=10)
@given(length=st.integers(1, 90), updates=st.integers(1, 3), keys=st.integers(1, 6), values=st.integers(1, 6))
def test_chunks_are_the_recurrence_at_any_shape(length: int, updates: int, keys: int, values: int) -> None:
    assert_same(fast, reference, inputs(length, updates, keys, values, batch=1))


@pytest.mark.parametrize(
    ("length", "updates"), [(1, 1), (2, 1), (31, 1), (32, 1), (33, 1), (70, 1), (20, 2), (12, 3), (2, 35)]
)
@needs_triton
def test_triton_is_the_recurrence_in_outputs_and_gradients(length: int, updates: int) -> None:
    """Chunks of 32 updates: one, two and three, cut short and whole, and tokens that a chunk divides."""
    assert_same(delta_rule("triton"), reference, inputs(length, updates, batch=1))


@pytest.mark.parametrize(("keys", "values"), [(3, 66), (34, 3)])
@needs_triton
def test_triton_takes_more_channels_than_a_block(keys: int, values: int) -> None:
    """More than 32 keys, and more than 64 values."""
    assert_same(delta_rule("triton"), reference, inputs(34, keys=keys, values=values, batch=1))


@pytest.mark.parametrize(
    ("name", "length"),
    [
        *((name, length) for name in ("reference", "sequential") for length in (3, UPDATES + 3)),
        pytest.param("triton", 3, marks=needs_triton),
    ],
)
def test_a_changed_token_changes_nothing_before_it_at_every_cut(name: str, length: int) -> None:
    values = inputs(length, updates=2)
    before = delta_rule(name)(*values)
    for cut in range(length):
        others = [value.clone() for value in values]
        for value, other in zip(others, inputs(length + 1, updates=2), strict=True):
            value[:, cut:] = other[:, cut:length]
        after = delta_rule(name)(*others)
        torch.testing.assert_close(after[:, :cut], before[:, :cut], rtol=0, atol=1e-13)
        assert not torch.allclose(after[:, cut], before[:, cut])


def test_gradients_are_those_of_differences() -> None:
    """Two chunks, the last one cut short."""
    values = [
        value.requires_grad_() for value in inputs(UPDATES // 8 + 1, updates=8, keys=2, values=2, batch=1)
    ]
    assert torch.autograd.gradcheck(fast, values, fast_mode=True)


def test_a_stack_is_each_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks of 4, and with β so small that a member's larger keys do not let the state grow."""
    monkeypatch.setattr(sequential, "UPDATES", 4)
    q, k, v, beta, g = inputs(9)
    assert_a_stack_is_each_model_alone(fast, [q, k, v, beta / 8, g])


@pytest.mark.parametrize("shared", range(5))
@needs_triton
def test_a_stack_is_each_model_alone_in_triton(shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All members share one of the inputs. Chunks are short, which the interpreter takes."""
    from bench.kernels.decay import triton as kernels

    monkeypatch.setattr(kernels, "CHUNK", {False: 2})
    q, k, v, beta, g = inputs(3, batch=1)
    choices = [tuple(place != shared for place in range(5))]
    assert_a_stack_is_each_model_alone(delta_rule("triton"), [q, k, v, beta / 8, g], choices=choices)


@needs_triton
def test_everything_is_written_and_nothing_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks, the last one cut short. The kernels take a row per update."""
    from bench.kernels.decay import triton as chunks
    from bench.kernels.delta import triton as kernels

    monkeypatch.setattr(chunks, "CHUNK", {False: 4})
    q, k, v, beta, g = inputs(10)

    def by_row(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
        return reference(q, *(value.unsqueeze(2) for value in (k, v, beta)), g)

    rows = [q, *(value.squeeze(2) for value in (k, v, beta)), g]
    assert_nothing_is_touched_outside(kernels.forward, kernels.backward, rows, by_row, monkeypatch)


@pytest.mark.parametrize("name", [TRITON])
def test_no_prompts_have_no_outputs(name: str) -> None:
    values = [value.requires_grad_() for value in inputs(33, batch=0)]
    y = delta_rule(name)(*values)
    assert y.shape == (0, 33, 2, 3)
    for gradient, value in zip(torch.autograd.grad(y.sum(), values), values, strict=True):
        assert gradient.shape == value.shape


@needs_triton
def test_keys_too_wide_for_triton_are_refused() -> None:
    with pytest.raises(ValueError, match=r"keys of at most 256 channels, not 257: use sequential"):
        delta_rule("triton")(*inputs(1, keys=257))


@pytest.mark.parametrize("name", list(PRECISIONS))
@needs_triton
def test_a_precision_of_products_does_not_round_the_triangular_systems_solution(name: str) -> None:
    from bench.kernels.delta import triton as kernels

    value = torch.zeros(1, 1, 1, 1, 16)
    with precision(name):
        constants = kernels.constants(value, value)
    assert constants["DOT"] == PRECISIONS[name].triton_dot
    assert constants["EXACT"] == "tf32x3"


# --- golden values ------------------------------------------------------------------------------

T, KEYS, VALUES = (torch.arange(1.0, end, dtype=torch.float64) for end in (5, 5, 4))
GOLDEN_QUERIES = unit(torch.sin(T[:, None] + 2 * KEYS))[None, :, None]
GOLDEN_KEYS = unit(torch.cos(T[:, None] * KEYS))[None, :, None, None]
GOLDEN_VALUES = torch.sin(T[:, None] / 2 + VALUES)[None, :, None, None]
GOLDEN_BETA = (0.4 * T)[None, :, None, None]


@names
@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, [0.286725, -0.276872, -0.585915]), (-0.2, [0.153876, -0.167536, -0.334916])],
    ids=["DeltaNet", "Gated DeltaNet"],
)
def test_the_last_of_four_tokens_is_that_of_the_authors_code(
    name: str, rate: float, expected: list[float]
) -> None:
    """As the recurrences of flash-linear-attention compute it."""
    g = (rate * T)[None, :, None]
    y = delta_rule(name)(GOLDEN_QUERIES, GOLDEN_KEYS, GOLDEN_VALUES, GOLDEN_BETA, g)
    torch.testing.assert_close(y[0, -1, 0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


# --- identities ---------------------------------------------------------------------------------


@names
def test_orthonormal_keys_with_beta_one_return_their_values(name: str) -> None:
    torch.manual_seed(0)
    length = 6
    keys = torch.linalg.qr(normal(length, length)).Q
    values = normal(length, 4)
    k, v = keys[None, :, None, None], values[None, :, None, None]
    ones, zeros = torch.ones_like(k[..., 0]), torch.zeros(1, length, 1, dtype=torch.float64)
    for t in range(length):  # all queries ask for the value of token t
        y = delta_rule(name)(keys[t].expand(1, length, 1, -1), k, v, ones, zeros)
        torch.testing.assert_close(y[0, t:, 0], values[t].expand(length - t, -1))
        torch.testing.assert_close(y[0, :t, 0], torch.zeros(t, 4, dtype=torch.float64))


@names
def test_reflecting_twice_along_a_key_restores_the_state(name: str) -> None:
    """With β = 2 and v = 0, a token multiplies the state by a reflection."""
    q, k, v, beta, g = inputs(7)
    q, g = q[:, :1].expand_as(q), torch.zeros_like(g)
    k[:, 5], k[:, 6] = k[:, 4], k[:, 4]
    v[:, 5:], beta[:, 5:] = 0, 2
    y = delta_rule(name)(q, k, v, beta, g)
    torch.testing.assert_close(y[:, 6], y[:, 4])
    assert not torch.allclose(y[:, 5], y[:, 4])


@names
def test_two_updates_a_token_are_two_tokens_of_which_the_first_is_not_read_and_the_second_not_decayed(
    name: str,
) -> None:
    q, k, v, beta, g = inputs(40, updates=2)
    twice = torch.stack((torch.zeros_like(q), q), dim=2).flatten(1, 2)
    decays = torch.stack((g, torch.zeros_like(g)), dim=2).flatten(1, 2)
    flat = [value.flatten(1, 2).unsqueeze(2) for value in (k, v, beta)]
    expected = delta_rule("reference")(twice, *flat, decays)[:, 1::2]
    torch.testing.assert_close(delta_rule(name)(q, k, v, beta, g), expected)


@names
def test_a_single_update_multiplies_the_state_by_a_householder_matrix(name: str) -> None:
    """The product of e^g (I − β k kᵀ), with eigenvalues e^g and e^g (1 − β)."""
    q, k, v, beta, g = inputs(9)
    v[:, 1:] = 0  # the first token writes, the others only transform
    state = beta[0, 0, 0, 0] * torch.outer(k[0, 0, 0, 0], v[0, 0, 0, 0])
    for t in range(1, 9):
        key = k[0, t, 0, 0]
        householder = torch.eye(5, dtype=torch.float64) - beta[0, t, 0, 0] * torch.outer(key, key)
        state = g[0, t, 0].exp() * householder @ state
    torch.testing.assert_close(delta_rule(name)(q, k, v, beta, g)[0, -1, 0], state.mT @ q[0, -1, 0])


# --- float32 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "length"), [("sequential", 3 * UPDATES), pytest.param("triton", 66, marks=needs_triton)]
)
@pytest.mark.parametrize("beta", [1.0, 1.9, 2.0])
@pytest.mark.parametrize("different", [1, 2])
def test_repeated_keys_keep_their_accuracy_in_single_precision(
    name: str, length: int, beta: float, different: int
) -> None:
    """All keys equal, or two in turn, as in tasks of recall. A doubling product would lose all digits."""
    q, k, v, betas, g = inputs(length, batch=1)
    k = k[:, :different].repeat(1, length // different, 1, 1, 1)
    singles = [value.float() for value in (q, k, v, torch.full_like(betas, beta), 1e-3 * g)]
    doubles = [value.double().requires_grad_() for value in singles]
    singles = [value.requires_grad_() for value in singles]
    y, exact = delta_rule(name)(*singles), reference(*doubles)
    weights = torch.linspace(-1, 1, exact.numel(), dtype=torch.float64).view_as(exact)
    gradients = torch.autograd.grad((y * weights.float()).sum(), singles)
    expected = torch.autograd.grad((exact * weights).sum(), doubles)
    for single, double in zip((y, *gradients), (exact, *expected), strict=True):
        # With equal keys and β = 1 the gradient of g is 0: the second value is for it.
        assert (single.double() - double).abs().max() < 5e-5 * max(double.abs().max(), 1)


@pytest.mark.parametrize(
    ("name", "length"), [("sequential", 2 * UPDATES), pytest.param("triton", 34, marks=needs_triton)]
)
def test_strong_decays_neither_overflow_nor_become_nan_in_single_precision(name: str, length: int) -> None:
    """Log-decays of −1.6, −10 and −100 a token: their sums over a chunk are beyond the range of exp."""
    for rate in (-1.6, -10.0, -100.0):
        q, k, v, beta, g = inputs(length, batch=1)
        values = [q, k, v, beta, torch.full_like(g, rate)]
        singles = [value.float().requires_grad_() for value in values]
        y = delta_rule(name)(*singles)
        torch.testing.assert_close(y.double(), reference(*values), rtol=1e-4, atol=1e-5)
        for gradient in torch.autograd.grad(y.sum(), singles):
            assert gradient.isfinite().all()
