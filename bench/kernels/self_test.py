"""Compare the outputs and all gradients of every kernel with its reference implementation.

The reference runs in float64 on the same inputs, so the measured error is the kernel's. `bench doctor` prints
the errors. Every training process tests the kernels that it will use, and stores the outcome with its
results.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kernels import backends, registry
from bench.kernels.adam import AdamSettings, Buffers
from bench.kernels.inputs import INPUTS, normal_draws
from bench.kernels.product import precision

LENGTHS = (82, 202, 280, 303, 1024)
"""Prompt lengths of the study. Only 1024 is a power of two."""
BRIEF = (82,)
FOREIGN = (19, 82, 202)
"""Lengths on both sides of 64, where libraries change kernels."""
TOLERANCE = {"outputs": 1e-5, "gradients": 1e-4}


@dataclass(frozen=True)
class Outcome:
    """The test of a kernel's backend at a length.

    Attributes:
        kernel: name of the kernel.
        backend: name of the backend.
        length: tokens of a prompt.
        outputs: largest error of the outputs, relative to the largest output.
        gradients: largest error of all gradients, each relative to its own largest entry.
        milliseconds: time of one forward and backward pass, after a warm-up.
        unavailable: why the backend could not run; the numbers are then None.
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
        """Whether both errors were measured and are within the tolerances."""
        return (
            self.outputs is not None
            and self.gradients is not None
            and self.outputs <= TOLERANCE["outputs"]
            and self.gradients <= TOLERANCE["gradients"]
        )


def self_test(device: torch.device, names: tuple[str, ...], lengths: tuple[int, ...]) -> list[Outcome]:
    """Test every kernel of the named backends on `device`, at every length."""
    outcomes = []
    for kernel, inputs in INPUTS.items():
        reference = registry.load(kernel, "reference")
        for name in names:
            if name not in registry.backends_of(kernel):
                continue
            if why := backends.unavailable(name, str(device)):
                outcomes.append(Outcome(kernel, name, unavailable=why))
                continue
            for length in lengths:
                values = [value.to(device) for value in inputs(length)]
                outcomes.append(
                    _compare(kernel, name, length, registry.load(kernel, name), reference, values)
                )
    usable = [name for name in names if not backends.unavailable(name, str(device))]
    return outcomes + [_compare_updates(name, device) for name in usable]


def fault(kernel: str, function: Callable[..., Any], device: torch.device) -> str | None:
    """Why another library's function is refused for `kernel` on `device`, as a sentence; None if it is not.

    Its outputs and all its gradients must be those of the reference, and the same bits when they are computed
    again.
    """
    reference = registry.load(kernel, "reference")
    with torch.enable_grad():
        for length in FOREIGN:
            values = [value.to(device) for value in INPUTS[kernel](length)]
            try:
                outcome = _compare(kernel, "foreign", length, function, reference, values)
                (y, gradients), (again, others) = (_outputs_and_gradients(function, values) for _ in range(2))
            except Exception as error:  # the library's code can raise anything
                return f"it fails on {device}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if not outcome.agrees:
                return (
                    f"it disagrees with the reference on {device} at {length} tokens: its outputs by "
                    f"{outcome.outputs:.1e}, its gradients by {outcome.gradients:.1e}; at most "
                    f"{TOLERANCE['outputs']:.0e} and {TOLERANCE['gradients']:.0e} are allowed"
                )
            if not all(map(torch.equal, (y, *gradients), (again, *others))):
                return f"it is not deterministic on {device}: the same inputs gave other bits a second time"
    return None


def _compare(
    kernel: str,
    name: str,
    length: int,
    backend: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: list[Tensor],
) -> Outcome:
    doubled = [value.double() if value.is_floating_point() else value for value in inputs]
    exact_y, exact_gradients = _outputs_and_gradients(reference, doubled)
    with precision("fp32"):  # the test is about kernels, not about rounding of a run's products
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


UPDATE = "clip and Adam"
"""The kernel that is not a function of tensors. It changes parameters in place and has no gradient."""


def _compare_updates(name: str, device: torch.device) -> Outcome:
    """Compare three updates of two members. Errors of Adam's moments stand in for those of gradients."""
    buffers, milliseconds = {}, 0.0
    for backend in ("reference", name):
        buffers[backend] = _update_buffers(device)
        update = registry.load(UPDATE, backend)(buffers[backend], AdamSettings(0.9, 0.999, 1e-8, 0.1))
        for step in range(3):
            normal = normal_draws(step)
            gradients = [normal(2, count).to(device) for count in buffers[backend].counts]
            began = time.perf_counter()
            update(gradients, torch.ones(2, device=device))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            milliseconds = 1e3 * (time.perf_counter() - began)
    exact, tested = buffers["reference"], buffers[name]
    moments = (
        (tested.first_moment, exact.first_moment),
        (tested.second_moment, exact.second_moment),
        (tested.gradient_norm_max, exact.gradient_norm_max),
    )
    return Outcome(
        UPDATE,
        name,
        outputs=_relative(tested.values, exact.values),
        gradients=max(_relative(value, other) for value, other in moments),
        milliseconds=milliseconds,
    )


def _update_buffers(device: torch.device) -> Buffers:
    counts = (40, 3000)
    offsets = (0, 2 * counts[0])
    values = normal_draws(0)(2 * sum(counts)).to(device)
    return Buffers(
        offsets=offsets,
        counts=counts,
        decays=(True, False),
        values=values,
        first_moment=torch.zeros_like(values),
        second_moment=torch.zeros_like(values),
        step=torch.zeros((), dtype=torch.int64, device=device),
        rates=torch.tensor([1e-3, 1e-2], device=device),
        clips=torch.tensor([1.0, 1e3], device=device),
        loss_sum=torch.zeros(2, dtype=torch.float64, device=device),
        gradient_norm_max=torch.zeros(2, device=device),
        first_bad_step=torch.full((2,), -1, dtype=torch.int64, device=device),
    )


def _outputs_and_gradients(
    function: Callable[..., Any], values: list[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    inputs = [value.detach().clone().requires_grad_(value.is_floating_point()) for value in values]
    outputs = function(*inputs)
    # Several outputs are stacked: all have the same tolerance.
    y = outputs if isinstance(outputs, Tensor) else torch.stack(list(outputs))
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    differentiable = [value for value in inputs if value.requires_grad]
    gradients = torch.autograd.grad((y * weights).sum(), differentiable)
    if y.is_cuda:
        torch.cuda.synchronize(y.device)
    return y.detach(), gradients


def _relative(value: Tensor, exact: Tensor) -> float:
    return float((value.to(exact.dtype) - exact).abs().max() / exact.abs().max())
