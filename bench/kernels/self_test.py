"""Compare the outputs and all gradients of every kernel with its reference implementation.

The reference runs in float64 on the same inputs, so the measured error is the error of the kernel. `bench
doctor` prints the errors. Every training process tests the kernels that it will use, and stores the outcomes
with its results.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import on_one_line
from bench.kernels import backends, registry
from bench.kernels.kernel import Function, Kernel, located
from bench.kernels.product import precision

LENGTHS = (82, 202, 280, 303, 1024)
"""Prompt lengths of the study. Only 1024 is a power of two."""
BRIEF = (82,)
FOREIGN = (19, 82, 202)
"""Lengths on both sides of 64, where libraries change kernels."""
TOLERANCE = {"outputs": 1e-5, "gradients": 1e-4}


@dataclass(frozen=True)
class Outcome:
    """The outcome of the test of a kernel's backend at a length.

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
    for kernel, name in itertools.product(registry.kernels().values(), names):
        if why := backends.unavailable(name, str(device)):
            if kernel.draw:  # a trial that cannot run has no outcome
                outcomes.append(Outcome(kernel.name, name, unavailable=why))
        elif kernel.trial:
            outcomes.append(_compare_trials(kernel, name, device))
        else:
            outcomes += [_compare(kernel, name, length, kernel.load(name), device) for length in lengths]
    return outcomes


def fault(kernel: str, function: Function, device: torch.device) -> str | None:
    """Why another library's function is refused for `kernel` on `device`, as a sentence; None if it is not.

    The outputs and all gradients must agree with the reference. A second computation must give the same bits.
    """
    tested = registry.find(kernel)
    with torch.enable_grad():
        for length in FOREIGN:
            values = [value.to(device) for value in tested.inputs(length)]
            try:
                outcome = _compare(tested, "foreign", length, function, device)
                (y, gradients), (again, others) = (_outputs_and_gradients(function, values) for _ in range(2))
            except Exception as error:  # the library's code can raise anything
                return f"it fails on {device}: {on_one_line(error)[:300]}"
            if not outcome.agrees:
                return (
                    f"it disagrees with the reference on {device} at {length} tokens: its outputs by "
                    f"{outcome.outputs:.1e}, its gradients by {outcome.gradients:.1e}; at most "
                    f"{TOLERANCE['outputs']:.0e} and {TOLERANCE['gradients']:.0e} are allowed"
                )
            if not all(map(torch.equal, (y, *gradients), (again, *others))):
                return f"it is not deterministic on {device}: the same inputs gave other bits a second time"
    return None


def _compare(kernel: Kernel, name: str, length: int, function: Function, device: torch.device) -> Outcome:
    """Compare a backend's function with the reference, and time it."""
    inputs = [value.to(device) for value in kernel.inputs(length)]
    doubled = [value.double() if value.is_floating_point() else value for value in inputs]
    exact_y, exact_gradients = _outputs_and_gradients(kernel.load("reference"), doubled)
    with precision("fp32"):  # the test measures errors of kernels, not the rounding of a run's precision
        _outputs_and_gradients(function, inputs)  # warm-up
        began = time.perf_counter()
        y, gradients = _outputs_and_gradients(function, inputs)
        seconds = time.perf_counter() - began
    return Outcome(
        kernel.name,
        name,
        length,
        outputs=_relative(y, exact_y),
        gradients=_largest_relative(gradients, exact_gradients),
        milliseconds=1e3 * seconds,
    )


def _compare_trials(kernel: Kernel, name: str, device: torch.device) -> Outcome:
    """Compare a backend's trial with the reference's. Its other tensors take the place of gradients."""
    run = located(kernel.trial)
    exact_y, exact_others, _ = run(kernel.load("reference"), device)
    y, others, seconds = run(kernel.load(name), device)
    return Outcome(
        kernel.name,
        name,
        outputs=_relative(y, exact_y),
        gradients=_largest_relative(others, exact_others),
        milliseconds=1e3 * seconds,
    )


def _outputs_and_gradients(function: Function, values: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The outputs as one tensor, and the gradients of a weighted sum of them, by floating-point input."""
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
    """The largest error, relative to the largest exact entry."""
    return float((value.to(exact.dtype) - exact).abs().max() / exact.abs().max())


def _largest_relative(values: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    return largest(map(_relative, values, exact))


def largest(errors: Iterable[float]) -> float:
    """The largest error; NaN if any error is NaN. Python's `max` ignores a NaN that is not the first."""
    return float(torch.tensor(list(errors), dtype=torch.float64).max())
