"""Hold every kernel this machine has against its naive twin: outputs and all gradients.

The twin runs in float64 on the same inputs, so the error found is the kernel's own. `bench doctor`
prints it; every training process tests the kernels it is about to use and stores the outcome with
its result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.kernels import backends, convolution, selective_scan

LENGTHS = (82, 202, 280, 303)
"""The study's prompt lengths: none is a power of two."""
BRIEF = (82,)
TOLERANCE = {"outputs": 1e-5, "gradients": 1e-4}


@dataclass(frozen=True)
class Outcome:
    """One kernel at one length.

    Attributes:
        kernel: what is computed.
        backend: which implementation.
        length: tokens.
        outputs: largest error of the outputs, relative to the largest output.
        gradients: the same over all gradients, each relative to its own largest entry.
        milliseconds: forward and backward, once, after a warm-up.
        unavailable: why it could not run; the numbers are then None.
    """

    kernel: str
    backend: str
    length: int | None = None
    outputs: float | None = None
    gradients: float | None = None
    milliseconds: float | None = None
    unavailable: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the errors are numbers within the tolerances."""
        return (
            self.outputs is not None
            and self.gradients is not None
            and self.outputs <= TOLERANCE["outputs"]
            and self.gradients <= TOLERANCE["gradients"]
        )


def self_test(device: torch.device, scans: tuple[str, ...], lengths: tuple[int, ...]) -> list[Outcome]:
    """Test the named selective scans and both convolutions on `device`."""
    outcomes = []
    for name in scans:
        if why := backends.unavailable(name, str(device)):
            outcomes.append(Outcome("selective scan", name, unavailable=why))
            continue
        for length in lengths:
            backend = selective_scan.SCANS[name]
            inputs = _scan_inputs(length, device)
            outcomes.append(
                _compare("selective scan", name, length, backend, selective_scan.reference, inputs)
            )
    for length in lengths:
        short, long = (
            [
                torch.randn(shape, generator=torch.Generator().manual_seed(length)).to(device)
                for shape in shapes
            ]
            for shapes in (((2, length, 32), (32, 4), (32,)), ((2, 32, length), (32, length)))
        )
        outcomes += [
            _compare(
                "short convolution",
                "shifts",
                length,
                convolution.short_convolution,
                convolution.short_convolution_reference,
                short,
            ),
            _compare(
                "long convolution",
                "fft",
                length,
                convolution.long_convolution,
                convolution.long_convolution_reference,
                long,
            ),
        ]
    return outcomes


def _scan_inputs(length: int, device: torch.device) -> list[Tensor]:
    """Inputs of the sizes and signs a trained Mamba produces."""
    batch, channels, state = 2, 32, 16
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    decay = -torch.arange(1, state + 1).float().repeat(channels, 1)
    inputs = [
        normal(batch, length, channels),
        torch.nn.functional.softplus(normal(batch, length, channels) - 3),
        decay,
        normal(batch, length, state),
        normal(batch, length, state),
        normal(channels),
    ]
    return [value.to(device) for value in inputs]


def _compare(
    kernel: str,
    name: str,
    length: int,
    backend: Callable[..., Tensor],
    twin: Callable[..., Tensor],
    inputs: list[Tensor],
) -> Outcome:
    exact_y, exact_gradients = _outputs_and_gradients(twin, [value.double() for value in inputs])
    _outputs_and_gradients(backend, inputs)  # warm-up
    began = time.perf_counter()
    y, gradients = _outputs_and_gradients(backend, inputs)
    seconds = time.perf_counter() - began
    return Outcome(
        kernel,
        name,
        length,
        outputs=_relative(y, exact_y),
        gradients=max(_relative(a, b) for a, b in zip(gradients, exact_gradients, strict=True)),
        milliseconds=1e3 * seconds,
    )


def _outputs_and_gradients(
    function: Callable[..., Tensor], values: list[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    inputs = [value.detach().clone().requires_grad_() for value in values]
    y = function(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    gradients = torch.autograd.grad((y * weights).sum(), inputs)
    if y.is_cuda:
        torch.cuda.synchronize(y.device)
    return y.detach(), gradients


def _relative(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact).abs().max() / exact.abs().max())
