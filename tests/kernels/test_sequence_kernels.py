"""Kernels against their naive twins: outputs and every gradient, at the lengths the study uses.

Without a GPU, Triton's kernels run in its interpreter: the same code, token by token in NumPy.
"""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from command import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.kernels import backends, registry, self_test
from bench.kernels.convolution import short_convolution
from bench.kernels.scan import selective_scan
from bench.kernels.ssm import diagonal_ssm
from bench.kernels.ssm.sequential import smooth_length
from bench.tasks.draws import Draws

GPU = torch.cuda.is_available()
LENGTHS = (1, 2, 82, 202, 303)
"""Prompts of the study, and the shortest. GPUs run all of them (tests/test_cuda.py)."""
FAST = [
    "sequential",
    pytest.param(
        "triton",
        marks=pytest.mark.skipif(
            GPU or importlib.util.find_spec("triton") is None,
            reason="Triton's interpreter is not installed, or a GPU runs the kernels (tests/test_cuda.py)",
        ),
    ),
]
TRITON = FAST[1:]
TRITON_LENGTHS = (1, 2, 19, 82)
"""More of them repeat what a kernel's loop does in interpreted steps."""
lengths = pytest.mark.parametrize(
    ("name", "length"),
    [
        *(("sequential", length) for length in LENGTHS),
        *(pytest.param("triton", length, marks=TRITON[0].marks) for length in TRITON_LENGTHS),
    ],
)
shapes = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True, scope="module")
def interpreter() -> Iterator[None]:
    """Say that Triton's kernels run in its interpreter here (see `conftest.interpret_triton`)."""
    with pytest.MonkeyPatch.context() as patch:
        if not GPU:
            patch.setenv("TRITON_INTERPRET", "1")
        yield


def assert_same(fast: Callable[..., Tensor], twin: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    values = [value.detach().clone().requires_grad_() for value in inputs]
    outputs = fast(*values), twin(*values)
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)
    weights = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad((y * weights).sum(), values) for y in outputs]
    for fast_gradient, exact in zip(*gradients, strict=True):
        torch.testing.assert_close(fast_gradient, exact, rtol=1e-9, atol=1e-10)


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def scan_inputs(batch: int, length: int, channels: int, state: int) -> list[Tensor]:
    return [
        normal(batch, length, channels),
        normal(batch, length, channels),
        normal(channels) - 1,
        -normal(channels, state).exp(),
        normal(batch, length, state),
        normal(batch, length, state),
        normal(channels),
        normal(batch, length, channels),
    ]


def convolution_inputs(batch: int, length: int, channels: int, taps: int) -> list[Tensor]:
    return [normal(batch, length, channels), normal(channels, taps), normal(channels)]


def ssm_inputs(batch: int, length: int, channels: int, modes: int) -> list[Tensor]:
    decay, turn = torch.rand(2, channels, modes, dtype=torch.float64)
    log_step = torch.rand(channels, dtype=torch.float64) - 2
    parameters = [log_step, decay.log(), 9 * turn, normal(channels, modes, 2), normal(channels)]
    return [normal(batch, length, channels), *parameters]


# The selective scan


@pytest.mark.parametrize("length", LENGTHS)
def test_sequential_scan_is_the_reference_in_outputs_and_gradients(length: int) -> None:
    torch.manual_seed(length)
    assert_same(selective_scan("sequential"), selective_scan("reference"), scan_inputs(2, length, 6, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "length", "state"), [(2, 1, 4), (1, 17, 1), (2, 37, 4), (1, 82, 16)])
@pytest.mark.parametrize("name", TRITON)
def test_triton_scan_is_the_reference_in_outputs_and_gradients(
    name: str, batch: int, length: int, state: int
) -> None:
    """Lengths within one chunk of kept states, of several, and not a whole number of them."""
    torch.manual_seed(length)
    inputs = scan_inputs(batch, length, 6, state)
    assert_same(selective_scan(name), selective_scan("reference"), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRITON)
@pytest.mark.parametrize(("length", "segments"), [(9, 3), (82, 4), (33, 4)])
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


@pytest.mark.parametrize("name", TRITON)
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


@pytest.mark.parametrize("name", TRITON)
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


# The short convolution


@pytest.mark.slow
@lengths
def test_short_convolution_is_its_reference(name: str, length: int) -> None:
    torch.manual_seed(length)
    inputs = convolution_inputs(1, length, 3, 4)
    assert_same(short_convolution(name), short_convolution("reference"), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
@shapes
@given(
    batch=st.integers(1, 2), length=st.integers(1, 20), channels=st.integers(1, 130), taps=st.integers(1, 5)
)
def test_short_convolution_is_its_reference_at_any_shape(
    name: str, batch: int, length: int, channels: int, taps: int
) -> None:
    torch.manual_seed(0)
    inputs = convolution_inputs(batch, length, channels, taps)
    assert_same(short_convolution(name), short_convolution("reference"), inputs)


def test_short_convolution_is_pytorchs_causal_depthwise_convolution() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 9, 6), torch.randn(6, 4), torch.randn(6)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (3, 0))
    expected = torch.nn.functional.conv1d(padded, weight.unsqueeze(1), bias, groups=6).transpose(1, 2)
    torch.testing.assert_close(
        short_convolution("sequential")(x, weight, bias), torch.nn.functional.silu(expected)
    )


# The diagonal SSM


@pytest.mark.slow
@lengths
def test_diagonal_ssm_is_its_reference(name: str, length: int) -> None:
    torch.manual_seed(length)
    modes = 8 if name == "sequential" or length < 82 else 3
    assert_same(diagonal_ssm(name), diagonal_ssm("reference"), ssm_inputs(1, length, 5, modes))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
@shapes
@given(
    batch=st.integers(1, 2),
    length=st.integers(1, 9),
    channels=st.integers(1, 35),
    modes=st.integers(1, 9),
)
def test_diagonal_ssm_is_its_reference_at_any_shape(
    name: str, batch: int, length: int, channels: int, modes: int
) -> None:
    torch.manual_seed(0)
    inputs = ssm_inputs(batch, length, channels, modes)
    assert_same(diagonal_ssm(name), diagonal_ssm("reference"), inputs)


@pytest.mark.parametrize("name", ["reference", *FAST])
def test_the_answer_of_one_real_mode_to_an_impulse_is_a_geometric_series(name: str) -> None:
    x = torch.zeros(1, 5, 1, dtype=torch.float64)
    x[0, 1] = 1.0
    ratio, first = 0.5, 0.75  # Δ = 2 and A = log(ratio) / 2, so that w is the ratio
    A = math.log(ratio) / 2
    C = torch.tensor([[[first * A / (ratio - 1), 7.0]]], dtype=torch.float64)
    log_step, log_decay = x.new_tensor([math.log(2)]), x.new_tensor([[math.log(-A)]])
    skip = x.new_tensor([10.0])
    y = diagonal_ssm(name)(x, log_step, log_decay, x.new_zeros(1, 1), C, skip)
    expected = [0.0, 10 + 2 * first, *(2 * first * ratio**after for after in (1, 2, 3))]
    torch.testing.assert_close(y.flatten().tolist(), expected, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 5000))
def test_fourier_lengths_are_even_large_enough_and_smooth(at_least: int) -> None:
    length = smooth_length(at_least)
    assert length >= at_least
    assert length % 2 == 0
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    assert length == 1


# What PyTorch may do with an operator

OPERATORS = {
    "recurrence": (lambda: selective_scan("sequential"), lambda: scan_inputs(2, 5, 3, 4)),
    "scan_triton": (lambda: selective_scan("triton"), lambda: scan_inputs(2, 5, 3, 4)),
    "convolution_triton": (
        lambda: short_convolution("triton"),
        lambda: convolution_inputs(2, 5, 3, 4),
    ),
    "ssm_triton": (lambda: diagonal_ssm("triton"), lambda: ssm_inputs(2, 5, 3, 2)),
}
operators = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=TRITON[0].marks if "triton" in name else ()) for name in OPERATORS],
)


@pytest.mark.slow
@operators
def test_operators_keep_pytorchs_rules(name: str) -> None:
    function, inputs = (make() for make in OPERATORS[name])
    seen: list[tuple[Tensor, ...]] = []

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if op is getattr(torch.ops.bench, name).default:
                seen.append(args)
            return op(*args, **(kwargs or {}))

    with Spy(), torch.no_grad():
        function(*inputs)
    arguments = tuple(value.detach().clone().requires_grad_() for value in seen[0])
    found = torch.library.opcheck(getattr(torch.ops.bench, name), arguments)
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.slow
@operators
def test_a_stack_of_models_is_each_model_alone(name: str) -> None:
    torch.manual_seed(0)
    function, inputs = (make() for make in OPERATORS[name])
    stack = [torch.stack([value, 0.9 * value]) for value in inputs]
    stack[0] = inputs[0]  # x is shared: one data stream
    dims = (None, *(0 for _ in inputs[1:]))
    everything = tuple(range(len(inputs)))

    def loss(*values: Tensor) -> Tensor:
        return (function(*values) ** 2).sum()

    def members(each: Callable[..., Tensor]) -> list[Tensor]:
        pairs = list(zip(stack, dims, strict=True))
        return [each(*(value if dim is None else value[k] for value, dim in pairs)) for k in range(2)]

    outputs = torch.func.vmap(function, dims)(*stack)
    torch.testing.assert_close(outputs, torch.stack(members(function)))
    gradients = torch.func.vmap(torch.func.grad(loss, everything), dims)(*stack)
    for k, alone in enumerate(members(torch.func.grad(loss, everything))):
        for found, exact in zip(gradients, alone, strict=True):
            torch.testing.assert_close(found[k], exact)
    of_all = torch.func.grad(lambda *values: torch.func.vmap(loss, dims)(*values).sum(), 1)(*stack)
    torch.testing.assert_close(of_all, gradients[1])


@pytest.mark.slow
@operators
def test_operators_compile_without_a_break(name: str) -> None:
    torch.manual_seed(0)
    function, inputs = (make() for make in OPERATORS[name])
    torch._dynamo.reset()  # all operators share one code object, of which it compiles only a few versions
    assert_same(torch.compile(function, fullgraph=True, backend="aot_eager"), function, inputs)


@pytest.mark.slow
@operators
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    function, inputs = (make() for make in OPERATORS[name])
    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in inputs], fast_mode=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRITON)
def test_every_triton_kernel_compiles(name: str) -> None:
    """The interpreter runs what the compiler may refuse; compiling needs no GPU."""
    script = ROOT / "tests/support/compile_kernels.py"
    plain = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, script], env=plain, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "all compile", done.stderr


# Random numbers


class FusedDraws(Draws):
    _fused = True


@pytest.mark.parametrize("rows", [None, (5, 2, 900)])
@pytest.mark.parametrize("name", TRITON)
def test_fused_draws_are_the_same_bits(name: str, rows: tuple[int, ...] | None) -> None:
    numbers = None if rows is None else torch.tensor(rows)
    plain, fused = (kind(3, "train", torch.tensor(2**40 + 7), numbers) for kind in (Draws, FusedDraws))
    for draw in (
        lambda draws: draws.bits("a", 301),
        lambda draws: draws.uniform("b", 3, 5, 21),
        lambda draws: draws.normal("c", 3, 7, 13),
        lambda draws: draws.normal("c", 3, 7, 13, within=torch.tensor(5), double=True),
        lambda draws: draws.normal("c", 3, 7, 13, within=12),
        lambda draws: draws.integers("d", 20, 3, 101),
        lambda draws: draws.signs("e", 3, 101),
        lambda draws: draws.subsets("f", 3, 4, 9, 20),
        lambda draws: draws.subsets("f", 3, 2, torch.tensor(5), 10),
        lambda draws: draws.subsets("g", 3, 9, 9, 9),
    ):
        torch.testing.assert_close(draw(fused), draw(plain), rtol=0, atol=0)


# The self-test, and which backend is used


def test_self_test_agrees_on_this_machine() -> None:
    outcomes = self_test.self_test(torch.device("cpu"), ("sequential", "mamba_ssm"), (82,))
    assert {outcome.kernel for outcome in outcomes} == set(registry.KERNELS)
    for outcome in outcomes:
        assert outcome.agrees == (outcome.backend == "sequential")
        assert outcome.unavailable == (None if outcome.agrees else "needs an NVIDIA GPU")


def test_self_test_catches_a_kernel_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def weakens_the_skip(*inputs: Tensor) -> Tensor:
        return selective_scan("reference")(*inputs[:6], 0.9 * inputs[6], inputs[7])

    changed = {**registry.backends_of("selective scan"), "sequential": lambda: weakens_the_skip}
    monkeypatch.setitem(registry.KERNELS, "selective scan", changed)
    scan = self_test.self_test(torch.device("cpu"), ("sequential",), (82,))[0]
    assert (scan.kernel, scan.agrees) == ("selective scan", False)
    assert scan.outputs is not None
    assert scan.outputs > 1e-3


def test_without_triton_a_gpu_runs_what_needs_no_package_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda name: False)
    assert backends.unavailable("triton", "cuda:0") == "package triton is not installed: pip install triton"
    assert backends.resolve("auto", "cuda:0")[0] == "sequential"
    assert "pip install triton" in backends.resolve("auto", "cuda:0")[1]


def test_the_official_kernels_need_both_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda name: name == "mamba_ssm")
    why = backends.unavailable("mamba_ssm", "cuda:0")
    assert why is not None
    assert why.startswith("package causal_conv1d is not installed: pip install --no-build-isolation ")


def test_auto_is_triton_on_a_gpu_and_sequential_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda name: True)
    assert backends.resolve("auto", "cuda:1")[0] == "triton"
    assert backends.resolve("auto", "cpu")[0] == "sequential"
    assert backends.resolve("mamba_ssm", "cuda:0")[0] == "mamba_ssm"
