"""Time the kernels of all backends on a GPU: forward and backward, in captured graphs.

`bench.speed` times whole training steps.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kernels import backends, registry
from bench.kernels.scan import SELECTIVE_SCAN

BATCH = 64
BYTES_PER_FLOAT = 4
CHANNELS = (256, 512, 1536)
LENGTHS = (82, 202, 280, 1024)
REPEATS = 9
"""Number of replays of a graph. Their median is the measured time."""
FLOOR = "memory floor"
"""In place of a backend's name: the time to copy as many bytes as the kernel must move."""
OWN_LAYOUT = "mamba_ssm, own layout"
"""In place of a backend's name: the official scan on tensors in its own layout (`_own_layout`)."""


@dataclass(frozen=True)
class Speed:
    """The time of a kernel at a size.

    Attributes:
        kernel: name of the kernel.
        backend: name of the backend; `FLOOR` is the time to copy as many bytes as the kernel must move.
        channels: inner width E.
        length: tokens L.
        microseconds: forward and backward of `BATCH` prompts; None if memory does not suffice.
    """

    kernel: str
    backend: str
    channels: int
    length: int
    microseconds: float | None


def microseconds(function: Callable[[], object]) -> float:
    """Median time of one call on the GPU, from replays of a graph with enough calls for a clock."""
    time = _replays(function, 1)
    calls = max(1, min(20, int(2000 / max(time, 1.0))))
    return time if calls == 1 else _replays(function, calls)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second of a large copy; bytes read and bytes written both count."""
    source = torch.empty(1 << 28, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / (microseconds(lambda: target.copy_(source)) * 1e-6)


def measure(device: torch.device) -> Iterator[Speed]:
    """Yield the times of the kernels of every backend but the reference, which is slow by design."""
    bandwidth = copy_bandwidth(device)
    differentiable = [kernel for kernel in registry.kernels().values() if kernel.draw]
    for kernel, channels, length in itertools.product(differentiable, CHANNELS, LENGTHS):
        values = [value.to(device) for value in kernel.inputs(length, BATCH, channels)]
        for name in kernel.own_backends():
            if name == "reference" or backends.unavailable(name, str(device)):
                continue
            time = _forward_and_backward(kernel.load(name), values)
            yield Speed(kernel.name, name, channels, length, time)
            if name == "mamba_ssm" and kernel == SELECTIVE_SCAN:
                yield Speed(kernel.name, OWN_LAYOUT, channels, length, _own_layout(values))
        floats = BATCH * length * (kernel.floats * channels + kernel.floats_per_token)
        yield Speed(kernel.name, FLOOR, channels, length, 1e6 * BYTES_PER_FLOAT * floats / bandwidth)


def _replays(function: Callable[[], object], calls: int) -> float:
    """Microseconds of one call: the median over `REPEATS` replays of a graph of `calls` calls."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function()
        function()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.empty_cache()  # the graph cannot reuse memory that the side stream cached
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            function()
    graph.replay()
    times = []
    for _ in range(REPEATS):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record()
        graph.replay()
        ended.record()
        torch.cuda.synchronize()
        times.append(float(began.elapsed_time(ended)))
    return 1e3 * statistics.median(times) / calls


def _forward_and_backward(function: Callable[..., Any], values: list[Tensor]) -> float | None:
    """Microseconds of a function and its gradients at `values`; None if memory does not suffice."""
    inputs = [value.clone().requires_grad_(value.is_floating_point()) for value in values]
    differentiable = [value for value in inputs if value.requires_grad]

    def outputs() -> tuple[Tensor, ...]:
        results = function(*inputs)
        return (results,) if isinstance(results, Tensor) else tuple(results)

    def both() -> None:
        torch.autograd.grad(outputs(), differentiable, gradients)

    try:
        gradients = [torch.randn_like(y, memory_format=torch.contiguous_format) for y in outputs()]
        return microseconds(both)
    except torch.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()


def _own_layout(values: list[Tensor]) -> float | None:
    """Microseconds of the official scan on channels-first tensors, without the transpositions of bench."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    x, step, bias, A, B, C, skip, z = values
    first = [value.transpose(1, 2).contiguous() for value in (x, step, B, C, z)]

    def scan(x: Tensor, step: Tensor, B: Tensor, C: Tensor, z: Tensor, A: Tensor, skip: Tensor, bias: Tensor):  # type: ignore[no-untyped-def]
        return selective_scan_fn(x, step, A, B, C, skip, z, bias, delta_softplus=True)

    return _forward_and_backward(scan, [*first, A, skip, bias])
