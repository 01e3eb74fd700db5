"""Time whole training steps, from drawn prompts to updated parameters: captured on a GPU, eager on a CPU."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from bench.kernels import backends, product
from bench.run import Run
from bench.speed.cases import stack_of
from bench.speed.profile import kernel_times, launches_per_step
from bench.speed.records import Row, failure_of, flops_per_step, shape_of
from bench.stack import Stack, stackable
from bench.train.loop import TrainingOptions, prepared_state

REPEATS = 7
SECONDS_PER_REPEAT = {"cuda": 0.1, "cpu": 0.02}
"""Target duration of a repeat in seconds, by type of device. A repeat has at least one step."""
PRODUCT_WIDTH = {"cuda": 8192, "cpu": 512}
"""Width of the square matrices whose product measures the peak rate."""
COPY_BYTES = 1 << 26
"""Bytes of the copy that is timed on a CPU."""


@dataclass(frozen=True)
class Roofline:
    """Peak rates of a device, measured by two large operations.

    Attributes:
        copy_bytes_per_second: of a large copy, bytes read and bytes written.
        product_flops_per_second: of a large matrix product, by precision.
    """

    copy_bytes_per_second: float
    product_flops_per_second: dict[str, float]


def measure(run: Run, members: int, device: torch.device, backend: str, profile: bool = False) -> Row:
    """Measure a case and return its row. If the case fails, the row states the reason.

    Args:
        run: a run of the shape.
        members: members of the stack.
        device: device of the measurement.
        backend: name of the kernels' backend.
        profile: whether to record the times of all kernels too.
    """
    row = Row(shape_of(run), run.task.name, run.size.heads, members, backend, flops_per_step(run))
    if members > 1 and not stackable(run):
        return replace(row, failure=f"{run.architecture.name} has blocks that cannot be stacked")
    try:
        with warnings.catch_warnings():
            # PyTorch warns if `torch.func.vmap` loops over an operator. The measured times include this cost.
            warnings.filterwarnings("ignore", "There is a performance drop")
            return _measured(row, stack_of(run, members), device, profile)
    except torch.OutOfMemoryError:
        failure = "out of memory"
    except Exception as error:  # a failure concerns this case only; the others are still measured
        failure = failure_of(error)
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return replace(row, failure=failure)


def _measured(row: Row, stack: Stack, device: torch.device, profile: bool) -> Row:
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    options = TrainingOptions(device, row.backend)
    step = options.step(prepared_state(stack, options))
    seconds = seconds_per_call(step, device)
    return replace(
        row,
        ms_per_step=1e3 * seconds,
        peak_memory_mib=torch.cuda.max_memory_allocated(device) >> 20 if on_gpu else None,
        kernels_per_step=launches_per_step(step, device) if on_gpu else None,
        profile=kernel_times(step, device) if profile else (),
    )


def seconds_per_call(function: Callable[[], object], device: torch.device) -> float:
    """Seconds per call: the median of `REPEATS` repeats, each a mean over calls between synchronizations."""
    function()
    seconds = _seconds(function, 1, device)
    calls = max(1, min(1000, int(SECONDS_PER_REPEAT[device.type] / max(seconds, 1e-6))))
    return statistics.median(_seconds(function, calls, device) for _ in range(REPEATS)) / calls


def _seconds(function: Callable[[], object], calls: int, device: torch.device) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(calls):
            function()
        return time.perf_counter() - began
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(calls):
        function()
    last.record()
    torch.cuda.synchronize(device)
    return float(first.elapsed_time(last)) * 1e-3


def roofline(device: torch.device, precisions: tuple[str, ...]) -> Roofline:
    """Measure the rates of a large copy and of a large matrix product in each precision."""
    width = PRODUCT_WIDTH[device.type]
    a, b = (torch.randn(width, width, device=device) for _ in range(2))
    multiply = product.linear(backends.resolve(backends.AUTO, str(device))[0])
    rates: dict[str, float] = {}
    for precision in precisions:
        with product.precision(precision), torch.no_grad():
            rates[precision] = 2 * width**3 / seconds_per_call(lambda: multiply(a, b), device)
    return Roofline(_copy_bytes_per_second(device), rates)


def _copy_bytes_per_second(device: torch.device) -> float:
    if device.type == "cuda":
        from bench.kernels.speed import copy_bandwidth

        return copy_bandwidth(device)
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / seconds_per_call(lambda: target.copy_(source), device)
