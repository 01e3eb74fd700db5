"""Linear attention with decay: chunks against the recurrence, known values, and what must not overflow.

Without a GPU, Triton's kernels run in its interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import (
    EXACT,
    FAST,
    TRITON,
    assert_a_stack_is_each_model_alone,
    assert_nothing_is_touched_outside,
    assert_same,
    needs_triton,
    normal,
)
from torch import Tensor

from bench.kernels.decay import scalar_decay, vector_decay

LENGTHS = (1, 2, 15, 16, 17, 63, 64, 65, 82, 131)
"""Of one chunk and of several, most of them no whole number of chunks."""
FORMS = {"scalar": scalar_decay, "vector": vector_decay}
forms = pytest.mark.parametrize("form", list(FORMS))
backends = pytest.mark.parametrize("name", ["reference", "sequential"])


def scalar_inputs(length: int, groups: int = 2, rate: float = 1.0) -> list[Tensor]:
    q, k = normal(2, length, groups, 5), normal(2, length, groups, 5)
    return [q, k, normal(2, length, 4, 3), -rate * normal(2, length, 4).exp()]


def vector_inputs(length: int, rate: float = 1.0) -> list[Tensor]:
    q, k = normal(2, length, 2, 5), normal(2, length, 2, 5)
    return [q, k, normal(2, length, 2, 3), -rate * normal(2, length, 2, 5).exp()]


INPUTS: dict[str, Callable[..., list[Tensor]]] = {"scalar": scalar_inputs, "vector": vector_inputs}


@forms
@pytest.mark.parametrize("length", LENGTHS)
def test_chunks_are_the_recurrence_in_outputs_and_gradients(form: str, length: int) -> None:
    torch.manual_seed(length)
    inputs = INPUTS[form](length, rate=0.1)
    assert_same(FORMS[form]("sequential"), FORMS[form]("reference"), inputs)


@pytest.mark.parametrize(
    ("form", "length"),
    [
        *(("scalar", length) for length in (1, 2, 31, 32, 33, 70)),
        *(("vector", length) for length in (1, 2, 15, 16, 17, 35)),
    ],
)
@needs_triton
def test_triton_is_the_recurrence_in_outputs_and_gradients(form: str, length: int) -> None:
    """One chunk, cut short and whole, two and three."""
    torch.manual_seed(length)
    q, k, v, g = (
        value[:1, :, :1] for value in INPUTS[form](length, rate=0.1)
    )  # one head, in strides of more
    assert_same(FORMS[form]("triton"), FORMS[form]("reference"), [q, k, v, g])


@forms
@pytest.mark.parametrize(("keys", "values"), [(3, 66), (34, 3)])
@needs_triton
def test_triton_takes_more_channels_than_a_block(form: str, keys: int, values: int) -> None:
    """More than 32 keys, and more than 64 values."""
    torch.manual_seed(0)
    q, k, v = normal(1, 18, 1, keys), normal(1, 18, 1, keys), normal(1, 18, 1, values)
    g = -0.1 * (normal(1, 18, 1) if form == "scalar" else normal(1, 18, 1, keys)).exp()
    assert_same(FORMS[form]("triton"), FORMS[form]("reference"), [q, k, v, g])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_heads_share_the_queries_and_keys_of_their_group(groups: int) -> None:
    torch.manual_seed(groups)
    q, k, v, g = scalar_inputs(70, groups)
    assert_same(scalar_decay("sequential"), scalar_decay("reference"), [q, k, v, g])
    own_q, own_k = (value.repeat_interleave(4 // groups, dim=2) for value in (q, k))
    shared, own = (scalar_decay("sequential")(*values, v, g) for values in ((q, k), (own_q, own_k)))
    torch.testing.assert_close(shared, own, **EXACT)


@needs_triton
def test_triton_adds_up_the_gradients_of_queries_and_keys_that_heads_share() -> None:
    torch.manual_seed(0)
    q, k, v, g = (value[:1] for value in scalar_inputs(3, groups=2))
    assert_same(scalar_decay("triton"), scalar_decay("reference"), [q, k, v, g])


@pytest.mark.parametrize("name", ["reference", *FAST])
def test_golden_values_of_both_forms(name: str) -> None:
    """q_td = sin(t + 2d), k_td = cos(td), v_te = sin(t/2 + e); the fourth output."""
    t, d, e = (torch.arange(1.0, count + 1, dtype=torch.float64) for count in (4, 4, 3))
    t = t[:, None]
    q, k, v = (
        (values)[None, :, None] for values in (torch.sin(t + 2 * d), torch.cos(t * d), torch.sin(t / 2 + e))
    )
    scalars = {"-t/5": -t / 5, "ln(31/32)": torch.full_like(t, math.log(31 / 32))}
    expected = {
        "-t/5": (0.189860, -0.272431, -0.484250),
        "ln(31/32)": (0.213625, -0.453497, -0.703677),
    }
    for key, g in scalars.items():
        y = scalar_decay(name)(q, k, v, g[None])[0, 3, 0]
        torch.testing.assert_close(y, y.new_tensor(expected[key]), rtol=0, atol=5e-7)
    y = vector_decay(name)(q, k, v, (-(t + d) / 20)[None, :, None])[0, 3, 0]
    torch.testing.assert_close(y, y.new_tensor((0.168622, -0.446172, -0.650757)), rtol=0, atol=5e-7)


@backends
@forms
def test_without_decay_it_is_linear_attention(name: str, form: str) -> None:
    torch.manual_seed(0)
    q, k, v, g = INPUTS[form](40)
    heads = v.shape[2]
    y = FORMS[form](name)(q, k, v, torch.zeros_like(g))
    q, k = (value.repeat_interleave(heads // value.shape[2], 2) for value in (q, k))
    scores = torch.einsum("bthd,bshd->bhts", q, k).tril()
    torch.testing.assert_close(y, torch.einsum("bhts,bshe->bthe", scores, v), **EXACT)


@given(length=st.integers(1, 140), spread=st.floats(0, 2), seed=st.integers(0, 10))
@settings(max_examples=20)
def test_equal_channels_make_both_forms_the_same(length: int, spread: float, seed: int) -> None:
    torch.manual_seed(seed)
    q, k, v, _ = vector_inputs(length)
    g = -torch.exp(spread * normal(2, length, 2))
    whole = vector_decay("sequential")(q, k, v, g.unsqueeze(-1).expand(k.shape))
    torch.testing.assert_close(scalar_decay("sequential")(q, k, v, g), whole, **EXACT)


@pytest.mark.parametrize(
    ("name", "length", "rate"),
    [("sequential", 130, 20.0), pytest.param("triton", 34, 10.0, marks=needs_triton)],
)
@forms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_strong_decays_stay_finite_and_right(
    form: str, dtype: torch.dtype, name: str, length: int, rate: float
) -> None:
    """G is below −1000 within a chunk. float32 has exp(89) = ∞, and exp(−104) = 0."""
    torch.manual_seed(0)
    inputs = INPUTS[form](length, rate=rate)
    if name == "triton":
        inputs = [value[:1, :, :1] for value in inputs]
    assert inputs[3][:, :40].sum(1).max() < -100
    expected = FORMS[form]("reference")(*inputs)
    values = [value.to(dtype).requires_grad_() for value in inputs]
    y = FORMS[form](name)(*values)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else EXACT
    torch.testing.assert_close(y.double(), expected, **tolerance)
    for gradient in torch.autograd.grad(y.sum(), values):
        assert gradient.isfinite().all()
    if dtype == torch.float64 and name != "triton":
        assert_same(FORMS[form](name), FORMS[form]("reference"), inputs)


@forms
@needs_triton
def test_the_gradient_of_a_strong_decay_is_accurate_in_single_precision(form: str) -> None:
    """All its terms are below 1e-4, far below products of queries and keys, which must not enter the sum."""
    torch.manual_seed(0)
    q, k, v, g = (value[:1, :, :1].float() for value in INPUTS[form](20))
    values = [q, k, v, torch.full_like(g, -10.0)]
    doubles = [value.double().requires_grad_() for value in values]
    singles = [value.requires_grad_() for value in values]
    gradient = torch.autograd.grad(FORMS[form]("triton")(*singles).sum(), singles)[3]
    expected = torch.autograd.grad(FORMS[form]("reference")(*doubles).sum(), doubles)[3]
    assert (gradient.double() - expected).abs().max() < 1e-5 * expected.abs().max()


@forms
@needs_triton
def test_no_output_of_triton_depends_on_a_later_token_to_the_bit(form: str) -> None:
    torch.manual_seed(0)
    inputs, cut = [value[:1, :, :1] for value in INPUTS[form](34)], 20
    changed = [value.clone() for value in inputs]
    for value in changed:
        value[:, cut:] *= 2
    y, other = (FORMS[form]("triton")(*values) for values in (inputs, changed))
    assert torch.equal(y[:, :cut], other[:, :cut])
    assert not torch.equal(y[:, cut], other[:, cut])


@backends
@forms
def test_no_output_depends_on_a_later_token_to_the_bit(name: str, form: str) -> None:
    torch.manual_seed(0)
    length = 67
    inputs, others = INPUTS[form](length), INPUTS[form](length)
    y = FORMS[form](name)(*inputs)
    at = torch.arange(length)
    for cut in range(1, length):
        changed = [
            torch.where((at < cut).view(1, -1, *[1] * (value.dim() - 2)), value, other)
            for value, other in zip(inputs, others, strict=True)
        ]
        assert torch.equal(FORMS[form](name)(*changed)[:, :cut], y[:, :cut]), cut


@forms
def test_a_stack_of_models_is_each_model_alone(form: str) -> None:
    torch.manual_seed(0)
    # Stacks multiply g by 2 and more, which must stay ≤ 0.
    assert_a_stack_is_each_model_alone(FORMS[form]("sequential"), INPUTS[form](20, rate=0.1))


@forms
@pytest.mark.parametrize("shared", range(4))
@needs_triton
def test_a_stack_of_models_is_each_model_alone_in_triton(
    form: str, shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All members share one of the inputs. Chunks are short, which the interpreter takes."""
    from bench.kernels.decay import triton as kernels

    monkeypatch.setattr(kernels, "CHUNK", {False: 2, True: 2})
    torch.manual_seed(0)
    inputs = [value[:1, :, :1] for value in INPUTS[form](3, rate=0.1)]
    choices = [tuple(place != shared for place in range(4))]
    assert_a_stack_is_each_model_alone(FORMS[form]("triton"), inputs, choices=choices)


@forms
@needs_triton
def test_everything_is_written_and_nothing_beyond(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks, the last one cut short, with groups of heads."""
    from bench.kernels.decay import triton as kernels

    monkeypatch.setattr(kernels, "CHUNK", {False: 4, True: 4})
    torch.manual_seed(0)
    inputs = INPUTS[form](10, rate=0.1)
    assert_nothing_is_touched_outside(
        kernels.forward, kernels.backward, inputs, FORMS[form]("reference"), monkeypatch
    )


@forms
@pytest.mark.parametrize("name", [TRITON])
def test_no_prompts_have_no_outputs(form: str, name: str) -> None:
    values = [value[:0].requires_grad_() for value in INPUTS[form](33)]
    y = FORMS[form](name)(*values)
    assert y.shape == values[2].shape
    for gradient, value in zip(torch.autograd.grad(y.sum(), values), values, strict=True):
        assert gradient.shape == value.shape


@forms
def test_gradients_are_those_of_finite_differences(form: str) -> None:
    torch.manual_seed(0)
    values = [value[:1, :, :2].requires_grad_() for value in INPUTS[form](18)]
    assert torch.autograd.gradcheck(FORMS[form]("sequential"), values, fast_mode=True)
