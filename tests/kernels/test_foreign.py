"""Kernels of other libraries: used where they agree, else refused. A small module stands for a library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from bench import plugins
from bench.errors import UserError
from bench.kernels.decay import reference
from bench.kernels.foreign import Foreign
from bench.kernels.kernel import recorded_backends
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.backbone import Model
from bench.models.sizes import Size
from bench.models.verification import fault

EXAMPLE = Path(__file__).parents[2] / "suites/plugins/flash_linear_attention.py"
CPU, SIZE = torch.device("cpu"), Size(layers=1, width=16, heads=None)
Kernel = Callable[..., tuple[Tensor, None]]


def right(q: Tensor, k: Tensor, v: Tensor, gk: Tensor, scale: float) -> tuple[Tensor, None]:
    """As flash-linear-attention's function is called: outputs and the last state."""
    return reference.vector_decay(scale * q, k, v, gk), None


def wrong_output(q: Tensor, k: Tensor, v: Tensor, gk: Tensor, scale: float) -> tuple[Tensor, None]:
    return 1.001 * right(q, k, v, gk, scale)[0], None


def wrong_gradient(q: Tensor, k: Tensor, v: Tensor, gk: Tensor, scale: float) -> tuple[Tensor, None]:
    """Of the decays alone, and only beyond 64 tokens, as libraries change kernels there."""
    return right(q, k, v, gk.detach() + 0 * gk if gk.shape[1] > 64 else gk, scale)


def nondeterministic(q: Tensor, k: Tensor, v: Tensor, gk: Tensor, scale: float) -> tuple[Tensor, None]:
    """By rounding errors, as atomic additions are: far within the tolerance."""
    y, _ = right(q, k, v, gk, scale)
    return y * (1 + 2e-7 * torch.randint(0, 2, y.shape)), None


def failing(q: Tensor, k: Tensor, v: Tensor, gk: Tensor, scale: float) -> tuple[Tensor, None]:
    raise ValueError("Pointer argument\ncannot be accessed from Triton (cpu tensor?)")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel], Architecture]:
    """The example plugin's architecture with a given function in the place of the library's."""

    def loaded(kernel: Kernel) -> Architecture:
        module = ModuleType("fla.ops.gla")
        module.fused_recurrent_gla = kernel  # type: ignore[attr-defined]
        for name in ("fla", "fla.ops"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, "fla.ops.gla", module)
        return example()

    return loaded


def example() -> Architecture:
    plugins.load([EXAMPLE])
    return ARCHITECTURES["fla_gla"]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    kept = [dict(table) for table in (ARCHITECTURES, plugins._files, plugins._origins)]
    yield
    for table, values in zip((ARCHITECTURES, plugins._files, plugins._origins), kept, strict=True):
        table.clear()
        table.update(values)


def test_the_example_is_gla_where_the_library_agrees(library: Callable[[Kernel], Architecture]) -> None:
    architecture = library(right)
    assert fault(architecture, SIZE, 24, CPU, "sequential") is None
    models = []
    for each in (architecture, ARCHITECTURES["gla"]):
        torch.manual_seed(0)
        models.append(Model(each, SIZE, n_inputs=3, n_outputs=1, length=24).double())
    tokens = torch.randn(2, 24, 3, dtype=torch.float64)
    torch.testing.assert_close(models[0](tokens), models[1](tokens))
    assert architecture.parameters(1, 16) == ARCHITECTURES["gla"].parameters(1, 16)


def test_the_record_of_a_training_names_the_librarys_function(
    library: Callable[[Kernel], Architecture],
) -> None:
    architecture = library(right)
    with recorded_backends() as backends:
        Model(architecture, SIZE, n_inputs=3, n_outputs=1, length=24, backend="sequential")
    assert backends["vector decay"] == "fla.ops.gla:fused_recurrent_gla"
    assert backends["product"] == "sequential"


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (wrong_output, r"disagrees with the reference on cpu at 19 tokens: its outputs by 1\.0e-03"),
        (wrong_gradient, r"disagrees with the reference on cpu at 82 tokens: .* gradients by 1\.0e\+00"),
        (nondeterministic, r"is not deterministic on cpu: the same inputs gave other bits"),
        (failing, r"it fails on cpu: ValueError: Pointer argument cannot be accessed from Triton"),
    ],
)
def test_a_kernel_that_is_not_the_reference_is_refused(
    kernel: Kernel, message: str, library: Callable[[Kernel], Architecture]
) -> None:
    with pytest.raises(
        UserError, match="kernel 'vector decay': fla.ops.gla:fused_recurrent_gla is refused: .*" + message
    ):
        fault(library(kernel), SIZE, 24, CPU, "sequential")


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When a model is built, not when the plugin is loaded: a report needs no library."""
    monkeypatch.setitem(sys.modules, "fla", None)  # imports as if it were not installed
    architecture = example()
    assert architecture.parameters(1, 16) == ARCHITECTURES["gla"].parameters(1, 16)
    with pytest.raises(UserError, match=r"cannot be imported .*: pip install 'icl-bench\[fla\]'"):
        Model(architecture, SIZE, n_inputs=3, n_outputs=1, length=24)


def test_a_kernel_is_tested_once_on_a_device() -> None:
    calls = []

    def counted(*values: Tensor) -> Tensor:
        calls.append(values)
        return reference.vector_decay(*values)

    kernel = Foreign("vector decay", "bench.kernels.decay.reference:vector_decay", "", lambda _: counted)
    values = [torch.randn(1, 3, 1, 2) for _ in "qkv"] + [-torch.rand(1, 3, 1, 2)]
    torch.testing.assert_close(kernel(*values), reference.vector_decay(*values))
    tests = len(calls)
    kernel(*values)
    assert len(calls) == tests + 1 > 2
