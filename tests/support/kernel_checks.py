"""What the tests of kernels share: inputs, a kernel against its twin, and under PyTorch's transformations.

Without a GPU, Triton's kernels run in its interpreter (`conftest.interpret_triton`): the same code, token by
token in NumPy.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

Function = Callable[..., Any]
GPU = torch.cuda.is_available()
needs_triton = pytest.mark.skipif(
    GPU or importlib.util.find_spec("triton") is None,
    reason="Triton's interpreter is not installed, or a GPU runs the kernels (tests/test_cuda.py)",
)
TRITON = pytest.param("triton", marks=needs_triton)
FAST = ["sequential", TRITON]
EXACT = {"rtol": 1e-10, "atol": 1e-10}
LENGTHS = (1, 2, 82, 202, 303)
"""Prompts of the study, and the shortest. GPUs run all of them (tests/test_cuda.py)."""
TRITON_LENGTHS = (1, 2, 19, 82)
"""More of them repeat what a kernel's loop does in interpreted steps."""
lengths = pytest.mark.parametrize(
    ("name", "length"),
    [
        *(("sequential", length) for length in LENGTHS),
        *(pytest.param("triton", length, marks=needs_triton) for length in TRITON_LENGTHS),
    ],
)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


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


def mamba_inputs(batch: int, length: int, width: int, channels: int, state: int, rank: int) -> list[Tensor]:
    return [
        normal(batch, length, width),
        normal(2 * channels, width),
        normal(channels, 4),
        normal(channels),
        normal(rank + 2 * state, channels) / channels,
        normal(channels, rank),
        normal(channels) - 1,
        normal(channels, state) / 2,
        normal(channels),
        normal(width, channels),
    ]


def ssm_inputs(batch: int, length: int, channels: int, modes: int) -> list[Tensor]:
    decay, turn = torch.rand(2, channels, modes, dtype=torch.float64)
    log_step = torch.rand(channels, dtype=torch.float64) - 2
    parameters = [log_step, decay.log(), 9 * turn, normal(channels, modes, 2), normal(channels)]
    return [normal(batch, length, channels), *parameters]


def decay_inputs(
    batch: int, length: int, heads: int, keys: int, values: int, *, vector: bool = False
) -> list[Tensor]:
    """Of linear attention with decay; all heads share queries and keys if the decay is per head."""
    groups = heads if vector else 1
    q, k = normal(batch, length, groups, keys), normal(batch, length, groups, keys)
    g = normal(batch, length, heads, keys) if vector else normal(batch, length, heads)
    return [q, k, normal(batch, length, heads, values), -g.exp()]


def delta_inputs(batch: int, length: int, heads: int, keys: int, values: int) -> list[Tensor]:
    """Of the gated delta rule with one update per token."""
    over = (batch, length, heads)
    k = torch.nn.functional.normalize(normal(*over, keys), dim=-1)
    beta, g = torch.rand(2, *over, dtype=torch.float64)
    v = normal(*over, values)
    return [normal(*over, keys), *(value.unsqueeze(2) for value in (k, v, beta)), -g]


def vector_delta_inputs(
    batch: int, length: int, heads: int, keys: int, values: int, *, three_keys: bool = False
) -> list[Tensor]:
    """Of the delta rule with a decay per channel: unit keys, β up to 2, decays from none to 1/e² a token."""
    over = (batch, length, heads)
    q, k = normal(*over, keys), torch.nn.functional.normalize(normal(*over, keys), dim=-1)
    g, v = -2 * torch.rand(*over, keys, dtype=torch.float64), normal(*over, values)
    if three_keys:
        return [q, k, torch.rand_like(k) * k, normal(*over, keys), v, g]
    return [q, k, v, 2 * torch.rand(*over, dtype=torch.float64), g]


def rwkv7_inputs(
    batch: int, length: int, heads: int, channels: int, *, outputs: bool = False
) -> list[Tensor]:
    """Of the keys of RWKV-7: three values per token, and four parameters. Of its outputs: five and three."""
    values, parameters = (5, 3) if outputs else (3, 4)
    tokens = [normal(batch, length, heads, channels) for _ in range(values)]
    return [*tokens, *(normal(heads, channels) for _ in range(parameters))]


def small_integers(like: Tensor) -> Tensor:
    """Gradients of an output that no precision rounds."""
    return (4 * torch.randn_like(like)).round()


def outputs_of(function: Function, values: list[Tensor]) -> list[Tensor]:
    made = function(*values)
    return [made] if isinstance(made, Tensor) else list(made)


def assert_same(fast: Function, twin: Function, inputs: list[Tensor]) -> None:
    """The same outputs, and the same gradient of every input."""
    torch.manual_seed(1)
    values = [value.detach().clone().requires_grad_() for value in inputs]
    outputs, expected = outputs_of(fast, values), outputs_of(twin, values)
    torch.testing.assert_close(outputs, expected, **EXACT)
    weights = [small_integers(output) for output in outputs]
    gradients, exact = (torch.autograd.grad(made, values, weights) for made in (outputs, expected))
    torch.testing.assert_close(gradients, exact, **EXACT)


def assert_a_stack_is_each_model_alone(
    function: Function,
    inputs: list[Tensor],
    size: int = 2,
    choices: Iterable[tuple[bool, ...]] | None = None,
) -> None:
    """Under vmap over any of the inputs, with an ordinary backward pass outside of it.

    Args:
        function: kernel to test.
        inputs: of one model.
        size: number of models.
        choices: which of the inputs are stacked, in turn; by default, all choices.
    """
    torch.manual_seed(2)
    for mapped in choices or itertools.product((False, True), repeat=len(inputs)):
        if not any(mapped):
            continue
        stack = [
            torch.stack([(1 + k) * value for k in range(size)]) if over else value.clone()
            for value, over in zip(inputs, mapped, strict=True)
        ]
        values = [value.requires_grad_() for value in stack]
        dims = tuple(0 if over else None for over in mapped)
        outputs = outputs_of(torch.func.vmap(function, dims), values)
        alone = [
            outputs_of(
                function, [value[k] if over else value for value, over in zip(values, mapped, strict=True)]
            )
            for k in range(size)
        ]
        expected = [torch.stack(members) for members in zip(*alone, strict=True)]
        torch.testing.assert_close(outputs, expected, **EXACT)
        weights = [small_integers(output) for output in outputs]
        torch.autograd.backward(outputs, weights)
        gradients = [value.grad for value in values]
        torch.testing.assert_close(gradients, list(torch.autograd.grad(expected, values, weights)), **EXACT)


class GuardedMemory:
    """Memory with margins of NaN: writing into them would show, and so would a number read from them."""

    MARGIN = 4096

    def __init__(self) -> None:
        self.margins: list[Tensor] = []

    def empty(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """A tensor of NaN."""
        size = math.prod(shape)
        memory = torch.full((size + 2 * self.MARGIN,), math.nan, dtype=dtype)
        self.margins += [memory[: self.MARGIN], memory[self.MARGIN + size :]]
        return memory[self.MARGIN : self.MARGIN + size].view(shape)

    def copy(self, value: Tensor) -> Tensor:
        """The same numbers between margins."""
        return self.empty(*value.shape, dtype=value.dtype).copy_(value)

    def provide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let kernels have this memory for their results."""

        def new_empty(value: Tensor, *shape: Any, **options: Any) -> Tensor:
            sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
            return self.empty(*sizes, dtype=value.dtype)

        monkeypatch.setattr(Tensor, "new_empty", new_empty)
        monkeypatch.setattr(torch, "empty_like", lambda value, **options: new_empty(value, *value.shape))

    def assert_untouched(self) -> None:
        assert self.margins
        assert all(margin.isnan().all() for margin in self.margins)


def assert_nothing_is_touched_outside(
    forward: Function,
    backward: Function,
    inputs: list[Tensor],
    twin: Function,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All results of a stack of one model are written, and nothing beyond them is read or written."""
    memory = GuardedMemory()
    values = [memory.copy(value.unsqueeze(0)) for value in inputs]
    memory.provide(monkeypatch)
    y, *kept = forward(*values)
    dy = memory.copy(torch.ones_like(y))
    gradients = backward(dy, *values, *kept)
    monkeypatch.undo()
    memory.assert_untouched()
    exact = [value.clone().requires_grad_() for value in inputs]
    expected = twin(*exact)
    torch.testing.assert_close(y[0], expected, **EXACT)
    assert all(value.isfinite().all() for value in kept)
    for gradient, other in zip(gradients, torch.autograd.grad(expected.sum(), exact), strict=True):
        torch.testing.assert_close(gradient[0], other, **EXACT)


def assert_pytorchs_rules(function: Function, operator: str, inputs: list[Tensor]) -> None:
    """The registered operator keeps them: its schema, its shapes, its gradient."""
    seen: list[tuple[Any, ...]] = []
    target = getattr(torch.ops.bench, operator)

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if op is target.default:
                seen.append(args)
            return op(*args, **(kwargs or {}))

    with Spy(), torch.no_grad():
        function(*inputs)
    arguments = tuple(value.detach().clone().requires_grad_() for value in seen[0])
    results = torch.library.opcheck(target, arguments)
    assert set(results.values()) == {"SUCCESS"}


def assert_compiles(function: Function, inputs: list[Tensor]) -> None:
    """Under torch.compile, without a break."""
    torch._dynamo.reset()  # all operators share one code object, of which it compiles only a few versions
    assert_same(torch.compile(function, fullgraph=True, backend="aot_eager"), function, inputs)
