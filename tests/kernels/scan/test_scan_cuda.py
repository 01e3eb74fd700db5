"""The scan in CUDA C++ against its naive twin, without a GPU.

A C++ compiler builds the same source. Its threads run one after the other, in double precision
(tests/support/cuda_emulation.h).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from command import ROOT
from kernel_checks import mamba_inputs
from torch import Tensor

from bench.kernels import nvrtc
from bench.kernels.mamba import mamba_block
from bench.kernels.scan import selective_scan

COMPILER = shutil.which("g++") or shutil.which("clang++")
pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU runs the kernel itself (tests/test_cuda.py)"),
    pytest.mark.skipif(
        COMPILER is None and not os.environ.get("BENCH_REQUIRE_COMPILER"), reason="there is no C++ compiler"
    ),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]


class Emulated:
    """A kernel that runs on the CPU. Interface of `nvrtc.CompiledKernel`."""

    def __init__(self, library: Path, name: str, types: str) -> None:
        self.types = types
        self.run = getattr(ctypes.CDLL(str(library)), f"emulate_{name}")

    def __call__(self, blocks: int, threads: int, arguments: Sequence[nvrtc.Argument]) -> None:
        values, pointers = nvrtc.packed(self.types, arguments)
        self.run(blocks, threads, pointers)
        del values  # the pointers point to them


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Emulated]:
    """`nvrtc.load`, but with the C++ compiler."""

    @functools.cache
    def load(
        file: Path,
        name: str,
        types: str,
        shared_bytes: int,
        constants: tuple[tuple[str, int], ...],
        device: int,
    ) -> Emulated:
        folder = tmp_path_factory.mktemp("kernel")
        (folder / "kernel.cpp").write_text(
            '#include "cuda_emulation.h"\n'
            f'#include "{file}"\n'
            f'extern "C" void emulate_{name}(int blocks, int threads, void **arguments) '
            f"{{ emulation::launch({name}, blocks, threads, arguments); }}\n"
        )
        assert COMPILER is not None
        command: list[Any] = [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC"]
        command += [
            f"-I{ROOT / 'tests/support'}",
            *nvrtc.definitions(dict(constants)),
            folder / "kernel.cpp",
            "-o",
            folder / "kernel.so",
        ]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return Emulated(folder / "kernel.so", name, types)

    return load


@pytest.fixture(autouse=True)
def emulation(load: Callable[..., Emulated], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from bench.kernels.scan import cuda

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(nvrtc, "load", load)
    monkeypatch.setattr(cuda, "suits", lambda x, state, *rest: state in cuda.STATES)
    return


def scan_inputs(batch: int, length: int, channels: int, state: int, K: int = 1) -> list[Tensor]:
    """Inputs with different parameters per model; a stack of K models, if there are several."""
    over = (K,) if K > 1 else ()
    shapes = [(batch, length, channels)] * 2 + [(channels,), (channels, state)]
    shapes += [(batch, length, state)] * 2 + [(channels,), (batch, length, channels)]
    inputs = [torch.randn(*over, *shape, dtype=torch.float64) for shape in shapes]
    inputs[2] -= 1
    inputs[3] = -inputs[3].exp()
    return inputs


def results(scan: Callable[..., Tensor], inputs: list[Tensor], stacked: bool) -> list[Tensor]:
    """The output and all gradients."""
    values = [value.detach().clone().requires_grad_() for value in inputs]
    y = torch.func.vmap(scan)(*values) if stacked else scan(*values)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape).sin()
    return [y, *torch.autograd.grad((y * weights).sum(), values)]


def assert_agrees(inputs: list[Tensor], stacked: bool = False) -> None:
    exact = results(selective_scan("reference"), inputs, stacked)
    for value, expected in zip(results(selective_scan("triton"), inputs, stacked), exact, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 7, 8, 9, 82])
def test_cuda_scan_is_the_reference_at_any_length(length: int) -> None:
    torch.manual_seed(length)
    assert_agrees(scan_inputs(1, length, 48, 16))


@pytest.mark.slow
@pytest.mark.parametrize("state", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("channels", [1, 31, 32, 48, 97])
def test_cuda_scan_is_the_reference_at_any_width(channels: int, state: int) -> None:
    torch.manual_seed(channels)
    assert_agrees(scan_inputs(2, 11, channels, state))


@pytest.mark.slow
def test_cuda_scan_takes_a_stack_of_models() -> None:
    torch.manual_seed(0)
    assert_agrees(scan_inputs(2, 9, 40, 16, K=3), stacked=True)


def test_the_language_of_the_scan_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.kernels.scan import cuda

    monkeypatch.setattr(nvrtc, "version", lambda: (13, 0))
    monkeypatch.setattr(cuda, "refusal", lambda device: None)
    assert cuda.language(0) == "CUDA C++ (compiled by NVRTC 13.0)"
    monkeypatch.setattr(cuda, "refusal", lambda device: "NVRTC is missing")
    assert cuda.language(0) == "Triton (CUDA C++ cannot run: NVRTC is missing)"


@pytest.mark.slow
def test_cuda_scan_cuts_few_prompts_into_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.kernels.scan import triton

    monkeypatch.setattr(triton, "_segments", lambda programs, chunks: 3)
    torch.manual_seed(0)
    assert_agrees(scan_inputs(1, 33, 40, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "state"), [(33, 4), (48, 16)])
def test_cuda_scan_writes_gradients_into_slices(channels: int, state: int) -> None:
    """Mamba's block takes the gradients of z, B and C as parts of wider tensors."""
    torch.manual_seed(0)
    values = [value.requires_grad_() for value in mamba_inputs(2, 11, 4, channels, state, 3)]
    outputs = [mamba_block(name)(*values) for name in ("triton", "reference")]
    gradients = [torch.autograd.grad(y.square().sum(), values) for y in outputs]
    for value, expected in zip(*gradients, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10 * scale)
